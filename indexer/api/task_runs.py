"""Task runs: searching them over all executions, and one by its id."""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import APIRouter, Response
from fastapi import Query as Parameter

from indexer.api import reading
from indexer.api.errors import json_response, not_found
from indexer.api.filters import OfFilters, OfPage
from indexer.api.reading import blocking, now
from indexer.api.tenancy import OfTenant, Tenant
from shared.model.document import Kind, task_run_json
from shared.model.query import Page, Query

router: Final = APIRouter(prefix="/taskruns", tags=["Task runs"])


@router.get("/search")
async def search_task_runs(
    tenant: OfTenant,
    filters: OfFilters,
    page: OfPage,
    task_id: Annotated[str | None, Parameter(alias="taskId")] = None,
    execution_id: Annotated[
        list[str] | None, Parameter(alias="executionId", description="repeated: any of them")
    ] = None,
) -> Response:
    """Search task runs. `page` times `size` reaches 10,000; beyond, `cursor` of the last answer goes on."""
    query = filters.query(tenant, Kind.TASK_RUN, task_id=task_id, execution_ids=tuple(execution_id or ()))
    return json_response(await blocking(search, tenant, query, page))


def search(tenant: Tenant, query: Query, page: Page) -> dict[str, Any]:
    """One page of task runs in API shape. Blocks."""
    found = tenant.search(query, page)
    moment = now()
    answer: dict[str, Any] = {
        "results": [task_run_json(document, moment, full=True) for document in found.documents],
        "total": found.total,
    }
    if found.cursor is not None:
        answer["cursor"] = found.cursor
    return answer


@router.get("/{task_run_id}")
async def get_task_run(task_run_id: str, tenant: OfTenant) -> Response:
    """A task run by its id."""
    document = await reading.task_run(tenant, task_run_id)
    if document is None:
        raise not_found(f"task run {task_run_id}")
    return json_response(task_run_json(document, now(), full=True))
