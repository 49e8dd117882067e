"""Level: the children of one scope, the execution's own or a flowable task run's, seen from a decision."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from executor.engine.draft import Draft
from executor.engine.events import ScopeChanged
from shared.model.flow import Task
from shared.model.scope import Phase, Scope
from shared.model.state import StateType
from shared.model.task_run import TaskRun


@dataclass(frozen=True, slots=True)
class Level:
    """One level of a decision. `owner` is the flowable's task run id, None for the execution."""

    draft: Draft
    owner: str | None

    @property
    def task_run(self) -> TaskRun | None:
        """The flowable's task run as it is now."""
        return None if self.owner is None else self.draft.task_run(self.owner)

    @property
    def task(self) -> Task | None:
        task_run = self.task_run
        return None if task_run is None else self.draft.plan.tasks[task_run.task_id]

    @property
    def scope(self) -> Scope:
        """The bookkeeping as it is now."""
        if self.owner is None:
            return self.draft.execution.scope
        task_run = self.task_run
        assert task_run is not None
        assert task_run.scope is not None, f"{task_run.task_id} is not a flowable"
        return task_run.scope

    @property
    def values(self) -> tuple[str, ...]:
        """Values of the valued task runs down to here."""
        task_run = self.task_run
        return () if task_run is None else task_run.values

    def tasks(self, phase: Phase | None = None) -> tuple[Task, ...]:
        """The enabled tasks of a phase, the current one by default."""
        scope = self.scope
        phase = scope.phase if phase is None else phase
        task_run = self.task_run
        branch = scope.branch if phase is Phase.TASKS else phase.value
        if phase is Phase.LISTENERS:
            branch = scope.branch
        return self.draft.plan.list(None if task_run is None else task_run.task_id, branch)

    @property
    def failed(self) -> bool:
        """A task run of `tasks` failed and will not be repeated: nothing further of `tasks` starts."""
        return self.scope.count(StateType.FAILED, StateType.KILLED) > 0

    def change(self, scope: Scope) -> None:
        """Change the bookkeeping alone."""
        self.draft.emit(ScopeChanged, owner=self.owner, scope=scope)

    def variables(self, extra: Mapping[str, Any] | None = None) -> Mapping[str, Any]:
        """What the flowable's own templates see."""
        return self.draft.variables(self.task, self.task_run, extra)
