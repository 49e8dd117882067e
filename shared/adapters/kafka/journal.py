"""The executor's exactly-once log on Kafka: consume, decide, produce, in one transaction a step."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from shared.adapters.kafka import changelog, client, partitioner, positions
from shared.adapters.kafka.intake import COMMANDS, EVENTS, Intake
from shared.adapters.kafka.state import KeyValueState
from shared.adapters.kafka.transaction import Record, Transactions
from shared.ports import (
    Aborted,
    Fenced,
    Inbound,
    JournalError,
    Outbound,
    PartitionOwner,
    Step,
    Topic,
    Uncertain,
)
from shared.settings import Settings

GROUP: Final = "executor"
"""The executors' consumer group, after the topics' prefix."""

_AHEAD: Final = 8
"""Batches' worth of records kept ahead: commands are found behind as many events that were fetched before them."""

_PAUSE: Final = 0.5
"""Seconds before Kafka is tried again after it could not be reached."""

_CO_PARTITIONED: Final = (COMMANDS, EVENTS, Topic.EXECUTOR_STATE)


@dataclass(slots=True)
class _Partition:
    """An owned partition, or one that was owned before the last rebalance.

    `stamp` is the metadata of its last committed offset. Every step writes a new one, so whoever finds the stamp
    unchanged knows that nobody has changed the state since: a rebalance then restores nothing.
    """

    state: KeyValueState
    stamp: str
    positions: dict[Topic, int]


