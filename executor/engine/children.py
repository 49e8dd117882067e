"""Children: how a level creates its task runs, in bounded steps."""

from __future__ import annotations

from dataclasses import replace

from executor.engine.draft import FAN_OUT_STEP, Draft, Start
from executor.engine.effects import Send
from executor.engine.events import TaskRunCreated
from executor.engine.level import Level
from shared.messages import ContinueFanOut
from shared.model.flow import Task
from shared.model.scope import Scope
from shared.model.task_run import TaskRun


def create(
    draft: Draft,
    level: Level,
    task: Task,
    cursor: Scope,
    *,
    position: int,
    value: str | None = None,
    index: int | None = None,
    iteration: int | None = None,
) -> TaskRun:
    """Create a child, to be started in its turn. `cursor`: the level's scope, not yet counting the child."""
    event = draft.emit(
        TaskRunCreated,
        task_run_id=draft.next_id(),
        task_id=task.id,
        parent_id=level.owner,
        parent_scope=cursor.opened(),
        position=position,
        phase=cursor.phase,
        value=value,
        index=index,
        iteration=iteration,
        values=level.values if value is None else (*level.values, value),
    )
    draft.created += 1
    task_run = draft.task_run(event.task_run_id)
    assert task_run is not None
    draft.todo.append(Start(task_run.id))
    return task_run


def may_create(draft: Draft, level: Level) -> bool:
    """Whether this step may create one more child; else the step continues in a message to itself."""
    scope = level.scope
    if draft.created < FAN_OUT_STEP:
        return not scope.filling
    if not scope.filling:
        level.change(replace(scope, filling=True))
        draft.effect(
            Send(
                ContinueFanOut(
                    execution_id=draft.execution_id,
                    command_id=f"fan-out-{draft.next_id()}",
                    at=draft.now,
                    task_run_id=level.owner,
                )
            )
        )
    return False
