"""Shapes: flows, log lines and metrics as Kestra's API shows them. Others: shared/model/document.py."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from shared.messages import FlowStored
from shared.model.flow import Flow

_SERVERS: Final = frozenset(("tenantId", "revision", "deleted", "source", "updated", "disabled", "labels"))
"""Properties of a flow's text that the server's own take the place of."""

_LOG_FIELDS: Final = (
    "namespace",
    "flowId",
    "taskId",
    "executionId",
    "taskRunId",
    "attemptNumber",
    "triggerId",
    "timestamp",
    "level",
    "thread",
    "message",
)


def flow_json(flow: Flow, *, source: bool = True) -> dict[str, Any]:
    """A flow in the shape of Kestra's API: as it was written, with what the server knows."""
    answer: dict[str, Any] = {
        "id": flow.id,
        "namespace": flow.namespace,
        "tenantId": flow.tenant,
        "revision": flow.revision,
        **{key: value for key, value in flow.raw.items() if key not in _SERVERS},
        "disabled": flow.disabled,
        "deleted": flow.deleted,
    }
    if flow.labels:
        answer["labels"] = [{"key": key, "value": value} for key, value in flow.labels]
    if source:
        answer["source"] = flow.source
    return answer


def broken_flow_json(stored: FlowStored, problem: str) -> dict[str, Any]:
    """A stored flow whose text is no longer valid (a plugin is gone), so that a list still shows it."""
    return {
        "id": stored.flow_id,
        "namespace": stored.namespace,
        "tenantId": stored.tenant,
        "revision": stored.revision,
        "disabled": False,
        "deleted": stored.deleted,
        "tasks": [],
        "exception": problem,
        "source": stored.source,
    }


def log_json(document: Mapping[str, Any]) -> dict[str, Any]:
    """A log line in the shape of Kestra's API."""
    answer = {name: document[name] for name in _LOG_FIELDS if name in document}
    answer["deleted"] = False
    return answer


def metric_json(document: Mapping[str, Any]) -> dict[str, Any]:
    """A metric in the shape of Kestra's API."""
    return {name: value for name, value in document.items() if name not in ("tenantId", "id")}
