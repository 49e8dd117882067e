"""Gates: what spans the executions of one flow, kept in the flow's own partition.

Its revisions, which of its triggers are switched off, and the slots of its concurrency limit as a set of holders: a
count is derived and cannot drift.
Requests repeat safely.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any, Final

from executor.engine.entries import Overlay
from shared import messages as m
from shared.flows.parser import FlowError, parse_flow
from shared.model.flow import ConcurrencyBehavior
from shared.model.state import StateType
from shared.ports import Outbound, Topic


@dataclass(slots=True)
class GateAnswer:
    """What a gate answers: commands for executions, and records of the flows topic."""

    commands: list[m.ExecutionCommand] = field(default_factory=list)
    records: list[Outbound] = field(default_factory=list)


def uid(command: m.FlowCommand) -> str:
    return f"{command.tenant}/{command.namespace}/{command.flow_id}"


def answer(entries: Overlay, command: m.FlowCommand) -> GateAnswer:
    """Decide on a flow's command; `entries` is changed."""
    result = GateAnswer()
    _ANSWERS[type(command)](entries, command, result)
    return result


# ------------------------------------------------------------------ revisions


def _revision_key(command: m.FlowCommand) -> str:
    return f"f/{uid(command)}"


def _stored(command: m.FlowCommand, revision: int, source: str, *, deleted: bool) -> m.FlowStored:
    return m.FlowStored(
        tenant=command.tenant,
        namespace=command.namespace,
        flow_id=command.flow_id,
        revision=revision,
        source=source,
        deleted=deleted,
        at=command.at,
        command_id=command.command_id,
    )


def _publish(result: GateAnswer, stored: m.FlowStored, command: m.FlowCommand) -> None:
    value = stored.to_bytes()
    result.records.append(Outbound(Topic.FLOWS, f"{uid(command)}@{stored.revision}", value))
    result.records.append(Outbound(Topic.FLOWS, uid(command), value))


def _reject(result: GateAnswer, command: m.FlowCommand, reason: str) -> None:
    rejected = m.FlowRejected(
        tenant=command.tenant,
        namespace=command.namespace,
        flow_id=command.flow_id,
        reason=reason,
        at=command.at,
        command_id=command.command_id,
    )
    result.records.append(Outbound(Topic.FLOWS, f"rejected/{uid(command)}", rejected.to_bytes()))


def _put_flow(entries: Overlay, command: m.PutFlow, result: GateAnswer) -> None:
    latest: dict[str, Any] | None = entries.get(_revision_key(command))
    there = latest is not None and not latest["deleted"]
    if command.must_exist is True and not there:
        _reject(result, command, f"Flow not found: {command.namespace}.{command.flow_id}")
        return
    if command.must_exist is False and there:
        _reject(result, command, "Flow id already exists")
        return
    try:
        flow = parse_flow(command.source, tenant=command.tenant)
    except FlowError as error:
        _reject(result, command, str(error))
        return
    if (flow.namespace, flow.id) != (command.namespace, command.flow_id):
        _reject(result, command, f"The source is of flow {flow.namespace}.{flow.id}")
        return
    digest = hashlib.sha256(command.source.encode()).hexdigest()
    revision = latest["revision"] if latest is not None else 0
    if not (there and latest is not None and latest["digest"] == digest):
        revision += 1
    triggers = [trigger.id for trigger in flow.triggers]
    kept = {"revision": revision, "digest": digest, "deleted": False, "triggers": triggers}
    entries.put(_revision_key(command), kept)
    _publish(result, _stored(command, revision, command.source, deleted=False), command)
    _forget_toggles(entries, command, result, triggers)


def _delete_flow(entries: Overlay, command: m.DeleteFlow, result: GateAnswer) -> None:
    latest: dict[str, Any] | None = entries.get(_revision_key(command))
    if latest is None or latest["deleted"]:
        _reject(result, command, f"Flow not found: {command.namespace}.{command.flow_id}")
        return
    revision = latest["revision"] + 1
    entries.put(_revision_key(command), {"revision": revision, "digest": "", "deleted": True})
    _publish(result, _stored(command, revision, "", deleted=True), command)
    _forget_toggles(entries, command, result, ())


# ------------------------------------------------------------------ triggers


def _toggle_key(command: m.FlowCommand, trigger_id: str) -> str:
    return f"g/{uid(command)}/off/{trigger_id}"


def switched_off(entries: Overlay, command: m.FlowCommand, trigger_id: str) -> bool:
    """Whether a trigger of the command's flow is switched off."""
    return entries.get(_toggle_key(command, trigger_id)) is not None


