"""Webhooks: an outside call that starts a flow with a Webhook trigger, when it has the trigger's key."""

from __future__ import annotations

import hmac
from collections.abc import Mapping, Sequence
from typing import Any, Final

import orjson
from fastapi import APIRouter, Request, Response

from indexer.api.creation import Form, created, new_execution, variables
from indexer.api.errors import json_response, not_found, refused
from indexer.api.executions import run_to_end
from indexer.api.flows import known_flow
from indexer.api.reading import blocking, now
from indexer.api.tenancy import OfTenant, Tenant
from shared.expressions.errors import RenderError
from shared.expressions.renderer import truthy
from shared.flows.coercion import shown
from shared.model.flow import Flow, Trigger
from shared.model.identifier import new_id

router: Final = APIRouter(prefix="/executions/webhook", tags=["Webhooks"])

WEBHOOK: Final = "io.kestra.plugin.core.trigger.Webhook"

_HIDDEN_HEADERS: Final = frozenset({"authorization", "cookie"})
"""Not handed to the flow: they are the caller's credentials for this server."""


@router.get("/{namespace}/{flow_id}/{key}", operation_id="webhook_get")
@router.post("/{namespace}/{flow_id}/{key}", operation_id="webhook_post")
@router.put("/{namespace}/{flow_id}/{key}", operation_id="webhook_put")
async def call_webhook(request: Request, namespace: str, flow_id: str, key: str, tenant: OfTenant) -> Response:
    """Start the flow: 200 with the execution, 204 when the trigger's conditions do not hold, 404 for a wrong key."""
    flow = await known_flow(tenant, namespace, flow_id)
    trigger = await blocking(_trigger, tenant, flow, key)
    if trigger is None:
        raise not_found(f"webhook of flow {namespace}.{flow_id}")
    given = await _given(request)
    if not await blocking(_holds_all, tenant, flow, given, trigger.properties.get("conditions") or ()):
        return Response(status_code=204)
    form = Form(await blocking(_inputs, tenant, flow, given, trigger))
    at = now()
    command = await new_execution(
        tenant,
        flow,
        new_id(at),
        at,
        form,
        (),
        trigger={"id": trigger.id, "type": trigger.type, "variables": given},
    )
    if not trigger.properties.get("wait"):
        await tenant.services.commands.publish(command)
        return json_response(created(command))
    ended = await run_to_end(request, tenant, command)
    return json_response(ended.get("outputs", {}) if trigger.properties.get("returnOutputs") else ended)


def _trigger(tenant: Tenant, flow: Flow, key: str) -> Trigger | None:
    """The webhook of the flow with this key; a key that can't be rendered is no key."""
    off = tenant.switched_off(flow)
    for trigger in flow.triggers:
        if trigger.type != WEBHOOK or trigger.disabled or trigger.id in off:
            continue
        try:
            own = tenant.services.renderer.render(str(trigger.properties.get("key", "")), variables(tenant, flow))
        except RenderError:
            continue
        if own and hmac.compare_digest(own.encode(), key.encode()):
            return trigger
    return None


async def _given(request: Request) -> dict[str, Any]:
    """The trigger's variables: body (parsed where it is JSON), headers and parameters as lists of texts."""
    text = (await request.body()).decode(errors="replace")
    body: Any = None
    if text:
        try:
            body = orjson.loads(text)
        except orjson.JSONDecodeError:
            body = text
    headers = {name: request.headers.getlist(name) for name in request.headers if name.lower() not in _HIDDEN_HEADERS}
    parameters = {name: request.query_params.getlist(name) for name in request.query_params}
    return {"body": body, "headers": headers, "parameters": parameters}


def _inputs(tenant: Tenant, flow: Flow, given: Mapping[str, Any], trigger: Trigger) -> dict[str, str]:
    """The trigger's `inputs`, rendered."""
    written = trigger.properties.get("inputs") or {}
    scope = {**variables(tenant, flow), "trigger": given}
    try:
        rendered = tenant.services.renderer.render_map(written, scope)
    except RenderError as error:
        raise refused(f"The inputs of trigger {trigger.id} can't be rendered: {error}") from error
    return {name: shown(value) for name, value in rendered.items() if value is not None}


def _holds_all(tenant: Tenant, flow: Flow, given: Mapping[str, Any], conditions: Sequence[Mapping[str, Any]]) -> bool:
    scope = {**variables(tenant, flow), "trigger": given}
    return all(_holds(tenant, scope, condition) for condition in conditions)


def _holds(tenant: Tenant, scope: Mapping[str, Any], condition: Mapping[str, Any]) -> bool:
    """Whether a condition holds that needs no execution; one that can't be rendered does not (Kestra's rule)."""
    kind = str(condition.get("type", "")).rsplit(".", 1)[-1].removesuffix("Condition")
    inner = condition.get("conditions") or ()
    if kind == "Not":
        return not any(_holds(tenant, scope, one) for one in inner)
    if kind == "Or":
        return any(_holds(tenant, scope, one) for one in inner)
    if kind != "Expression":
        raise refused(f"A webhook can't be conditioned by {condition.get('type')}; use ExpressionCondition, Not or Or")
    try:
        return truthy(tenant.services.renderer.render(str(condition.get("expression", "")), scope))
    except RenderError:
        return False
