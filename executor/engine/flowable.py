"""Flowable: what a task that runs other tasks decides, and what of it is common to all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from executor.engine.children import create, may_create
from executor.engine.draft import Draft
from executor.engine.level import Level
from shared.model.flow import Task
from shared.model.scope import Scope
from shared.model.state import StateType
from shared.model.task_run import TaskRun

__all__ = ["Flowable", "FlowableError", "Opening", "create", "may_create"]


class FlowableError(ValueError):
    """A flowable's properties make no sense now (a null among loop values, a condition that fails)."""


@dataclass(frozen=True, slots=True)
class Opening:
    """What a flowable begins with. `state` ends it at once."""

    scope: Scope
    outputs: Mapping[str, Any] | None = None
    state: StateType | None = None
    chunks: tuple[tuple[str, ...], ...] = ()
    error: str | None = None


class Flowable:
    """A sequence of `tasks`; the other flowables differ from it in what they override."""

    def open(self, draft: Draft, task_run: TaskRun, task: Task) -> Opening:
        """Decide how to begin. Raises RenderError or FlowableError, which end the task run FAILED."""
        del task_run
        tasks = draft.plan.list(task.id, "tasks")
        return Opening(Scope(size=len(tasks)), state=None if tasks else StateType.SUCCESS)

    def opened(self, draft: Draft, task_run: TaskRun, task: Task, opening: Opening) -> None:
        """Decide further events once it is RUNNING."""

    def fill(self, draft: Draft, level: Level) -> None:
        """Create the children that may start now."""
        scope = level.scope
        if scope.open == 0 and not self.exhausted(level):
            self.create_next(draft, level)

    def create_next(self, draft: Draft, level: Level) -> None:
        """Create the task at the cursor."""
        scope = level.scope
        create(draft, level, level.tasks()[scope.next], advanced(scope), position=scope.next)

    def child_ended(self, draft: Draft, level: Level, child: TaskRun) -> None:
        """A child of `tasks` ended, and the level did not fail."""

    def exhausted(self, level: Level) -> bool:
        """Whether all children were created."""
        return level.scope.next >= len(level.tasks())

    def again(self, draft: Draft, level: Level, state: StateType) -> bool:
        """Whether it goes on instead of ending in `state`; then it has decided how."""
        del draft, level, state
        return False

    def result(self, level: Level, state: StateType) -> StateType:
        """The state it ends in, given the one that follows from its children."""
        del level
        return state

    def outputs(self, draft: Draft, level: Level) -> dict[str, Any] | None:
        """Outputs at the end; None keeps those of the opening."""
        del draft, level
        return None


def advanced(scope: Scope) -> Scope:
    """The cursor one further."""
    return replace(scope, next=scope.next + 1)
