"""If: one of two branches, by a condition that is evaluated once."""

from __future__ import annotations

from executor.engine.draft import Draft
from executor.engine.flowable import Flowable, Opening
from shared.expressions import truthy
from shared.model.flow import Task
from shared.model.scope import Scope
from shared.model.state import StateType
from shared.model.task_run import TaskRun


class If(Flowable):
    """The result is kept in `outputs.evaluationResult`; no branch to take means SUCCESS (Kestra's rule)."""

    def open(self, draft: Draft, task_run: TaskRun, task: Task) -> Opening:
        condition = task.properties.get("condition")
        holds = truthy(draft.env.renderer.render(str(condition), draft.variables(task, task_run)))
        branch = "then" if holds else "else"
        tasks = draft.plan.list(task.id, branch)
        return Opening(
            Scope(branch=branch, size=len(tasks)),
            {"evaluationResult": holds},
            None if tasks else StateType.SUCCESS,
        )
