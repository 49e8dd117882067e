"""Messages: what the services say to each other, as versioned JSON.

Commands are imperatives, events past participles. A reader ignores fields it does not know and raises
`UnknownMessage` for a type or version it does not know, which its caller dead-letters.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from typing import Any, ClassVar, Final, Self, TypeVar

import orjson

from shared.model.document import JSON_OPTIONS, Kind, plain
from shared.model.moment import Millis
from shared.model.task_run import Work

NOT_HERE: Final = "the execution is not known"
"""Why an executor rejects a command about an execution that never was, or has ended and left (`RecallExecution`)."""

HERE: Final = "the execution is in the executor"
"""Why `RecallExecution` is rejected that came too late or twice: what is here is newer than any snapshot."""

VERSION: Final = 1
"""Version of every message. Readers accept this one and the one before."""

_TYPES: Final[dict[str, type[Message]]] = {}


class UnknownMessage(ValueError):
    """A record that no reader here understands; it belongs in the dead letters."""


@dataclass(frozen=True, slots=True)
class Message:
    """Base of all messages: JSON with `v` and `type` first, then the fields."""

    _names: ClassVar[frozenset[str]] = frozenset()

    def to_bytes(self) -> bytes:
        body = orjson.dumps(self, option=JSON_OPTIONS, default=plain)
        head = b'{"v":%d,"type":"%s"' % (VERSION, type(self).__name__.encode())
        return head + (b"," + body[1:] if len(body) > 2 else b"}")

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> Self:
        """Build from parsed JSON. Raises UnknownMessage when a required field is missing."""
        names = _FIELDS[cls]
        try:
            return cls(**{name: value for name, value in data.items() if name in names})
        except TypeError as error:
            msg = f"{cls.__name__}: {error}"
            raise UnknownMessage(msg) from error


M = TypeVar("M", bound=type[Message])
_FIELDS: Final[dict[type[Message], frozenset[str]]] = {}


def message(cls: M) -> M:
    """Class decorator: register a message type by its name."""
    _TYPES[cls.__name__] = cls
    _FIELDS[cls] = frozenset(f.name for f in fields(cls))
    return cls


def decode(value: bytes) -> Message:
    """Read any message. Raises UnknownMessage with the reason."""
    try:
        data = orjson.loads(value)
    except orjson.JSONDecodeError as error:
        msg = f"not JSON: {error}"
        raise UnknownMessage(msg) from error
    if not isinstance(data, dict):
        msg = "not a JSON object"
        raise UnknownMessage(msg)
    version = data.get("v")
    if version not in (VERSION, VERSION - 1):
        msg = f"version {version!r} is not one of {VERSION - 1}, {VERSION}"
        raise UnknownMessage(msg)
    cls = _TYPES.get(data.get("type", ""))
    if cls is None:
        msg = f"type {data.get('type')!r} is not known"
        raise UnknownMessage(msg)
    return cls.from_data(data)


def required(cls: type[Message]) -> frozenset[str]:
    """Names of the fields without a default."""
    return frozenset(f.name for f in fields(cls) if f.default is MISSING and f.default_factory is MISSING)


# ------------------------------------------------------------------ commands for an execution (execution-commands)


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


# ------------------------------------------------------------------ commands for a flow (execution-commands)


@dataclass(frozen=True, slots=True)
class FlowCommand(Message):
    """A command about one flow, keyed by its uid; the FlowGate of its partition answers."""

    tenant: str
    namespace: str
    flow_id: str
    command_id: str
    at: Millis


@message
@dataclass(frozen=True, slots=True)
class PutFlow(FlowCommand):
    """Store a flow's source as its next revision."""

    source: str
    must_exist: bool | None = None  #: True: update only; False: create only


@message
@dataclass(frozen=True, slots=True)
class DeleteFlow(FlowCommand):
    """Store a deleted revision."""


@message
@dataclass(frozen=True, slots=True)
class RequestSlot(FlowCommand):
    """An execution asks for a slot of its flow's concurrency limit."""

    execution_id: str
    limit: int
    behavior: str


@message
@dataclass(frozen=True, slots=True)
class ReleaseSlot(FlowCommand):
    """An execution gives its slot, or its place in the queue, back."""

    execution_id: str


