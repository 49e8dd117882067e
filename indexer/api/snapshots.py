"""Snapshots: what the search store has of an execution that has left the executor, complete (design.md §4).

An execution leaves when it has ended and is indexed, so what is found here is all of it, or something was lost: then
the command that needs it is refused with the reason.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import orjson

from indexer.api.creation import execution_root
from indexer.api.errors import refused
from indexer.api.reading import now
from indexer.api.tenancy import Tenant
from shared.model.document import JSON_OPTIONS, TERMINATED_NAMES, Kind
from shared.model.moment import from_iso
from shared.model.query import Page
from shared.model.recall import ENTRY
from shared.model.reference import LARGEST, reference_to

MOST: Final = 20_000
"""Task runs of an execution that can come back: they become state of the executor in one transaction, and these take it
about two seconds of the ten that a transaction may last."""

SKEW: Final = 60_000
"""Milliseconds by which an executor's clock may be ahead: what may have left is rather asked for in vain."""

ERRORS: Final = 100
"""ERROR lines for `errorLogs()`, as many as the executor remembers."""

_PAGE: Final = 2_000
_BY_START: Final = {Kind.TASK_RUN: "state.startDate", Kind.ENTRY: "timestamp"}
_AGAIN: Final = frozenset(("FAILED", "KILLED", "CANCELLED"))
"""Ends of a batch's execution that a restart of its ForEachItem repeats."""

Document = Mapping[str, Any]


def snapshot_of(tenant: Tenant, execution_id: str) -> dict[str, Any]:
    """Everything that the execution's return needs. Blocks; raises 422 with what is missing, 404."""
    document = _header(tenant, execution_id)
    count = int(document[ENTRY].get("task_runs", 0))
    if count > MOST:
        raise refused(
            f"Execution {execution_id} has left the executor, and its {count} task runs are more than the {MOST} "
            "with which one can come back; replay it from the start instead, or start a new one"
        )
    for kind in (Kind.TASK_RUN, Kind.ENTRY):
        tenant.services.store.refresh(kind, execution_id)
    runs = _all(tenant, Kind.TASK_RUN, execution_id)
    if len(runs) != count:
        raise refused(
            f"Execution {execution_id} has left the executor, and the search store has {len(runs)} of its {count} "
            "task runs: it can't come back from there"
        )
    return {
        "execution": dict(document),
        "task_runs": runs,
        "entries": _all(tenant, Kind.ENTRY, execution_id),
        "errors": _errors(tenant, execution_id),
    }


def weight(tenant: Tenant, execution_id: str) -> int:
    """How many task runs an execution's snapshot has at most; 0 where none can be made of it. Blocks."""
    found = tenant.document(Kind.EXECUTION, execution_id, execution_id)
    return 0 if found is None else _task_runs(found[1])


def _task_runs(document: Document) -> int:
    return min(MOST, int(document.get(ENTRY, {}).get("task_runs", 0)))


def sent(tenant: Tenant, snapshot: Mapping[str, Any]) -> dict[str, Any]:
    """The snapshot as a command carries it: a reference to a file where it is large. Blocks."""
    content = orjson.dumps(snapshot, option=JSON_OPTIONS)
    if len(content) <= tenant.services.settings.blobs.soft_limit:
        return dict(snapshot)
    document = snapshot["execution"]
    if len(content) > LARGEST:
        raise refused(
            f"Execution {document['id']} has left the executor, and its {len(content)} bytes are more than the "
            f"{LARGEST} with which one can come back"
        )
    return reference_to(tenant.put_file(_file(document), io.BytesIO(content)), len(content))


def clean_up(tenant: Tenant, snapshot: Mapping[str, Any]) -> None:
    """Take the file away that `sent` may have made, when the command has its answer. Blocks."""
    tenant.delete_files(_file(snapshot["execution"]))


def _file(document: Document) -> str:
    root = execution_root(document["namespace"], document["flowId"], document["id"])
    return f"{root}/recall-{document['seq']}.json"


def documents_of(tenant: Tenant, execution_id: str) -> dict[str, Any]:
    """The ids of all documents of an execution and the highest version among them, to take it away. Blocks."""
    document = _header(tenant, execution_id)
    for kind in (Kind.TASK_RUN, Kind.ENTRY):
        tenant.services.store.refresh(kind, execution_id)
    last = int(document["seq"])
    ids: dict[Kind, list[str]] = {Kind.TASK_RUN: [], Kind.ENTRY: []}
    for kind, names in ids.items():
        for each in _each(tenant, kind, execution_id):  # not all at once: there may be very many
            names.append(each["id"])
            last = max(last, int(each["seq"]))
    return {"tenant": tenant.name, "seq": last, "task_runs": ids[Kind.TASK_RUN], "entries": ids[Kind.ENTRY]}


def batches_to_recall(tenant: Tenant, execution_id: str) -> dict[str, int]:
    """Executions of batches that a restart would repeat and that may have left, with how many task runs. Blocks.

    What has ended within the time that ended ones stay is not asked for: it is in the executor.
    """
    tenant.services.store.refresh(Kind.ENTRY, execution_id)
    batches = (each["content"] for each in _each(tenant, Kind.ENTRY, execution_id) if "/b/" in each["id"])
    children = [str(batch["child"]) for batch in batches if batch is not None and batch.get("state") in _AGAIN]
    stays = now() - round(tenant.services.settings.executor.keep_ended * 1000) + SKEW
    found: dict[str, int] = {}
    for child in children:
        known = tenant.document(Kind.EXECUTION, child, child)
        end = None if known is None else known[1]["state"].get("endDate")
        if known is not None and end is not None and from_iso(end) <= stays:
            found[child] = _task_runs(known[1])
    return found


def _header(tenant: Tenant, execution_id: str) -> Document:
    found = tenant.document(Kind.EXECUTION, execution_id, execution_id)
    if found is None:
        raise refused(f"Execution {execution_id} is neither in the executor nor in the search store")
    document = found[1]
    state = document["state"]["current"]
    if state not in TERMINATED_NAMES:
        raise refused(f"Execution {execution_id} is not in the executor, and the search store shows it {state}")
    if ENTRY not in document:
        raise refused(
            f"Execution {execution_id} has left the executor, and was indexed by a version that it can't come back from"
        )
    return document


def _all(tenant: Tenant, kind: Kind, execution_id: str) -> list[Document]:
    return list(_each(tenant, kind, execution_id))


def _each(tenant: Tenant, kind: Kind, execution_id: str) -> Iterator[Document]:
    query = tenant.query(kind, execution_ids=(execution_id,), include_superseded=True)
    cursor = None
    while True:
        page = tenant.search(query, Page(1, _PAGE, ((_BY_START[kind], True),), cursor))
        yield from page.documents
        cursor = page.cursor
        if cursor is None or len(page.documents) < _PAGE:
            return


def _errors(tenant: Tenant, execution_id: str) -> Sequence[Document]:
    query = tenant.query(
        Kind.LOG, execution_ids=(execution_id,), min_level="ERROR", q="taskRunId:* AND NOT thread:executor"
    )
    lines = tenant.search(query, Page(1, ERRORS, (("timestamp", False),))).documents
    return [
        {name: line[name] for name in line if name not in ("id", "tenantId", "thread", "index")}
        for line in reversed(lines)
    ]
