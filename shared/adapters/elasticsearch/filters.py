"""Filters: a Query as Elasticsearch's Query DSL."""

from __future__ import annotations

from typing import Any, Final

from shared.model.document import Kind
from shared.model.query import Query, QueryError
from shared.query.fields import STARTS

LEVELS: Final = ("TRACE", "DEBUG", "INFO", "WARN", "ERROR")
"""Log levels, lowest first."""

Clause = dict[str, Any]


def dsl(query: Query, text: Clause | None) -> Clause:
    """The query as one filter, which needs no scores. `text`: the translation of `query.q`."""
    kind = query.kind
    filters: list[Clause] = [{"term": {"tenantId": query.tenant}}]
    excluded: list[Clause] = []
    if query.namespace is not None:
        below = {"prefix": {"namespace": f"{query.namespace}."}}
        filters.append({"bool": {"should": [{"term": {"namespace": query.namespace}}, below]}})
    for field, value in (
        ("flowId", query.flow_id),
        ("taskId", query.task_id),
        ("id" if kind is Kind.TASK_RUN else "taskRunId", query.task_run_id),
        ("trigger.executionId", query.trigger_execution_id),
        ("attemptNumber", query.attempt),
    ):
        if value is not None:
            filters.append({"term": {field: value}})
    if query.execution_ids:
        filters.append({"terms": {"id" if kind is Kind.EXECUTION else "executionId": list(query.execution_ids)}})
    if query.states:
        filters.append({"terms": {"state.current": list(query.states)}})
    filters += [{"term": {f"labels.{key}": value}} for key, value in query.labels]
    if query.started_from is not None or query.started_to is not None:
        filters.append(_range(STARTS[kind], query.started_from, query.started_to))
    if query.ended_to is not None:
        filters.append(_range("state.endDate", None, query.ended_to))
    if query.min_level is not None:
        filters.append({"terms": {"level": list(_levels(query.min_level))}})
    if query.child_filter is not None:
        (filters if _is_child(query.child_filter) else excluded).append({"exists": {"field": "trigger.executionId"}})
    if kind is Kind.TASK_RUN and not query.include_superseded:
        excluded.append({"term": {"superseded": True}})
    if text is not None:
        filters.append(text)
    return {"bool": {"filter": filters, **({"must_not": excluded} if excluded else {})}}


def _range(field: str, low: int | None, high: int | None) -> Clause:
    bounds: dict[str, Any] = {"format": "epoch_millis"}
    if low is not None:
        bounds["gte"] = low
    if high is not None:
        bounds["lte"] = high
    return {"range": {field: bounds}}


def _levels(lowest: str) -> tuple[str, ...]:
    if lowest not in LEVELS:
        raise QueryError(f"unknown level {lowest}; expected one of {', '.join(LEVELS)}")
    return LEVELS[LEVELS.index(lowest) :]


def _is_child(name: str) -> bool:
    if name not in ("CHILD", "MAIN"):
        raise QueryError(f"unknown child filter {name}; expected CHILD or MAIN")
    return name == "CHILD"
