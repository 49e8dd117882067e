"""Executable: a task that the executor itself carries out, without a worker and without child tasks."""

from __future__ import annotations

from typing import Protocol

from executor.engine.draft import Draft
from shared.model.flow import Task
from shared.model.task_run import TaskRun


class Executable(Protocol):
    """One kind of such task."""

    def start(self, draft: Draft, task_run: TaskRun, task: Task) -> None:
        """Begin; the end comes at once or with a later message."""
        ...
