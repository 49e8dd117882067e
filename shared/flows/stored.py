"""Stored: a flow as the `flows` topic keeps it (its source) and as the REST API shows it (Kestra's JSON)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from typing import Any, Final

from shared.flows.catalog import Catalog
from shared.flows.parser import parse_flow
from shared.flows.plugins import installed_catalog
from shared.messages import FlowStored
from shared.model.flow import Flow

_SERVERS: Final = frozenset(("id", "namespace", "revision", "tenantId", "deleted", "source", "updated"))
"""What the answer has from the server, not from the flow's text."""

PARSED: Final = 512
"""Parsed revisions kept by `from_stored`; a small flow is about 20 KiB, parsing it takes about 1 ms."""


def from_stored(stored: FlowStored, catalog: Catalog | None = None) -> Flow:
    """The flow of a record, parsed once. Raises FlowError when its types are no longer known."""
    known = catalog or installed_catalog()
    return _parsed(stored.tenant, stored.revision, stored.deleted, stored.source, known)


@lru_cache(maxsize=PARSED)
def _parsed(tenant: str, revision: int, deleted: bool, source: str, catalog: Catalog) -> Flow:
    flow = parse_flow(source, tenant=tenant, revision=revision, catalog=catalog)
    return replace(flow, deleted=True) if deleted else flow


def flow_json(flow: Flow, *, source: bool = False) -> dict[str, Any]:
    """The flow as Kestra's API answers it: what was written, labels as a list, inputs with id, type and `required`.

    Plugin defaults are not merged in, as in Kestra. `source`: also the text.
    """
    answer: dict[str, Any] = {
        "tenantId": flow.tenant,
        "id": flow.id,
        "namespace": flow.namespace,
        "revision": flow.revision,
        **{key: value for key, value in flow.raw.items() if key not in _SERVERS and value is not None},
        "disabled": flow.disabled,
        "deleted": flow.deleted,
    }
    if flow.labels:
        answer["labels"] = [{"key": key, "value": value} for key, value in flow.labels]
    if flow.inputs:
        answer["inputs"] = [_input_json(written) for written in flow.raw["inputs"]]
    if source:
        answer["source"] = flow.source
    return answer


def _input_json(written: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "required": True,
        **{key: value for key, value in written.items() if value is not None},
        "id": written.get("id") or written.get("name"),
        "type": str(written.get("type")).upper(),
    }
