"""Reading: executions and task runs by id, never older than what was answered, and lists of them from the search store.

A read by id merges what the tail of the log has shown with what the store holds, the higher sequence number winning;
lists and searches are the store's alone and follow within about a second (design.md §7).
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, Self

from indexer.api.tenancy import Tenant
from indexer.kept import TASK_RUNS_KEPT, Snapshot
from shared.model.document import Kind, execution_json, task_run_json
from shared.model.identifier import time_of
from shared.model.query import Page

LISTED: Final = TASK_RUNS_KEPT
"""Task runs that an execution's answer lists at most."""

YOUNG: Final = 10_000
"""Milliseconds for which an unknown id may be one whose first event is still on its way from another process."""

AWAITED: Final = 5.0
"""Seconds that such an id is waited for before it is 404."""

_BY_START: Final = (("state.startDate", True),)
_SEARCHED: Final = 5_000
"""Task runs fetched by one search for a list of executions."""

Document = Mapping[str, Any]

THREADS: Final = ThreadPoolExecutor(32, thread_name_prefix="api-read")
"""Threads for reads that block: as many as a search node takes at once from one process."""


async def blocking(function: Any, *arguments: Any) -> Any:
    """Call something that blocks on a worker thread."""
    return await asyncio.get_running_loop().run_in_executor(THREADS, function, *arguments)


def now() -> int:
    """Epoch milliseconds."""
    return time.time_ns() // 1_000_000


class Changes:
    """Changes of one execution, to be awaited on the event loop."""

    def __init__(self, tenant: Tenant, execution_id: str) -> None:
        """Counts from now on."""
        self._event = asyncio.Event()
        loop = asyncio.get_running_loop()

        def changed() -> None:
            with contextlib.suppress(RuntimeError):  # the loop ended meanwhile: nobody waits any more
                loop.call_soon_threadsafe(self._event.set)

        self._unwatch = tenant.services.recent.watch(execution_id, changed)

    async def next(self, seconds: float) -> bool:
        """Wait for a change since the last call; False when none came within the time."""
        try:
            await asyncio.wait_for(self._event.wait(), seconds)
        except TimeoutError:
            return False
        self._event.clear()
        return True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._unwatch()


async def execution(tenant: Tenant, execution_id: str, *, wait: bool = True) -> dict[str, Any] | None:
    """An execution with its task runs in API shape, or None. With `wait`, a young unknown id is waited for."""
    found = await execution_document(tenant, execution_id, wait=wait)
    if found is None:
        return None
    snapshot, document = found
    return await blocking(_complete, tenant, snapshot, document)  # type: ignore[no-any-return]


async def execution_document(
    tenant: Tenant, execution_id: str, *, wait: bool = True
) -> tuple[Snapshot | None, Document] | None:
    """An execution's latest document, with what the tail has of the execution; None when it is unknown."""
    found = await _look(tenant, execution_id)
    if found is not None or not wait:
        return found
    created = time_of(execution_id)
    if created is None or now() - created > YOUNG:
        return None
    end = time.monotonic() + AWAITED
    with Changes(tenant, execution_id) as changes:
        while (left := end - time.monotonic()) > 0:
            snapshot = tenant.recent(execution_id)
            if snapshot is not None and snapshot.execution is not None:
                return None if snapshot.deleted else (snapshot, snapshot.execution)
            await changes.next(left)
    return await _look(tenant, execution_id)


async def _look(tenant: Tenant, execution_id: str) -> tuple[Snapshot | None, Document] | None:
    snapshot = tenant.recent(execution_id)
    if snapshot is not None:
        if snapshot.deleted:
            return None
        if snapshot.whole and snapshot.execution is not None:
            return snapshot, snapshot.execution
    stored = await blocking(tenant.document, Kind.EXECUTION, execution_id, execution_id)
    recent = None if snapshot is None else snapshot.execution
    if recent is not None and (stored is None or recent["seq"] >= stored[0]):
        return snapshot, recent
    return None if stored is None else (snapshot, stored[1])


async def answered(tenant: Tenant, snapshot: Snapshot) -> dict[str, Any] | None:
    """The execution as a command left it: what the snapshot has, and below it what the store had before."""
    document = snapshot.execution
    if document is None:
        return await execution(tenant, snapshot.execution_id)
    return await blocking(_complete, tenant, snapshot, document)  # type: ignore[no-any-return]


def _complete(tenant: Tenant, snapshot: Snapshot | None, document: Document) -> dict[str, Any]:
    """The API's shape of an execution, with all its task runs (at most LISTED)."""
    runs, total = task_run_documents(tenant, snapshot, document)
    return _shape(document, runs, total)


def _shape(document: Document, runs: Sequence[Document], total: int) -> dict[str, Any]:
    moment = now()
    shown = [task_run_json(run, moment) for run in runs[:LISTED]]
    answer = execution_json(document, shown or None, moment)
    if total > len(shown):
        answer["taskRunListTruncated"] = True
        answer["taskRunCount"] = total
    return answer


