"""Waiting: task runs that wait for a worker, or for their next attempt."""

from __future__ import annotations

from executor.engine.draft import Draft
from executor.engine.effects import Enqueue, SetTimer
from executor.engine.ends import close
from executor.engine.events import ExecutionMoved
from shared.expressions import RenderError
from shared.messages import WakeTimer
from shared.model.flow import Fallback, Task
from shared.model.state import StateType
from shared.model.task_run import TaskRun


def enqueue(draft: Draft, task_run: TaskRun, task: Task) -> None:
    """Ask for a worker."""
    group, fallback = "", Fallback.WAIT
    wanted = task.worker_group or draft.plan.flow.worker_group
    if wanted is not None:
        fallback = wanted.fallback
        try:
            group = draft.env.renderer.render(wanted.key, draft.variables(task, task_run)) or ""
        except RenderError as error:
            draft.log("ERROR", f"Unable to render workerGroup.key of task {task.id}: {error}", task_run)
            close(draft, task_run, StateType.FAILED, error=str(error))
            return
    draft.effect(Enqueue(task_run.id, len(task_run.attempts), group, fallback))


def schedule_retry(draft: Draft, task_run: TaskRun, due: int) -> None:
    """The timer and the execution's RETRYING while a task run waits for its next attempt."""
    draft.effect(
        SetTimer(
            due,
            WakeTimer(
                execution_id=draft.execution_id,
                command_id=f"retry-{task_run.id}-{len(task_run.attempts)}",
                at=due,
                timer="retry",
                task_run_id=task_run.id,
                attempt=len(task_run.attempts),
            ),
        )
    )
    if draft.execution.state.current is StateType.RUNNING:
        draft.emit(ExecutionMoved, state=StateType.RETRYING)
