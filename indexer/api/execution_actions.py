"""Actions on one execution, on Kestra's paths: `/executions/{id}/restart`, today `/executions/{id}/actions/restart`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Final

from fastapi import APIRouter, Request, Response
from fastapi import Query as Parameter
from pydantic import BaseModel, ConfigDict, Field
from starlette.convertors import Convertor, register_url_convertor

from indexer.api import actions, cold, reading
from indexer.api.actions import Action
from indexer.api.creation import Form, execution_root, read_form, resolved, valid_values
from indexer.api.errors import ApiError, json_response, not_found, refused
from indexer.api.reading import blocking
from indexer.api.tenancy import OfTenant, Tenant
from indexer.recent import Accepted, Rejected
from shared.model.document import Kind
from shared.model.flow import Input
from shared.model.query import Page

router: Final = APIRouter(prefix="/executions", tags=["Execution actions"])

_FORM: Final[dict[str, Any]] = {
    "requestBody": {"content": {"multipart/form-data": {"schema": {"type": "object", "additionalProperties": True}}}}
}


class StateChange(BaseModel):
    """Which task run gets which state."""

    model_config = ConfigDict(extra="ignore")

    task_run_id: str = Field(alias="taskRunId")
    state: str


class Label(BaseModel):
    """A label."""

    key: str = Field(min_length=1)
    value: str


class ExecutionIds(Convertor[str]):
    """Ids of executions, 22 letters and digits (Kestra's own may have one or two less).

    `POST /executions/company.team/pause` is then no action: it runs the flow `pause` of a namespace.
    """

    regex = "[0-9A-Za-z]{20,22}"

    def convert(self, value: str) -> str:
        return value

    def to_string(self, value: str) -> str:
        return value


register_url_convertor("execution", ExecutionIds())


def action(path: str, *methods: str, **options: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Register a handler under the old path and today's."""

    def register(handler: Callable[..., Any]) -> Callable[..., Any]:
        # Only a POST can be meant to run a flow.
        name = "{execution_id:execution}" if "POST" in methods else "{execution_id}"
        for route in (f"/{name}/{path}", f"/{{execution_id}}/actions/{path}"):
            router.add_api_route(route, handler, methods=list(methods), **options)
        return handler

    return register


async def document_of(tenant: Tenant, execution_id: str) -> Mapping[str, Any]:
    """The execution's latest document. Raises 404."""
    found = await reading.execution_document(tenant, execution_id)
    if found is None:
        raise not_found(f"execution {execution_id}")
    return found[1]


async def carry_out(tenant: Tenant, execution_id: str, make: Action, conflict: int = 422) -> dict[str, Any] | None:
    """Ask for an action; the execution as it left it. Raises `conflict` with the reason when it was refused.

    Raises 202 when no answer came in time: the command is durable and will be carried out or refused.
    """
    document = await document_of(tenant, execution_id)
    asked = await blocking(make, tenant, document)
    answer = await cold.ask(tenant, asked)
    if isinstance(answer, Rejected):
        raise ApiError(conflict, answer.reason)
    if not isinstance(answer, Accepted):
        raise ApiError(
            202,
            "The command was accepted; what became of it is not known yet",
            commandId=asked.command.command_id,
            executionId=asked.target,
        )
    if answer.snapshot is None or answer.snapshot.deleted:
        return None
    return await reading.answered(tenant, answer.snapshot)


# ------------------------------------------------------------------ answered with the execution


@action("restart", "POST")
async def restart(execution_id: str, tenant: OfTenant, revision: int | None = None) -> Response:
    """Run again what failed; with a revision, as a new execution."""
    return json_response(await carry_out(tenant, execution_id, actions.restart(revision=revision)))


@action("replay", "POST")
async def replay(
    execution_id: str,
    tenant: OfTenant,
    task_run_id: Annotated[str | None, Parameter(alias="taskRunId")] = None,
    revision: int | None = None,
) -> Response:
    """Run again as a new execution, from the start or from a task run."""
    make = actions.replay(task_run_id=task_run_id or None, revision=revision)
    return json_response(await carry_out(tenant, execution_id, make))


@action("replay-with-inputs", "POST", openapi_extra=_FORM)
async def replay_with_inputs(
    request: Request,
    execution_id: str,
    tenant: OfTenant,
    task_run_id: Annotated[str | None, Parameter(alias="taskRunId")] = None,
    revision: int | None = None,
) -> Response:
    """Run again as a new execution with other inputs."""
    document = await document_of(tenant, execution_id)
    flow = tenant.flow(document["namespace"], document["flowId"], revision or document["flowRevision"])
    if flow is None:
        raise refused(f"The flow of execution {execution_id} has no such revision")
    form = await read_form(request, flow.inputs)
    root = f"{execution_root(flow.namespace, flow.id, execution_id)}/inputs"
    values = valid_values(tenant, await blocking(resolved, tenant, flow, flow.inputs, form, root, execution_id))
    make = actions.replay(task_run_id=task_run_id or None, revision=revision, inputs=values)
    return json_response(await carry_out(tenant, execution_id, make))


@action("state", "POST")
@action("change-state", "POST")
async def change_task_run_state(execution_id: str, tenant: OfTenant, change: StateChange) -> Response:
    """Set a task run's state by hand and go on from there."""
    make = actions.change_task_run_state(change.task_run_id, change.state)
    return json_response(await carry_out(tenant, execution_id, make))


@action("change-status", "POST")
async def change_status(execution_id: str, tenant: OfTenant, status: str) -> Response:
    """Set the status of an ended execution by hand."""
    return json_response(await carry_out(tenant, execution_id, actions.change_state(status)))


@action("force-run", "POST")
async def force_run(execution_id: str, tenant: OfTenant) -> Response:
    """Run now: past a queue, a schedule date or a pause."""
    return json_response(await carry_out(tenant, execution_id, actions.force_run()))


@action("unqueue", "POST")
async def unqueue(execution_id: str, tenant: OfTenant, state: str | None = None) -> Response:
    """Leave the concurrency queue."""
    return json_response(await carry_out(tenant, execution_id, actions.unqueue(state)))


@action("pause", "POST")
async def pause(execution_id: str, tenant: OfTenant) -> Response:
    """Start nothing new; what runs, finishes."""
    return json_response(await carry_out(tenant, execution_id, actions.pause()))


@action("labels", "POST")
async def set_labels(execution_id: str, tenant: OfTenant, labels: list[Label]) -> Response:
    """Replace the labels of an execution; system labels stay."""
    make = actions.set_labels([(label.key, label.value) for label in labels], replace=True)
    return json_response(await carry_out(tenant, execution_id, make))


# ------------------------------------------------------------------ answered without a body


@action("kill", "DELETE", status_code=202)
async def kill(
    execution_id: str, tenant: OfTenant, cascade: Annotated[bool, Parameter(alias="isOnKillCascade")] = True
) -> Response:
    """Stop an execution, and its subflows unless told otherwise. 409 when it has ended."""
    await carry_out(tenant, execution_id, actions.kill(cascade=cascade), conflict=409)
    return Response(status_code=202)


router.add_api_route("/{execution_id}/actions/kill", kill, methods=["POST"], status_code=202)


@action("resume", "POST", status_code=204, openapi_extra=_FORM)
async def resume(
    request: Request,
    execution_id: str,
    tenant: OfTenant,
    task_run_id: Annotated[str | None, Parameter(alias="taskRunId")] = None,
) -> Response:
    """Go on after a pause, with the inputs that the Pause asks for. 409 when it is not paused."""
    inputs = await _resume_inputs(request, tenant, execution_id, task_run_id)
    await carry_out(tenant, execution_id, actions.resume(task_run_id=task_run_id, inputs=inputs), conflict=409)
    return Response(status_code=204)


@action("resume/validate", "POST", openapi_extra=_FORM)
async def validate_resume(request: Request, execution_id: str, tenant: OfTenant) -> Response:
    """What each input of the Pause would be worth."""
    found = await _paused(tenant, execution_id, None)
    if found is None:
        raise ApiError(409, f"Execution {execution_id} is not paused")
    document, task_run, inputs = found
    form = await read_form(request, inputs)
    flow = tenant.flow(document["namespace"], document["flowId"], document["flowRevision"])
    assert flow is not None
    entries = (await blocking(resolved, tenant, flow, inputs, form, None, execution_id)).entries
    shown = [
        {
            "input": {"id": entry.input.id, "type": entry.input.type, **entry.input.properties},
            "value": entry.value if entry.input.type != "SECRET" else None,
            "enabled": entry.enabled,
            "errors": [{"message": error} for error in entry.errors],
        }
        for entry in entries
    ]
    return json_response({"id": execution_id, "taskRunId": task_run["id"], "inputs": shown})


async def _resume_inputs(
    request: Request, tenant: Tenant, execution_id: str, task_run_id: str | None
) -> dict[str, Any] | None:
    found = await _paused(tenant, execution_id, task_run_id)
    if found is None:
        form: Form = await read_form(request, ())
        return dict(form.values) or None
    document, task_run, inputs = found
    form = await read_form(request, inputs)
    flow = tenant.flow(document["namespace"], document["flowId"], document["flowRevision"])
    assert flow is not None
    root = execution_root(flow.namespace, flow.id, execution_id) + f"/tasks/{task_run['taskId']}/{task_run['id']}"
    return valid_values(tenant, await blocking(resolved, tenant, flow, inputs, form, root, execution_id))


async def _paused(
    tenant: Tenant, execution_id: str, task_run_id: str | None
) -> tuple[Mapping[str, Any], Mapping[str, Any], tuple[Input, ...]] | None:
    """The execution, its paused task run, and what that asks for; None where nothing asks for inputs."""
    found = await reading.execution_document(tenant, execution_id)
    if found is None:
        raise not_found(f"execution {execution_id}")
    snapshot, document = found
    flow = tenant.flow(document["namespace"], document["flowId"], document["flowRevision"])
    if flow is None:
        return None
    if snapshot is not None and snapshot.whole:
        runs = [run for run in snapshot.task_runs if run["state"]["current"] == "PAUSED"]
    else:
        query = tenant.query(Kind.TASK_RUN, execution_ids=(execution_id,), states=("PAUSED",))
        await blocking(tenant.services.store.refresh, Kind.TASK_RUN, execution_id)
        runs = list((await blocking(tenant.search, query, Page(1, 100))).documents)
    tasks = {task.id: task for task in flow.walk()}
    for run in runs:
        task = tasks.get(run["taskId"])
        if task is None or not task.properties.get("onResume") or task_run_id not in (None, run["id"]):
            continue
        return document, run, tuple(task.properties["onResume"])
    return None


@router.delete("/{execution_id}", status_code=204)
async def delete(
    execution_id: str,
    tenant: OfTenant,
    logs: Annotated[bool, Parameter(alias="deleteLogs")] = True,
    metrics: Annotated[bool, Parameter(alias="deleteMetrics")] = True,
    storage: Annotated[bool, Parameter(alias="deleteStorage")] = True,
) -> Response:
    """Delete an execution with its task runs; its logs, metrics and files too unless told otherwise."""
    check_kept(logs=logs, metrics=metrics)
    document = await document_of(tenant, execution_id)
    await carry_out(tenant, execution_id, actions.delete())
    await blocking(clean_up, tenant, document, logs, storage)
    return Response(status_code=204)


def check_kept(*, logs: bool, metrics: bool) -> None:
    """Raises 422 where only one of logs and metrics is to be deleted: the store takes both away at once."""
    if logs != metrics:
        raise refused("deleteLogs and deleteMetrics must be the same: logs and metrics are deleted together")


def clean_up(tenant: Tenant, document: Mapping[str, Any], logs: bool, storage: bool) -> None:
    """Take away what lies beside a deleted execution's documents. Blocks."""
    if logs:
        tenant.services.store.refresh(Kind.LOG, document["id"])
        tenant.services.store.delete_by_executions(tenant.name, [document["id"]])
    if storage:
        namespace, flow_id = document["namespace"], document["flowId"]
        # Workers name the folder by the flow's id as it is.
        written = f"{namespace.replace('.', '/')}/{flow_id}/executions/{document['id']}"
        for root in {execution_root(namespace, flow_id, document["id"]), written}:
            tenant.delete_files(root)