@message
@dataclass(frozen=True, slots=True)
class ConsiderTrigger(FlowCommand):
    """An execution changed its state, and a flow trigger's own conditions hold: the flow's gate may start the flow.

    `revision`: of the flow, as the sender knows it. `source`: the execution, as the `trigger` variables show it.
    `variables`: what the templates of the trigger's inputs can reach.
    """

    revision: int
    trigger_id: str
    execution_id: str
    seq: int  #: of the state change, which makes the new execution's id: considering twice starts once
    source: dict[str, Any]
    correlation_id: str
    variables: dict[str, Any] = field(default_factory=dict)
    met: dict[str, list[str]] = field(default_factory=dict)  #: by multiple condition, the names of those that hold


@message
@dataclass(frozen=True, slots=True)
class ToggleTrigger(FlowCommand):
    """Switch a trigger of a flow off, or on again; whether the flow disables it by itself is another matter."""

    trigger_id: str
    disabled: bool


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


# ------------------------------------------------------------------ for workers (task-run-commands)


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


# ------------------------------------------------------------------ from workers (task-run-events)


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


# ------------------------------------------------------------------ heartbeats


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


# ------------------------------------------------------------------ history (execution-events), logs, metrics


@message
@dataclass(frozen=True, slots=True)
class EventRecord(Message):
    """One event of an execution with the complete document after it: projecting is "put the document".

    `document` is None for an event that changes none (a rejection). `event` is the event's name.
    """

    event: str
    execution_id: str
    seq: int
    at: Millis
    kind: Kind | None = None
    id: str | None = None
    document: dict[str, Any] | None = None
    command_id: str | None = None
    reason: str | None = None  #: of a rejection


@message
@dataclass(frozen=True, slots=True)
class FlowStored(Message):
    """Value on the `flows` topic: one revision of a flow (key `…@revision`), or its latest (key without)."""

    tenant: str
    namespace: str
    flow_id: str
    revision: int
    source: str
    deleted: bool = False
    at: Millis = 0
    command_id: str | None = None


@message
@dataclass(frozen=True, slots=True)
class TriggerToggled(Message):
    """Value on the `flows` topic under the key `toggled/<uid>/<trigger id>`: whether a trigger is switched off."""

    tenant: str
    namespace: str
    flow_id: str
    trigger_id: str
    disabled: bool
    at: Millis = 0
    command_id: str | None = None


@message
@dataclass(frozen=True, slots=True)
class FlowRejected(Message):
    """Value on the `flows` topic under the key `rejected/<uid>`: a flow command that was not carried out."""

    tenant: str
    namespace: str
    flow_id: str
    reason: str
    at: Millis = 0
    command_id: str | None = None


@message
@dataclass(frozen=True, slots=True)
class LogLine(Message):
    """One log line of a task run, or of an execution where `task_run_id` is None."""

    id: str
    tenant: str
    namespace: str
    flow_id: str
    execution_id: str
    level: str
    text: str
    at: Millis
    task_id: str | None = None
    task_run_id: str | None = None
    attempt: int | None = None
    thread: str | None = None
    index: int = 0  #: order among lines of the same moment


@message
@dataclass(frozen=True, slots=True)
class Metric(Message):
    """A counter or timer that a task reported."""

    id: str
    tenant: str
    namespace: str
    flow_id: str
    execution_id: str
    task_id: str
    task_run_id: str
    name: str
    kind: str  #: counter or timer
    value: float
    at: Millis
    tags: dict[str, str] = field(default_factory=dict)


@message
@dataclass(frozen=True, slots=True)
class DeadLetter(Message):
    """A record or document that could not be handled, with where it came from and why."""

    origin: str  #: topic/partition/offset of the record; else the kind of thing, and its name
    reason: str
    at: Millis
    service: str
    key: str | None = None
    value: str | None = None  #: base64 of the bytes
    execution_id: str | None = None
    task_run_id: str | None = None
    packed: bool = False  #: the bytes are compressed (zlib)
    size: int | None = None  #: bytes of the record, also where they are not kept; None: it had no value


@message
@dataclass(frozen=True, slots=True)
class DeadLetterReplayed(Message):
    """A dead letter is settled: what it holds was sent again, or there is nothing of it to send."""

    origin: str
    at: Millis
    outcome: str  #: what was done, for whoever reads it later
