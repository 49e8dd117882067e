"""History: what became of executions, and what their tasks logged and measured."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from shared.messages.encoding import Message, message
from shared.model.document import Kind
from shared.model.moment import Millis


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
