"""LoopUntil (WaitFor): its tasks again and again until a condition holds or a maximum is reached."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from executor.engine.draft import Advance, Draft
from executor.engine.effects import SetTimer
from executor.engine.entries import task_runs_prefix
from executor.engine.events import TaskRunMoved, TaskRunSuperseded
from executor.engine.flowable import Flowable, Opening, advanced, create
from executor.engine.flowables.pause import duration
from executor.engine.level import Level
from shared.expressions import RenderError, truthy
from shared.messages import WakeTimer
from shared.model.flow import Task
from shared.model.scope import Scope
from shared.model.state import StateType
from shared.model.task_run import TaskRun


def frequency(task: Task, name: str, default: Any) -> Any:
    """A part of `checkFrequency`, with Kestra's default."""
    given = (task.properties.get("checkFrequency") or {}).get(name)
    return default if given is None else given


class LoopUntil(Flowable):
    """A round counts only if every child is SUCCESS; rounds are numbered from 1; earlier rounds are superseded."""

    def open(self, draft: Draft, task_run: TaskRun, task: Task) -> Opening:
        del task_run
        tasks = draft.plan.list(task.id, "tasks")
        return Opening(Scope(size=len(tasks), iteration=1), {"iterationCount": 1}, None if tasks else StateType.SUCCESS)

    def create_next(self, draft: Draft, level: Level) -> None:
        scope = level.scope
        create(
            draft,
            level,
            level.tasks()[scope.next],
            advanced(scope),
            position=scope.next,
            iteration=scope.iteration,
        )

    def again(self, draft: Draft, level: Level, state: StateType) -> bool:
        scope, task, task_run = level.scope, level.task, level.task_run
        assert task is not None
        assert task_run is not None
        only_success = set(scope.tally) <= {StateType.SUCCESS.value}
        if state is not StateType.SUCCESS or not only_success or self._holds(draft, level, task):
            return False
        interval = duration(draft, task, task_run, frequency(task, "interval", "PT1S")) or 0
        if self._used_up(draft, task, task_run, scope):
            return False
        level.change(replace(scope, filling=True))
        due = draft.now + interval
        wake = WakeTimer(
            execution_id=draft.execution_id,
            command_id=f"loop-{task_run.id}-{scope.iteration}",
            at=due,
            timer="loop",
            task_run_id=task_run.id,
            attempt=scope.iteration,
        )
        draft.effect(SetTimer(due, wake))
        return True

    def _holds(self, draft: Draft, level: Level, task: Task) -> bool:
        text = draft.env.renderer.render(str(task.properties.get("condition", "")), level.variables())
        return truthy(text)

    def _used_up(self, draft: Draft, task: Task, task_run: TaskRun, scope: Scope) -> bool:
        most = int(frequency(task, "maxIterations", 100))
        longest = duration(draft, task, task_run, frequency(task, "maxDuration", "PT1H"))
        over = longest is not None and draft.now - task_run.state.start > longest
        return scope.iteration >= most or over

    def result(self, level: Level, state: StateType) -> StateType:
        scope, task = level.scope, level.task
        assert task is not None
        task_run = level.task_run
        assert task_run is not None
        fails = task.properties.get("failOnMaxReached") is True
        if state is StateType.SUCCESS and fails and self._used_up(level.draft, task, task_run, scope):
            try:
                return state if self._holds(level.draft, level, task) else StateType.FAILED
            except RenderError:
                return StateType.FAILED
        return state

    def outputs(self, draft: Draft, level: Level) -> dict[str, Any] | None:
        del draft
        return {"iterationCount": level.scope.iteration}


def next_round(draft: Draft, message: WakeTimer) -> str | None:
    """The interval is over: the last round's task runs are superseded and the tasks run again."""
    task_run = draft.task_run(message.task_run_id or "")
    if task_run is None or task_run.scope is None or task_run.state.terminated:
        return "the loop has ended"
    scope = task_run.scope
    if scope.iteration != message.attempt or not scope.filling:
        return "the loop has gone on already"
    supersede_below(draft, task_run.id)
    number = scope.iteration + 1
    draft.emit(
        TaskRunMoved,
        task_run_id=task_run.id,
        state=task_run.state.current,
        scope=Scope(size=scope.size, iteration=number),
        outputs={"iterationCount": number},
    )
    draft.todo.append(Advance(task_run.id))
    return None


def supersede_below(draft: Draft, task_run_id: str) -> None:
    """Take away all task runs below one; they stay in the index, marked."""
    gone = {task_run_id}
    below: list[TaskRun] = []
    for _, candidate in draft.state.scan(task_runs_prefix(draft.execution_id)):
        below.append(candidate)
    below.sort(key=lambda candidate: candidate.state.start)
    changed = True
    while changed:
        changed = False
        for candidate in below:
            if candidate.parent_id in gone and candidate.id not in gone:
                gone.add(candidate.id)
                changed = True
                if not candidate.superseded:
                    draft.emit(TaskRunSuperseded, task_run_id=candidate.id)
