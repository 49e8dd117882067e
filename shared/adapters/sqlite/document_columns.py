"""Document columns: how a document lies in its table, and the SQL expression of each of its fields."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, Final

import orjson

from shared.adapters.sqlite.document_mapping import check
from shared.model.document import Kind
from shared.model.encoded import encode
from shared.model.moment import from_iso
from shared.ports import Versioned
from shared.query.fields import STARTS, FieldType, field_of

KIND_NUMBERS: Final = {Kind.TASK_RUN: 1, Kind.EXECUTION: 2, Kind.LOG: 3, Kind.METRIC: 4, Kind.ENTRY: 5}
"""Part of the file format: never renumbered."""

TEXTS: Final = {
    "value": "value.text",
    "error": "error",
    "inputs": "inputs",
    "outputs": "outputs",
    "message": "message",
}
"""Columns of the full-text index, and the field that each is searched by."""

_TEXT_OF: Final = {field: column for column, field in TEXTS.items()}

COLUMNS: Final = (
    "kind",
    "id",
    "version",
    "routing",
    "body",
    "texts",
    "tenant",
    "namespace",
    "flow_id",
    "execution_id",
    "task_id",
    "state",
    "started",
    "ended",
    "duration",
    "trigger_execution_id",
    "superseded",
    "labels",
)
"""In the order of `row`. `texts` is a digest of what the full-text index holds, `labels` JSON, dates epoch ms."""

_EXPRESSIONS: Final = {
    "tenantId": "d.tenant",
    "namespace": "d.namespace",
    "flowId": "d.flow_id",
    "executionId": "d.execution_id",
    "id": "d.id",
    "taskId": "d.task_id",
    "state.current": "d.state",
    "level": "d.state",
    "state.startDate": "d.started",
    "timestamp": "d.started",
    "state.endDate": "d.ended",
    "state.duration": "d.duration",
    "trigger.executionId": "d.trigger_execution_id",
    "superseded": "d.superseded",
}
MOMENTS: Final = frozenset(("state.startDate", "timestamp", "state.endDate"))
"""Dates that are kept as epoch milliseconds; others are the document's ISO text in UTC, which sorts the same."""


def expression(kind: Kind, name: str) -> str:
    """SQL for the value of a field of the catalogue, on the table alias `d`."""
    column = _EXPRESSIONS.get(name)
    field = field_of(kind, name)
    assert field is not None
    if column is not None and field.name == name:
        return column
    assert field.type not in (FieldType.TEXT, FieldType.FLATTENED)
    return f"json_extract(d.body, '$.{field.name}')"


def text_column(name: str) -> str:
    """The full-text column of a text field."""
    return _TEXT_OF[name]


def flattened_column(name: str) -> str:
    """SQL for the JSON object of a flattened field."""
    return "d.labels" if name == "labels" else f"json_extract(d.body, '$.{name}')"


def texts(document: Mapping[str, Any]) -> tuple[str, ...]:
    """What the full-text index holds of a document."""
    return tuple(value if isinstance(value := document.get(column), str) else "" for column in TEXTS)


def row(versioned: Versioned, texts_of: tuple[str, ...]) -> tuple[Any, ...]:
    """The columns of a document. Raises ValueError or TypeError naming what can't be stored."""
    kind, document = versioned.kind, versioned.document
    assert document is not None
    if versioned.version < 0:
        raise ValueError(f"version {versioned.version} is below 0")
    check(kind, document)
    tenant = document.get("tenantId")
    if not isinstance(tenant, str) or not tenant:
        raise ValueError("tenantId is missing: no query could find the document")
    state = _mapping(document, "state")
    trigger = _mapping(document, "trigger")
    labels = _mapping(document, "labels")
    started = (state if STARTS[kind].startswith("state.") else document).get(STARTS[kind].rpartition(".")[2])
    if not isinstance(started, str):
        raise TypeError(f"{STARTS[kind]} is {started!r}, expected an ISO 8601 date")
    ended = state.get("endDate")
    return (
        KIND_NUMBERS[kind],
        versioned.id,
        versioned.version,
        versioned.routing,
        encode(document).decode(),
        digest(texts_of),
        tenant,
        document.get("namespace"),
        document.get("flowId"),
        versioned.id if kind is Kind.EXECUTION else document.get("executionId"),
        document.get("taskId"),
        document.get("level") if kind is Kind.LOG else state.get("current"),
        from_iso(started),
        None if ended is None else from_iso(ended),
        state.get("duration"),
        trigger.get("executionId"),
        1 if document.get("superseded") else 0,
        orjson.dumps(labels).decode() if labels else None,
    )


def digest(texts_of: tuple[str, ...]) -> bytes | None:
    """Short mark of the texts, so that a new version with the same ones leaves the full-text index alone."""
    if not any(texts_of):
        return None
    return hashlib.blake2b("\x00".join(texts_of).encode(errors="surrogatepass"), digest_size=8).digest()


def _mapping(document: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = document.get(name)
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise TypeError(f"{name} is {type(value).__name__}, expected an object")
    return value
