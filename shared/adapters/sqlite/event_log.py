"""Event log: publishing, reading as a group, and tailing, on SQLite."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from shared.adapters.sqlite.database import SqliteDatabase, Transaction
from shared.adapters.sqlite.groups import Member
from shared.adapters.sqlite.streams import Bell
from shared.model.moment import Millis
from shared.ports import Inbound, Outbound, Topic


class SqliteSubscription:
    """A group's share of some topics. Uncommitted records come again, to this member or another."""

    def __init__(self, database: SqliteDatabase, topics: Sequence[Topic], group: str) -> None:
        self._database = database
        self._topics = tuple(topics)
        self._group = database.group(group)
        self._member = Member()
        self._next: dict[tuple[Topic, int], int] = {}
        self._turn = 0
        self._closed = False
        self._group.join(self._member)
        database.streams.listen(self._member.bell, self._topics)

    def poll(self, limit: int, timeout: float) -> Sequence[Inbound]:
        """At most `limit` records, waiting at most `timeout` seconds for the first one."""
        deadline = time.monotonic() + timeout
        bell = self._member.bell
        while True:
            bell.quiet()
            self._settle()
            records = self._read(limit)
            remaining = deadline - time.monotonic()
            if records or remaining <= 0 or self._closed:
                return records
            bell.wait(remaining)

    def _settle(self) -> None:
        group, member = self._group, self._member
        for partition in group.surplus(member):
            for topic in self._topics:
                self._next.pop((topic, partition), None)
            group.give_back(member, partition)
        if self._closed:
            return
        for partition in group.take(member):
            for topic in self._topics:
                self._next[topic, partition] = group.position(topic, partition)

    def _read(self, limit: int) -> list[Inbound]:
        """From all streams, each poll beginning with another one, so that a full stream starves none."""
        records: list[Inbound] = []
        keys = list(self._next)
        self._turn += 1
        start = self._turn % len(keys) if keys else 0
        for topic, partition in keys[start:] + keys[:start]:
            if len(records) >= limit:
                break
            position = self._next[topic, partition]
            found = self._database.streams.read(topic, partition, position, limit - len(records))
            if found:
                self._next[topic, partition] = found[-1].offset + 1
                records += found
        return records

    def commit(self, positions: Mapping[tuple[Topic, int], int]) -> None:
        """Remember the next offsets to read. A partition that is no longer owned is passed over."""
        group, member = self._group, self._member

        def work(transaction: Transaction) -> None:
            owned = {key: offset for key, offset in positions.items() if group.owns(member, key[1])}
            if owned:
                group.commit(transaction, owned)

        self._database.write(work)

    def lag(self) -> Mapping[tuple[Topic, int], int]:
        """Records between what is committed and the end, of each owned partition."""
        streams = self._database.streams
        return {
            (topic, partition): max(0, streams.stream(topic, partition).end - self._group.position(topic, partition))
            for topic, partition in list(self._next)
        }

    def close(self) -> None:
        """Give the share to the others; repeatable."""
        if self._closed:
            return
        self._closed = True
        self._database.streams.leave(self._member.bell)
        self._group.leave(self._member)
        self._member.bell.ring()


class SqliteTail:
    """Every record of some topics from a moment on, without a group."""

    def __init__(self, database: SqliteDatabase, topics: Sequence[Topic], since: Millis | None) -> None:
        self._database = database
        self._bell = Bell()
        streams = database.streams
        self._next = {
            (topic, partition): 0 if since is None else streams.first_since(topic, partition, since)
            for topic in topics
            for partition in range(database.partitions)
        }
        self._turn = 0
        self._closed = False
        streams.listen(self._bell, topics)

    def poll(self, limit: int, timeout: float) -> Sequence[Inbound]:
        """At most `limit` records, waiting at most `timeout` seconds for the first one."""
        deadline = time.monotonic() + timeout
        while True:
            self._bell.quiet()
            records = self._read(limit)
            remaining = deadline - time.monotonic()
            if records or remaining <= 0 or self._closed:
                return records
            self._bell.wait(remaining)

    def _read(self, limit: int) -> list[Inbound]:
        records: list[Inbound] = []
        keys = list(self._next)
        self._turn += 1
        start = self._turn % len(keys) if keys else 0
        for topic, partition in keys[start:] + keys[:start]:
            if len(records) >= limit:
                break
            found = self._database.streams.read(topic, partition, self._next[topic, partition], limit - len(records))
            if found:
                self._next[topic, partition] = found[-1].offset + 1
                records += found
        return records

    def caught_up(self) -> bool:
        """Whether everything that was committed when this was called has been returned by `poll`."""
        streams = self._database.streams
        return all(
            position >= streams.stream(topic, partition).end for (topic, partition), position in self._next.items()
        )

    def close(self) -> None:
        self._closed = True
        self._database.streams.leave(self._bell)
        self._bell.ring()


class SqliteEventLog:
    """Publishing and reading for the API, the workers and the indexer."""

    def __init__(self, database: SqliteDatabase) -> None:
        self._database = database
        self._opened: list[SqliteSubscription | SqliteTail] = []

    def publish(self, records: Sequence[Outbound]) -> None:
        """Durable on return; all or nothing. Raises RecordTooLarge before anything is written, or StorageError."""
        if not records:
            return
        streams = self._database.streams
        streams.check(records)
        self._database.write(lambda transaction: streams.append(transaction, records))

    def subscribe(self, topics: Sequence[Topic], group: str) -> SqliteSubscription:
        subscription = SqliteSubscription(self._database, topics, group)
        self._opened.append(subscription)
        return subscription

    def tail(self, topics: Sequence[Topic], since: Millis | None = None) -> SqliteTail:
        """Records from `since` (epoch ms) on; from the very first where it is None."""
        tail = SqliteTail(self._database, topics, since)
        self._opened.append(tail)
        return tail

    def close(self) -> None:
        """Close what was opened here and is open still."""
        for reader in self._opened:
            reader.close()
        self._opened.clear()
