"""Switch: the branch whose case equals a rendered value, else `defaults`."""

from __future__ import annotations

from executor.engine.draft import Draft
from executor.engine.flowable import Flowable, Opening
from shared.model.flow import Task
from shared.model.scope import Scope
from shared.model.state import StateType
from shared.model.task_run import TaskRun


class Switch(Flowable):
    """Values are compared as text; without a matching case and without defaults it is FAILED (Kestra's rule)."""

    def open(self, draft: Draft, task_run: TaskRun, task: Task) -> Opening:
        value = draft.env.renderer.render(str(task.properties.get("value", "")), draft.variables(task, task_run)) or ""
        case = f"cases.{value}"
        matched = draft.plan.has(task.id, case)
        branch = case if matched else "defaults"
        outputs = {"value": value, "defaults": not matched}
        if not draft.plan.has(task.id, branch):
            return Opening(Scope(branch=branch), outputs, StateType.FAILED)
        tasks = draft.plan.list(task.id, branch)
        return Opening(Scope(branch=branch, size=len(tasks)), outputs, None if tasks else StateType.SUCCESS)
