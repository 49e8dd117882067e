"""Evaluation: an expression rendered as a task run of an execution would see it, for the debugging of flows."""

from __future__ import annotations

import traceback
from collections.abc import Mapping, Sequence
from typing import Any, Final

import orjson
from fastapi import APIRouter, Request, Response

from indexer.api import reading
from indexer.api.creation import variables
from indexer.api.errors import json_response, not_found
from indexer.api.reading import Document, blocking
from indexer.api.tenancy import OfTenant, Tenant
from shared.expressions.errors import RenderError
from shared.expressions.outside import NoOutside, Place
from shared.expressions.renderer import Renderer
from shared.model.flow import Flow
from shared.secrecy import ENCRYPTED

router: Final = APIRouter(prefix="/executions", tags=["Executions"])

MASK: Final = "********"
"""What stands for a secret: an evaluation shows what it is given."""


class _Masked(NoOutside):
    """Secrets are there, and not shown."""

    def secret(self, place: Place, key: str) -> str:
        del place, key
        return MASK


_RENDERER: Final = Renderer(_Masked())

_BODY: Final[dict[str, Any]] = {
    "requestBody": {"required": True, "content": {"text/plain": {"schema": {"type": "string"}}}}
}


@router.post("/{execution_id}/eval/{task_run_id}", openapi_extra=_BODY)
async def evaluate(request: Request, execution_id: str, task_run_id: str, tenant: OfTenant) -> Response:
    """Render a text with a task run's variables: `result`, or `error` with its `stackTrace`."""
    found = await reading.execution_document(tenant, execution_id)
    if found is None:
        raise not_found(f"execution {execution_id}")
    snapshot, execution = found
    runs, _ = await blocking(reading.task_run_documents, tenant, snapshot, execution)
    run = next((document for document in runs if document["id"] == task_run_id), None)
    if run is None:
        raise not_found(f"task run {task_run_id} of execution {execution_id}")
    flow = tenant.flow(execution["namespace"], execution["flowId"], execution["flowRevision"])
    if flow is None:
        raise not_found(f"flow {execution['namespace']}.{execution['flowId']}")
    template = (await request.body()).decode(errors="replace")
    return json_response(await blocking(_evaluated, template, task_run_variables(tenant, flow, execution, run, runs)))


def _evaluated(template: str, scope: Mapping[str, Any]) -> dict[str, Any]:
    try:
        return {"result": _RENDERER.render(template, scope)}
    except RenderError as error:
        return {"error": str(error), "stackTrace": "".join(traceback.format_exception_only(error))}


def task_run_variables(
    tenant: Tenant, flow: Flow, execution: Document, run: Document, runs: Sequence[Document]
) -> dict[str, Any]:
    """What templates of a task run see, built of documents by Kestra's rules (RunVariables)."""
    by_id = {document["id"]: document for document in runs}
    scope = variables(tenant, flow)
    scope["execution"] = {
        "id": execution["id"],
        "startDate": execution["state"]["startDate"],
        "originalId": execution.get("originalId", execution["id"]),
        "state": execution["state"]["current"],
    }
    scope["labels"] = execution.get("labels", {})
    if "inputs" in execution:
        scope["inputs"] = _masked(orjson.loads(execution["inputs"]))
    if "variables" in execution:
        scope["vars"] = orjson.loads(execution["variables"])
    trigger = execution.get("trigger")
    if trigger is not None:
        scope["trigger"] = orjson.loads(trigger["variables"]) if "variables" in trigger else {}
    scope["taskrun"] = {
        "id": run["id"],
        "startDate": run["state"]["startDate"],
        "attemptsCount": run.get("attemptsCount", 0),
        **{new: run[old] for old, new in _TASK_RUN if old in run},
    }
    scope["task"] = {"id": run["taskId"], "type": run.get("taskType")}
    scope["outputs"] = _outputs(runs, by_id)
    parents = [_parent(ancestor) for ancestor in _ancestors(run, by_id)]
    parents = [parent for parent in parents if parent]
    if parents:
        scope["parents"], scope["parent"] = parents, parents[0]
    return scope


_TASK_RUN: Final = (("parentTaskRunId", "parentId"), ("value", "value"), ("iteration", "iteration"))


def _ancestors(run: Document, by_id: Mapping[str, Document]) -> list[Document]:
    """Closest first."""
    found: list[Document] = []
    parent = by_id.get(run.get("parentTaskRunId", ""))
    while parent is not None and len(found) < len(by_id):
        found.append(parent)
        parent = by_id.get(parent.get("parentTaskRunId", ""))
    return found


def _parent(run: Document) -> dict[str, Any]:
    shown: dict[str, Any] = {}
    if "value" in run:
        shown["taskrun"] = {"value": run["value"]}
    if run.get("outputs", "{}") != "{}" and not str(run.get("taskType")).endswith(".If"):
        shown["outputs"] = orjson.loads(run["outputs"])
    return shown


def _outputs(runs: Sequence[Document], by_id: Mapping[str, Document]) -> dict[str, Any]:
    """By task id, and below that by the values of the valued ancestors and the own value."""
    outputs: dict[str, Any] = {}
    for run in runs:
        if "outputs" not in run:
            continue
        values = [ancestor["value"] for ancestor in reversed(_ancestors(run, by_id)) if "value" in ancestor]
        place = outputs.setdefault(run["taskId"], {})
        for value in (*values, *([run["value"]] if "value" in run else [])):
            place = place.setdefault(value, {})
        place.update(orjson.loads(run["outputs"]))
    return outputs


def _masked(value: Any) -> Any:
    """The value with a mask for each encrypted text."""
    if isinstance(value, dict):
        if value.get("type") == ENCRYPTED:
            return MASK
        return {key: _masked(item) for key, item in value.items()}
    return [_masked(item) for item in value] if isinstance(value, list) else value
