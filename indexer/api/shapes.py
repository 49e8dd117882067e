"""Shapes: log lines and metrics as Kestra's API shows them, and flows that can no longer be read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from shared.messages import FlowStored

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
