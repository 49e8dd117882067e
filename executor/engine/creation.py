"""Creation: how an execution begins, with or without a slot of its flow's concurrency limit."""

from __future__ import annotations

from executor.engine import replays
from executor.engine.draft import Advance, Draft
from executor.engine.effects import Send, SetTimer
from executor.engine.ends import announce_end
from executor.engine.entries import deleted_key
from executor.engine.events import ExecutionCreated, ExecutionMoved, ExecutionUpdated
from executor.engine.recalls import DELETED
from shared.messages import CreateExecution, RequestSlot, SlotRefused, WakeTimer
from shared.model.execution import CORRELATION_ID, Execution, ParentTaskRun, Trigger
from shared.model.state import State, StateType


def execution_of(command: CreateExecution, flow_labels: tuple[tuple[str, str], ...], now: int) -> Execution:
    """The execution as created. Labels: the flow's except `system.*`, the given, a correlation id (Kestra's rule)."""
    given = {key: str(value) for key, value in command.labels}
    labels = {key: value for key, value in flow_labels if not key.startswith("system.")} | given
    labels.setdefault(CORRELATION_ID, command.execution_id)
    return Execution(
        id=command.execution_id,
        tenant=command.tenant,
        namespace=command.namespace,
        flow_id=command.flow_id,
        flow_revision=command.flow_revision,
        state=State.created(now),
        original_id=command.original_id or command.execution_id,
        labels=tuple(labels.items()),
        parent_id=command.parent_id,
        trigger=None if command.trigger is None else Trigger(**command.trigger),
        caller=None if command.caller is None else ParentTaskRun(**command.caller),
        attempt_number=command.attempt_number,
        original_created_at=command.original_created_at or now,
        schedule_at=command.schedule_at,
        has_inputs=bool(command.inputs),
    )


def create_execution(draft: Draft, command: CreateExecution) -> str | None:
    """Begin, once for each id."""
    if draft.known is not None:
        return "the execution exists already"
    if draft.state.get(deleted_key(draft.execution_id)) is not None:
        return DELETED
    plan = draft.env.flows(command.tenant, command.namespace, command.flow_id, command.flow_revision)
    if plan is None or plan.flow.deleted:
        return f"flow {command.namespace}.{command.flow_id} revision {command.flow_revision} is not known"
    execution = execution_of(command, plan.flow.labels, draft.now)
    if command.snapshot is not None:
        replays.take_in(draft, execution, command)
        return None
    draft.emit(ExecutionCreated, execution=execution, inputs=command.inputs or None)
    if execution.schedule_at is not None and execution.schedule_at > draft.now:
        _wake(draft, "schedule", execution.schedule_at)
    else:
        enter(draft)
    return None


def _wake(draft: Draft, timer: str, due: int, data: dict[str, object] | None = None) -> None:
    draft.effect(
        SetTimer(
            due,
            WakeTimer(
                execution_id=draft.execution_id,
                command_id=f"{timer}-{draft.execution_id}",
                at=due,
                timer=timer,
                data=data,
            ),
        )
    )


def enter(draft: Draft) -> None:
    """Ask for a slot where the flow limits its concurrency, else run."""
    execution, concurrency = draft.execution, draft.plan.flow.concurrency
    if concurrency is None:
        run(draft)
        return
    draft.emit(ExecutionUpdated, fields={"slot": True})
    draft.effect(
        Send(
            RequestSlot(
                tenant=execution.tenant,
                namespace=execution.namespace,
                flow_id=execution.flow_id,
                command_id=f"slot-{execution.id}",
                at=draft.now,
                execution_id=execution.id,
                limit=concurrency.limit,
                behavior=concurrency.behavior.value,
            )
        )
    )


def run(draft: Draft) -> None:
    """CREATED (or QUEUED) → RUNNING, with the clocks of its SLAs."""
    draft.emit(ExecutionMoved, state=StateType.RUNNING)
    draft.halted = False
    for sla in draft.plan.flow.sla:
        if sla.duration is not None:
            _wake(draft, f"sla-{sla.id}", draft.execution.state.start + sla.duration, {"sla": sla.id})
    draft.todo.append(Advance(None))


def scheduled(draft: Draft) -> str | None:
    """The schedule date has come."""
    if draft.execution.state.current is not StateType.CREATED or draft.execution.slot:
        return "the execution has left CREATED already"
    enter(draft)
    return None


def slot_granted(draft: Draft) -> str | None:
    if draft.execution.state.current not in (StateType.CREATED, StateType.QUEUED):
        return f"the execution is {draft.execution.state.current}"
    run(draft)
    return None


def slot_queued(draft: Draft) -> str | None:
    if draft.execution.state.current is not StateType.CREATED:
        return f"the execution is {draft.execution.state.current}"
    draft.emit(ExecutionMoved, state=StateType.QUEUED)
    return None


def slot_refused(draft: Draft, command: SlotRefused) -> str | None:
    if draft.execution.state.current is not StateType.CREATED:
        return f"the execution is {draft.execution.state.current}"
    draft.emit(ExecutionUpdated, fields={"slot": False})
    state = StateType(command.state)
    draft.log("WARN", f"The flow's concurrency limit is reached: {state}")
    draft.emit(ExecutionMoved, state=state)
    announce_end(draft, None)
    return None
