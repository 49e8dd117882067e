"""Snapshots: a cold execution's documents, for a command that comes after it left the executor (design.md §4).

The form is `{"execution": document, "task_runs": [document, …]}`: the documents as the search store holds them,
superseded task runs left out. It is complete, or the command is refused with the reason.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from indexer.api.errors import refused
from indexer.api.reading import in_order, now
from indexer.api.tenancy import Tenant
from shared.model.document import TERMINATED_NAMES, Kind
from shared.model.moment import from_iso
from shared.model.query import Page

_PAGE: Final = 2_000
_BY_START: Final = (("state.startDate", True),)


def snapshot_of(tenant: Tenant, document: Mapping[str, Any]) -> dict[str, Any] | None:
    """The snapshot of an execution that may have left the executor; None for one that is surely still there. Blocks.

    An ended execution stays for `executor.keep_ended` seconds; from half of that on its commands carry a snapshot, and
    the executor takes its own state where it still has it.
    """
    state = document["state"]
    if state["current"] not in TERMINATED_NAMES:
        return None
    ended = from_iso(state["histories"][-1]["date"])
    if now() - ended < tenant.services.settings.executor.keep_ended * 500:
        return None
    return {"execution": dict(document), "task_runs": _task_runs(tenant, document)}


def _task_runs(tenant: Tenant, document: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    count = int(document.get("taskRunCount", 0))
    found = _all(tenant, document["id"])
    if len(found) < count:
        tenant.services.store.refresh(Kind.TASK_RUN, document["id"])
        found = _all(tenant, document["id"])
    if len(found) < count:
        raise refused(
            f"Execution {document['id']} has left the executor, and only {len(found)} of its {count} task runs are "
            "in the search store: it can't be continued from there"
        )
    return in_order(found)


def _all(tenant: Tenant, execution_id: str) -> list[Mapping[str, Any]]:
    query = tenant.query(Kind.TASK_RUN, execution_ids=(execution_id,))
    found: list[Mapping[str, Any]] = []
    cursor = None
    while True:
        page = tenant.search(query, Page(1, _PAGE, _BY_START, cursor))
        found.extend(page.documents)
        cursor = page.cursor
        if cursor is None or len(page.documents) < _PAGE:
            return found
