"""Revisions: the task runs of an execution at their places in another revision of its flow."""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import replace

from executor.engine.plan import Plan
from shared.model.flow import Task
from shared.model.task_run import TaskRun

Place = tuple[str | None, str, int]
"""The task it stands in, the branch of that, and its number among the enabled tasks of the branch."""


def placed(
    runs: Mapping[str, TaskRun], worked_on: Set[str], before: Plan, after: Plan
) -> dict[str, TaskRun] | str:
    """Task runs, parents before children, at their places in `after`; or why they can't go on there.

    What has ended is left behind where its task is gone; `worked_on` are those that can't be.
    """
    kept: dict[str, TaskRun] = {}
    for run in runs.values():
        old, new = place(before, run.task_id), place(after, run.task_id)
        same = old is not None and new is not None and old[:2] == new[:2] and _alike(run.task_id, before, after)
        if same and new is not None and (run.parent_id is None or run.parent_id in kept):
            kept[run.id] = replace(run, position=new[2])
        elif run.id in worked_on:
            return (
                f"revision {after.flow.revision} has no task `{run.task_id}` where revision"
                f" {before.flow.revision} has it: the execution cannot go on from there"
            )
    return kept


def place(plan: Plan, task_id: str) -> Place | None:
    """Where an enabled task stands; None where there is none."""
    owner = plan.parents.get(task_id)
    for (at, branch), tasks in plan.lists.items():
        if at == owner:
            for number, task in enumerate(tasks):
                if task.id == task_id:
                    return owner, branch, number
    return None


def _alike(task_id: str, before: Plan, after: Plan) -> bool:
    """The same type, and for what repeats its list for each value, as many tasks in it."""
    old, new = before.tasks[task_id], after.tasks[task_id]
    return old.type == new.type and _repeats(old, before) == _repeats(new, after)


def _repeats(task: Task, plan: Plan) -> int:
    return len(plan.list(task.id, "tasks")) if task.type.endswith(".EachParallel") else 0
