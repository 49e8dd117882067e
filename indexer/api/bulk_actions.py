"""Actions on many executions at once: those of a list of ids, or those that a search finds.

Ids that are unknown refuse the whole call, as in Kestra. Then each execution's command is sent and answered on its own:
those refused are listed with the reason, the others are carried out.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Annotated, Any, Final

from fastapi import APIRouter, Response
from fastapi import Query as Parameter
from pydantic import BaseModel, Field

from indexer.api import actions, cold, reading
from indexer.api.actions import Action
from indexer.api.commands import Question
from indexer.api.errors import ApiError, json_response, refused
from indexer.api.execution_actions import Label, check_kept, clean_up
from indexer.api.filters import OfFilters
from indexer.api.reading import blocking
from indexer.api.tenancy import OfTenant, Tenant
from indexer.recent import Rejected
from shared.model.document import TERMINATED_NAMES, Kind
from shared.model.query import Page, Query

router: Final = APIRouter(prefix="/executions", tags=["Bulk actions"])

GROUP: Final = 200
"""Commands that are sent and awaited together: what an executor answers well within the time of one answer."""

MOST: Final = 10_000
"""Executions of one call at most: a request must end in reasonable time."""

Documents = Sequence[Mapping[str, Any]]
Status = Annotated[str, Parameter(alias="newStatus")]
LatestRevision = Annotated[bool, Parameter(alias="latestRevision")]
NonTerminated = Annotated[bool, Parameter(alias="includeNonTerminated")]
DeleteLogs = Annotated[bool, Parameter(alias="deleteLogs")]
DeleteMetrics = Annotated[bool, Parameter(alias="deleteMetrics")]
DeleteStorage = Annotated[bool, Parameter(alias="deleteStorage")]


class LabelsOfIds(BaseModel):
    """Labels for executions."""

    ids: list[str] = Field(alias="executionsId")
    labels: list[Label] = Field(alias="executionLabels")


async def by_ids(tenant: Tenant, ids: Sequence[str]) -> Documents:
    """The executions' documents. Raises 422 naming each unknown one."""
    unique = list(dict.fromkeys(ids))
    if len(unique) > MOST:
        raise refused(f"{len(unique)} executions are more than {MOST} of one call")
    found = [await reading.execution_document(tenant, execution_id, wait=False) for execution_id in unique]
    unknown = [execution_id for execution_id, document in zip(unique, found, strict=True) if document is None]
    if unknown:
        invalids = [{"message": "execution not found", "invalidValue": execution_id} for execution_id in unknown]
        raise refused("invalid bulk action: unknown executions", invalids=invalids)
    return [document[1] for document in found if document is not None]


def by_query(tenant: Tenant, query: Query) -> Documents:
    """The executions that a search finds. Raises 422 when they are too many. Blocks."""
    found: list[Mapping[str, Any]] = []
    cursor = None
    while True:
        page = tenant.search(query, Page(1, 1_000, (("state.startDate", True),), cursor))
        if page.total > MOST:
            raise refused(f"The query finds {page.total} executions, more than {MOST} of one call; narrow it")
        found.extend(page.documents)
        cursor = page.cursor
        if cursor is None or not page.documents or len(found) >= MOST:
            return found


Then = Callable[[Mapping[str, Any]], Awaitable[None]]


async def carry_out(tenant: Tenant, documents: Documents, make: Action, then: Then | None = None) -> Response:
    """Ask for an action on each; 200 with the count, or 422 with those that were refused.

    `then` is called with the document of each one that has answered that it was done, whatever became of the others.
    """
    invalids: list[dict[str, Any]] = []
    count = 0
    for start in range(0, len(documents), GROUP):
        asked: list[Question] = []
        about: list[Mapping[str, Any]] = []
        for document in documents[start : start + GROUP]:
            try:
                asked.append(await blocking(make, tenant, document))
                about.append(document)
            except ApiError as error:
                invalids.append({"message": error.message, "invalidValue": document["id"]})
        for document, answer in zip(about, await cold.ask_all(tenant, asked), strict=True):
            if isinstance(answer, Rejected):
                invalids.append({"message": answer.reason, "invalidValue": document["id"]})
                continue
            count += 1
            if answer is not None and then is not None:
                await then(document)
    if invalids:
        raise refused("invalid bulk action: some executions refused it", count=count, invalids=invalids)
    return json_response({"count": count})


async def found(tenant: Tenant, filters: OfFilters) -> Documents:
    """The executions of a by-query call."""
    return await blocking(by_query, tenant, filters.query(tenant, Kind.EXECUTION))  # type: ignore[no-any-return]


# ------------------------------------------------------------------ actions without parameters of their own

_SIMPLE: Final[tuple[tuple[str, str, Any], ...]] = (
    ("restart", "POST", actions.restart),
    ("kill", "DELETE", actions.kill),
    ("pause", "POST", actions.pause),
    ("resume", "POST", actions.resume),
    ("force-run", "POST", actions.force_run),
)


