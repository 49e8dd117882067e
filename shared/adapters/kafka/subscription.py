"""Reading a group's share of some topics, at least once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from confluent_kafka import KafkaError, KafkaException, TopicPartition

from shared.adapters.kafka import client, positions
from shared.ports import Inbound, JournalError, Topic
from shared.settings import Settings

_MOVED: Final = frozenset(
    {
        KafkaError.ILLEGAL_GENERATION,
        KafkaError.UNKNOWN_MEMBER_ID,
        KafkaError.REBALANCE_IN_PROGRESS,
        KafkaError.FENCED_INSTANCE_ID,
        KafkaError._ASSIGNMENT_LOST,  # noqa: SLF001  # its public name
    }
)
"""Answers to a commit after which the records come again, to this member or another."""


class KafkaSubscription:
    """Implements `Subscription`, read_committed. `lag` may be called by any thread, the others by one."""

    def __init__(self, settings: Settings, topics: Sequence[Topic], group: str) -> None:
        """Subscribe; the group is joined by the first `poll`.

        Raises:
            JournalError: when Kafka does not answer, or topics are missing.
        """
        self._names: Final = client.Names(settings)
        self._positions: Final = positions.Positions()
        self._committed: Final[dict[positions.Place, int]] = {}
        self._consumer: Final = client.consumer(
            settings,
            group,
            enable_partition_eof=True,
            # A member that comes or goes moves only its share; the others read on.
            partition_assignment_strategy="cooperative-sticky",
            max_poll_interval_ms=300_000,  # a bulk of the indexer may be retried for as long as the store is away
        )
        try:
            client.partition_counts(self._consumer, self._names)
            self._consumer.subscribe([self._names.full[topic] for topic in topics])
        except BaseException:
            self._consumer.close()
            raise

    def poll(self, limit: int, timeout: float) -> Sequence[Inbound]:
        """See `Subscription.poll`. May return nothing before the time is up."""
        return self._positions.note(positions.receive(self._consumer, limit, timeout), self._names)

    def commit(self, positions: Mapping[tuple[Topic, int], int]) -> None:
        """See `Subscription.commit`. Raises JournalError when Kafka does not take them."""
        owned = self._owned()
        offsets = {
            (self._names.full[topic], partition): offset
            for (topic, partition), offset in positions.items()
            if (self._names.full[topic], partition) in owned
        }
        if not offsets:
            return
        try:
            done = self._consumer.commit(
                offsets=[TopicPartition(*place, offset) for place, offset in offsets.items()], asynchronous=False
            )
        except KafkaException as failure:
            if client.error_of(failure).code() in _MOVED:
                client.LOG.info("positions not committed, the partitions move: %s", client.error_of(failure).str())
                return
            raise JournalError(f"positions not committed: {client.error_of(failure).str()}") from failure
        for found in done or ():
            if found.error is None:
                self._committed[found.topic, found.partition] = found.offset
            elif found.error.code() not in _MOVED:
                raise JournalError(f"position of {found.topic}/{found.partition}: {found.error.str()}")

    def lag(self) -> Mapping[tuple[Topic, int], int]:
        """See `Subscription.lag`: records that are not committed as read. Raises JournalError."""
        owned = self._owned()
        unknown = [TopicPartition(*place) for place in owned if place not in self._committed]
        try:
            for found in (
                client.patiently(lambda timeout: self._consumer.committed(unknown, timeout)) if unknown else ()
            ):
                self._committed[found.topic, found.partition] = max(found.offset, 0)
        except KafkaException as failure:
            raise JournalError(f"Kafka does not answer: {client.error_of(failure).str()}") from failure
        first = positions.at(self._consumer, owned, client.MOMENT_FIRST)
        behind: dict[tuple[Topic, int], int] = {}
        for place, end in positions.ends(self._consumer, owned).items():
            committed = max(self._committed[place], first[place])
            if self._positions.after.get(place, 0) <= committed:  # only markers were seen behind it, if anything
                committed = max(committed, self._positions.next.get(place, 0))
            behind[self._names.topic[place[0]], place[1]] = max(end - committed, 0)
        return behind

    def _owned(self) -> list[positions.Place]:
        return [(found.topic, found.partition) for found in self._consumer.assignment()]

    def close(self) -> None:
        self._consumer.close()
