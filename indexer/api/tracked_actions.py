"""Tracked actions: bulk actions as jobs, which may be about very many executions and outlive the request.

The jobs are carried out by `indexer/bulk`; here they are asked for, shown and stopped.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from itertools import islice
from typing import Annotated, Any, Final

from fastapi import APIRouter, Response
from fastapi import Query as Parameter
from pydantic import BaseModel, ConfigDict, Field

from indexer.api.errors import ApiError, json_response, not_found, refused
from indexer.api.filters import Filters
from indexer.api.reading import blocking, now
from indexer.api.tenancy import OfTenant, Tenant
from indexer.bulk import listing, work
from indexer.bulk.jobs import Job
from shared.bulk_actions import BulkActionAborted, BulkActionRequested, Item, Result, query_data, query_of
from shared.model.document import Kind
from shared.model.identifier import new_id
from shared.model.query import Page, Query

router: Final = APIRouter(prefix="/bulk-actions", tags=["Tracked bulk actions"])

EXAMPLES: Final = 20
"""Executions that a dry run shows."""

COUNTED: Final = 10_000
"""Found task runs up to which a dry run counts their executions: it must answer in reasonable time."""

KINDS: Final = {"executions": Kind.EXECUTION, "taskruns": Kind.TASK_RUN}

_TEXTS: Final = {
    "q": "q",
    "namespace": "namespace",
    "flowId": "flow_id",
    "startDate": "start_date",
    "endDate": "end_date",
    "endedBefore": "ended_before",
    "timeRange": "time_range",
    "triggerExecutionId": "trigger_execution_id",
    "childFilter": "child_filter",
}
_LISTS: Final = {"state": "state", "labels": "labels"}
_OF_TASK_RUNS: Final = ("taskId", "executionId")


class Asked(BaseModel):
    """What is to be done, to which executions."""

    model_config = ConfigDict(extra="forbid")

    action: str = Field(description=f"one of {', '.join(work.DEEDS)}")
    on: str = Field(default="executions", description="what the filters are about: executions or taskruns")
    filters: dict[str, Any] = Field(default_factory=dict, description="the parameters of a search, by their names")
    options: dict[str, Any] = Field(default_factory=dict, description="of the action")
    dry_run: bool = Field(default=False, alias="dryRun", description="count, and do nothing")


@router.post("", status_code=202)
async def start(asked: Asked, tenant: OfTenant) -> Response:
    """Do an action to every execution that a search finds, as a job; with `dryRun`, only count them."""
    request = requested(tenant, asked)
    query = query_of(request.query)
    found = (await blocking(tenant.search, query, Page(1, 1))).total  # a query that can't be answered is 422 now
    if asked.dry_run:
        return json_response(await blocking(_count, tenant, query, found))
    if found > listing.MOST:
        raise refused(f"filters: they find {found} documents, more than {listing.MOST} of one job; narrow them")
    await blocking(tenant.services.jobs.publish, request)
    return json_response((await _job(tenant, request.id)).json(), 202)


@router.get("")
async def jobs(tenant: OfTenant) -> Response:
    """The tenant's jobs, the latest first: all that are open, and the last ones that ended."""
    found = await blocking(tenant.jobs)
    return json_response({"results": [job.json() for job in found], "total": len(found)})


@router.get("/{job_id}")
async def job(job_id: str, tenant: OfTenant) -> Response:
    """A job with its progress."""
    return json_response((await _job(tenant, job_id)).json())


@router.get("/{job_id}/items")
async def items(
    job_id: str,
    tenant: OfTenant,
    result: Annotated[list[Result] | None, Parameter(description="repeated: any of them")] = None,
    page: Annotated[int, Parameter(ge=1)] = 1,
    size: Annotated[int, Parameter(ge=1, le=10_000)] = 100,
) -> Response:
    """The executions of a job with what became of each."""
    found: list[Item] = await blocking(tenant.services.jobs.items, await _job(tenant, job_id))
    wanted = [item for item in found if not result or item.result in result]
    shown = [_item_json(item) for item in wanted[(page - 1) * size : page * size]]
    return json_response({"results": shown, "total": len(wanted)})


