"""Recall: what an ended execution's documents keep for its return, and the entries made of them again.

An execution that has left the executor is in the search store alone. Most of an entry stands in its document as
Kestra's API shows it; what does not (counters, places in loops, who waits for the end) lies beside it, in `entry`, and
only in the documents of what has ended: nothing else ever leaves.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import orjson

from shared.model.execution import Execution, ParentTaskRun, Trigger
from shared.model.moment import from_iso
from shared.model.scope import Phase, Scope
from shared.model.state import State
from shared.model.task_run import Attempt, TaskRun

ENTRY: Final = "entry"
"""The field of a document that holds what else the entry has."""

_TASK_RUN_REST: Final = ("ix", "po", "ph", "vs", "rs", "rt", "sc")
_EXECUTION_REST: Final = (
    "caller",
    "slot",
    "breached",
    "task_runs",
    "superseded",
    "paused_runs",
    "retrying_runs",
    "labels_shown",
)


class NotRecallable(ValueError):
    """A document that an entry cannot be made of, with the reason."""


def task_run_rest(task_run: TaskRun) -> dict[str, Any]:
    """What a task run's document does not show otherwise."""
    data = task_run.to_data()
    return {name: data[name] for name in _TASK_RUN_REST if name in data}


def execution_rest(execution: Execution) -> dict[str, Any]:
    """What an execution's document does not show otherwise."""
    data = execution.to_data()
    return {name: data[name] for name in (*_EXECUTION_REST, "scope") if name in data}


def task_run_of(document: Mapping[str, Any]) -> TaskRun:
    """The entry of a task run that has ended. Raises NotRecallable."""
    rest = _rest(document, f"task run {document.get('id')}")
    return TaskRun(
        id=document["id"],
        execution_id=document["executionId"],
        task_id=document["taskId"],
        state=State.from_document(document["state"]),
        parent_id=document.get("parentTaskRunId"),
        value=document.get("value"),
        iteration=document.get("iteration"),
        index=rest.get("ix"),
        position=rest.get("po", 0),
        phase=Phase(rest["ph"]) if "ph" in rest else Phase.TASKS,
        values=tuple(rest.get("vs", ())),
        attempts=tuple(Attempt.from_document(attempt) for attempt in document.get("attempts", ())),
        resubmissions=rest.get("rs", 0),
        retries_since=rest.get("rt", 0),
        scope=Scope.from_data(rest["sc"]) if "sc" in rest else None,
        has_outputs="outputs" in document,
        error=document.get("error"),
        superseded=document.get("superseded", False),
        created=document["createdSeq"],
        seq=document["seq"],
    )


def execution_of(document: Mapping[str, Any]) -> Execution:
    """The header of an execution that has ended. Raises NotRecallable."""
    rest = _rest(document, f"execution {document.get('id')}")
    trigger = document.get("trigger")
    schedule_at = document.get("scheduleDate")
    return Execution(
        id=document["id"],
        tenant=document["tenantId"],
        namespace=document["namespace"],
        flow_id=document["flowId"],
        flow_revision=document["flowRevision"],
        state=State.from_document(document["state"]),
        original_id=document["originalId"],
        labels=tuple(document.get("labels", {}).items()),
        parent_id=document.get("parentId"),
        trigger=None if trigger is None else _trigger(trigger),
        caller=ParentTaskRun(**rest["caller"]) if rest.get("caller") is not None else None,
        attempt_number=document["attemptNumber"],
        original_created_at=from_iso(document["originalCreatedDate"]),
        schedule_at=None if schedule_at is None else from_iso(schedule_at),
        scope=Scope.from_data(rest.get("scope", {})),
        task_runs=rest.get("task_runs", 0),
        superseded=rest.get("superseded", 0),
        has_inputs="inputs" in document,
        has_outputs="outputs" in document,
        has_variables="variables" in document,
        slot=rest.get("slot", False),
        error=document.get("error"),
        deleted=document.get("deleted", False),
        breached=rest.get("breached", False),
        paused_runs=rest.get("paused_runs", 0),
        retrying_runs=rest.get("retrying_runs", 0),
        labels_shown=rest.get("labels_shown", 0),
        seq=document["seq"],
    )


def json_of(document: Mapping[str, Any], name: str) -> dict[str, Any] | None:
    """A JSON text of a document (`inputs`, `outputs`) as a value; None where it has none."""
    text = document.get(name)
    if text is None:
        return None
    value: dict[str, Any] = orjson.loads(text)
    return value


def _rest(document: Mapping[str, Any], what: str) -> Mapping[str, Any]:
    rest = document.get(ENTRY)
    if rest is None:
        raise NotRecallable(f"{what} was not ended when it was indexed, or was indexed by an earlier version")
    known: Mapping[str, Any] = rest
    return known


def _trigger(document: Mapping[str, Any]) -> Trigger:
    variables = document.get("variables")
    return Trigger(document["id"], document["type"], orjson.loads(variables) if variables else {})
