"""How far a reader is: the offsets behind what it has seen, and the ends of its partitions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from shared.adapters.kafka import client
from shared.ports import Inbound, JournalError

Place = tuple[str, int]
"""Full topic name and partition."""


class Positions:
    """Next offsets of a consumer with `enable.partition.eof`.

    Transaction markers and aborted records take offsets but are never returned. Only the end-of-partition event counts
    them, so a reader that went by its records alone would seem to stay behind for ever.
    """

    def __init__(self) -> None:
        self.next: Final[dict[Place, int]] = {}  #: past everything seen, markers included
        self.after: Final[dict[Place, int]] = {}  #: past the last record returned

    def note(self, messages: Iterable[Message], names: client.Names) -> list[Inbound]:
        """The records among the messages; offsets of these, and of ends, become next offsets.

        Raises:
            JournalError: when a topic is missing or may not be read.
        """
        records = []
        for message in messages:
            error, offset = message.error(), message.offset()
            if error is None:
                record = names.inbound(message)
                records.append(record)
                place = names.full[record.topic], record.partition
                self.next[place] = self.after[place] = record.offset + 1
            elif error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001  # its public name
                place = message.topic() or "", message.partition() or 0
                self.next[place] = max(self.next.get(place, 0), offset or 0)
            elif error.fatal() or error.code() in (
                KafkaError.UNKNOWN_TOPIC_OR_PART,
                KafkaError.TOPIC_AUTHORIZATION_FAILED,
            ):
                raise JournalError(f"reading {message.topic()}: {error.name()}: {error.str()}")
            else:  # librdkafka goes on by itself
                client.LOG.warning("reading %s: %s: %s", message.topic(), error.name(), error.str())
        return records


def receive(consumer: Consumer, limit: int, timeout: float) -> list[Message]:
    """At most `limit` messages, waiting at most `timeout` seconds for the first."""
    # `consume` would wait until it has all it asks for: the first one is waited for alone.
    first = consumer.poll(timeout)
    if first is None:
        return []
    return [first, *consumer.consume(limit - 1, 0)] if limit > 1 else [first]


def ends(consumer: Consumer, places: Sequence[Place]) -> dict[Place, int]:
    """Offsets after the last committed record (the last stable offset), in one request for each broker.

    Raises:
        JournalError: when Kafka does not answer.
    """
    return at(consumer, places, client.MOMENT_END)


def at(consumer: Consumer, places: Sequence[Place], moment: int) -> dict[Place, int]:
    """First offsets whose time is `moment` (epoch ms, or one of Kafka's special values) or later; else the end's.

    Raises:
        JournalError: when Kafka does not answer.
    """
    if not places:
        return {}
    asked = [TopicPartition(topic, partition, moment) for topic, partition in places]
    try:
        answer = client.patiently(lambda timeout: consumer.offsets_for_times(asked, timeout))
    except KafkaException as failure:
        raise JournalError(f"Kafka does not answer: {client.error_of(failure).str()}") from failure
    found = {(partition.topic, partition.partition): partition.offset for partition in answer}
    unknown = [place for place, offset in found.items() if offset < 0]
    if unknown and moment != client.MOMENT_END:
        found |= at(consumer, unknown, client.MOMENT_END)
    return found
