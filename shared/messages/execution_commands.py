"""Execution commands: what is asked of one execution, by operators, other executions and the engine itself."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

from shared.messages.encoding import Message, message
from shared.model.moment import Millis

NOT_HERE: Final = "the execution is not known"
"""Why an executor rejects a command about an execution that never was, or has ended and left (`RecallExecution`)."""

HERE: Final = "the execution is in the executor"
"""Why `RecallExecution` is rejected that came too late or twice: what is here is newer than any snapshot."""


@dataclass(frozen=True, slots=True)
class ExecutionCommand(Message):
    """A command about one execution. `command_id` makes it idempotent and ties the answer to it."""

    execution_id: str
    command_id: str
    at: Millis


@message
@dataclass(frozen=True, slots=True)
class CreateExecution(ExecutionCommand):
    """Start an execution. Inputs are already typed and validated, secrets already encrypted."""

    tenant: str
    namespace: str
    flow_id: str
    flow_revision: int
    inputs: dict[str, Any] | None = None
    labels: list[list[str]] = field(default_factory=list)
    trigger: dict[str, Any] | None = None
    schedule_at: Millis | None = None
    caller: dict[str, Any] | None = None  #: ParentTaskRun of a subflow
    parent_id: str | None = None
    original_id: str | None = None
    attempt_number: int = 1
    original_created_at: Millis | None = None
    snapshot: dict[str, Any] | None = None  #: of a replay: the task runs that are carried over


@message
@dataclass(frozen=True, slots=True)
class KillExecution(ExecutionCommand):
    """Stop everything of an execution, and of its subflows unless told otherwise."""

    cascade: bool = True


@message
@dataclass(frozen=True, slots=True)
class PauseExecution(ExecutionCommand):
    """Start nothing new; what runs, finishes."""


@message
@dataclass(frozen=True, slots=True)
class ResumeExecution(ExecutionCommand):
    """Go on after a pause, of the whole execution or of one Pause task run."""

    task_run_id: str | None = None
    inputs: dict[str, Any] | None = None
    state: str | None = None
    expected_state: str | None = None


@message
@dataclass(frozen=True, slots=True)
class RestartExecution(ExecutionCommand):
    """Run again what failed, in the same execution, or as a new one with another revision."""

    revision: int | None = None
    new_execution_id: str | None = None
    caller: dict[str, Any] | None = None  #: ParentTaskRun, of a ForEachItem that repeats a batch


@message
@dataclass(frozen=True, slots=True)
class ReplayExecution(ExecutionCommand):
    """Run again as a new execution, from the start or from a task run."""

    new_execution_id: str
    task_run_id: str | None = None
    revision: int | None = None
    inputs: dict[str, Any] | None = None
    labels: list[list[str]] | None = None


@message
@dataclass(frozen=True, slots=True)
class ChangeTaskRunState(ExecutionCommand):
    """Set a task run's state by hand and go on from there."""

    task_run_id: str
    state: str


@message
@dataclass(frozen=True, slots=True)
class ChangeExecutionState(ExecutionCommand):
    """Set an execution's terminal state by hand."""

    state: str


@message
@dataclass(frozen=True, slots=True)
class ForceRunExecution(ExecutionCommand):
    """Run now: past a queue, a schedule date or a pause."""


@message
@dataclass(frozen=True, slots=True)
class UnqueueExecution(ExecutionCommand):
    """Leave the concurrency queue, to RUNNING, CANCELLED or FAILED."""

    state: str = "RUNNING"


@message
@dataclass(frozen=True, slots=True)
class SetLabels(ExecutionCommand):
    """Replace or add labels."""

    labels: list[list[str]]
    replace: bool = False


@message
@dataclass(frozen=True, slots=True)
class DeleteExecution(ExecutionCommand):
    """Take an execution away. `documents`: of one that is not in the executor, all that it has in the search store."""

    documents: dict[str, Any] | None = None
    """`tenant`; `seq`: the highest version; `task_runs` and `entries`: their ids."""


@message
@dataclass(frozen=True, slots=True)
class RecallExecution(ExecutionCommand):
    """Bring an ended execution back that has left the executor: what the search store has of it, complete.

    `snapshot`: `execution`, `task_runs` and `entries` are documents, `errors` the last ERROR lines; or, where it is
    large, a reference to a file with these.
    """

    tenant: str
    snapshot: dict[str, Any]


@message
@dataclass(frozen=True, slots=True)
class ContinueFanOut(ExecutionCommand):
    """The engine's message to itself: create the next children of a large fan-out."""

    task_run_id: str | None


@message
@dataclass(frozen=True, slots=True)
class ContinueKill(ExecutionCommand):
    """The engine's message to itself: close the next task runs of a large execution."""

    after: str
    cascade: bool = True


@message
@dataclass(frozen=True, slots=True)
class ContinueLabels(ExecutionCommand):
    """The engine's message to itself: show changed labels in the documents of the next task runs."""

    after: str


@message
@dataclass(frozen=True, slots=True)
class EndSubflow(ExecutionCommand):
    """A subflow ended (or changed): tells the task run that waits for it."""

    task_run_id: str
    attempt: int
    iteration: int | None
    child_id: str
    state: str
    outputs: dict[str, Any] | None = None
    error: str | None = None


@message
@dataclass(frozen=True, slots=True)
class WakeTimer(ExecutionCommand):
    """A timer's message, handed to the engine when it is due."""

    timer: str
    task_run_id: str | None = None
    attempt: int | None = None
    data: dict[str, Any] | None = None


@message
@dataclass(frozen=True, slots=True)
class SlotGranted(ExecutionCommand):
    """Gate to execution: run."""


@message
@dataclass(frozen=True, slots=True)
class SlotQueued(ExecutionCommand):
    """Gate to execution: wait."""


@message
@dataclass(frozen=True, slots=True)
class SlotRefused(ExecutionCommand):
    """Gate to execution: end, as CANCELLED or FAILED."""

    state: str
