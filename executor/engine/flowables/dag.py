"""Dag: each task starts when all that it depends on have ended."""

from __future__ import annotations

from dataclasses import replace

from executor.engine.draft import Draft
from executor.engine.flowable import Flowable, create
from executor.engine.level import Level
from shared.model.task_run import TaskRun


class Dag(Flowable):
    """`next` is a bit mask of the created positions; `done` lists the ended ones."""

    def fill(self, draft: Draft, level: Level) -> None:
        task = level.task
        assert task is not None
        limit = int(task.properties.get("concurrent") or 0)
        tasks = level.tasks()
        done = {tasks[position].id for position in level.scope.done}
        enabled = {child.id for child in tasks}
        for position, child in enumerate(tasks):
            scope = level.scope
            if limit > 0 and scope.open >= limit:
                return
            ready = all(other in done or other not in enabled for other in child.depends_on)
            if ready and not scope.next >> position & 1:
                create(draft, level, child, replace(scope, next=scope.next | 1 << position), position=position)

    def child_ended(self, draft: Draft, level: Level, child: TaskRun) -> None:
        del draft
        scope = level.scope
        level.change(replace(scope, done=(*scope.done, child.position)))

    def exhausted(self, level: Level) -> bool:
        return level.scope.next == (1 << len(level.tasks())) - 1