@router.post("/{job_id}/abort")
async def abort(job_id: str, tenant: OfTenant) -> Response:
    """Stop a job before its next page; what was done stays done. 409 when it has ended."""
    known = await _job(tenant, job_id)
    if known.state.ended:
        raise ApiError(409, f"Bulk action {job_id} has ended: {known.state}")
    await blocking(tenant.services.jobs.publish, BulkActionAborted(job_id, now()))
    return json_response((await _job(tenant, job_id)).json())


async def _job(tenant: Tenant, job_id: str) -> Job:
    found: Job | None = await blocking(tenant.job, job_id)
    if found is None:
        raise not_found(f"bulk action {job_id}")
    return found


def _item_json(item: Item) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "executionId": item.execution_id,
        "namespace": item.namespace,
        "flowId": item.flow_id,
        "result": item.result.value,
    }
    if item.task_runs:
        shown["taskRunIds"] = list(item.task_runs)
    if item.reason:
        shown["reason"] = item.reason
    return shown


# ------------------------------------------------------------------ what is asked


def requested(tenant: Tenant, asked: Asked) -> BulkActionRequested:
    """The job, its times fixed to now. Raises 422 naming the property that is wrong."""
    at = now()
    kind = KINDS.get(asked.on)
    if kind is None:
        raise refused(f"on: expected one of {', '.join(KINDS)}, not {asked.on}")
    options = work.checked(asked.action, kind, asked.options)
    query = _query(tenant, kind, asked.filters)
    # What starts after this moment is not in it, however long the listing takes.
    query = replace(query, started_to=at if query.started_to is None else min(at, query.started_to))
    return BulkActionRequested(
        new_id(at), tenant.name, asked.action, at, query_data(query), filters=asked.filters, options=options
    )


def _query(tenant: Tenant, kind: Kind, given: Mapping[str, Any]) -> Query:
    known = {**_TEXTS, **_LISTS}
    values: dict[str, Any] = {}
    more: dict[str, Any] = {}
    for name, value in given.items():
        if name in _LISTS or name == "executionId":
            texts = [value] if isinstance(value, str) else value
            if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
                raise refused(f"filters.{name}: expected a text or a list of texts")
        elif not isinstance(value, str):
            raise refused(f"filters.{name}: expected a text")
        if name in _LISTS:
            values[known[name]] = texts
        elif name in _TEXTS:
            values[known[name]] = value
        elif name == "executionId":
            more["execution_ids"] = tuple(texts)
        elif name == "taskId" and kind is Kind.TASK_RUN:
            more["task_id"] = value
        else:
            expected = [*known, *(_OF_TASK_RUNS if kind is Kind.TASK_RUN else _OF_TASK_RUNS[1:])]
            raise refused(f"filters.{name}: no such filter; expected one of {', '.join(expected)}")
    try:
        filters = Filters(**values)
    except ApiError as error:
        raise refused(f"filters: {error.message}") from error
    if not filters.given and not any(more.values()):
        raise refused('filters: at least one is needed; `q: "*"` finds everything')
    return filters.query(tenant, kind, **more)


def _count(tenant: Tenant, query: Query, found: int) -> dict[str, Any]:
    """How many executions a job would be about, and the first of them. Blocks."""
    listed = listing.items(tenant, query)
    examples = list(islice(listed, EXAMPLES))
    answer: dict[str, Any] = {"found": found}
    if query.kind is Kind.EXECUTION:
        answer["count"] = found
    elif found <= COUNTED:
        answer["count"] = len(examples) + sum(1 for _ in listed)
    return {**answer, "examples": [_item_json(item) for item in examples]}