def task_run_documents(tenant: Tenant, snapshot: Snapshot | None, document: Document) -> tuple[Sequence[Document], int]:
    """An execution's task runs in the order of their creation, at most LISTED, and how many there are.

    The execution's document counts its task runs. Where the search shows fewer, its index is refreshed once.
    """
    if snapshot is not None and snapshot.whole:
        runs = merge((), snapshot)
        return runs, len(runs)
    count = int(document.get("taskRunCount", 0))
    query = tenant.query(Kind.TASK_RUN, execution_ids=(document["id"],))
    page = Page(1, LISTED, _BY_START)
    found = tenant.search(query, page)
    merged = merge(found.documents, snapshot)
    if len(merged) < min(count, LISTED):
        tenant.services.store.refresh(Kind.TASK_RUN, document["id"])
        found = tenant.search(query, page)
        merged = merge(found.documents, snapshot)
    return merged[:LISTED], max(count, len(merged), found.total)


def merge(stored: Sequence[Document], snapshot: Snapshot | None) -> list[Document]:
    """Stored and recent task runs, of each the newest, in the order of their creation, without superseded ones."""
    newest = {document["id"]: document for document in stored}
    rank: dict[str, int] = {}
    for number, document in enumerate(snapshot.task_runs if snapshot is not None else ()):
        rank[document["id"]] = number
        known = newest.get(document["id"])
        if known is None or known["seq"] <= document["seq"]:
            newest[document["id"]] = document
    return in_order(_live(newest.values()), rank)


def _live(documents: Any) -> list[Document]:
    return [document for document in documents if not document.get("superseded")]


def in_order(documents: Sequence[Document], rank: Mapping[str, int] | None = None) -> list[Document]:
    """By creation, which `createdSeq` tells; else by start, as the log had them, parents first, then by id."""
    ranks = rank or {}
    by_id = {document["id"]: document for document in documents}

    def depth(document: Document) -> int:
        level, parent = 0, document.get("parentTaskRunId")
        while parent in by_id and level < 100:
            level, parent = level + 1, by_id[parent].get("parentTaskRunId")
        return level

    def key(document: Document) -> tuple[int, str, int, int, str]:
        # Dates are written alike: their texts sort as they do.
        created, start = document.get("createdSeq", 0), document["state"]["startDate"]
        return created, start, ranks.get(document["id"], -1), depth(document), document["id"]

    return sorted(documents, key=key)


async def task_run(tenant: Tenant, task_run_id: str) -> Document | None:
    """A task run's latest document, found by its id alone; superseded ones too."""
    recent = tenant.recent_task_run(task_run_id)
    query = tenant.query(Kind.TASK_RUN, task_run_id=task_run_id, include_superseded=True)
    if recent is not None:
        return recent[1]
    found = await blocking(tenant.search, query, Page(1, 1))
    if not found.documents:
        return None
    document: Document = found.documents[0]
    stored = await blocking(tenant.document, Kind.TASK_RUN, task_run_id, document["executionId"])
    return document if stored is None else stored[1]


def executions(tenant: Tenant, documents: Sequence[Document]) -> list[dict[str, Any]]:
    """A list of executions in API shape, each with its task runs. Blocks."""
    runs: dict[str, list[Document]] = {}
    totals: dict[str, int] = {}
    group: list[str] = []
    room = _SEARCHED
    for document in documents:
        execution_id, count = document["id"], int(document.get("taskRunCount", 0))
        totals[execution_id] = count
        snapshot = tenant.recent(execution_id)
        if snapshot is not None and snapshot.whole:
            runs[execution_id] = merge((), snapshot)
        elif count > LISTED:
            page = Page(1, LISTED, _BY_START)
            found = tenant.search(tenant.query(Kind.TASK_RUN, execution_ids=(execution_id,)), page)
            runs[execution_id] = in_order(found.documents)
        elif count:
            if count > room:
                _search_group(tenant, group, runs)
                group, room = [], _SEARCHED
            group.append(execution_id)
            room -= count
    _search_group(tenant, group, runs)
    answers = []
    for document in documents:
        own, count = runs.get(document["id"], []), totals[document["id"]]
        answers.append(_shape(document, own, max(count, len(own)) if count > LISTED else len(own)))
    return answers


def _search_group(tenant: Tenant, ids: Sequence[str], runs: dict[str, list[Document]]) -> None:
    if not ids:
        return
    query = tenant.query(Kind.TASK_RUN, execution_ids=tuple(ids))
    # Twice the count: an index that is ahead of the executions' documents has more.
    for document in tenant.search(query, Page(1, 2 * _SEARCHED, _BY_START)).documents:
        runs.setdefault(document["executionId"], []).append(document)
    for execution_id in ids:
        if execution_id in runs:
            runs[execution_id] = in_order(runs[execution_id])
