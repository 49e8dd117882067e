"""Flows: create, update, get, list, search, validate and delete them, with their revisions and sources."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Annotated, Any, Final

import orjson
import yaml
from fastapi import APIRouter, Request, Response
from fastapi import Query as Parameter

from indexer.api.commands import Question
from indexer.api.errors import ApiError, json_response, not_found, refused
from indexer.api.filters import OfPage, parse_labels
from indexer.api.reading import blocking, now
from indexer.api.shapes import broken_flow_json
from indexer.api.tenancy import OfTenant, Tenant
from indexer.recent import Answer, Rejected
from shared.flows.parser import parse_flow
from shared.flows.problem import FlowError
from shared.flows.stored import flow_json
from shared.messages import DeleteFlow, FlowStored, PutFlow
from shared.model.flow import Flow
from shared.model.identifier import new_id
from shared.model.query import Page

router: Final = APIRouter(prefix="/flows", tags=["Flows"])

CATCH_UP: Final = 2.0
"""Seconds to wait for the `flows` topic before a flow counts as unknown: its POST may have gone to another process."""

_YAML_BODY: Final[dict[str, Any]] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/x-yaml": {"schema": {"type": "string"}},
            "application/json": {"schema": {"type": "object"}},
        },
    }
}


async def known_flow(tenant: Tenant, namespace: str, flow_id: str, revision: int | None = None) -> Flow:
    """A flow that exists. Raises 404, after the topic was read to its end."""
    flow = tenant.flow(namespace, flow_id, revision)
    if flow is None:
        await blocking(tenant.services.flows.catch_up, CATCH_UP)
        flow = tenant.flow(namespace, flow_id, revision)
    if flow is None or flow.deleted:
        raise not_found(f"flow {namespace}.{flow_id}" + (f" revision {revision}" if revision is not None else ""))
    return flow


async def source_of(request: Request) -> str:
    """The body as a flow's text: YAML as it is, JSON too (which is YAML). Raises 422."""
    body = await request.body()
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        raise refused(f"Illegal flow source: not UTF-8: {error}") from error
    if request.headers.get("content-type", "").startswith("application/json"):
        return _yaml_of_json(text)
    return text


def _yaml_of_json(text: str) -> str:
    """A flow as the API shows it is taken back: its `source` where it has one, else its properties."""
    try:
        data = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise refused(f"Illegal flow source: not valid JSON: {error}") from error
    if not isinstance(data, dict):
        return text
    for name in ("source", "deleted", "revision", "tenantId", "updated"):
        data.pop(name, None)
    return yaml.safe_dump(data, sort_keys=False, allow_unicode=True)


async def _put(tenant: Tenant, flow: Flow, *, must_exist: bool | None) -> FlowStored:
    command = PutFlow(tenant.name, flow.namespace, flow.id, new_id(), now(), flow.source, must_exist)
    answer: Answer | None = await tenant.services.commands.ask(Question(command))
    if isinstance(answer, FlowStored):
        return answer
    if isinstance(answer, Rejected):
        raise refused(answer.reason)
    raise ApiError(
        202,
        f"Flow {flow.namespace}.{flow.id} was accepted; its storing is not confirmed yet",
        commandId=command.command_id,
    )


def _parse(tenant: Tenant, source: str) -> Flow:
    return parse_flow(source, tenant=tenant.name)


def _shown(tenant: Tenant, stored: FlowStored, *, source: bool = True) -> dict[str, Any]:
    try:
        return flow_json(tenant.services.flows.parsed(stored), source=source)
    except FlowError as error:
        return broken_flow_json(stored, str(error))


# ------------------------------------------------------------------ collections (before paths with parameters)


@router.post("", openapi_extra=_YAML_BODY)
async def create_flow(request: Request, tenant: OfTenant) -> Response:
    """Store a flow that does not exist yet."""
    flow = await blocking(_parse, tenant, await source_of(request))
    stored = await _put(tenant, flow, must_exist=False)
    return json_response(_shown(tenant, stored))