class KafkaJournal:
    """Implements `Journal`. Used by one thread.

    `execution-commands` and `task-run-events` are read as one consumer group with the `range` assignor, which gives
    partition p of both to the same member. Offsets and changelog of p are written in each step's transaction.
    """

    def __init__(self, settings: Settings, *, instance: str | None = None) -> None:
        """Check the topics; the group is joined by the first `poll`.

        Args:
            settings: where Kafka is, the topics' prefix, the size limit.
            instance: this executor's stable name (default: the settings'). A restart under it ends at once the
                transaction that a killed predecessor left open, which else holds readers back until its timeout.

        Raises:
            JournalError: when Kafka does not answer, topics are missing or not co-partitioned.
        """
        self._settings = settings
        self._names: Final = client.Names(settings)
        self._limit: Final = settings.topics.max_message_bytes
        name = instance or settings.executor.instance or uuid.uuid4().hex
        self._transactional_id: Final = f"{settings.topics.prefix}executor-{name}"
        self._counts: Final = _counts(settings, self._names)
        self._partitions: Final = self._counts[COMMANDS]
        self._intake: Final = Intake()
        self._owned: dict[int, _Partition] = {}
        self._kept: dict[int, _Partition] = {}
        self._owner: PartitionOwner | None = None
        self._consumer: Consumer | None = None
        self._transactions: Transactions | None = None
        self._member: Any = None
        self._rebalanced = False
        self._failed = False
        self._stamp = uuid.uuid4().hex
        self._step = 0

    @property
    def partitions(self) -> int:
        return self._partitions

    def partition_of(self, key: str) -> int:
        return partitioner.partition_of(key, self._partitions)

    # ------------------------------------------------------------------------------------------------ reading

    def poll(self, owner: PartitionOwner, limit: int, timeout: float) -> Sequence[Inbound]:
        """See `Journal.poll`. A client that failed is replaced here; while Kafka is away, nothing comes."""
        self._owner = owner
        try:
            if self._failed:
                self._give_up(owner)
            if self._consumer is None:
                self._open()
            self._receive(limit, 0 if self._intake.size else timeout)
        except (KafkaException, JournalError) as failure:
            client.LOG.error("the executor's connection to Kafka is made anew: %s", failure)
            self._failed = True
            time.sleep(min(timeout, _PAUSE))
            return ()
        return self._intake.take(limit)

    def _receive(self, limit: int, timeout: float) -> None:
        assert self._consumer is not None
        room = limit * _AHEAD - self._intake.size
        self._rebalanced = False
        # `consume` would wait until it has all it asks for: the first record is waited for alone.
        first = self._consumer.poll(timeout) if timeout > 0 else None
        self._rebalanced = False
        messages = self._consumer.consume(max(room, 1), 0)
        if self._rebalanced:
            # The partitions changed between two of these: which ones belong to the new assignment is not known.
            self._fetch(self._consumer)
            return
        if first is not None:
            messages.insert(0, first)
        records = []
        for message in messages:
            error = message.error()
            if error is None:
                records.append(self._names.inbound(message))
            elif error.code() in (KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError.TOPIC_AUTHORIZATION_FAILED):
                raise KafkaException(error)
            else:  # librdkafka goes on by itself
                client.LOG.warning("reading: %s: %s", error.name(), error.str())
        self._intake.add(records)

    # ------------------------------------------------------------------------------------------------ writing

    def commit(self, step: Step) -> None:
        """See `Journal.commit`: outputs, changelog and offsets in one transaction, then the state in memory.

        Raises:
            ValueError: when the step rests on no partition (nothing could fence it), or names a partition that its
                topic does not have.
        """
        touched = step.touched | step.writes.keys() | {partition for _, partition in step.positions}
        if not touched:
            raise ValueError("a step must name the partitions that it rests on")
        gone = touched - self._owned.keys()
        if gone or self._failed or self._transactions is None:
            raise Fenced(f"partitions {sorted(gone or touched)} are not owned")
        records = list(self._records(step))
        self._step += 1
        stamp = f"{self._stamp}:{self._step}"
        offsets = [
            TopicPartition(self._names.full[topic], partition, offset, stamp)
            for (topic, partition), offset in self._positions(step, touched).items()
        ]
        try:
            self._transactions.run(records, offsets, self._member)
        except Aborted:
            self._intake.give_back()
            raise
        except (Fenced, Uncertain):
            self._failed = True
            raise
        for partition in touched:
            self._owned[partition].stamp = stamp
        for partition, changes in step.writes.items():
            self._owned[partition].state.apply(changes)
        for (topic, partition), offset in step.positions.items():
            self._owned[partition].positions[topic] = offset
        self._intake.settle(step.positions)

    def _positions(self, step: Step, touched: frozenset[int]) -> dict[tuple[Topic, int], int]:
        """What the step's offsets are, with that of execution-commands for every partition: it carries the stamp."""
        offsets = {(COMMANDS, partition): self._owned[partition].positions[COMMANDS] for partition in touched}
        for (topic, partition), offset in step.positions.items():
            if topic not in (COMMANDS, EVENTS):
                raise ValueError(f"{topic} is not read by the journal")
            offsets[topic, partition] = offset
        return offsets

    def _records(self, step: Step) -> Iterator[Record]:
        """All records of the step, checked. Raises RecordTooLarge and ValueError."""
        limit, counts, full = self._limit, self._counts, self._names.full
        for record in step.outputs:
            value, partition = record.value, record.partition
            if value is not None and len(value) + 4 * len(record.key) > limit:  # no character takes more than 4 bytes
                client.check_size(record, limit)
            if partition is not None and not 0 <= partition < counts[record.topic]:
                raise ValueError(f"{record.topic} record {record.key}: there is no partition {partition}")
            yield full[record.topic], record.key, value, -1 if partition is None else partition
        changelog_name = full[Topic.EXECUTOR_STATE]
        for partition, changes in step.writes.items():
            for key, value in changes.items():
                if value is not None and len(value) + 4 * len(key) > limit:
                    client.check_size(Outbound(Topic.EXECUTOR_STATE, key, value, partition), limit)
                yield changelog_name, key, value, partition

    # ------------------------------------------------------------------------------------------------ ownership

    def _open(self) -> None:
        if self._transactions is None:
            self._transactions = Transactions(self._settings, self._transactional_id)
        self._consumer = client.consumer(
            self._settings,
            GROUP,
            partition_assignment_strategy="range",
            # A loop that has not polled for this long is taken to hang. Restoring happens inside a poll: no limit.
            max_poll_interval_ms=60_000,
        )
        self._consumer.subscribe(
            [self._names.full[COMMANDS], self._names.full[EVENTS]],
            on_assign=self._on_assign,
            on_revoke=lambda _consumer, _partitions: self._on_revoke(lost=False),
            on_lost=lambda _consumer, _partitions: self._on_revoke(lost=True),
        )

    def _on_assign(self, consumer: Consumer, assigned: list[TopicPartition]) -> None:
        self._rebalanced = True
        partitions = sorted({found.partition for found in assigned})
        if len(assigned) != 2 * len(partitions):
            raise JournalError(f"the group's assignment is not co-partitioned: {assigned}; do all members use `range`?")
        # Kept for all commits until the next assignment: what is asked for later is what the client knows then, and
        # one that has noticed its eviction has no member id. A transaction without one is not fenced (KIP-447).
        self._member = consumer.consumer_group_metadata()
        owned = self._restored(consumer, partitions) if partitions else {}
        self._owned, self._kept = owned, {}
        for partition, held in owned.items():
            self._intake.own(partition, held.positions[COMMANDS], held.positions[EVENTS])
        self._fetch(consumer)
        assert self._owner is not None
        for partition, held in owned.items():
            self._owner.assigned(partition, held.state)

    def _fetch(self, consumer: Consumer) -> None:
        consumer.assign(
            [
                TopicPartition(self._names.full[topic], partition, offset)
                for (topic, partition), offset in self._intake.expected.items()
            ]
        )

    def _restored(self, consumer: Consumer, partitions: Sequence[int]) -> dict[int, _Partition]:
        """Committed offsets first, then the changelog up to its high watermark: never the other way round."""
        committed = self._committed(consumer, partitions)
        stamps = {partition: committed[COMMANDS, partition][1] for partition in partitions}
        unchanged = {p for p in partitions if p in self._kept and self._kept[p].stamp == stamps[p]}
        began = time.monotonic()
        states = changelog.restore(self._settings, [p for p in partitions if p not in unchanged])
        client.LOG.info(
            "partitions %s: %d of them restored with %d keys in %.1f s",
            partitions, len(states), sum(len(state) for state in states.values()), time.monotonic() - began,
        )  # fmt: skip
        return {
            partition: _Partition(
                self._kept[partition].state if partition in unchanged else states[partition],
                stamps[partition],
                {topic: committed[topic, partition][0] for topic in (COMMANDS, EVENTS)},
            )
            for partition in partitions
        }

    def _committed(self, consumer: Consumer, partitions: Sequence[int]) -> dict[tuple[Topic, int], tuple[int, str]]:
        """Next offsets to read, with their stamps; the first offset where none is committed, or retention passed it.

        They are stable: a read_committed consumer is answered when open transactions on them have ended (KIP-447).
        """
        places = [(self._names.full[topic], p) for topic in (COMMANDS, EVENTS) for p in partitions]
        earliest = positions.at(consumer, places, client.MOMENT_FIRST)
        asked = [TopicPartition(*place) for place in places]
        result = {}
        for found in client.patiently(lambda timeout: consumer.committed(asked, timeout)):
            start = earliest[found.topic, found.partition]
            if 0 <= found.offset < start:
                client.LOG.error(
                    "%s/%d: %d records were removed by retention before they were read",
                    found.topic, found.partition, start - found.offset,
                )  # fmt: skip
            result[self._names.topic[found.topic], found.partition] = (max(found.offset, start), found.metadata or "")
        return result

    def _on_revoke(self, *, lost: bool) -> None:
        self._rebalanced = True
        assert self._owner is not None
        for partition in list(self._owned):
            self._owner.revoked(partition, lost=lost or self._failed)
        self._disown()

    def _disown(self) -> None:
        self._kept = {**self._kept, **self._owned}
        self._owned = {}
        self._intake.clear()

    def _give_up(self, owner: PartitionOwner) -> None:
        """After an error: nothing is owned, and everything is opened anew."""
        for partition in list(self._owned):
            owner.revoked(partition, lost=True)
        self._disown()
        self._leave()
        if self._transactions is not None and self._transactions.broken:
            self._transactions.close()
            self._transactions = None
        self._failed = False

    def _leave(self) -> None:
        """Leave the group; the callbacks find nothing owned."""
        consumer, self._consumer, self._member = self._consumer, None, None
        if consumer is not None:
            consumer.close()

    def close(self) -> None:
        """Leave the group, so that others own the partitions at once. The owner is not called."""
        self._owned = {}
        self._intake.clear()
        self._leave()
        if self._transactions is not None:
            self._transactions.close()
            self._transactions = None


def _counts(settings: Settings, names: client.Names) -> Mapping[Topic, int]:
    """Partitions by topic. Raises JournalError."""
    probe = client.consumer(settings, None)
    try:
        counts = client.partition_counts(probe, names)
    finally:
        probe.close()
    if len({counts[topic] for topic in _CO_PARTITIONED}) > 1:
        found = ", ".join(f"{names.full[topic]} {counts[topic]}" for topic in _CO_PARTITIONED)
        raise JournalError(f"topics must have the same number of partitions, but they have: {found}")
    return counts
