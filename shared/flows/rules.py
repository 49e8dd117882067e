"""Rules: what must hold of a flow as a whole: unique ids, dependencies that exist and end, allowed children, labels."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from shared.flows.catalog import Catalog, TypeSpec
from shared.flows.parts import Placed
from shared.flows.problem import Mark, Report
from shared.flows.types.terms import CORE
from shared.flows.values import system_labels
from shared.model.flow import Input, Task

RESERVED_IDS: Final = frozenset(
    ("resume", "force-run", "change-status", "kill", "executions", "search", "source", "disable", "enable")
)
"""Words that stand in the place of a flow's id in REST paths. Kestra reserves them too, and today `pause`, which a flow
of its test corpus has as its id."""

_WHOLE: Final = ""


def check_unique(report: Report, placed: Iterable[Placed], what: str, ids: Sequence[str]) -> None:
    """Tells of ids that more than one of the placed things has, in Kestra's words, with their lines."""
    places: dict[str, list[Mark]] = {}
    for identifier, place in zip(ids, placed, strict=True):
        if identifier:
            places.setdefault(identifier, []).append(place.mark)
    doubled = {identifier: marks for identifier, marks in places.items() if len(marks) > 1}
    if doubled:
        lines = "; ".join(f"{name} in lines {', '.join(str(m.line) for m in marks)}" for name, marks in doubled.items())
        mark = min((marks[1] for marks in doubled.values()), key=lambda m: m.line)
        message = f"Invalid Flow: Duplicate {what} with name [{', '.join(doubled)}] ({lines})"
        report.add(mark, "", message, subject=_WHOLE)


def check_tasks(
    report: Report,
    tasks: Sequence[tuple[Task, TypeSpec, Placed]],
    catalog: Catalog,
    namespace: str | None,
    flow_id: str | None,
) -> None:
    """Duplicate ids, calls of the flow itself, and what each flowable demands of its children."""
    check_unique(report, [place for _, _, place in tasks], "task id", [task.id for task, _, _ in tasks])
    for task, spec, place in tasks:
        if (
            spec.calls_flow
            and flow_id
            and (task.properties.get("namespace"), task.properties.get("flowId")) == (namespace, flow_id)
        ):
            message = f"Invalid Flow: Recursive call to flow [{namespace}.{flow_id}]"
            report.add(place.mark, place.path, message, subject=_WHOLE)
        if spec.name == f"{CORE}.flow.WorkingDirectory":
            _check_working_directory(report, task, place, catalog)
        elif spec.name == f"{CORE}.flow.Dag":
            _check_dag(report, task, place)
        elif spec.name == f"{CORE}.flow.Switch" and not any(
            key == "defaults" or key.startswith("cases.") for key in task.branches
        ):
            message = "No task defined, neither cases or default have any tasks"
            report.add(place.mark, place.path, message, subject=task.id)


def _check_working_directory(report: Report, task: Task, place: Placed, catalog: Catalog) -> None:
    children = task.branches.get("tasks", ())
    specs = [catalog.find(child.type) for child in children]
    if any(spec is not None and not spec.is_runnable for spec in specs):
        message = "Only runnable tasks are allowed as children of a WorkingDirectory task"
        report.add(place.mark, place.path, message, subject=task.id)
    if any(child.worker_group is not None for child in children):
        message = "Cannot set a Worker Group in any WorkingDirectory sub-tasks, "
        message += "it is only supported at the WorkingDirectory level"
        report.add(place.mark, place.path, message, subject=task.id)


def _check_dag(report: Report, task: Task, place: Placed) -> None:
    graph = {child.id: child.depends_on for child in task.branches.get("tasks", ())}
    missing = [name for names in graph.values() for name in names if name not in graph]
    if missing:
        message = f"Not existing task id in dependency: {', '.join(dict.fromkeys(missing))}"
        report.add(place.mark, place.path, message, subject=task.id)
    cycle = find_cycle(graph)
    if cycle:
        report.add(place.mark, place.path, f"Cyclic dependency detected: {', '.join(cycle)}", subject=task.id)


def check_inputs(report: Report, placed: Sequence[Placed]) -> None:
    """Duplicate ids, dependencies on inputs that do not exist, and cycles of dependencies."""
    inputs: list[Input] = [place.item for place in placed]
    check_unique(report, placed, "input", [item.id for item in inputs])
    graph = {item.id: item.depends_on for item in inputs}
    for item, place in zip(inputs, placed, strict=True):
        for name in item.depends_on:
            if name not in graph:
                message = f"Invalid Flow: Input with id '{item.id}' depends on a non-existent input '{name}'."
                report.add(place.mark, f"{place.path}.dependsOn", message, subject=_WHOLE)
        cycle = _cycle_from(item.id, graph, set())
        if cycle:
            message = f"Invalid Flow: Cycle dependency detected for input with id '{item.id}': [{', '.join(cycle)}]"
            report.add(place.mark, f"{place.path}.dependsOn", message, subject=_WHOLE)


def check_labels(report: Report, labels: Mapping[str, str], mark: Mark) -> None:
    """Only the server sets labels of `system.`, but for `system.readOnly`."""
    for message in system_labels(labels):
        report.add(mark, "labels", f"Invalid Flow: {message}", subject=_WHOLE)


def find_cycle(graph: Mapping[str, Sequence[str]]) -> list[str]:
    """The ids of one cycle, or nothing."""
    done: set[str] = set()
    for start in graph:
        cycle = _cycle_from(start, graph, done)
        if cycle:
            return cycle
    return []


def _cycle_from(start: str, graph: Mapping[str, Sequence[str]], done: set[str]) -> list[str]:
    """A cycle that can be reached from `start`; without recursion, for a chain may be thousands long."""
    if start in done:
        return []
    path, waiting = {start: None}, [iter(graph.get(start, ()))]  # a dictionary: an ordered set
    while waiting:
        following = next(waiting[-1], None)
        if following is None:
            waiting.pop()
            done.add(path.popitem()[0])
        elif following in path:
            names = list(path)
            return names[names.index(following) :]
        elif following not in done:
            path[following] = None
            waiting.append(iter(graph.get(following, ())))
    return []
