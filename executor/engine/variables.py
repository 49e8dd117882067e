"""Variables: what templates see, built from an execution's entries and read lazily.

Outputs are looked up by the keys that a template uses, so that a task in a loop of 100,000 values pays for what it
reads and not for its siblings. The rules are Kestra's (RunVariables).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from executor.engine.entries import (
    SEPARATOR,
    Entries,
    error_logs_key,
    inputs_key,
    outputs_key,
    outputs_prefix,
    task_run_key,
    task_runs_prefix,
    variables_key,
)
from executor.engine.plan import Plan
from shared.model.execution import Execution
from shared.model.flow import Task
from shared.model.moment import iso
from shared.model.reference import is_reference
from shared.model.task_run import TaskRun

Load = Callable[[Mapping[str, Any]], Mapping[str, Any]]
"""From a reference to the outputs that it stands for."""


def as_they_are(reference: Mapping[str, Any]) -> Mapping[str, Any]:
    """Leaves a reference in its place: the worker that gets it reads what it needs."""
    return reference


class LazyMapping(Mapping[str, Any]):
    """A mapping whose values are computed when they are first asked for."""

    __slots__ = ("_known", "_values")

    def __init__(self, values: Mapping[str, Callable[[], Any]]) -> None:
        """`values`: a function for each key."""
        self._values = values
        self._known: dict[str, Any] = {}

    def __getitem__(self, key: str) -> Any:
        if key not in self._known:
            self._known[key] = self._values[key]()
        return self._known[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __contains__(self, key: object) -> bool:
        return key in self._values


class LoopOutputs(Mapping[str, Any]):
    """Outputs of one task below some loop values: the task's own outputs, or deeper by the next value."""

    __slots__ = ("_entries", "_execution_id", "_load_large", "_loaded", "_path", "_task_id")

    def __init__(
        self, entries: Entries, execution_id: str, task_id: str, path: tuple[str, ...], load: Load = as_they_are
    ) -> None:
        """`path`: the values so far."""
        self._entries, self._execution_id, self._task_id, self._path = entries, execution_id, task_id, path
        self._load_large = load
        self._loaded: dict[str, Any] | None = None

    def seen(self) -> Mapping[str, Any]:
        """These outputs; what they stand for, or the plain reference, where they are too large for messages."""
        own = self._own()
        return self if own is None or not is_reference(own) else self._load_large(own)

    def _own(self) -> Mapping[str, Any] | None:
        found: Mapping[str, Any] | None = self._entries.get(outputs_key(self._execution_id, self._task_id, self._path))
        return found

    def _below(self) -> str:
        root = outputs_prefix(self._execution_id, self._task_id)
        return root + "".join(value + SEPARATOR for value in self._path)

    def _load(self) -> dict[str, Any]:
        """Everything below, own outputs and deeper values merged (Kestra merges all task runs' outputs)."""
        if self._loaded is None:
            merged: dict[str, Any] = dict(self._own() or {})
            start = self._below()
            for key, outputs in self._entries.scan(start):
                rest = key[len(start) :]
                if not rest and not self._path:
                    continue
                level = merged
                for value in rest.split(SEPARATOR):
                    level = level.setdefault(value, {})
                level.update(self._load_large(outputs) if is_reference(outputs) else outputs)
            self._loaded = merged
        return self._loaded

    def __getitem__(self, key: str) -> Any:
        if self._loaded is not None:
            return self._loaded[key]
        own = self._own()
        if own is not None and key in own:
            return own[key]
        path = (*self._path, str(key))
        deeper = LoopOutputs(self._entries, self._execution_id, self._task_id, path, self._load_large)
        if deeper.exists():
            return deeper.seen()
        raise KeyError(key)

    def exists(self) -> bool:
        """Whether there is anything at or below this place."""
        return self._own() is not None or next(self._entries.scan(self._below()), None) is not None

    def __iter__(self) -> Iterator[str]:
        return iter(self._load())

    def __len__(self) -> int:
        return len(self._load())


class Outputs(Mapping[str, Any]):
    """The `outputs` variable: by task id."""

    __slots__ = ("_entries", "_execution_id", "_load_large")

    def __init__(self, entries: Entries, execution_id: str, load: Load = as_they_are) -> None:
        """Nothing is read yet."""
        self._entries, self._execution_id, self._load_large = entries, execution_id, load

    def __getitem__(self, task_id: str) -> Any:
        found = LoopOutputs(self._entries, self._execution_id, str(task_id), (), self._load_large)
        if not found.exists():
            raise KeyError(task_id)
        return found.seen()

    def _ids(self) -> list[str]:
        start = outputs_prefix(self._execution_id)
        ids: list[str] = []
        after = ""
        while (pair := next(self._entries.scan(start, after), None)) is not None:
            ids.append(pair[0][len(start) :].split("/", 1)[0])
            after = f"{start}{ids[-1]}/\U0010ffff"
        return ids

    def __iter__(self) -> Iterator[str]:
        return iter(self._ids())

    def __len__(self) -> int:
        return len(self._ids())


def nested_labels(labels: tuple[tuple[str, str], ...]) -> dict[str, Any]:
    """The `labels` variable: the first of a key wins, `system.x` stands under `labels.system` (Kestra's rule)."""
    result: dict[str, Any] = {}
    for key, value in labels:
        first, dot, rest = key.partition(".")
        if dot and first == "system":
            result.setdefault("system", {}).setdefault(rest, value)
        else:
            result.setdefault(key, value)
    return result


