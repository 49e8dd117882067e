"""Delivery: documents on their way into the search store, until each has a verdict that ends its way."""

from __future__ import annotations

import logging
import random
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from prometheus_client import Counter as CounterMetric
from prometheus_client import Histogram

from indexer.projection import Removal
from shared.model.document import Kind
from shared.model.encoded import EncodedDocument
from shared.model.query import Page, Query
from shared.ports import DocumentStore, Inbound, Verdict, Versioned
from shared.settings import IndexerSettings

DOCUMENTS: Final = CounterMetric(
    "runyard_indexer_documents", "Documents by kind and what became of them", ["kind", "verdict"]
)
RETRIES: Final = CounterMetric("runyard_indexer_retries", "Bulks of which something had to be tried again")
BULK_SECONDS: Final = Histogram(
    "runyard_indexer_bulk_seconds",
    "Duration of a bulk",
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0),
)

FIRST_DELAY: Final = 0.1
"""Seconds before the first retry: Elasticsearch drains a full write queue (10,000 documents) in about as long."""

LAST_DELAY: Final = 5.0
"""Seconds between retries at most: so soon is the projection back after the store is."""

_OVERHEAD: Final = 200
"""Bytes of a document's action line in a bulk."""

_LOOKED_UP: Final = 50
"""Deleted executions whose documents are looked up at once: as many as a search store asks in their shards only."""

