"""Streams: the topics' partitions as runs of records in one table, with the newest ones kept in memory.

A record's primary key holds its topic (6 bits), partition (10 bits) and offset (47 bits), so that a stream is one
range of the table. Offsets grow, with gaps where a transaction was undone.
"""

from __future__ import annotations

import sqlite3
import threading
import time
import zlib
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from operator import attrgetter
from typing import TYPE_CHECKING, Final

from shared.model.moment import Millis
from shared.ports import Inbound, Outbound, RecordTooLarge, Topic

if TYPE_CHECKING:
    from shared.adapters.sqlite.database import SqliteDatabase, Transaction

TOPIC_NUMBERS: Final = {
    Topic.EXECUTION_COMMANDS: 1,
    Topic.TASK_RUN_COMMANDS: 2,
    Topic.TASK_RUN_EVENTS: 3,
    Topic.EXECUTION_EVENTS: 4,
    Topic.EXECUTOR_STATE: 5,
    Topic.FLOWS: 6,
    Topic.HEARTBEATS: 7,
    Topic.LOGS: 8,
    Topic.METRICS: 9,
    Topic.DEAD_LETTERS: 10,
    Topic.BULK_ACTIONS: 11,
}
"""Part of the file format: never renumbered."""

_OFFSET_BITS: Final = 47
_PARTITION_BITS: Final = 10
_OFFSETS: Final = 1 << _OFFSET_BITS
MAX_PARTITIONS: Final = 1 << _PARTITION_BITS

_RECENT: Final = 1024
"""Records of a stream kept in memory: two full batches, so that who reads along never asks SQL."""
_RECENT_BYTES: Final = 1 << 20
"""…but at most so many bytes of values, since a record may have megabytes."""

_offset_of = attrgetter("offset")


def stream_number(topic: Topic, partition: int) -> int:
    """The number of a topic's partition in the file."""
    return TOPIC_NUMBERS[topic] << _PARTITION_BITS | partition


class Bell:
    """Wakes one waiting thread when something may have changed for it."""

    __slots__ = ("_condition", "_rung")

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._rung = False

    def ring(self) -> None:
        with self._condition:
            self._rung = True
            self._condition.notify_all()

    def quiet(self) -> None:
        """Forget earlier rings: what is looked at from here on includes what they were about."""
        self._rung = False

    def wait(self, timeout: float) -> None:
        """Return when rung since `quiet`, or after `timeout` seconds."""
        with self._condition:
            if not self._rung:
                self._condition.wait(timeout)


class Stream:
    """One partition of one topic."""

    __slots__ = ("_bytes", "_recent", "base", "end", "listeners", "next", "number", "partition", "topic")

    def __init__(self, topic: Topic, partition: int) -> None:
        self.topic = topic
        self.partition = partition
        self.number = stream_number(topic, partition)
        self.base = self.number << _OFFSET_BITS
        self.next = 0  #: offset of the next record to write; belongs to the writer
        self.end = 0  #: offset after the last committed record
        self.listeners: tuple[Bell, ...] = ()
        self._recent: list[Inbound] = []
        self._bytes = 0

    def publish(self, records: list[Inbound]) -> None:
        """Show committed records to readers."""
        self._recent.extend(records)
        self._bytes += sum(len(record.value or b"") for record in records)
        self.end = records[-1].offset + 1
        if len(self._recent) > 2 * _RECENT or self._bytes > 2 * _RECENT_BYTES:
            self._shorten()

    def _shorten(self) -> None:
        kept = 0
        size = 0
        for record in reversed(self._recent):
            size += len(record.value or b"")
            if kept == _RECENT or size > _RECENT_BYTES:
                break
            kept += 1
        # A new list: a reader goes on with the old one.
        self._recent = self._recent[len(self._recent) - kept :] if kept else []
        self._bytes = sum(len(record.value or b"") for record in self._recent)

    def recent(self, position: int, limit: int) -> list[Inbound] | None:
        """Records from a position on, if these are in memory; else None."""
        recent = self._recent
        if not recent or recent[0].offset > position:
            return None
        start = bisect_left(recent, position, key=_offset_of)
        return recent[start : start + limit]


