"""Plan: one revision of a flow, prepared for the engine. Built once, looked up for every message."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Self

from executor.engine.item_tasks import FOR_EACH_ITEM, item_tasks
from shared.expressions import Reach, reach
from shared.model.document import json_text
from shared.model.flow import Flow, Retry, Task
from shared.model.scope import Phase

CHANGE_VARIABLES: Final = frozenset(
    f"io.kestra.plugin.core.execution.{name}" for name in ("SetVariables", "UnsetVariables")
)
"""Task types that change an execution's variables."""


ON_PAUSE: Final = "onPause"
"""The branch of a Pause whose task runs before it pauses."""


@dataclass(frozen=True, slots=True)
class Plan:
    """A flow with its tasks by id, the task each stands in, and what the templates of each can reach."""

    flow: Flow
    tasks: Mapping[str, Task]
    parents: Mapping[str, str | None]
    phases: Mapping[str, Phase]
    lists: Mapping[tuple[str | None, str], tuple[Task, ...]]  #: enabled tasks by (owner, branch or phase)
    _reach: dict[str, Reach] = field(default_factory=dict)
    _named: dict[tuple[str, str], bool] = field(default_factory=dict)

    @classmethod
    def of(cls, flow: Flow) -> Self:
        """Prepare a flow."""
        tasks: dict[str, Task] = {}
        parents: dict[str, str | None] = {}
        phases: dict[str, Phase] = {}
        lists: dict[tuple[str | None, str], tuple[Task, ...]] = {}

        def add(owner: str | None, branch: str, children: tuple[Task, ...]) -> None:
            lists[owner, branch] = tuple(child for child in children if not child.disabled)
            for child in children:
                tasks[child.id] = child
                parents[child.id] = owner
                phases[child.id] = _PHASES.get(branch, Phase.TASKS)
                for name, grandchildren in child.branches.items():
                    add(child.id, name, grandchildren)
                if child.type == FOR_EACH_ITEM:
                    add(child.id, "tasks", item_tasks(child))
                if ON_PAUSE in child.branches:  # it comes first, and the pause after it
                    lists[child.id, "tasks"] = (*lists[child.id, ON_PAUSE], *lists.get((child.id, "tasks"), ()))

        add(None, "tasks", flow.tasks)
        add(None, "errors", flow.errors)
        add(None, "finally", flow.finally_)
        add(None, "afterExecution", flow.after_execution)
        for number, listener in enumerate(flow.listeners):
            add(None, f"listeners.{number}", listener.tasks)
        return cls(flow, tasks, parents, phases, lists)

    def list(self, owner: str | None, branch: str) -> tuple[Task, ...]:
        """The enabled tasks of a branch; empty where there is none."""
        return self.lists.get((owner, branch), ())

    def has(self, owner: str | None, branch: str) -> bool:
        """Whether the branch is written, even if all in it is disabled."""
        return (owner, branch) in self.lists

    def retry(self, task_id: str) -> Retry | None:
        """The task's own retry, else the nearest ancestor's, else the flow's (Kestra's rule)."""
        at: str | None = task_id
        while at is not None:
            task = self.tasks[at]
            if task.retry is not None:
                return task.retry
            at = self.parents[at]
        return self.flow.retry

    def reach(self, task: Task) -> Reach:
        """What the templates of a task can reach, found once."""
        found = self._reach.get(task.id)
        if found is None:
            templates: list[Any] = [task.properties, task.run_if, task.timeout]
            if task.worker_group is not None:
                templates.append(task.worker_group.key)
            templates.append(self.shared_folder(task))
            if task.type in CHANGE_VARIABLES:
                templates.append("{{ vars }}")  # it looks which are there
            templates.extend(child.properties for child in task.walk() if child is not task)
            found = self._reach[task.id] = reach(templates, vars=self.flow.variables)
        return found

    def shared_folder(self, task: Task) -> dict[str, Any] | None:
        """What the parent says of the folder that its children share, for a child of a WorkingDirectory."""
        parent = self.parents[task.id]
        if parent is None or not self.tasks[parent].type.endswith(".flow.WorkingDirectory"):
            return None
        if self.phases[task.id] is not Phase.TASKS:
            return None
        own = self.tasks[parent].properties
        told = {name: own[name] for name in ("inputFiles", "namespaceFiles", "outputFiles", "cache") if name in own}
        return {"taskId": parent, **told}

    def outputs_reach(self) -> Reach:
        """What the templates of the flow's outputs can reach."""
        found = self._reach.get("")
        if found is None:
            templates = [output.value for output in self.flow.outputs]
            found = self._reach[""] = reach(templates, vars=self.flow.variables)
        return found

    def names(self, task: Task, function: str) -> bool:
        """Whether a task's templates name a function that reads the execution's history."""
        known = self._named.get((task.id, function))
        if known is None:
            texts = json_text([task.properties, *(child.properties for child in task.walk())])
            known = self._named[task.id, function] = function in texts
        return known


_PHASES = {"errors": Phase.ERRORS, "finally": Phase.FINALLY, "afterExecution": Phase.AFTER}