def _add(name: str, method: str, make: Any) -> None:
    async def act_by_ids(tenant: OfTenant, ids: list[str]) -> Response:
        return await carry_out(tenant, await by_ids(tenant, ids), make())

    async def act_by_query(tenant: OfTenant, filters: OfFilters) -> Response:
        return await carry_out(tenant, await found(tenant, filters), make())

    shown = name.replace("-", "_")
    router.add_api_route(f"/{name}/by-ids", act_by_ids, methods=[method], name=f"{shown}_by_ids")
    router.add_api_route(f"/{name}/by-query", act_by_query, methods=[method], name=f"{shown}_by_query")


for _name, _method, _make in _SIMPLE:
    _add(_name, _method, _make)


# ------------------------------------------------------------------ actions with parameters


@router.post("/replay/by-ids")
async def replay_by_ids(tenant: OfTenant, ids: list[str], latest: LatestRevision = False) -> Response:
    """Run executions again as new ones."""
    return await carry_out(tenant, await by_ids(tenant, ids), actions.replay(latest=latest))


@router.post("/replay/by-query")
async def replay_by_query(tenant: OfTenant, filters: OfFilters, latest: LatestRevision = False) -> Response:
    """Run the executions of a search again as new ones."""
    return await carry_out(tenant, await found(tenant, filters), actions.replay(latest=latest))


@router.post("/unqueue/by-ids")
async def unqueue_by_ids(tenant: OfTenant, ids: list[str], state: str | None = None) -> Response:
    """Let executions leave the queue."""
    return await carry_out(tenant, await by_ids(tenant, ids), actions.unqueue(state))


@router.post("/unqueue/by-query")
async def unqueue_by_query(
    tenant: OfTenant, filters: OfFilters, new_state: Annotated[str | None, Parameter(alias="newState")] = None
) -> Response:
    """Let the executions of a search leave the queue."""
    return await carry_out(tenant, await found(tenant, filters), actions.unqueue(new_state))


@router.post("/change-status/by-ids")
async def change_status_by_ids(tenant: OfTenant, ids: list[str], status: Status) -> Response:
    """Set the status of ended executions by hand."""
    return await carry_out(tenant, await by_ids(tenant, ids), actions.change_state(status))


@router.post("/change-status/by-query")
async def change_status_by_query(tenant: OfTenant, filters: OfFilters, status: Status) -> Response:
    """Set the status of the ended executions of a search by hand."""
    return await carry_out(tenant, await found(tenant, filters), actions.change_state(status))


@router.post("/labels/by-ids")
async def labels_by_ids(tenant: OfTenant, body: LabelsOfIds) -> Response:
    """Add labels to executions."""
    return await carry_out(tenant, await by_ids(tenant, body.ids), _labels(body.labels))


@router.post("/labels/by-query")
async def labels_by_query(tenant: OfTenant, filters: OfFilters, labels: list[Label]) -> Response:
    """Add labels to the executions of a search."""
    return await carry_out(tenant, await found(tenant, filters), _labels(labels))


def _labels(labels: Sequence[Label]) -> Action:
    return actions.set_labels([(label.key, label.value) for label in labels], replace=False)


@router.delete("/by-ids")
async def delete_by_ids(
    tenant: OfTenant,
    ids: list[str],
    non_terminated: NonTerminated = False,
    logs: DeleteLogs = True,
    metrics: DeleteMetrics = True,
    storage: DeleteStorage = True,
) -> Response:
    """Delete executions; those that run only with `includeNonTerminated`."""
    documents = await by_ids(tenant, ids)
    running = [d["id"] for d in documents if d["state"]["current"] not in TERMINATED_NAMES]
    if running and not non_terminated:
        invalids = [
            {"message": "execution is not terminated", "invalidValue": execution_id} for execution_id in running
        ]
        raise refused("invalid bulk action: executions that run", invalids=invalids)
    return await _delete(tenant, documents, logs, metrics, storage)


@router.delete("/by-query")
async def delete_by_query(
    tenant: OfTenant,
    filters: OfFilters,
    non_terminated: NonTerminated = False,
    logs: DeleteLogs = True,
    metrics: DeleteMetrics = True,
    storage: DeleteStorage = True,
) -> Response:
    """Delete the executions of a search; those that run only with `includeNonTerminated`."""
    documents = await found(tenant, filters)
    if not non_terminated:
        documents = [d for d in documents if d["state"]["current"] in TERMINATED_NAMES]
    return await _delete(tenant, documents, logs, metrics, storage)


async def _delete(tenant: Tenant, documents: Documents, logs: bool, metrics: bool, storage: bool) -> Response:
    check_kept(logs=logs, metrics=metrics)

    async def then(document: Mapping[str, Any]) -> None:
        await blocking(clean_up, tenant, document, logs, storage)

    return await carry_out(tenant, documents, actions.delete(), then)