def ancestors(entries: Entries, task_run: TaskRun) -> Iterator[TaskRun]:
    """Parents of a task run, closest first."""
    parent_id = task_run.parent_id
    while parent_id is not None:
        parent: TaskRun | None = entries.get(task_run_key(task_run.execution_id, parent_id))
        if parent is None:
            return
        yield parent
        parent_id = parent.parent_id


def _parents(entries: Entries, plan: Plan, task_run: TaskRun, load: Load) -> list[dict[str, Any]]:
    """The `parents` variable: one entry for each ancestor that has a value or outputs, closest first.

    An If's outputs do not count: its children see their loop's value alone, as on a running Kestra.
    """
    result: list[dict[str, Any]] = []
    for parent in ancestors(entries, task_run):
        entry: dict[str, Any] = {}
        if parent.value is not None:
            entry["taskrun"] = {"value": parent.value}
        task = plan.tasks.get(parent.task_id)
        if parent.has_outputs and task is not None and not task.type.endswith(".If"):
            outputs = entries.get(outputs_key(parent.execution_id, parent.task_id, parent.values))
            if outputs:
                entry["outputs"] = load(outputs) if is_reference(outputs) else outputs
        if entry:
            result.append(entry)
    return result


def _tasks(entries: Entries, execution: Execution) -> dict[str, Any]:
    """The `tasks` variable: {task id: {state}} or {task id: {value: {state}}}."""
    result: dict[str, Any] = {}
    for _, task_run in entries.scan(task_runs_prefix(execution.id)):
        if task_run.superseded:
            continue
        level = result.setdefault(task_run.task_id, {})
        if task_run.value is not None:
            level = level.setdefault(task_run.value, {})
        level["state"] = task_run.state.current.value
    return result


def _folder(entries: Entries, plan: Plan, task_run: TaskRun) -> TaskRun | None:
    """The WorkingDirectory's task run, for one of its tasks: their `workerTaskrun`."""
    task = plan.tasks.get(task_run.task_id)
    if task is None or task_run.parent_id is None or plan.shared_folder(task) is None:
        return None
    found: TaskRun | None = entries.get(task_run_key(task_run.execution_id, task_run.parent_id))
    return found


def task_run_variable(task_run: TaskRun, folder: TaskRun | None = None) -> dict[str, Any]:
    """The `taskrun` variable: `attemptsCount` counts the attempts before this one.

    `folder`: the WorkingDirectory that it runs in, whose value it sees as its own (Kestra's rule).
    """
    attempts = task_run.attempts
    running = bool(attempts) and not attempts[-1].state.terminated
    variable: dict[str, Any] = {
        "id": task_run.id,
        "startDate": iso(task_run.state.start),
        "attemptsCount": len(attempts) - running,
    }
    if task_run.parent_id is not None:
        variable["parentId"] = task_run.parent_id
    value = folder.value if folder is not None and folder.value is not None else task_run.value
    if value is not None:
        variable["value"] = value
    if task_run.iteration is not None:
        variable["iteration"] = task_run.iteration
    return variable


def own_variables(entries: Entries, plan: Plan, execution: Execution) -> Mapping[str, Any]:
    """The `vars` variable: the flow's, or what tasks have made of them."""
    changed = entries.get(variables_key(execution.id)) if execution.has_variables else None
    return plan.flow.variables if changed is None else changed


def variables(
    entries: Entries,
    plan: Plan,
    execution: Execution,
    task: Task | None = None,
    task_run: TaskRun | None = None,
    extra: Mapping[str, Any] | None = None,
    load: Load = as_they_are,
) -> LazyMapping:
    """Everything that a template of a task (or of the flow, where None) can see, except what the renderer adds.

    `load` reads outputs that are too large for messages, when a template comes upon them.
    """
    flow = plan.flow
    values: dict[str, Callable[[], Any]] = {
        "flow": lambda: {
            "id": flow.id,
            "namespace": flow.namespace,
            "revision": flow.revision,
            "tenantId": flow.tenant,
        },
        "execution": lambda: {
            "id": execution.id,
            "startDate": iso(execution.state.start),
            "state": execution.state.current.value,
            "originalId": execution.original_id,
        },
        "outputs": lambda: Outputs(entries, execution.id, load),
        "labels": lambda: nested_labels(execution.labels),
        "tasks": lambda: _tasks(entries, execution),
        "errorLogs": lambda: entries.get(error_logs_key(execution.id)) or [],
    }
    if execution.has_inputs:
        values["inputs"] = lambda: entries.get(inputs_key(execution.id)) or {}
    if flow.variables or execution.has_variables:
        values["vars"] = lambda: own_variables(entries, plan, execution)
    if execution.trigger is not None:
        trigger = execution.trigger
        values["trigger"] = lambda: trigger.variables
    if task is not None:
        values["task"] = lambda: {"id": task.id, "type": task.type}
    if task_run is not None:
        folder = _folder(entries, plan, task_run)
        values["taskrun"] = lambda: task_run_variable(task_run, folder)
        if folder is not None:
            values["workerTaskrun"] = lambda: task_run_variable(folder)
        if task_run.parent_id is not None:
            found: list[list[dict[str, Any]]] = []

            def parents() -> list[dict[str, Any]]:
                if not found:
                    found.append(_parents(entries, plan, task_run, load))
                return found[0]

            if parents():
                values["parents"] = parents
                values["parent"] = lambda: parents()[0]
    for name, value in (extra or {}).items():
        values[name] = lambda value=value: value  # type: ignore[misc]
    return LazyMapping(values)


def materialised(value: Any) -> Any:
    """The value with every mapping that loads lazily read into a dictionary."""
    if isinstance(value, Mapping):
        return {key: materialised(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [materialised(item) for item in value]
    return value
