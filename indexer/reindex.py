"""Reindex: builds the next generation of the index from the log's beginning, and switches over.

Searches and the projector go on with the current generation until the switch, which is a change of aliases. What the
projector wrote to the old generation while the new one was built stands in the log: it is read to its end once more
after the switch. Until then a run that is interrupted leaves the old generation in place; after it, run it again.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol, Self

from indexer.delivery import Delivery, Item
from indexer.log_end import LogEnd
from indexer.projector import Batch
from shared.dead_letters import origin_of
from shared.ports import DocumentStore, EventLog, Tail, Topic
from shared.settings import IndexerSettings

_READ: Final = 2_000

_log = logging.getLogger(__name__)


class Generations(DocumentStore, Protocol):
    """A store that can be built anew beside itself."""

    def next_generation(self) -> Self:
        """An empty store beside this one."""
        ...

    def adopt(self, following: Self) -> Sequence[str]:
        """Switch to the other one; returns what is unused now."""
        ...

    def discard(self, unused: Sequence[str] | None = None) -> None:
        """Remove what is unused; without names, this generation, which was not adopted."""
        ...


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """What a reindex did."""

    records: int  #: read from the log
    refused: tuple[str, ...]  #: documents and records that the new generation lacks, and why


def reindex(log: EventLog, store: Generations, settings: IndexerSettings | None = None) -> Rebuilt:
    """Build task runs and executions anew and switch to them. Log lines and metrics stay: the log forgets them.

    Raises JournalError, and what the store raises; before the switch nothing has changed then.
    """
    build = _Build(log, settings or IndexerSettings())
    try:
        following = store.next_generation()
        try:
            build.fill(following)
            unused = store.adopt(following)
        except BaseException:
            following.discard()
            raise
        build.fill(store)
        store.discard(unused)
    finally:
        build.close()
    return Rebuilt(build.records, tuple(build.refused))


class _Build:
    """Reads the log once, into one store after another."""

    def __init__(self, log: EventLog, settings: IndexerSettings) -> None:
        self._tail: Tail = log.tail([Topic.EXECUTION_EVENTS])
        self._settings = settings
        self.records = 0
        self.refused: list[str] = []

    def fill(self, store: DocumentStore) -> None:
        """Write what is in the log up to its end of now."""
        delivery = Delivery(store, self._settings, self._refuse)
        end = LogEnd(self._tail)
        ended = False
        while not ended:
            batch = Batch()
            while not ended and batch.records < _READ:
                records = self._tail.poll(_READ - batch.records, 0.1)
                for record in records:
                    batch.add(record)
                ended = end.reached(records)
            self.records += batch.records
            delivery.put(list(batch.items.values()), batch.removals)
            while not delivery.push():
                time.sleep(delivery.delay)
            for record, reason in batch.dead:
                self._lacks(f"{origin_of(record)}: {reason}")

    def _refuse(self, item: Item, reason: str) -> None:
        document = item.document
        self._lacks(f"{document.kind.value} {document.id} ({origin_of(item.origin)}): {reason}")

    def _lacks(self, what: str) -> None:
        _log.error("not in the new generation: %s", what)
        self.refused.append(what)

    def close(self) -> None:
        self._tail.close()
