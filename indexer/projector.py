"""Projector: carries the log's records into the search store, and remembers how far it is."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from prometheus_client import Counter, Gauge

from indexer.delivery import Delivery, Item
from indexer.projection import PROJECTED, Removal, project
from shared.dead_letters import buried, dead_letter, origin_of
from shared.messages import DeadLetter, UnknownMessage
from shared.model.document import Kind
from shared.model.moment import Millis
from shared.ports import DocumentStore, EventLog, Inbound, JournalError, RecordTooLarge, Subscription, Topic
from shared.settings import Settings

LAG: Final = Gauge("runyard_indexer_lag_records", "Records that are not in the search store yet")
RECORDS: Final = Counter("runyard_indexer_records", "Records read")
DEAD_LETTERS: Final = Counter("runyard_indexer_dead_letters", "Records that could not be projected")
RESTARTS: Final = Counter("runyard_indexer_restarts", "Times that reading began anew from what was committed")

GROUP: Final = "runyard-indexer"
"""The consumer group: indexers share the partitions."""

FETCH: Final = 500
"""Records of one poll, so that the bounds of a batch are looked at often enough."""

MEASURE: Final = 5.0
"""Seconds between two measurements of the lag, each a request to the brokers."""

OPEN: Final = 10_000
"""Milliseconds for which a record may still be on its way into a partition: as long as a transaction may be open."""

STALE: Final = 300.0
"""Seconds after which a batch is not written any more, but read again: so long a group takes a silent member for alive.

Afterwards another indexer may be far ahead, and have deleted what would be written here. The search store refuses older
writes for some times as long after a deletion (`gc_deletes` in the mappings)."""

ALIVE: Final = 5.0
"""Seconds between two signs of life while a retry keeps the projector from polling; a group expects one in 300 s."""

_log = logging.getLogger(__name__)

Clock = Callable[[], float]


class Batch:
    """What was read since the last commit: of each document the newest version, and the positions behind it all."""

    def __init__(self) -> None:
        """Empty."""
        self.items: dict[tuple[Kind, str], Item] = {}
        self.removals: list[tuple[Removal, Inbound]] = []
        self.dead: list[tuple[Inbound, str]] = []
        self.positions: dict[tuple[Topic, int], int] = {}
        self.moments: dict[int, Millis] = {}  #: of the last record of each partition of execution-events
        self.records = 0
        self.size = 0
        self.since = 0.0  #: when its first record came
        self.read_at = 0.0  #: the same by the wall clock, which goes on while a machine is suspended

    def add(self, record: Inbound) -> None:
        """Take a record in; one that can't be read becomes a dead letter."""
        self.positions[record.topic, record.partition] = record.offset + 1
        if record.topic is Topic.EXECUTION_EVENTS:
            self.moments[record.partition] = record.at
        self.records += 1
        try:
            found = project(record)
        except UnknownMessage as error:
            self.dead.append((record, str(error)))
            return
        except Exception as error:  # noqa: BLE001 (whatever it is, it is this record's: the others go on)
            _log.exception("record %s can't be read", origin_of(record))
            self.dead.append((record, f"{type(error).__name__}: {error}"))
            return
        if found is None:
            return
        if isinstance(found, Removal):
            self.removals.append((found, record))
            return
        item = Item(found, record)
        key = found.kind, found.id
        known = self.items.get(key)
        if known is not None:
            if known.document.version > found.version:
                return
            self.size -= known.size
        self.items[key] = item
        self.size += item.size


