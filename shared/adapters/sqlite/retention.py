"""Retention: takes away what nobody needs any more, a little at a time, on a thread of its own.

Bounded topics lose what is older than their age and read by all groups. Compacted topics lose every record whose
key has a newer one: a cursor passes each record once and remembers per key where the newest stands.
"""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING, Final

from shared.adapters.sqlite.errors import StorageError
from shared.adapters.sqlite.streams import Stream
from shared.model.moment import Millis
from shared.ports import Topic

if TYPE_CHECKING:
    from shared.adapters.sqlite.database import SqliteDatabase, Transaction

_LOG = logging.getLogger(__name__)

_MINUTE: Final = 60_000
_DAY: Final = 24 * 60 * _MINUTE

KEPT_AFTER_READ: Final[dict[Topic, Millis]] = {
    Topic.EXECUTION_COMMANDS: _MINUTE,
    Topic.TASK_RUN_EVENTS: _MINUTE,
    Topic.LOGS: _MINUTE,
    Topic.METRICS: _MINUTE,
}
"""Age in ms from which a record that every group has read goes. A minute for whoever looks at what went wrong."""

KEPT: Final[dict[Topic, Millis]] = {
    Topic.TASK_RUN_COMMANDS: 10 * _MINUTE,
    Topic.HEARTBEATS: 60 * _MINUTE,
    Topic.EXECUTION_COMMANDS: 7 * _DAY,
    Topic.TASK_RUN_EVENTS: 7 * _DAY,
    Topic.LOGS: 7 * _DAY,
    Topic.METRICS: 7 * _DAY,
    Topic.DEAD_LETTERS: 30 * _DAY,
}
"""Age in ms from which a record goes, read or not. A session's commands are read at once or never: minutes do."""

COMPACTED: Final[dict[Topic, Millis]] = {
    Topic.EXECUTION_EVENTS: 60 * _MINUTE,
    Topic.FLOWS: 60 * _MINUTE,
    Topic.BULK_ACTIONS: 60 * _MINUTE,
}
"""Age in ms before which a record is not compacted: who follows an execution sees every one of its events."""

_CHUNK: Final = 500
"""Records of one transaction: some milliseconds during which other writers wait."""

_EVERY_RECORDS: Final = 2000
_EVERY_SECONDS: Final = 30.0
"""It works after so many records, or so long after the last one; never when nothing was written."""


class Retention:
    """The thread, and the work, which tests call at once with `run`."""

    def __init__(self, database: SqliteDatabase) -> None:
        self._database = database
        self._wake = threading.Event()
        self._stopped = False
        self._written = 0
        self._thread = threading.Thread(target=self._loop, name="sqlite-retention", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopped = True
        self._wake.set()
        self._thread.join()

    def count(self, records: int) -> None:
        """Told by the writer how many records came."""
        self._written += records
        if self._written >= _EVERY_RECORDS and not self._wake.is_set():
            self._wake.set()

    def _loop(self) -> None:
        while not self._stopped:
            self._wake.wait(_EVERY_SECONDS)
            self._wake.clear()
            if self._stopped or not self._written:
                continue
            self._written = 0
            try:
                self.run(time.time_ns() // 1_000_000)
            except StorageError as error:
                # The writer meets the same trouble and tells its caller; the next round tries again.
                _LOG.warning("old records were not removed: %s", error)

    def run(self, now: Millis) -> int:
        """Remove what may go at `now`; returns how many records went. Raises StorageError."""
        removed = 0
        for stream in self._database.streams.all():
            if stream.end == 0:
                continue
            while not self._stopped:
                step = self._compact(stream, now) if stream.topic in COMPACTED else self._trim(stream, now)
                removed += step[0]
                if not step[1]:
                    break
        return removed

    def _trim(self, stream: Stream, now: Millis) -> tuple[int, bool]:
        """One chunk of a bounded stream: how many went, and whether there may be more. The last record stays."""
        kept, kept_after_read = KEPT.get(stream.topic), KEPT_AFTER_READ.get(stream.topic)
        if kept is None:
            return 0, False
        consumed = self._database.consumed(stream.number) if kept_after_read is not None else None

        with self._database.reading() as connection:
            rows = connection.execute(
                "SELECT place, at FROM records WHERE place >= ? AND place < ? ORDER BY place LIMIT ?",
                (stream.base, stream.base + stream.end - 1, _CHUNK),
            ).fetchall()
        going: int | None = None
        count = 0
        for place, at in rows:
            read = consumed is not None and place < stream.base + consumed
            if at > now - (kept_after_read if read and kept_after_read is not None else kept):
                break
            going = place
            count += 1
        if going is None:
            return 0, False

        def remove(transaction: Transaction) -> None:
            transaction.connection.execute("DELETE FROM records WHERE place >= ? AND place <= ?", (stream.base, going))

        self._database.write(remove)
        return count, count == _CHUNK

    def _compact(self, stream: Stream, now: Millis) -> tuple[int, bool]:
        """Let the cursor pass one chunk of a compacted stream."""
        horizon = now - COMPACTED[stream.topic]
        consumed = self._database.consumed(stream.number)
        limit = stream.end - 1 if consumed is None else min(consumed, stream.end - 1)

        def work(transaction: Transaction) -> tuple[int, bool]:
            connection = transaction.connection
            name = f"compacted/{stream.number}"
            row = connection.execute("SELECT value FROM settings WHERE name = ?", (name,)).fetchone()
            start = stream.base if row is None else int(row[0])
            passed = removed = 0
            place = start - 1
            for found, key, deleted, at in connection.execute(
                "SELECT place, key, value IS NULL, at FROM records"
                " WHERE place >= ? AND place < ? ORDER BY place LIMIT ?",
                (start, stream.base + limit, _CHUNK),
            ).fetchall():
                if at > horizon:
                    break
                place = found
                passed += 1
                removed += self._pass(transaction, stream, key, place, deleted=bool(deleted))
            if passed:
                connection.execute("INSERT OR REPLACE INTO settings VALUES (?, ?)", (name, str(place + 1)))
            return removed, passed == _CHUNK

        return self._database.write(work)

    def _pass(self, transaction: Transaction, stream: Stream, key: str, place: int, *, deleted: bool) -> int:
        """Remove the record that this one replaces; a tombstone goes with what it buried."""
        connection = transaction.connection
        older = connection.execute(
            "SELECT place FROM compacted WHERE stream = ? AND key = ?", (stream.number, key)
        ).fetchone()
        removed = 0
        if older is not None:
            removed += connection.execute("DELETE FROM records WHERE place = ?", older).rowcount
        if deleted:
            connection.execute("DELETE FROM compacted WHERE stream = ? AND key = ?", (stream.number, key))
            removed += connection.execute("DELETE FROM records WHERE place = ?", (place,)).rowcount
        else:
            connection.execute("INSERT OR REPLACE INTO compacted VALUES (?, ?, ?)", (stream.number, key, place))
        return removed
