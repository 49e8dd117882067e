"""Logs: the lines of an execution, and searching all lines."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Final

from fastapi import APIRouter, Response
from fastapi import Query as Parameter
from fastapi.responses import StreamingResponse

from indexer.api import reading
from indexer.api.errors import json_response, not_found
from indexer.api.filters import OfPage, parse_level, parse_moment
from indexer.api.reading import blocking
from indexer.api.shapes import log_json, metric_json
from indexer.api.tenancy import OfTenant, Tenant
from shared.model.document import Kind
from shared.model.query import Page, Query

router: Final = APIRouter(prefix="/logs", tags=["Logs"])
metrics_router: Final = APIRouter(prefix="/metrics", tags=["Metrics"])

LINES: Final = 10_000
"""Lines that one answer lists at most: as many as one page of a search reaches. The download has all of them."""

_BY_TIME: Final = (("timestamp", True), ("index", True))
_CHUNK: Final = 2_000

Level = Annotated[str | None, Parameter(alias="minLevel", description="TRACE, DEBUG, INFO, WARN or ERROR")]
TaskRunId = Annotated[str | None, Parameter(alias="taskRunId")]
TaskId = Annotated[str | None, Parameter(alias="taskId")]


def _query(
    tenant: Tenant, execution_id: str, level: str | None, task_run: str | None, task: str | None, attempt: int | None
) -> Query:
    return tenant.query(
        Kind.LOG,
        execution_ids=(execution_id,),
        min_level=parse_level(level),
        task_run_id=task_run,
        task_id=task,
        attempt=attempt,
    )


@router.get("/search")
async def search_logs(
    tenant: OfTenant,
    page: OfPage,
    q: str | None = None,
    namespace: str | None = None,
    flow_id: Annotated[str | None, Parameter(alias="flowId")] = None,
    min_level: Level = None,
    start_date: Annotated[str | None, Parameter(alias="startDate")] = None,
    end_date: Annotated[str | None, Parameter(alias="endDate")] = None,
) -> Response:
    """Search log lines over all executions."""
    query = tenant.query(
        Kind.LOG,
        q=q or None,
        namespace=namespace or None,
        flow_id=flow_id or None,
        min_level=parse_level(min_level),
        started_from=parse_moment("startDate", start_date),
        started_to=parse_moment("endDate", end_date),
    )
    found = await blocking(tenant.search, query, page)
    answer: dict[str, Any] = {"results": [log_json(line) for line in found.documents], "total": found.total}
    if found.cursor is not None:
        answer["cursor"] = found.cursor
    return json_response(answer)


@router.get("/{execution_id}")
async def execution_logs(
    execution_id: str,
    tenant: OfTenant,
    min_level: Level = None,
    task_run_id: TaskRunId = None,
    task_id: TaskId = None,
    attempt: int | None = None,
) -> Response:
    """The log lines of an execution in the order of their time (at most 10,000)."""
    query = _query(tenant, execution_id, min_level, task_run_id, task_id, attempt)
    return json_response(await blocking(_lines, tenant, query))


def _lines(tenant: Tenant, query: Query) -> list[dict[str, Any]]:
    return [log_json(line) for line in tenant.search(query, Page(1, LINES, _BY_TIME)).documents]


@router.get("/{execution_id}/download")
async def download_logs(
    execution_id: str,
    tenant: OfTenant,
    min_level: Level = None,
    task_run_id: TaskRunId = None,
    task_id: TaskId = None,
    attempt: int | None = None,
) -> StreamingResponse:
    """All log lines of an execution as a text file."""
    if await reading.execution_document(tenant, execution_id) is None:
        raise not_found(f"execution {execution_id}")
    query = _query(tenant, execution_id, min_level, task_run_id, task_id, attempt)
    headers = {"Content-Disposition": f'attachment; filename="{execution_id}.log"'}
    return StreamingResponse(_text(tenant, query), media_type="text/plain; charset=utf-8", headers=headers)


def _text(tenant: Tenant, query: Query) -> Iterator[str]:
    cursor = None
    while True:
        found = tenant.search(query, Page(1, _CHUNK, _BY_TIME, cursor))
        for line in found.documents:
            yield f"{line['timestamp']} {line['level']} {line.get('message', '')}\n"
        cursor = found.cursor
        if cursor is None or len(found.documents) < _CHUNK:
            return


@metrics_router.get("/{execution_id}")
async def execution_metrics(
    execution_id: str, tenant: OfTenant, page: OfPage, task_run_id: TaskRunId = None, task_id: TaskId = None
) -> Response:
    """The metrics that an execution's tasks reported."""
    query = tenant.query(Kind.METRIC, execution_ids=(execution_id,), task_run_id=task_run_id, task_id=task_id)
    found = await blocking(tenant.search, query, page)
    return json_response({"results": [metric_json(m) for m in found.documents], "total": found.total})
