"""Flow: a user's flow and its tasks, as read from YAML. Immutable; one object for each revision."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from shared.model.moment import Millis


class RetryType(StrEnum):
    """How the wait before the next attempt grows."""

    CONSTANT = "constant"
    EXPONENTIAL = "exponential"
    RANDOM = "random"


class RetryBehavior(StrEnum):
    """What is repeated: the task run, or the execution as a new one."""

    RETRY_FAILED_TASK = "RETRY_FAILED_TASK"
    CREATE_NEW_EXECUTION = "CREATE_NEW_EXECUTION"


@dataclass(frozen=True, slots=True)
class Retry:
    """`retry` of a task, a flowable or a flow. Lengths of time in milliseconds."""

    type: RetryType
    interval: Millis = 0
    max_interval: Millis | None = None
    min_interval: Millis | None = None
    delay_factor: float = 2.0
    max_attempt: int | None = None
    max_duration: Millis | None = None
    warning_on_retry: bool = False
    behavior: RetryBehavior = RetryBehavior.RETRY_FAILED_TASK


class Fallback(StrEnum):
    """What becomes of a task run whose worker group has no worker."""

    WAIT = "WAIT"
    FAIL = "FAIL"
    CANCEL = "CANCEL"
    IGNORE = "IGNORE"


@dataclass(frozen=True, slots=True)
class WorkerGroup:
    """`workerGroup` of a task: the group's key (may be a template) and its fallback."""

    key: str
    fallback: Fallback = Fallback.WAIT


@dataclass(frozen=True, slots=True)
class Task:
    """One task. `branches` holds the child tasks of a flowable by the property they stand in.

    Keys of `branches`: `tasks`, `then`, `else`, `defaults`, `cases.<value>`, `errors`, `finally`. A Dag's
    entries are `tasks`, and `depends_on` of each names what it waits for.
    """

    id: str
    type: str  #: canonical type name (aliases resolved)
    properties: Mapping[str, Any] = field(
        default_factory=dict
    )  #: as merged: what is written + plugin defaults, without child tasks
    branches: Mapping[str, tuple[Task, ...]] = field(default_factory=dict)
    depends_on: tuple[str, ...] = ()
    disabled: bool = False
    run_if: str | None = None
    allow_failure: bool = False
    allow_warning: bool = False
    retry: Retry | None = None
    timeout: str | None = None  #: ISO 8601 duration or a template of one
    log_level: str | None = None
    worker_group: WorkerGroup | None = None

    def children(self) -> Iterator[Task]:
        """Direct child tasks of every branch, in order."""
        for tasks in self.branches.values():
            yield from tasks

    def walk(self) -> Iterator[Task]:
        """This task and everything below it."""
        yield self
        for child in self.children():
            yield from child.walk()


@dataclass(frozen=True, slots=True)
class Input:
    """A typed input of a flow (or of a Pause's `onResume`)."""

    id: str
    type: str
    required: bool = True
    default: Any = None
    has_default: bool = False
    depends_on: tuple[str, ...] = ()
    condition: str | None = None
    properties: Mapping[str, Any] = field(default_factory=dict)  #: validators and the rest, as written


@dataclass(frozen=True, slots=True)
class Output:
    """An output of a flow: a value rendered when the execution ends."""

    id: str
    type: str | None
    value: Any
    required: bool = True


class ConcurrencyBehavior(StrEnum):
    """What becomes of an execution over the limit."""

    QUEUE = "QUEUE"
    CANCEL = "CANCEL"
    FAIL = "FAIL"


@dataclass(frozen=True, slots=True)
class Concurrency:
    """`concurrency` of a flow."""

    limit: int
    behavior: ConcurrencyBehavior = ConcurrencyBehavior.QUEUE


@dataclass(frozen=True, slots=True)
class Sla:
    """One `sla` of a flow: a longest duration (ms) or an assertion on the execution."""

    id: str
    type: str  #: MAX_DURATION or EXECUTION_ASSERTION
    behavior: str  #: FAIL, CANCEL or NONE
    duration: Millis | None = None
    assertion: str | None = None
    labels: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Trigger:
    """A trigger of a flow; its properties as written."""

    id: str
    type: str
    disabled: bool = False
    properties: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Listener:
    """A deprecated `listeners` entry: tasks to run after the end when its conditions hold."""

    conditions: tuple[Mapping[str, Any], ...]
    tasks: tuple[Task, ...]


@dataclass(frozen=True, slots=True)
class Flow:
    """A flow at one revision."""

    tenant: str
    namespace: str
    id: str
    revision: int
    source: str  #: the YAML as the user wrote it
    tasks: tuple[Task, ...]
    errors: tuple[Task, ...] = ()
    finally_: tuple[Task, ...] = ()
    after_execution: tuple[Task, ...] = ()
    listeners: tuple[Listener, ...] = ()
    inputs: tuple[Input, ...] = ()
    outputs: tuple[Output, ...] = ()
    variables: Mapping[str, Any] = field(default_factory=dict)
    labels: tuple[tuple[str, str], ...] = ()
    concurrency: Concurrency | None = None
    retry: Retry | None = None
    sla: tuple[Sla, ...] = ()
    triggers: tuple[Trigger, ...] = ()
    disabled: bool = False
    deleted: bool = False
    description: str | None = None
    worker_group: WorkerGroup | None = None
    raw: Mapping[str, Any] = field(default_factory=dict)  #: the parsed YAML, for the API's JSON

    @property
    def uid(self) -> str:
        """`tenant/namespace/id`: the flow whatever its revision."""
        return f"{self.tenant}/{self.namespace}/{self.id}"

    def walk(self) -> Iterator[Task]:
        """Every task of the flow, parents before children."""
        for tasks in (self.tasks, self.errors, self.finally_, self.after_execution):
            for task in tasks:
                yield from task.walk()
        for listener in self.listeners:
            for task in listener.tasks:
                yield from task.walk()