class Streams:
    """All streams of a database: appending, reading, and bells that ring when something comes."""

    def __init__(self, database: SqliteDatabase) -> None:
        self._database = database
        self._lock = threading.Lock()
        self._streams = {
            (topic, partition): Stream(topic, partition)
            for topic in TOPIC_NUMBERS
            for partition in range(database.partitions)
        }

    def load(self, connection: sqlite3.Connection) -> None:
        """Find where each stream ends. Trimming keeps the last record of each, so the end is never forgotten."""
        for stream in self._streams.values():
            (last,) = connection.execute(
                "SELECT max(place) FROM records WHERE place >= ? AND place < ?", (stream.base, stream.base + _OFFSETS)
            ).fetchone()
            stream.next = stream.end = 0 if last is None else last - stream.base + 1

    def stream(self, topic: Topic, partition: int) -> Stream:
        return self._streams[topic, partition]

    def all(self) -> Iterable[Stream]:
        return self._streams.values()

    def partition_of(self, key: str) -> int:
        """The partition of a key: its CRC-32 modulo the partitions."""
        return zlib.crc32(key.encode()) % self._database.partitions

    def check(self, records: Sequence[Outbound]) -> None:
        """Raise RecordTooLarge or ValueError before anything is written."""
        limit = self._database.record_limit
        for record in records:
            if record.value is not None and len(record.value) > limit:
                raise RecordTooLarge(record, len(record.value), limit)
            if record.partition is not None and not 0 <= record.partition < self._database.partitions:
                raise ValueError(f"{record.topic} has no partition {record.partition}")

    def append(self, transaction: Transaction, records: Sequence[Outbound]) -> None:
        """Add records (already checked) at the ends of their streams, as part of a transaction."""
        at = time.time_ns() // 1_000_000
        rows: list[tuple[int, str, bytes | None, Millis]] = []
        added: dict[Stream, list[Inbound]] = {}
        for record in records:
            partition = self.partition_of(record.key) if record.partition is None else record.partition
            stream = self._streams[record.topic, partition]
            offset = stream.next
            stream.next = offset + 1
            rows.append((stream.base + offset, record.key, record.value, at))
            inbound = Inbound(record.topic, partition, offset, record.key, record.value, at)
            added.setdefault(stream, []).append(inbound)
        transaction.connection.executemany("INSERT INTO records VALUES (?, ?, ?, ?)", rows)
        transaction.after_commit.append(lambda: self._publish(added, len(rows)))

    def _publish(self, added: dict[Stream, list[Inbound]], count: int) -> None:
        bells: set[Bell] = set()
        for stream, records in added.items():
            stream.publish(records)
            bells.update(stream.listeners)
        for bell in bells:
            bell.ring()
        self._database.retention.count(count)

    def read(self, topic: Topic, partition: int, position: int, limit: int) -> list[Inbound]:
        """At most `limit` committed records from a position on."""
        stream = self._streams[topic, partition]
        end = stream.end
        if position >= end or limit <= 0:
            return []
        records = stream.recent(position, limit)
        if records is not None:
            return records
        with self._database.reading() as connection:
            rows = connection.execute(
                "SELECT place, key, value, at FROM records WHERE place >= ? AND place < ? ORDER BY place LIMIT ?",
                (stream.base + position, stream.base + end, limit),
            ).fetchall()
        base = stream.base
        return [Inbound(topic, partition, place - base, key, value, at) for place, key, value, at in rows]

    def first_since(self, topic: Topic, partition: int, since: Millis) -> int:
        """The offset of the first record that was written at `since` or later; the end when there is none."""
        stream = self._streams[topic, partition]
        low, high = 0, stream.end
        with self._database.reading() as connection:
            while low < high:
                middle = (low + high) // 2
                row = connection.execute(
                    "SELECT place, at FROM records WHERE place >= ? AND place < ? ORDER BY place LIMIT 1",
                    (stream.base + middle, stream.base + high),
                ).fetchone()
                if row is None or row[1] >= since:
                    high = middle
                else:
                    low = row[0] - stream.base + 1
        return low

    def listen(self, bell: Bell, topics: Iterable[Topic], partitions: Iterable[int] | None = None) -> None:
        """Ring a bell whenever something comes on these topics."""
        chosen = range(self._database.partitions) if partitions is None else tuple(partitions)
        with self._lock:
            for topic in topics:
                for partition in chosen:
                    stream = self._streams[topic, partition]
                    stream.listeners = (*stream.listeners, bell)

    def leave(self, bell: Bell) -> None:
        """Ring it no more."""
        with self._lock:
            for stream in self._streams.values():
                stream.listeners = tuple(other for other in stream.listeners if other is not bell)
