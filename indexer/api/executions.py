"""Executions: create, get, list, search and follow them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated, Any, Final

import orjson
from fastapi import APIRouter, Request, Response
from fastapi import Query as Parameter
from fastapi.responses import StreamingResponse

from indexer.api import reading
from indexer.api.commands import Question
from indexer.api.creation import Form, created, new_execution, read_form, resolved
from indexer.api.errors import json_response, not_found, refused
from indexer.api.filters import OfFilters, OfPage, parse_labels, parse_moment
from indexer.api.flows import known_flow
from indexer.api.reading import Changes, blocking, now
from indexer.api.tenancy import OfTenant, Tenant
from indexer.recent import Rejected
from shared.flows.stored import flow_json
from shared.messages import CreateExecution
from shared.model.document import JSON_OPTIONS, TERMINATED_NAMES, Kind
from shared.model.identifier import new_id
from shared.model.query import Page, Query

router: Final = APIRouter(prefix="/executions", tags=["Executions"])

KEEP_ALIVE: Final = 15.0
"""Seconds of silence after which a stream sends a comment, so that proxies keep it and a gone client is noticed."""

POLL: Final = 0.5
"""Seconds between two looks whether the execution was refused: that is no change of it."""

FOLLOW_PAUSE: Final = 0.1
"""Seconds between two states of a follow stream at least: the changes of a burst are one."""

_FORM: Final[dict[str, Any]] = {
    "requestBody": {"content": {"multipart/form-data": {"schema": {"type": "object", "additionalProperties": True}}}}
}

Labels = Annotated[list[str] | None, Parameter(description="key:value, repeated")]


@router.get("/search")
async def search_executions(tenant: OfTenant, filters: OfFilters, page: OfPage) -> Response:
    """Search executions; results have their task runs."""
    return json_response(await blocking(_search, tenant, filters.query(tenant, Kind.EXECUTION), page))


@router.get("")
async def list_executions(
    tenant: OfTenant, page: OfPage, namespace: str, flow_id: Annotated[str, Parameter(alias="flowId")]
) -> Response:
    """The executions of one flow."""
    query = tenant.query(Kind.EXECUTION, namespace=namespace, flow_id=flow_id)
    return json_response(await blocking(_search, tenant, query, page))


def _search(tenant: Tenant, query: Query, page: Page) -> dict[str, Any]:
    found = tenant.search(query, page)
    answer: dict[str, Any] = {"results": reading.executions(tenant, found.documents), "total": found.total}
    if found.cursor is not None:
        answer["cursor"] = found.cursor
    return answer


@router.get("/flows/{namespace}/{flow_id}")
async def flow_of_execution_form(
    namespace: str, flow_id: str, tenant: OfTenant, revision: int | None = None
) -> Response:
    """A flow as a form to run it needs it."""
    return json_response(flow_json(await known_flow(tenant, namespace, flow_id, revision)))


@router.get("/namespaces")
def executable_namespaces(tenant: OfTenant) -> Response:
    """Namespaces that have flows to run."""
    return json_response(sorted({stored.namespace for stored in tenant.flows()}))


@router.get("/namespaces/{namespace}/flows")
def executable_flows(namespace: str, tenant: OfTenant) -> Response:
    """Flows of a namespace that can be run."""
    flows = [stored for stored in tenant.flows(namespace) if stored.namespace == namespace]
    return json_response([{"id": s.flow_id, "namespace": s.namespace, "revision": s.revision} for s in flows])


@router.post("/{namespace}/{flow_id}", openapi_extra=_FORM)
async def create_execution(
    request: Request,
    namespace: str,
    flow_id: str,
    tenant: OfTenant,
    labels: Labels = None,
    wait: bool = False,
    revision: int | None = None,
    schedule_date: Annotated[
        str | None, Parameter(alias="scheduleDate", description="ISO 8601: start not before")
    ] = None,
) -> Response:
    """Start an execution; answered in CREATED as soon as the command is durable, or with `wait` when it ended."""
    flow = await known_flow(tenant, namespace, flow_id, revision)
    form = await read_form(request, flow.inputs)
    at = now()
    command = await new_execution(
        tenant,
        flow,
        new_id(at),
        at,
        form,
        parse_labels(labels or ()),
        schedule_at=parse_moment("scheduleDate", schedule_date),
    )
    if not wait:
        await tenant.services.commands.publish(command)
        return json_response(created(command))
    return json_response(await run_to_end(request, tenant, command))


async def run_to_end(request: Request, tenant: Tenant, command: CreateExecution) -> dict[str, Any]:
    """Start an execution and wait for its end; as created when the client goes away before. Raises 422 when refused."""
    commands = tenant.services.commands
    answer = commands.expect(Question(command))
    try:
        with Changes(tenant, command.execution_id) as changes:
            await commands.publish(command)
            while True:
                recent = tenant.services.recent.execution(tenant.name, command.execution_id)
                if recent is not None and recent[1]["state"]["current"] in TERMINATED_NAMES:
                    return await reading.execution(tenant, command.execution_id) or created(command)
                refusal = answer.result() if answer.done() else None
                if isinstance(refusal, Rejected):
                    raise refused(refusal.reason)
                if not await changes.next(POLL if recent is None else KEEP_ALIVE) and await request.is_disconnected():
                    return created(command)
    finally:
        commands.forget(command.command_id)


router.add_api_route(
    "/trigger/{namespace}/{flow_id}", create_execution, methods=["POST"], deprecated=True, openapi_extra=_FORM
)


@router.post("/{namespace}/{flow_id}/validate", openapi_extra=_FORM)
async def validate_inputs(
    request: Request, namespace: str, flow_id: str, tenant: OfTenant, revision: int | None = None
) -> Response:
    """What each input would be worth, whether it is enabled, and what is wrong with it."""
    flow = await known_flow(tenant, namespace, flow_id, revision)
    form = await read_form(request, flow.inputs)
    found = await blocking(_resolve_only, tenant, flow, form)
    return json_response({"id": flow.id, "namespace": flow.namespace, "inputs": found})


def _resolve_only(tenant: Tenant, flow: Any, form: Form) -> list[dict[str, Any]]:
    return [
        {
            "input": {"id": entry.input.id, "type": entry.input.type, **entry.input.properties},
            "value": entry.value if entry.input.type != "SECRET" else None if entry.value is None else "********",
            "enabled": entry.enabled,
            "isDefault": entry.is_default,
            "errors": [{"message": error} for error in entry.errors],
        }
        for entry in resolved(tenant, flow, flow.inputs, form, None).entries
    ]


@router.get("/{execution_id}")
async def get_execution(execution_id: str, tenant: OfTenant) -> Response:
    """An execution with its task runs (at most 1,000; `taskRunListTruncated` says when there are more)."""
    found = await reading.execution(tenant, execution_id)
    if found is None:
        raise not_found(f"execution {execution_id}")
    return json_response(found)


@router.get("/{execution_id}/flow")
async def flow_of_execution(execution_id: str, tenant: OfTenant) -> Response:
    """The flow of an execution, at the revision that it runs."""
    found = await reading.execution_document(tenant, execution_id)
    if found is None:
        raise not_found(f"execution {execution_id}")
    document = found[1]
    flow = tenant.flow(document["namespace"], document["flowId"], document["flowRevision"])
    if flow is None:
        raise not_found(f"flow {document['namespace']}.{document['flowId']} revision {document['flowRevision']}")
    return json_response(flow_json(flow))


@router.get("/{execution_id}/follow")
async def follow_execution(execution_id: str, tenant: OfTenant) -> StreamingResponse:
    """Server-sent events: the execution now (`start`), after changes (`progress`), and at its end (`end`)."""
    if await reading.execution_document(tenant, execution_id) is None:
        raise not_found(f"execution {execution_id}")
    return StreamingResponse(
        _follow(tenant, execution_id), media_type="text/event-stream", headers={"Cache-Control": "no-cache"}
    )


async def _follow(tenant: Tenant, execution_id: str) -> AsyncIterator[bytes]:
    name = b"start"
    with Changes(tenant, execution_id) as changes:
        while True:
            found = await reading.execution(tenant, execution_id, wait=False)
            if found is None:
                return
            body = orjson.dumps(found, option=JSON_OPTIONS)
            if found["state"]["current"] in TERMINATED_NAMES:
                if name == b"start":
                    yield _event(b"start", body)
                yield _event(b"end", body)
                return
            yield _event(name, body)
            name = b"progress"
            while not await changes.next(KEEP_ALIVE):
                yield b": still there\n\n"
            await asyncio.sleep(FOLLOW_PAUSE)


def _event(name: bytes, data: bytes) -> bytes:
    return b"id: %b\ndata: %b\n\n" % (name, data)
