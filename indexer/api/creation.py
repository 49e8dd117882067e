"""Creation: a request's form as the `CreateExecution` command of a flow, and the execution that it makes."""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from fastapi import Request
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException

from indexer.api.errors import ApiError, refused
from indexer.api.reading import blocking
from indexer.api.tenancy import Tenant
from shared.expressions.errors import Refusal
from shared.expressions.text_filters import slug
from shared.flows.inputs import InvalidInputs, ResolvedInputs, resolve_inputs
from shared.messages import CreateExecution
from shared.model.document import execution_document, execution_json
from shared.model.execution import CORRELATION_ID, Execution, Trigger
from shared.model.flow import Flow, Input
from shared.model.moment import Millis
from shared.model.state import State
from shared.secrecy import NoKey, sealed

SYSTEM: Final = "system."
"""Prefix of labels that only the server sets."""


FILES: Final = "files"
"""Name of the part of an uploaded file whose filename is the input's id (Kestra's older convention)."""

FIELDS: Final = 1_000
"""Parts of a form: far above any flow's inputs."""

_UNSAFE: Final = re.compile(r"[^A-Za-z0-9._-]+")


@dataclass(frozen=True, slots=True)
class Form:
    """What a request gives: texts by input id, and uploaded files by input id."""

    values: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, UploadFile] = field(default_factory=dict)


async def read_form(request: Request, inputs: Iterable[Input]) -> Form:
    """The multipart form of a request; no form is an empty one. Raises 400 for a malformed one."""
    if not request.headers.get("content-type", "").startswith(
        ("multipart/form-data", "application/x-www-form-urlencoded")
    ):
        return Form()
    limit = request.app.state.services.settings.topics.max_message_bytes
    try:
        form = await request.form(max_files=FIELDS, max_fields=FIELDS, max_part_size=limit)
    except HTTPException as error:
        raise refused(f"Invalid form: {error.detail}") from error
    known = {item.id: item for item in inputs}
    values: dict[str, str] = {}
    files: dict[str, UploadFile] = {}
    for name, part in form.multi_items():
        if isinstance(part, str):
            values.setdefault(name, part)
            continue
        target = part.filename or name if name == FILES and name not in known else name
        if target in known and known[target].type != "FILE":
            values.setdefault(target, (await part.read()).decode(errors="replace"))
        else:
            files.setdefault(target, part)
    return Form(values, files)


def variables(tenant: Tenant, flow: Flow, execution_id: str | None = None) -> dict[str, Any]:
    """What the templates of defaults and conditions may use."""
    found: dict[str, Any] = {
        "flow": {"id": flow.id, "namespace": flow.namespace, "revision": flow.revision, "tenantId": flow.tenant},
        "vars": dict(flow.variables),
        "labels": dict(flow.labels),
        "globals": tenant.services.settings.globals,
        "envs": {k.removeprefix("KESTRA_").lower(): v for k, v in os.environ.items() if k.startswith("KESTRA_")},
    }
    if execution_id is not None:
        found["execution"] = {"id": execution_id}
    return found


def resolved(
    tenant: Tenant, flow: Flow, inputs: Iterable[Input], form: Form, root: str | None, execution_id: str | None = None
) -> ResolvedInputs:
    """The inputs with types and errors. Files are stored below `root`, or only named where that is None. Blocks."""
    inputs = tuple(inputs)
    uris: dict[str, str] = {}
    for item in inputs:
        upload = form.files.get(item.id)
        if upload is None or item.type != "FILE":
            continue
        name = _file_name(item, upload)
        uris[item.id] = (
            f"kestra:///{name}" if root is None else tenant.put_file(f"{root}/{item.id}/{name}", upload.file)
        )
    return resolve_inputs(
        inputs,
        form.values,
        render=tenant.services.renderer.render_typed,
        variables=variables(tenant, flow, execution_id),
        files=uris,
    )