class Projector:
    """Reads the log in a consumer group and writes documents. Used by one thread.

    A batch ends when it is large enough (count or bytes) or its first record has waited `bulk_delay`. Its positions are
    committed after every document of it has a final verdict; until then nothing more is read. A record that was
    written but not committed is written again, which its version makes harmless.
    """

    def __init__(
        self,
        log: EventLog,
        store: DocumentStore,
        settings: Settings,
        *,
        group: str = GROUP,
        clock: Clock = time.monotonic,
        wall: Clock = time.time,
    ) -> None:
        """Nothing is read before the first `step`."""
        self._log, self._store, self._group, self._clock, self._wall = log, store, group, clock, wall
        self._settings = settings.indexer
        self._service = f"indexer/{group}"
        self._projected: dict[int, Millis] = {}
        self._subscription: Subscription | None = None
        self._begin()

    def _begin(self) -> None:
        self._batch = Batch()
        self._delivery = Delivery(self._store, self._settings, self._refuse)
        self._delivering = False
        self._retry_at = 0.0
        self._alive_at = 0.0
        self._measured = self._clock() - MEASURE
        self._kept: list[Inbound] = []

    # ------------------------------------------------------------------ running

    @property
    def projected(self) -> Mapping[int, Millis]:
        """Up to which moment everything of a partition of execution-events is in the store. For any thread."""
        return dict(self._projected)

    @property
    def problem(self) -> str | None:
        """Why nothing is getting into the store just now; None while it is."""
        return self._delivery.problem

    def run(self, stop: threading.Event) -> None:
        """Project until told to stop. What the log refuses makes it begin anew from what was committed."""
        failures = 0
        try:
            while not stop.is_set():
                try:
                    self.step()
                    failures = 0
                except JournalError as error:
                    failures += 1
                    _log.warning("reading begins anew from what was committed: %s", error)
                    self.restart()
                    stop.wait(min(5.0, 0.1 * 2.0 ** min(failures, 6)))
        finally:
            self.close()

    def restart(self) -> None:
        """Leave the group and forget what is not committed: it comes again."""
        RESTARTS.inc()
        problem = self.problem
        self.close()
        self._begin()
        self._delivery.problem = problem

    def close(self) -> None:
        """Leave the group. What is not committed comes again, to whoever reads next."""
        subscription, self._subscription = self._subscription, None
        if subscription is not None:
            subscription.close()

    def step(self, timeout: float = 0.25) -> int:
        """Read once, and deliver when it is time; returns how many records are done with.

        Takes at most about `timeout` seconds while nothing comes. Raises JournalError.
        """
        if self._subscription is None:
            self._subscription = self._log.subscribe(PROJECTED, self._group)
        if self._delivering:
            return self._again(timeout)
        self._measure()
        batch = self._batch
        for record in self._read(timeout):
            if not batch.records:
                batch.since, batch.read_at = self._clock(), self._wall()
            batch.add(record)
        if batch.records and (self._full() or self._clock() >= batch.since + self._settings.bulk_delay):
            self._delivering = True
            self._delivery.put(list(batch.items.values()), batch.removals)
            return self._deliver()
        return 0

    def _read(self, timeout: float) -> Sequence[Inbound]:
        if self._kept:
            kept, self._kept = self._kept, []
            return kept
        assert self._subscription is not None
        if self._batch.records:
            timeout = min(timeout, max(0.0, self._batch.since + self._settings.bulk_delay - self._clock()))
        room = self._settings.bulk_documents - len(self._batch.items)
        records = self._subscription.poll(min(FETCH, room), timeout)
        RECORDS.inc(len(records))
        return records

    def _full(self) -> bool:
        batch, settings = self._batch, self._settings
        return len(batch.items) >= settings.bulk_documents or batch.size >= settings.bulk_bytes

    def _measure(self) -> None:
        now = self._clock()
        if now >= self._measured + MEASURE:
            assert self._subscription is not None
            self._measured = now
            moment = time.time_ns() // 1_000_000  # before the question: the answer knows of nothing written after it
            behind = self._subscription.lag()
            LAG.set(sum(behind.values()))
            for (topic, partition), records in behind.items():
                if topic is Topic.EXECUTION_EVENTS and records == 0:
                    self._reached(partition, moment)

    def _reached(self, partition: int, moment: Millis) -> None:
        self._projected[partition] = max(self._projected.get(partition, 0), moment - OPEN)

    # ------------------------------------------------------------------ delivering

    def _again(self, timeout: float) -> int:
        """Wait for the time of the next attempt, a sign of life now and then, and make it."""
        now = self._clock()
        if now < self._retry_at:
            time.sleep(min(timeout, self._retry_at - now))
        self._show_life()
        if self._clock() < self._retry_at:
            return 0
        return self._deliver()

    def _show_life(self) -> None:
        now = self._clock()
        if now < self._alive_at:
            return
        self._alive_at = now + ALIVE
        assert self._subscription is not None
        # Asked for nothing; an adapter that returns a record all the same must not lose it.
        kept = self._subscription.poll(0, 0.0)
        RECORDS.inc(len(kept))
        self._kept.extend(kept)
        self._measure()

    def _deliver(self) -> int:
        delivery, batch = self._delivery, self._batch
        waited = self._wall() - batch.read_at
        if waited > STALE:
            raise JournalError(f"{batch.records} records have waited for {waited:.0f} s and are read again")
        if not delivery.push():
            now = self._clock()
            self._retry_at = now + delivery.delay
            return 0
        self._bury(batch.dead)
        assert self._subscription is not None
        self._subscription.commit(batch.positions)
        for partition, moment in batch.moments.items():
            self._reached(partition, moment)
        self._batch = Batch()
        self._delivering = False
        return batch.records

    def _refuse(self, item: Item, reason: str) -> None:
        document = item.document
        self._batch.dead.append((item.origin, f"{document.kind.value} {document.id}: {reason}"))

    def _bury(self, dead: list[tuple[Inbound, str]]) -> None:
        """Publish dead letters; raises JournalError when the log doesn't take them, and then nothing is committed."""
        for record, reason in dead:
            letter = letter_of(record, reason, service=self._service)
            _log.error(
                "dead letter %s: %s (execution %s, task run %s)",
                letter.origin,
                reason,
                letter.execution_id,
                letter.task_run_id,
            )
            try:
                self._log.publish([buried(letter)])
            except RecordTooLarge as error:
                longer = f"{reason}; its {len(record.value or b'')} bytes are not kept: {error}"
                letter = letter_of(record, longer, service=self._service, keep=False)
                self._log.publish([buried(letter)])
            DEAD_LETTERS.inc()
        dead.clear()


def letter_of(record: Inbound, reason: str, *, service: str, keep: bool = True) -> DeadLetter:
    """A record that can't be projected, as a dead letter that names what it would have changed."""
    execution_id = task_run_id = None
    try:
        found = project(record)
    except Exception:  # noqa: BLE001 (unreadable: then it names no execution, which the reason says)
        found = None
    if isinstance(found, Removal):
        execution_id = found.execution_id
    elif found is not None:
        execution_id = found.routing
        of_log = (found.document or {}).get("taskRunId") if found.kind in (Kind.LOG, Kind.METRIC) else None
        task_run_id = found.id if found.kind is Kind.TASK_RUN else of_log
    return dead_letter(
        record,
        reason,
        service,
        time.time_ns() // 1_000_000,
        keep=keep,
        execution_id=execution_id,
        task_run_id=str(task_run_id) if task_run_id is not None else None,
    )