@router.get("/search")
def search_flows(
    tenant: OfTenant,
    page: OfPage,
    q: str | None = None,
    namespace: str | None = None,
    labels: Annotated[list[str] | None, Parameter()] = None,
) -> Response:
    """Search the latest revisions by text, namespace and labels."""
    wanted = dict(parse_labels(labels or ()))
    words = (q or "").lower().replace("*", " ").split()
    found = [_shown(tenant, stored) for stored in tenant.flows(namespace) if _matches(stored, words)]
    if wanted:
        found = [flow for flow in found if wanted.items() <= _labels(flow).items()]
    return json_response(_page(_sorted(found, page), page))


@router.get("/source")
def search_source(tenant: OfTenant, page: OfPage, q: str | None = None, namespace: str | None = None) -> Response:
    """Search in the text of flows; each result has the lines that hold it."""
    text = (q or "").lower()
    found = []
    for stored in tenant.flows(namespace):
        lines = [line for line in stored.source.splitlines() if text and text in line.lower()]
        if lines or not text:
            found.append({"model": _shown(tenant, stored, source=False), "fragments": lines})
    return json_response(_page(found, page))


@router.get("/distinct-namespaces")
def distinct_namespaces(tenant: OfTenant, q: str | None = None) -> Response:
    """Namespaces that have flows."""
    return json_response(sorted({s.namespace for s in tenant.flows() if (q or "").lower() in s.namespace.lower()}))


@router.post("/validate", openapi_extra=_YAML_BODY)
async def validate_flows(request: Request, tenant: OfTenant) -> Response:
    """Say what is wrong with each flow of a text (documents parted by `---`); `constraints` only where something is."""
    source = await source_of(request)
    return json_response(await blocking(_validate, tenant, source))


def _validate(tenant: Tenant, source: str) -> list[dict[str, Any]]:
    answers = []
    for index, document in enumerate(_documents(source)):
        answer: dict[str, Any] = {"index": index}
        try:
            flow = _parse(tenant, document)
        except FlowError as error:
            raw = _mapping(document)
            answer.update({name: raw[key] for name, key in (("flow", "id"), ("namespace", "namespace")) if key in raw})
            answer["constraints"] = error.constraints
        else:
            answer.update(flow=flow.id, namespace=flow.namespace)
        answers.append({**answer, "outdated": False, "deprecationPaths": [], "warnings": [], "infos": []})
    return answers


def _documents(source: str) -> list[str]:
    parts = [part for part in ("\n" + source).split("\n---") if part.strip()]
    return [part.lstrip("\n") for part in parts] if len(parts) > 1 else [source]


def _mapping(source: str) -> dict[str, Any]:
    try:
        data = yaml.safe_load(source)
    except yaml.YAMLError:
        return {}
    return data if isinstance(data, dict) else {}


@router.post("/bulk", openapi_extra=_YAML_BODY)
async def put_flows(request: Request, tenant: OfTenant) -> Response:
    """Create or update each flow of a text with several documents; nothing is stored when one is invalid."""
    return json_response(await _put_all(tenant, await source_of(request), None))


async def _put_all(tenant: Tenant, source: str, namespace: str | None) -> list[dict[str, Any]]:
    flows = [await blocking(_parse, tenant, document) for document in _documents(source)]
    for flow in flows:
        if namespace is not None and flow.namespace != namespace:
            raise refused(f"Illegal flow {flow.id}: its namespace is {flow.namespace}, not {namespace}")
    return [_shown(tenant, await _put(tenant, flow, must_exist=None)) for flow in flows]


# ------------------------------------------------------------------ one namespace, one flow


@router.get("/{namespace}")
def flows_of_namespace(namespace: str, tenant: OfTenant) -> Response:
    """The flows of exactly this namespace."""
    return json_response([_shown(tenant, s, source=False) for s in tenant.flows(namespace) if s.namespace == namespace])


@router.post("/{namespace}", openapi_extra=_YAML_BODY)
async def put_namespace(namespace: str, request: Request, tenant: OfTenant, delete: bool = True) -> Response:
    """Create or update the flows of a namespace; with `delete`, those that are not in the text are deleted."""
    shown = await _put_all(tenant, await source_of(request), namespace)
    if delete:
        kept = {flow["id"] for flow in shown}
        for stored in [s for s in tenant.flows(namespace) if s.namespace == namespace and s.flow_id not in kept]:
            await _delete(tenant, stored)
    return json_response(shown)


