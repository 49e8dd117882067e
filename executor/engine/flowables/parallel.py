"""Parallel: all tasks at once, or at most `concurrent` of them."""

from __future__ import annotations

from executor.engine.draft import Draft
from executor.engine.flowable import Flowable, may_create
from executor.engine.level import Level


class Parallel(Flowable):
    """`concurrent` 0 means all (Kestra's default)."""

    def fill(self, draft: Draft, level: Level) -> None:
        task = level.task
        assert task is not None
        limit = int(task.properties.get("concurrent") or 0)
        while not self.exhausted(level) and (limit <= 0 or level.scope.open < limit) and may_create(draft, level):
            self.create_next(draft, level)
