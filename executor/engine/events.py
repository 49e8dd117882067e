"""Events: what happened to an execution. They are decided in one place and applied in one place.

Each has the execution's next sequence number. `name` is how the record on the log is called.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Final

from shared.model.execution import Execution
from shared.model.moment import Millis
from shared.model.scope import Phase, Scope
from shared.model.state import StateType
from shared.model.task_run import TaskRun

_PARTICIPLES: Final = {
    StateType.CREATED: "Recreated",
    StateType.RUNNING: "Started",
    StateType.PAUSED: "Paused",
    StateType.RESTARTED: "Restarted",
    StateType.KILLING: "KillRequested",
    StateType.SUCCESS: "Succeeded",
    StateType.WARNING: "Warned",
    StateType.FAILED: "Failed",
    StateType.KILLED: "Killed",
    StateType.CANCELLED: "Cancelled",
    StateType.QUEUED: "Queued",
    StateType.RETRYING: "RetryScheduled",
    StateType.RETRIED: "Retried",
    StateType.SKIPPED: "Skipped",
    StateType.SUBMITTED: "Submitted",
    StateType.RESUBMITTED: "Resubmitted",
}


@dataclass(frozen=True, slots=True)
class Event:
    """Base of all events."""

    execution_id: str
    seq: int
    at: Millis

    changes_execution: ClassVar[bool] = False  #: its document is the execution's

    @property
    def task_run(self) -> str | None:
        """The task run whose document it changes."""
        return None

    @property
    def name(self) -> str:
        return type(self).__name__


@dataclass(frozen=True, slots=True)
class ExecutionEvent(Event):
    """An event that changes the execution's own document."""

    changes_execution: ClassVar[bool] = True


@dataclass(frozen=True, slots=True)
class TaskRunEvent(Event):
    """An event that changes one task run's document."""

    task_run_id: str

    @property
    def task_run(self) -> str | None:
        return self.task_run_id


@dataclass(frozen=True, slots=True)
class ExecutionCreated(ExecutionEvent):
    """The first event. `execution` as created; `inputs` typed."""

    execution: Execution
    inputs: Mapping[str, Any] | None


@dataclass(frozen=True, slots=True)
class ExecutionRecalled(ExecutionEvent):
    """An ended execution that had left came back: its header, and its other entries by key."""

    execution: Execution
    entries: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ExecutionMoved(ExecutionEvent):
    """The execution's state changed; named after the new state."""

    state: StateType
    error: str | None = None
    outputs: Mapping[str, Any] | None = None

    @property
    def name(self) -> str:
        return f"Execution{_PARTICIPLES[self.state]}"


@dataclass(frozen=True, slots=True)
class ExecutionUpdated(ExecutionEvent):
    """Fields of the header changed that are not its state."""

    fields: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class LabelsChanged(ExecutionEvent):
    """The complete labels after the change."""

    labels: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class VariablesChanged(ExecutionEvent):
    """The complete variables after the change: what `vars` gives from now on."""

    variables: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ExecutionDeleted(ExecutionEvent):
    """The execution was taken away, with the task runs and other documents named: they are removed.

    `rest`: none is named, for there are very many; they go in steps behind this.
    """

    task_runs: tuple[str, ...] = ()
    entries: tuple[str, ...] = ()
    rest: bool = False
    tenant: str | None = None  #: None where the command of an earlier version does not say


@dataclass(frozen=True, slots=True)
class ScopeChanged(Event):
    """Bookkeeping of a level (the execution's own where `owner` is None); changes no document."""

    owner: str | None
    scope: Scope


@dataclass(frozen=True, slots=True)
class ErrorsLogged(Event):
    """ERROR lines were added to those that `errorLogs()` gives."""

    lines: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True, slots=True)
class TaskRunCreated(TaskRunEvent):
    """A task run exists. `parent_scope` is the parent's bookkeeping with this child counted as open."""

    task_id: str
    parent_id: str | None
    parent_scope: Scope
    position: int
    phase: Phase
    value: str | None = None
    index: int | None = None
    iteration: int | None = None
    values: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class TaskRunMoved(TaskRunEvent):
    """A task run's state changed without a worker; named after the new state."""

    state: StateType
    scope: Scope | None = None
    outputs: Mapping[str, Any] | None = None
    error: str | None = None

    @property
    def name(self) -> str:
        return f"TaskRun{_PARTICIPLES[self.state]}"


@dataclass(frozen=True, slots=True)
class ValuesRecorded(Event):
    """A loop's values, in chunks that are entries of their own."""

    task_run_id: str
    chunks: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class BatchesRecorded(Event):
    """Batches of a ForEachItem began or ended: their entries, by number."""

    owner: str  #: the ForEachItem's task run
    batches: tuple[tuple[int, Mapping[str, Any]], ...]


@dataclass(frozen=True, slots=True)
class TaskRunStarted(TaskRunEvent):
    """A worker session began an attempt."""

    session: str | None


@dataclass(frozen=True, slots=True)
class TaskRunAttempted(TaskRunEvent):
    """An attempt ended in `attempt_state`; the task run goes on to `states`, the last of which may be open."""

    attempt_state: StateType
    states: tuple[StateType, ...]
    session: str | None = None
    started_at: Millis | None = None
    outputs: Mapping[str, Any] | None = None
    error: str | None = None
    resubmitted: bool = False

    @property
    def name(self) -> str:
        return f"TaskRun{_PARTICIPLES[self.states[-1]]}"


@dataclass(frozen=True, slots=True)
class TaskRunReopened(TaskRunEvent):
    """A terminated task run is worked on again (restart, state change by hand)."""

    state: StateType
    forget_attempts: bool = False  #: the retry policy counts anew
    scope: Scope | None = None

    @property
    def name(self) -> str:
        return f"TaskRun{_PARTICIPLES[self.state]}"


@dataclass(frozen=True, slots=True)
class TaskRunImported(TaskRunEvent):
    """A task run was carried over from the execution that this one replays."""

    imported: TaskRun
    outputs: Mapping[str, Any] | None
    chunks: tuple[tuple[str, ...], ...] = ()


@dataclass(frozen=True, slots=True)
class TaskRunRelabelled(TaskRunEvent):
    """The execution's labels changed: the task run's document shows them, too."""


@dataclass(frozen=True, slots=True)
class TaskRunSuperseded(TaskRunEvent):
    """The engine took a task run away (a restarted error branch, the next round of a loop)."""


@dataclass(frozen=True, slots=True)
class CommandAnswered(Event):
    """An operator's command was answered: its id and, where it was refused, the reason, for when it comes again."""

    command_id: str
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class CommandRepeated(Event):
    """A command that was carried out before came once more; changes nothing."""


@dataclass(frozen=True, slots=True)
class CommandRejected(Event):
    """A redundant or impossible command, with the reason; changes nothing."""

    reason: str
