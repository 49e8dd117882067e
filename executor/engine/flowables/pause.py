"""Pause: the execution waits for a resume, a delay or a timeout; then the task's own tasks run."""

from __future__ import annotations

from typing import Any

from executor.engine.draft import Draft
from executor.engine.effects import SetTimer
from executor.engine.events import ExecutionMoved, TaskRunMoved
from executor.engine.flowable import Flowable, Opening
from executor.engine.level import Level
from executor.engine.plan import ON_PAUSE
from shared.messages import WakeTimer
from shared.model.flow import Task
from shared.model.moment import Millis, parse_duration
from shared.model.scope import Scope
from shared.model.state import StateType
from shared.model.task_run import TaskRun


def duration(draft: Draft, task: Task, task_run: TaskRun, given: Any) -> Millis | None:
    """A property that is an ISO 8601 duration or a template of one."""
    if given is None:
        return None
    text = draft.env.renderer.render(str(given), draft.variables(task, task_run))
    return parse_duration(text) if text else None


class Pause(Flowable):
    """`delay` (today `pauseDuration`) goes on by itself, as `behavior` says; `timeout` fails (Kestra's rules).

    Its `onPause` is the first of its tasks, and runs before the pause begins.
    """

    def open(self, draft: Draft, task_run: TaskRun, task: Task) -> Opening:
        del task_run
        return Opening(Scope(size=len(draft.plan.list(task.id, "tasks"))))

    def opened(self, draft: Draft, task_run: TaskRun, task: Task, opening: Opening) -> None:
        del opening
        if not draft.plan.list(task.id, ON_PAUSE):
            self._pause(draft, task_run, task)

    def child_ended(self, draft: Draft, level: Level, child: TaskRun) -> None:
        """It pauses when its `onPause` has ended."""
        task, task_run = level.task, level.task_run
        assert task is not None
        assert task_run is not None
        if any(child.task_id == each.id for each in draft.plan.list(task.id, ON_PAUSE)):
            self._pause(draft, task_run, task)

    def _pause(self, draft: Draft, task_run: TaskRun, task: Task) -> None:
        properties = task.properties
        delay = duration(draft, task, task_run, properties.get("pauseDuration", properties.get("delay")))
        timeout = duration(draft, task, task_run, task.timeout)
        draft.emit(TaskRunMoved, task_run_id=task_run.id, state=StateType.PAUSED)
        if draft.execution.state.current is not StateType.PAUSED and not draft.execution.state.terminated:
            draft.emit(ExecutionMoved, state=StateType.PAUSED)
        for name, wait in (("pause-delay", delay), ("pause-timeout", timeout)):
            if wait is not None:
                draft.effect(
                    SetTimer(
                        draft.now + wait,
                        WakeTimer(
                            execution_id=draft.execution_id,
                            command_id=f"{name}-{task_run.id}-{draft.execution.seq}",
                            at=draft.now + wait,
                            timer=name,
                            task_run_id=task_run.id,
                            data={"paused_at": draft.now},
                        ),
                    )
                )
