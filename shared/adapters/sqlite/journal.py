"""Journal: the executor's log on SQLite. Positions, state and outputs of a step are one transaction."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Final

from shared.adapters.sqlite.database import SqliteDatabase, Transaction
from shared.adapters.sqlite.errors import StorageError
from shared.adapters.sqlite.groups import Member
from shared.ports import Aborted, Fenced, Inbound, Outbound, PartitionOwner, RecordTooLarge, Step, Topic

GROUP: Final = "executor"
_TOPICS: Final = (Topic.EXECUTION_COMMANDS, Topic.TASK_RUN_EVENTS)
"""In the order in which they are read: commands before events."""


class SqliteJournal:
    """One member of the executors' group. Several in one process share the partitions as several hosts would."""

    def __init__(self, database: SqliteDatabase) -> None:
        self._database = database
        self._group = database.group(GROUP)
        self._member = Member()
        self._next: dict[tuple[Topic, int], int] = {}
        self._closed = False
        self._group.join(self._member)
        database.streams.listen(self._member.bell, _TOPICS)

    @property
    def partitions(self) -> int:
        return self._database.partitions

    def partition_of(self, key: str) -> int:
        return self._database.streams.partition_of(key)

    def poll(self, owner: PartitionOwner, limit: int, timeout: float) -> Sequence[Inbound]:
        """At most `limit` records, commands before events, waiting at most `timeout` seconds for the first one."""
        deadline = time.monotonic() + timeout
        bell = self._member.bell
        while True:
            bell.quiet()
            self._settle(owner)
            records = self._read(limit)
            remaining = deadline - time.monotonic()
            if records or remaining <= 0 or self._closed:
                return records
            bell.wait(remaining)

    def _settle(self, owner: PartitionOwner) -> None:
        """Learn of lost partitions, give back what others shall have, take what is free."""
        group, member = self._group, self._member
        for partition in group.lost(member):
            self._forget(partition)
            owner.revoked(partition, lost=True)
        if self._closed:
            return
        group.join(member)
        for partition in group.surplus(member):
            owner.revoked(partition, lost=False)
            self._forget(partition)
            group.give_back(member, partition)
        for partition in group.take(member):
            entries = self._database.entries(partition)
            for topic in _TOPICS:
                self._next[topic, partition] = group.position(topic, partition)
            owner.assigned(partition, entries)

    def _forget(self, partition: int) -> None:
        for topic in _TOPICS:
            self._next.pop((topic, partition), None)

    def _read(self, limit: int) -> list[Inbound]:
        records: list[Inbound] = []
        streams = self._database.streams
        for topic in _TOPICS:
            for partition in sorted(self._member.owned):
                key = (topic, partition)
                if len(records) >= limit or key not in self._next:
                    continue
                found = streams.read(topic, partition, self._next[key], limit - len(records))
                if found:
                    self._next[key] = found[-1].offset + 1
                    records += found
        return records

    def commit(self, step: Step) -> None:
        """Write the step; what is told as committed is in the file.

        Raises Fenced when a partition of the step is not owned: then all partitions count as lost, as after a
        consumer group's eviction. Raises Aborted when the file could not take it: the same records come again.
        """
        self._check_sizes(step)
        partitions = step.touched | step.writes.keys() | {partition for _, partition in step.positions}

        def write(transaction: Transaction) -> None:
            for partition in partitions:
                if not self._group.owns(self._member, partition):
                    raise Fenced(f"partition {partition} of the step belongs to another executor")
            for partition, changes in step.writes.items():
                self._write_state(transaction, partition, changes)
            if step.positions:
                self._group.commit(transaction, step.positions)
            if step.outputs:
                self._database.streams.append(transaction, step.outputs)

        try:
            self._database.write(write)
        except Fenced:
            self._group.take_away(self._member)
            raise
        except StorageError as error:
            for topic, partition in self._next:
                self._next[topic, partition] = self._group.position(topic, partition)
            raise Aborted(str(error)) from error

    def _check_sizes(self, step: Step) -> None:
        """State values have the limit of records too: on Kafka they are such."""
        limit = self._database.record_limit
        self._database.streams.check(step.outputs)
        for partition, changes in step.writes.items():
            for key, value in changes.items():
                if value is not None and len(value) > limit:
                    raise RecordTooLarge(Outbound(Topic.EXECUTOR_STATE, key, value, partition), len(value), limit)

    def _write_state(self, transaction: Transaction, partition: int, changes: Mapping[str, bytes | None]) -> None:
        connection = transaction.connection
        kept = [(partition, key, value) for key, value in changes.items() if value is not None]
        gone = [(partition, key) for key, value in changes.items() if value is None]
        if kept:
            connection.executemany("INSERT OR REPLACE INTO state VALUES (?, ?, ?)", kept)
        if gone:
            connection.executemany("DELETE FROM state WHERE partition = ? AND key = ?", gone)
        entries = self._database.entries(partition)
        transaction.after_commit.append(lambda: entries.apply(changes))

    def revoke(self, partition: int, *, lost: bool = True) -> None:
        """For tests: lose a partition to nobody, at once (`lost`), or be asked to give it back at the next poll.

        Either way it is assigned anew, at that same poll where this journal is the only one.
        """
        if not lost:
            self._group.ask_back(self._member, partition)
            return
        self._take_away(frozenset((partition,)), expel=False)

    def evict(self) -> None:
        """For tests: be put out of the group as a stalled executor is; the next poll joins it again."""
        self._take_away(None, expel=True)

    def _take_away(self, partitions: frozenset[int] | None, *, expel: bool) -> None:
        group, member = self._group, self._member

        def work(transaction: Transaction) -> None:
            # After the commit: a step in the same transaction was written by an owner.
            transaction.after_commit.append(lambda: group.take_away(member, partitions, expel=expel))

        self._database.write(work)

    def close(self) -> None:
        """Hand the partitions over and leave; repeatable."""
        if self._closed:
            return
        self._closed = True
        self._database.streams.leave(self._member.bell)
        self._group.leave(self._member)
        self._member.bell.ring()
