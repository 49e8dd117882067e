"""Work: what executors ask of workers, what workers say of it, and who is alive."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from shared.messages.encoding import Message, message
from shared.model.moment import Millis
from shared.model.task_run import Work


@dataclass(frozen=True, slots=True)
class WorkerCommand(Message):
    """A command for one worker session about one piece of work."""

    session: str
    execution_id: str
    task_run_id: str
    attempt: int
    dispatch: int

    @property
    def work(self) -> Work:
        return Work(self.execution_id, self.task_run_id, self.attempt, self.dispatch)


@message
@dataclass(frozen=True, slots=True)
class RunTaskRun(WorkerCommand):
    """Run an attempt. `task`: the merged task with its raw templates; `variables`: all that these can reach."""

    tenant: str
    namespace: str
    flow_id: str
    flow_revision: int
    task: dict[str, Any]
    variables: dict[str, Any]
    timeout: str | None = None
    log_level: str | None = None
    deadline: Millis | None = None


@message
@dataclass(frozen=True, slots=True)
class StopTaskRun(WorkerCommand):
    """Stop an attempt: `reason` is `kill`, `lost` or `unwanted`."""

    reason: str


@dataclass(frozen=True, slots=True)
class AttemptEvent(Message):
    """Something that happened to a piece of work on a worker."""

    execution_id: str
    task_run_id: str
    attempt: int
    dispatch: int
    session: str
    at: Millis

    @property
    def work(self) -> Work:
        return Work(self.execution_id, self.task_run_id, self.attempt, self.dispatch)


@message
@dataclass(frozen=True, slots=True)
class AttemptStarted(AttemptEvent):
    """The worker began to run it."""


@message
@dataclass(frozen=True, slots=True)
class AttemptEnded(AttemptEvent):
    """The worker is done: SUCCESS, WARNING, FAILED or KILLED."""

    state: str
    started_at: Millis
    outputs: dict[str, Any] | None = None
    error: str | None = None
    error_logs: list[dict[str, Any]] = field(default_factory=list)  #: last 20 ERROR lines, at most 8 KiB
    attributes: dict[str, Any] | None = None  #: what special tasks hand to the engine (labels to set, iterations, …)


@message
@dataclass(frozen=True, slots=True)
class AttemptDeclined(AttemptEvent):
    """The worker can't start it soon, or is draining: send it elsewhere, same attempt, next dispatch."""

    reason: str = "busy"


@message
@dataclass(frozen=True, slots=True)
class Heartbeat(Message):
    """A service instance is alive; a worker's also says what it holds and can take."""

    session: str
    service: str  #: worker, executor or indexer
    at: Millis
    state: str = "RUNNING"  #: RUNNING, TERMINATING (drains), TERMINATED
    group: str = ""
    slots: int = 0
    free: int = 0
    inbox: int = -1
    position: int = 0  #: next inbox offset that the session will read
    held: list[list[Any]] = field(default_factory=list)  #: [execution id, task run id, attempt, dispatch]
    sent: int = 0  #: number of commands taken by the session so far
    projected: list[list[int]] = field(default_factory=list)  #: of an indexer: [partition, moment up to which it is in]
    host: str = ""
    version: str = ""
