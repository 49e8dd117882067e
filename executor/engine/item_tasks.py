"""Item tasks: the three child tasks of a ForEachItem, which no flow writes."""

from __future__ import annotations

from typing import Any, Final

from shared.model.flow import Task

FOR_EACH_ITEM: Final = "io.kestra.plugin.core.flow.ForEachItem"
SPLIT: Final = f"{FOR_EACH_ITEM}$ForEachItemSplit"
"""Cuts the file; on a worker."""
ITEMS: Final = f"{FOR_EACH_ITEM}$ForEachItemExecutable"
"""An execution of the subflow for each batch; by the executor."""
MERGE: Final = f"{FOR_EACH_ITEM}$ForEachItemMergeOutputs"
"""Joins what the subflows gave; on a worker."""

_SPLIT_PROPERTIES: Final = ("items", "batch")
_ITEMS_PROPERTIES: Final = (
    "namespace",
    "flowId",
    "revision",
    "inputs",
    "wait",
    "transmitFailed",
    "labels",
    "inheritLabels",
    "scheduleDate",
    "restartBehavior",
)


def item_tasks(task: Task) -> tuple[Task, ...]:
    """X_split, X_items and X_merge of the ForEachItem X, as Kestra names them and their types."""
    return (
        _part(task, "split", SPLIT, _SPLIT_PROPERTIES),
        _part(task, "items", ITEMS, _ITEMS_PROPERTIES),
        _part(task, "merge", MERGE, ()),
    )


def _part(task: Task, suffix: str, type_name: str, names: tuple[str, ...]) -> Task:
    properties: dict[str, Any] = {name: task.properties[name] for name in names if name in task.properties}
    return Task(
        id=f"{task.id}_{suffix}",
        type=type_name,
        properties=properties,
        log_level=task.log_level,
        worker_group=task.worker_group,
    )