def _file_name(item: Input, upload: UploadFile) -> str:
    """The uploaded file's own name, or, where its part was named by the input, the input's id with its extension."""
    name = posixpath.basename((upload.filename or "").replace("\\", "/"))
    if not name or name == item.id:
        extension = item.properties.get("extension")
        name = f"{item.id}{'.upl' if extension is None else extension}"
    return _UNSAFE.sub("_", name).lstrip(".") or "file"


def execution_root(namespace: str, flow_id: str, execution_id: str) -> str:
    """Where the files of an execution lie, below the tenant: Kestra's place, from which `read()` allows to read."""
    return f"{namespace.replace('.', '/')}/{slug(flow_id)}/executions/{execution_id}"


def valid_values(tenant: Tenant, found: ResolvedInputs) -> dict[str, Any] | None:
    """The values, secrets encrypted; None where the flow has no inputs. Raises 422 with every error."""
    try:
        values = found.valid()
    except InvalidInputs as error:
        details = [f"{name}: {message}" for name, message in error.errors]
        raise refused("Invalid entity: " + "\n".join(details), details) from error
    stored: dict[str, Any] = _sealed(tenant, values)
    return stored if found.entries else None


def _sealed(tenant: Tenant, values: Any) -> Any:
    """Values with their secrets encrypted. Raises 422 where there is no key, or none that can be used."""
    try:
        return sealed(values, tenant.services.settings.encryption_key)
    except NoKey as error:
        raise refused("A SECRET input needs an encryption key: set RUNYARD_ENCRYPTION_KEY") from error
    except Refusal as error:
        raise refused(f"The setting encryption_key can't be used: {error}") from error


def given_labels(flow: Flow, labels: Iterable[tuple[str, str]], execution_id: str) -> list[list[str]]:
    """The flow's labels, then the given ones (which win), then the correlation id. Raises 422 for system labels."""
    merged = dict(flow.labels)
    for key, value in labels:
        if key.startswith(SYSTEM) and key != CORRELATION_ID:
            raise refused(f"System labels can only be set by Kestra itself, offending label: {key}={value}")
        merged[key] = value
    merged.setdefault(CORRELATION_ID, execution_id)
    return [[key, value] for key, value in merged.items()]


def created(command: CreateExecution) -> dict[str, Any]:
    """The execution that the command makes, in CREATED, in API shape."""
    trigger = command.trigger
    execution = Execution(
        id=command.execution_id,
        tenant=command.tenant,
        namespace=command.namespace,
        flow_id=command.flow_id,
        flow_revision=command.flow_revision,
        state=State.created(command.at),
        original_id=command.original_id or command.execution_id,
        labels=tuple((key, value) for key, value in command.labels),
        trigger=None if trigger is None else Trigger(trigger["id"], trigger["type"], trigger.get("variables", {})),
        original_created_at=command.original_created_at or command.at,
        schedule_at=command.schedule_at,
        has_inputs=command.inputs is not None,
    )
    return execution_json(execution_document(execution, command.inputs, None), None, command.at)


async def new_execution(
    tenant: Tenant,
    flow: Flow,
    execution_id: str,
    at: Millis,
    form: Form,
    labels: Iterable[tuple[str, str]],
    *,
    schedule_at: Millis | None = None,
    trigger: Mapping[str, Any] | None = None,
) -> CreateExecution:
    """The command, its inputs checked. Raises 409 for a disabled flow, 422 for bad inputs or labels."""
    check_enabled(flow)
    merged = given_labels(flow, labels, execution_id)
    values = None
    if flow.inputs:
        root = f"{execution_root(flow.namespace, flow.id, execution_id)}/inputs"
        found = await blocking(resolved, tenant, flow, flow.inputs, form, root, execution_id)
        values = valid_values(tenant, found)
    return CreateExecution(
        execution_id,
        execution_id,
        at,
        tenant.name,
        flow.namespace,
        flow.id,
        flow.revision,
        inputs=values,
        labels=merged,
        trigger=None if trigger is None else dict(trigger),
        schedule_at=schedule_at,
    )


def check_enabled(flow: Flow) -> None:
    """Raises 409 for a disabled flow."""
    if flow.disabled:
        raise ApiError(409, f"Cannot execute the disabled flow {flow.namespace}.{flow.id}")
