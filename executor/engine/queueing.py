"""Queueing: executions that an operator takes out of a queue, a schedule or a pause."""

from __future__ import annotations

from executor.engine import creation, pauses
from executor.engine.draft import Draft
from executor.engine.ends import announce_end, release_slot
from executor.engine.events import ExecutionMoved, ExecutionUpdated
from shared.model.state import StateType


def force_run(draft: Draft) -> str | None:
    """Past a queue, a schedule date or a pause."""
    current = draft.execution.state.current
    if current in (StateType.CREATED, StateType.QUEUED):
        leave_queue(draft)
        creation.run(draft)
        return None
    if current is StateType.PAUSED:
        for run in pauses.paused_task_runs(draft):
            pauses.go_on(draft, run, StateType.RUNNING, None)
        pauses.leave_pause(draft)
        return None
    return f"the execution is {current}: it must be CREATED, QUEUED or PAUSED"


def unqueue(draft: Draft, state: str) -> str | None:
    """Leave the queue, to RUNNING, CANCELLED or FAILED."""
    if draft.execution.state.current is not StateType.QUEUED:
        return f"the execution is {draft.execution.state.current}, not QUEUED"
    if state == StateType.RUNNING:
        leave_queue(draft)
        creation.run(draft)
        return None
    if state not in (StateType.CANCELLED, StateType.FAILED):
        return f"{state} is not RUNNING, CANCELLED or FAILED"
    draft.emit(ExecutionMoved, state=StateType(state))
    announce_end(draft, None)
    return None


def leave_queue(draft: Draft) -> None:
    """Tell the gate that the execution runs without a slot."""
    if draft.execution.slot:
        release_slot(draft)
        draft.emit(ExecutionUpdated, fields={"slot": False})
