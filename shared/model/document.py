"""Documents: task runs and executions as the search store holds them, flat and complete.

Field names are Kestra's, so that a query in Kibana reads like one on Kestra's Task Runs page. `outputs` and
`inputs` are JSON texts: searchable as text, and no user's key can become a field of the mapping.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

import orjson

from shared.model.execution import Execution
from shared.model.moment import Millis, iso
from shared.model.recall import ENTRY, execution_rest, task_run_rest
from shared.model.state import StateType, state_json
from shared.model.task_run import TaskRun

JSON_OPTIONS = orjson.OPT_NON_STR_KEYS


def plain(value: Any) -> Any:
    """What orjson writes for a value that it does not know: mappings that load lazily, sets, text for the rest."""
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, set | frozenset | tuple):
        return list(value)
    return str(value)


class Kind(StrEnum):
    """What a document is; also the name of its index behind the prefix (`runyard-task-runs`)."""

    TASK_RUN = "task-runs"
    EXECUTION = "executions"
    LOG = "logs"
    METRIC = "metrics"
    ENTRY = "entries"  #: what belongs to an execution's return and has no other document: loop values, batches


def json_text(value: Any) -> str:
    """Compact JSON of a value."""
    return orjson.dumps(value, option=JSON_OPTIONS, default=plain).decode()


def task_run_document(
    execution: Execution, task_run: TaskRun, task_type: str, outputs: Mapping[str, Any] | None
) -> dict[str, Any]:
    """The complete document of a task run after its last event."""
    state = task_run.state
    attempts = task_run.attempts
    document: dict[str, Any] = {
        "tenantId": execution.tenant,
        "namespace": execution.namespace,
        "flowId": execution.flow_id,
        "flowRevision": execution.flow_revision,
        "executionId": execution.id,
        "id": task_run.id,
        "taskId": task_run.task_id,
        "taskType": task_type,
        "state": state.document(),
        "attemptsCount": len(attempts),
        "labels": dict(execution.labels),
        "createdSeq": task_run.created,
        "seq": task_run.seq,
    }
    if task_run.parent_id is not None:
        document["parentTaskRunId"] = task_run.parent_id
    if task_run.value is not None:
        document["value"] = task_run.value
    if task_run.iteration is not None:
        document["iteration"] = task_run.iteration
    if attempts:
        document["attempts"] = [attempt.document() for attempt in attempts]
        document["workerId"] = attempts[-1].session
        document["queueWait"] = max(0, attempts[0].state.start - state.start) / 1000
    if outputs is not None:
        document["outputs"] = json_text(outputs)
    if task_run.error is not None:
        document["error"] = task_run.error
    if task_run.superseded:
        document["superseded"] = True
    if state.terminated:
        document[ENTRY] = task_run_rest(task_run)
    _add_trigger(document, execution)
    return document


def execution_document(
    execution: Execution,
    inputs: Mapping[str, Any] | None,
    outputs: Mapping[str, Any] | None,
    variables: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The complete document of an execution after its last event. `variables`: where a task has changed them."""
    document: dict[str, Any] = {
        "tenantId": execution.tenant,
        "namespace": execution.namespace,
        "flowId": execution.flow_id,
        "flowRevision": execution.flow_revision,
        "id": execution.id,
        "state": execution.state.document(),
        "labels": dict(execution.labels),
        "originalId": execution.original_id,
        "attemptNumber": execution.attempt_number,
        "originalCreatedDate": iso(execution.original_created_at),
        "taskRunCount": execution.task_runs - execution.superseded,
        "deleted": execution.deleted,
        "seq": execution.seq,
    }
    if execution.parent_id is not None:
        document["parentId"] = execution.parent_id
    if execution.schedule_at is not None:
        document["scheduleDate"] = iso(execution.schedule_at)
    if inputs is not None:
        document["inputs"] = json_text(inputs)
    if outputs is not None:
        document["outputs"] = json_text(outputs)
    if variables is not None:
        document["variables"] = json_text(variables)
    if execution.error is not None:
        document["error"] = execution.error
    _add_trigger(document, execution)
    if execution.trigger is not None:
        document["trigger"]["variables"] = json_text(execution.trigger.variables)
    if execution.state.terminated:
        document[ENTRY] = execution_rest(execution)
    return document


def entry_document(execution: Execution, name: str, value: Any, at: Millis, seq: int) -> dict[str, Any]:
    """The document of an entry that only the executor reads. `name`: its key behind the execution's prefix."""
    return {
        "tenantId": execution.tenant,
        "namespace": execution.namespace,
        "flowId": execution.flow_id,
        "executionId": execution.id,
        "id": f"{execution.id}/{name}",
        "content": value,
        "timestamp": iso(at),
        "seq": seq,
    }


def _add_trigger(document: dict[str, Any], execution: Execution) -> None:
    trigger = execution.trigger
    if trigger is not None:
        document["trigger"] = {"id": trigger.id, "type": trigger.type}
        if "executionId" in trigger.variables:
            document["trigger"]["executionId"] = trigger.variables["executionId"]


def labels_json(labels: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"key": key, "value": value} for key, value in labels.items()]


def task_run_json(document: Mapping[str, Any], now: int, *, full: bool = False) -> dict[str, Any]:
    """A task run's document in the shape of Kestra's API. `full` adds what only Runyard knows (search results)."""
    answer: dict[str, Any] = {
        name: document[name]
        for name in (
            "id",
            "executionId",
            "namespace",
            "flowId",
            "taskId",
            "parentTaskRunId",
            "value",
            "iteration",
        )
        if name in document
    }
    if "attempts" in document:
        answer["attempts"] = [
            {**{k: v for k, v in attempt.items() if k != "state"}, "state": state_json(attempt["state"], now)}
            for attempt in document["attempts"]
        ]
    answer["outputs"] = orjson.loads(document["outputs"]) if "outputs" in document else {}
    answer["state"] = state_json(document["state"], now)
    if full:
        for name in (
            "tenantId",
            "flowRevision",
            "taskType",
            "attemptsCount",
            "workerId",
            "queueWait",
            "error",
            "trigger",
        ):
            if name in document:
                answer[name] = document[name]
        answer["labels"] = labels_json(document.get("labels", {}))
    return answer


def execution_json(document: Mapping[str, Any], task_runs: list[dict[str, Any]] | None, now: int) -> dict[str, Any]:
    """An execution's document, with its task runs in API shape, in the shape of Kestra's API."""
    answer: dict[str, Any] = {
        name: document[name]
        for name in (
            "id",
            "namespace",
            "flowId",
            "flowRevision",
            "parentId",
            "originalId",
            "scheduleDate",
            "deleted",
            "error",
        )
        if name in document
    }
    if task_runs is not None:
        answer["taskRunList"] = task_runs
    answer["labels"] = labels_json(document.get("labels", {}))
    answer["state"] = state_json(document["state"], now)
    for name in ("inputs", "outputs", "variables"):
        if name in document:
            answer[name] = orjson.loads(document[name])
    if "trigger" in document:
        trigger = dict(document["trigger"])
        variables = trigger.pop("variables", None)
        trigger.pop("executionId", None)
        answer["trigger"] = {**trigger, "variables": orjson.loads(variables) if variables else {}}
    answer["metadata"] = {
        "attemptNumber": document.get("attemptNumber", 1),
        "originalCreatedDate": document.get("originalCreatedDate", document["state"]["startDate"]),
    }
    return answer


TERMINATED_NAMES = frozenset(state.value for state in StateType if state.terminated)
"""For readers of documents, who see names, not enum members."""