@router.get("/{namespace}/{flow_id}")
async def get_flow(
    namespace: str,
    flow_id: str,
    tenant: OfTenant,
    source: bool = False,
    revision: int | None = None,
    allow_deleted: Annotated[bool, Parameter(alias="allowDeleted")] = False,
) -> Response:
    """A flow, its latest revision or a given one."""
    stored = tenant.stored_flow(namespace, flow_id, revision)
    if stored is None:
        await blocking(tenant.services.flows.catch_up, CATCH_UP)
        stored = tenant.stored_flow(namespace, flow_id, revision)
    latest = tenant.stored_flow(namespace, flow_id)
    if stored is None or latest is None or (latest.deleted and not allow_deleted):
        raise not_found(f"flow {namespace}.{flow_id}" + (f" revision {revision}" if revision is not None else ""))
    return json_response(_shown(tenant, stored, source=source))


@router.put("/{namespace}/{flow_id}", openapi_extra=_YAML_BODY)
async def update_flow(namespace: str, flow_id: str, request: Request, tenant: OfTenant) -> Response:
    """Store a flow's next revision."""
    flow = await blocking(_parse, tenant, await source_of(request))
    if flow.namespace != namespace:
        raise refused(f"Illegal namespace update: the text has {flow.namespace}, the path {namespace}")
    if flow.id != flow_id:
        raise refused(f"Illegal flow id update: the text has {flow.id}, the path {flow_id}")
    await known_flow(tenant, namespace, flow_id)
    stored = await _put(tenant, flow, must_exist=True)
    return json_response(_shown(tenant, stored))


@router.delete("/{namespace}/{flow_id}", status_code=204)
async def delete_flow(namespace: str, flow_id: str, tenant: OfTenant) -> Response:
    """Delete a flow; its revisions stay for the executions that they have."""
    flow = await known_flow(tenant, namespace, flow_id)
    stored = tenant.stored_flow(flow.namespace, flow.id)
    assert stored is not None
    await _delete(tenant, stored)
    return Response(status_code=204)


async def _delete(tenant: Tenant, stored: FlowStored) -> None:
    command = DeleteFlow(tenant.name, stored.namespace, stored.flow_id, new_id(), now())
    answer = await tenant.services.commands.ask(Question(command))
    if isinstance(answer, Rejected):
        raise refused(answer.reason)
    if answer is None:
        raise ApiError(
            202,
            f"The deletion of flow {stored.flow_id} was accepted; it is not confirmed yet",
            commandId=command.command_id,
        )


@router.get("/{namespace}/{flow_id}/revisions")
def flow_revisions(namespace: str, flow_id: str, tenant: OfTenant) -> Response:
    """Every revision of a flow, oldest first, with its text."""
    revisions = tenant.revisions(namespace, flow_id)
    if not revisions:
        raise not_found(f"flow {namespace}.{flow_id}")
    return json_response([_shown(tenant, stored) for stored in revisions])


@router.get("/{namespace}/{flow_id}/tasks/{task_id}")
async def flow_task(
    namespace: str, flow_id: str, task_id: str, tenant: OfTenant, revision: int | None = None
) -> Response:
    """A task of a flow as it is run: with plugin defaults merged."""
    flow = await known_flow(tenant, namespace, flow_id, revision)
    for task in flow.walk():
        if task.id == task_id:
            return json_response({"id": task.id, "type": task.type, **task.properties})
    raise not_found(f"task {task_id} of flow {namespace}.{flow_id}")


# ------------------------------------------------------------------ lists in memory


def _matches(stored: FlowStored, words: Sequence[str]) -> bool:
    text = f"{stored.namespace}.{stored.flow_id}".lower()
    return all(word in text for word in words)


def _labels(flow: dict[str, Any]) -> dict[str, str]:
    return {label["key"]: label["value"] for label in flow.get("labels", ()) if isinstance(label, dict)}


def _sorted(flows: list[dict[str, Any]], page: Page) -> list[dict[str, Any]]:
    for field, ascending in reversed(page.sort):

        def key(flow: dict[str, Any], name: str = field) -> tuple[bool, str]:
            return name not in flow, str(flow.get(name, ""))

        flows.sort(key=key, reverse=not ascending)
    return flows


def _page(items: Iterable[Any], page: Page) -> dict[str, Any]:
    listed = list(items)
    start = (page.number - 1) * page.size
    return {"results": listed[start : start + page.size], "total": len(listed)}
