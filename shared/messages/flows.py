"""Flows: what is asked of a flow and its gate, and what the topic of flows keeps."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from shared.messages.encoding import Message, message
from shared.model.moment import Millis


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
