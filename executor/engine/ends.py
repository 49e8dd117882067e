"""Ends: how task runs and executions end without a worker, and whom that concerns."""

from __future__ import annotations

from typing import Any

from executor.engine.draft import Advance, Draft
from executor.engine.effects import Send
from executor.engine.events import TaskRunMoved
from shared.messages import EndSubflow, ReleaseSlot
from shared.model.flow import Task
from shared.model.state import StateType
from shared.model.task_run import TaskRun


def permitted(task: Task | None, state: StateType) -> StateType:
    """`allowFailure` and `allowWarning` of a flowable."""
    if task is not None:
        if state is StateType.FAILED and task.allow_failure:
            state = StateType.WARNING
        if state is StateType.WARNING and task.allow_warning:
            state = StateType.SUCCESS
    return state


def close(
    draft: Draft,
    task_run: TaskRun,
    state: StateType,
    *,
    outputs: dict[str, Any] | None = None,
    error: str | None = None,
) -> None:
    """End a task run that no worker ends, and let its parent go on."""
    draft.emit(TaskRunMoved, task_run_id=task_run.id, state=state, outputs=outputs, error=error)
    ended(draft, task_run.id)


def ended(draft: Draft, task_run_id: str) -> None:
    """A task run is terminated: its parent has something to do."""
    task_run = draft.task_run(task_run_id)
    assert task_run is not None
    # Before what waits already: a level that goes on without this end would fill the place of what follows it.
    draft.todo.appendleft(Advance(task_run.parent_id, task_run))


def announce_end(
    draft: Draft,
    outputs: dict[str, Any] | None,
    caller_outputs: dict[str, Any] | None = None,
    error: str | None = None,
) -> None:
    """Give the concurrency slot back and tell the task run that waits for this execution."""
    execution = draft.execution
    if execution.slot:
        release_slot(draft)
    caller = execution.caller
    if caller is not None and execution.state.current is not StateType.RETRIED:
        draft.effect(
            Send(
                EndSubflow(
                    execution_id=caller.execution_id,
                    command_id=f"end-{execution.id}-{execution.seq}",
                    at=draft.now,
                    task_run_id=caller.task_run_id,
                    attempt=caller.attempt,
                    iteration=caller.iteration,
                    child_id=execution.id,
                    state=execution.state.current.value,
                    outputs=outputs if outputs is not None else caller_outputs,
                    error=error,
                )
            )
        )


def release_slot(draft: Draft) -> None:
    """Give the slot, or the place in the queue, back."""
    execution = draft.execution
    draft.effect(
        Send(
            ReleaseSlot(
                tenant=execution.tenant,
                namespace=execution.namespace,
                flow_id=execution.flow_id,
                command_id=f"release-{execution.id}-{execution.seq}",
                at=draft.now,
                execution_id=execution.id,
            )
        )
    )