_REMOVED: Final = 1_000
"""Documents of one answer of that look-up."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Item:
    """A document with the record that it came from."""

    document: Versioned
    origin: Inbound

    @property
    def size(self) -> int:
        """Bytes in a bulk."""
        content = self.document.document
        return _OVERHEAD + (len(content.raw) if isinstance(content, EncodedDocument) else 0)


class Delivery:
    """Bulks to one store, one at a time.

    RETRY keeps a document waiting, with growing delays; TOO_LARGE halves the bulk; a document that will never be stored
    is handed to `refuse`. Nothing is added while something waits, so that waiting never makes it grow.
    """

    def __init__(self, store: DocumentStore, settings: IndexerSettings, refuse: Callable[[Item, str], None]) -> None:
        """`refuse` is called with each document that the store will never take, and why."""
        self._store, self._settings, self._refuse = store, settings, refuse
        self._bulks: deque[list[Item]] = deque()
        self._removals: list[tuple[Removal, Inbound]] = []
        self._failures = 0
        self.problem: str | None = None  #: why the last attempt has to be repeated

    @property
    def waiting(self) -> bool:
        """Whether something has no final verdict yet."""
        return bool(self._bulks or self._removals)

    @property
    def delay(self) -> float:
        """Seconds to wait before the next `push`; jittered, for several indexers retry at the same store."""
        if not self._failures:
            return 0.0
        longest = min(LAST_DELAY, FIRST_DELAY * 2.0 ** min(self._failures - 1, 10))
        return longest * random.uniform(0.5, 1.0)

    def put(self, items: list[Item], removals: list[tuple[Removal, Inbound]]) -> None:
        """Documents to write, and executions to remove after them."""
        assert not self.waiting
        self._bulks.extend(_cut(items, self._settings.bulk_documents, self._settings.bulk_bytes))
        self._removals = list(removals)

    def push(self) -> bool:
        """Write what waits; False when something has to be tried again after `delay`."""
        try:
            while self.waiting:
                if self._bulks:
                    if not self._write(self._bulks.popleft()):
                        return False
                else:
                    self._remove()
        except (OSError, RuntimeError) as error:  # looking up what to remove: the store is away, or lacks an index
            self._failed(str(error))
            return False
        self._failures, self.problem = 0, None
        return True

    def _write(self, items: list[Item]) -> bool:
        with BULK_SECONDS.time():
            outcomes = self._store.write([item.document for item in items])
        again: list[Item] = []
        halves: list[Item] = []
        reason = ""
        counts: Counter[tuple[Kind, Verdict]] = Counter()
        for item, outcome in zip(items, outcomes, strict=True):
            verdict = outcome.verdict
            counts[item.document.kind, verdict] += 1
            if verdict is Verdict.RETRY:
                again.append(item)
                reason = outcome.reason
            elif verdict is Verdict.TOO_LARGE and len(items) > 1:
                halves.append(item)
            elif verdict is Verdict.REFUSED or verdict is Verdict.TOO_LARGE:
                self._refuse(item, outcome.reason)
        for (kind, verdict), count in counts.items():
            DOCUMENTS.labels(kind.value, verdict.value).inc(count)
        if halves:
            middle = (len(halves) + 1) // 2
            self._bulks.extendleft(half for half in (halves[middle:], halves[:middle]) if half)
        if again:
            self._bulks.appendleft(again)
            self._failed(f"{len(again)} of {len(items)} documents: {reason}")
            return False
        self._failures = 0
        return True

    def _failed(self, reason: str) -> None:
        self._failures += 1
        self.problem = reason
        RETRIES.inc()
        if (
            self._failures & (self._failures - 1) == 0
        ):  # the 1st, 2nd, 4th, … time: loud enough, and the disk stays free
            _log.warning("the search store did not take everything (time %d): %s", self._failures, reason)

    def _remove(self) -> None:
        """Turn removals into deletions, the executions' own in bulks after the others: they tell the tenant.

        Log lines and metrics stay: who deletes an execution may keep them, and says so to the API.
        """
        by_tenant: dict[str, dict[str, tuple[Removal, Inbound]]] = {}
        for removal, origin in self._removals:
            tenant = removal.tenant or self._tenant(removal.execution_id)
            if tenant is not None:
                by_tenant.setdefault(tenant, {})[removal.execution_id] = removal, origin
        items: list[Item] = []
        for tenant, removals in by_tenant.items():
            ids = list(removals)
            for start in range(0, len(ids), _LOOKED_UP):
                for kind in (Kind.TASK_RUN, Kind.ENTRY):
                    items += self._stored(tenant, kind, ids[start : start + _LOOKED_UP], removals)
        executions = [
            Item(Versioned(Kind.EXECUTION, removal.execution_id, removal.version, None, removal.execution_id), origin)
            for removal, origin in self._removals
        ]
        for each in (items, executions):
            self._bulks.extend(_cut(each, self._settings.bulk_documents, self._settings.bulk_bytes))
        self._removals = []

    def _tenant(self, execution_id: str) -> str | None:
        known = self._store.get(Kind.EXECUTION, execution_id, execution_id)
        return None if known is None or known.document is None else str(known.document["tenantId"])

    def _stored(
        self, tenant: str, kind: Kind, execution_ids: list[str], removals: Mapping[str, tuple[Removal, Inbound]]
    ) -> Iterator[Item]:
        """Deletions of the executions' stored documents of a kind that are not newer than their removal."""
        for execution_id in execution_ids:
            self._store.refresh(kind, execution_id)
        query = Query(tenant, kind, execution_ids=tuple(execution_ids), include_superseded=True)
        cursor = None
        while True:
            found = self._store.search(query, Page(1, _REMOVED, (), cursor))
            for document in found.documents:
                removal, origin = removals[str(document["executionId"])]
                if int(str(document["seq"])) <= removal.version:
                    name = str(document["id"])
                    deletion = Versioned(kind, name, removal.version, None, removal.execution_id)
                    yield Item(deletion, origin)
            cursor = found.cursor
            if cursor is None:
                return


def _cut(items: list[Item], most: int, size: int) -> Iterator[list[Item]]:
    """Bulks of at most `most` documents and `size` bytes; a larger document has one of its own."""
    bulk: list[Item] = []
    total = 0
    for item in items:
        if bulk and (len(bulk) >= most or total + item.size > size):
            yield bulk
            bulk, total = [], 0
        bulk.append(item)
        total += item.size
    if bulk:
        yield bulk