def _toggle_trigger(entries: Overlay, command: m.ToggleTrigger, result: GateAnswer) -> None:
    latest: dict[str, Any] | None = entries.get(_revision_key(command))
    if latest is None or latest["deleted"]:
        _reject(result, command, f"Unable to find flow {command.namespace}.{command.flow_id}")
        return
    # What was kept before triggers could be switched does not name them: any may be there.
    if command.trigger_id not in latest.get("triggers", (command.trigger_id,)):
        flow = f"{command.namespace}.{command.flow_id}"
        _reject(result, command, f"Unable to find trigger {command.trigger_id} for the flow {flow}")
        return
    entries.put(_toggle_key(command, command.trigger_id), command.at if command.disabled else None)
    toggled = m.TriggerToggled(
        tenant=command.tenant,
        namespace=command.namespace,
        flow_id=command.flow_id,
        trigger_id=command.trigger_id,
        disabled=command.disabled,
        at=command.at,
        command_id=command.command_id,
    )
    result.records.append(Outbound(Topic.FLOWS, f"toggled/{uid(command)}/{command.trigger_id}", toggled.to_bytes()))


def _forget_toggles(entries: Overlay, command: m.FlowCommand, result: GateAnswer, kept: Collection[str]) -> None:
    """A trigger that the flow no longer has is on when it comes back."""
    for key, _ in list(entries.scan(_toggle_key(command, ""))):
        trigger_id = key.rsplit("/", 1)[1]
        if trigger_id not in kept:
            entries.put(key, None)
            result.records.append(Outbound(Topic.FLOWS, f"toggled/{uid(command)}/{trigger_id}", None))


# ------------------------------------------------------------------ slots


def _holder_key(command: m.FlowCommand, execution_id: str) -> str:
    return f"g/{uid(command)}/h/{execution_id}"


def _queue_key(command: m.FlowCommand, execution_id: str) -> str:
    """Execution ids sort by time, so the queue is first come, first served."""
    return f"g/{uid(command)}/q/{execution_id}"


def _holders(entries: Overlay, command: m.FlowCommand) -> int:
    return sum(1 for _ in entries.scan(f"g/{uid(command)}/h/"))


def _to(kind: Callable[..., m.ExecutionCommand], execution_id: str, command: m.FlowCommand, **more: Any) -> Any:
    return kind(execution_id=execution_id, command_id=f"gate-{command.command_id}", at=command.at, **more)


def _request_slot(entries: Overlay, command: m.RequestSlot, result: GateAnswer) -> None:
    execution_id = command.execution_id
    if entries.get(_holder_key(command, execution_id)) is not None:
        result.commands.append(_to(m.SlotGranted, execution_id, command))
        return
    if entries.get(_queue_key(command, execution_id)) is not None:
        result.commands.append(_to(m.SlotQueued, execution_id, command))
        return
    if _holders(entries, command) < command.limit:
        entries.put(_holder_key(command, execution_id), command.at)
        result.commands.append(_to(m.SlotGranted, execution_id, command))
    elif command.behavior == ConcurrencyBehavior.QUEUE:
        entries.put(_queue_key(command, execution_id), command.limit)
        result.commands.append(_to(m.SlotQueued, execution_id, command))
    else:
        state = StateType.CANCELLED if command.behavior == ConcurrencyBehavior.CANCEL else StateType.FAILED
        result.commands.append(_to(m.SlotRefused, execution_id, command, state=state.value))


def _release_slot(entries: Overlay, command: m.ReleaseSlot, result: GateAnswer) -> None:
    """Free a slot, or leave the queue; then the first ones of the queue run, as many as fit."""
    entries.put(_holder_key(command, command.execution_id), None)
    entries.put(_queue_key(command, command.execution_id), None)
    held = _holders(entries, command)
    for key, limit in entries.scan(f"g/{uid(command)}/q/"):  # not all of a long queue: as far as slots are free
        if held >= limit:
            return
        execution_id = key.rsplit("/", 1)[1]
        entries.put(key, None)
        entries.put(_holder_key(command, execution_id), command.at)
        held += 1
        result.commands.append(_to(m.SlotGranted, execution_id, command))


_ANSWERS: Final[dict[type, Callable[[Overlay, Any, GateAnswer], None]]] = {
    m.PutFlow: _put_flow,
    m.DeleteFlow: _delete_flow,
    m.ToggleTrigger: _toggle_trigger,
    m.RequestSlot: _request_slot,
    m.ReleaseSlot: _release_slot,
}
