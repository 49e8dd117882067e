"""Kafka clients: names of topics, configuration, and what errors mean. No other module knows a librdkafka key."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from shared.ports import Inbound, JournalError, Outbound, RecordTooLarge, Topic
from shared.settings import Settings

LOG: Final = logging.getLogger("runyard.kafka")

QUIET: Final = 10.0
"""Seconds for which a line that was logged is not logged again: without a broker librdkafka says the same many times
a second, and delivers a minute of it at once."""

REQUEST_TIMEOUT: Final = 30.0
"""Seconds that a look-up (metadata, offsets) may take: a broker that restarts is back within 5 to 20 s (measured)."""

PROPAGATION_TIMEOUT: Final = 5.0
"""Seconds that a broker may take to hear of topics that were just created."""

TRANSACTION_TIMEOUT: Final = 10.0
"""Seconds after which the broker aborts a dead executor's transaction. It holds back every read_committed reader of
the partitions that it touched, so it is short; a step takes milliseconds."""

_PASSING: Final = frozenset(
    {
        KafkaError.NOT_LEADER_FOR_PARTITION,  # also for a moment after a topic was created
        KafkaError.LEADER_NOT_AVAILABLE,
        KafkaError.UNKNOWN_TOPIC_OR_PART,
        KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
        KafkaError.COORDINATOR_NOT_AVAILABLE,
        KafkaError.NOT_COORDINATOR,
        KafkaError.UNSTABLE_OFFSET_COMMIT,  # an open transaction holds the offset
        KafkaError.REQUEST_TIMED_OUT,
        KafkaError._TRANSPORT,  # noqa: SLF001  # their public names
        KafkaError._TIMED_OUT,  # noqa: SLF001
        KafkaError._WAIT_COORD,  # noqa: SLF001
        KafkaError._UNKNOWN_PARTITION,  # noqa: SLF001
    }
)
"""Errors of a look-up that another try may not meet."""

_PAUSE: Final = 0.05
"""Seconds before another try."""

BATCH_OVERHEAD: Final = 64 * 1024
"""Bytes that headers may add to the largest record: what topics and producers allow above the setting."""

MOMENT_FIRST: Final = -2
MOMENT_END: Final = -1
"""Kafka's special timestamps: the first offset, and the one after the last (read_committed: the last stable offset)."""


class Repeats(logging.Filter):
    """Lets a line through once in QUIET seconds, whichever client says it and however long it waited."""

    _VARIES: Final = re.compile(r"rdkafka#\w+-\d+|\(after \d+ms[^)]*\)")
    _KEPT: Final = 1000

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._now = now
        self._said: dict[str, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        text = self._VARIES.sub("", record.getMessage())
        now = self._now()
        if now - self._said.get(text, -QUIET) < QUIET:
            return False
        if len(self._said) >= self._KEPT:
            self._said.clear()
        self._said[text] = now
        return True


LOG.addFilter(Repeats())


class Names:
    """The topics' names in the cluster."""

    def __init__(self, settings: Settings) -> None:
        self.full: Final = {topic: f"{settings.topics.prefix}{topic}" for topic in Topic}
        self.topic: Final = {full: topic for topic, full in self.full.items()}

    def inbound(self, message: Message) -> Inbound:
        """A record as the ports describe it."""
        key = message.key()
        return Inbound(
            self.topic[message.topic()],  # type: ignore[index]  # a fetched record has topic, partition and offset
            message.partition(),  # type: ignore[arg-type]
            message.offset(),  # type: ignore[arg-type]
            key.decode("utf-8", "replace") if isinstance(key, bytes) else "",
            message.value(),
            message.timestamp()[1],
        )


def common(settings: Settings) -> dict[str, Any]:
    """What every client is given."""
    return {
        "reconnect.backoff.max.ms": 1000,  # a broker that restarts is found again at once, not after up to 10 s
        "error_cb": _log_error,
        "log_level": 5,  # syslog's notice
        **settings.kafka.client(),
    }


def consumer(settings: Settings, group: str | None, *, committed: bool = True, **extra: Any) -> Consumer:
    """A consumer that commits only when told.

    Args:
        settings: where Kafka is, and further librdkafka keys.
        group: its group without prefix; None for a reader that never joins one.
        committed: read_committed, else read_uncommitted.
        extra: further librdkafka keys, `_` for `.`.
    """
    return Consumer(
        {
            "session.timeout.ms": 6000,
            "heartbeat.interval.ms": 1500,
            # Little is fetched ahead of 32 partitions; the next fetch then must not wait the default second.
            "queued.min.messages": 2000,
            "fetch.queue.backoff.ms": 5,
            "fetch.error.backoff.ms": 100,
            "auto.offset.reset": "earliest",
            **_keys(extra),
            **common(settings),  # a deployment may tune all but what follows
            "group.id": f"{settings.topics.prefix}{group or 'reader'}",
            "group.protocol": "classic",
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "isolation.level": "read_committed" if committed else "read_uncommitted",
        },
        logger=LOG,
    )


def producer(settings: Settings, **extra: Any) -> Producer:
    """An idempotent producer.

    Args:
        settings: where Kafka is, and further librdkafka keys.
        extra: further librdkafka keys, `_` for `.`.
    """
    return Producer(
        {
            "compression.type": "lz4",  # a document shrinks to a third, at less than 1 µs a record
            "queue.buffering.max.messages": 1_000_000,
            "queue.buffering.max.kbytes": 262_144,
            **_keys(extra),
            **common(settings),  # a deployment may tune all but what follows
            "message.max.bytes": settings.topics.max_message_bytes + BATCH_OVERHEAD,
            "enable.idempotence": True,
            "acks": "all",
            "partitioner": "murmur2_random",
        },
        logger=LOG,
    )


def check_size(record: Outbound, limit: int) -> None:
    """Raises RecordTooLarge when key and value are more than `limit` bytes."""
    size = len(record.value or b"") + len(record.key.encode())
    if size > limit:
        raise RecordTooLarge(record, size, limit)


def error_of(failure: KafkaException) -> KafkaError:
    """librdkafka's error in the exception."""
    error = failure.args[0]
    assert isinstance(error, KafkaError)
    return error


def patiently(ask: Callable[[float], list[TopicPartition]]) -> list[TopicPartition]:
    """What a look-up of partitions answers, asked again while an error may pass.

    Args:
        ask: makes one request, given its time limit in seconds.

    Raises:
        KafkaException: for another error, and for any after REQUEST_TIMEOUT.
    """
    deadline = time.monotonic() + REQUEST_TIMEOUT
    while True:
        try:
            found = ask(max(deadline - time.monotonic(), 1.0))
            for partition in found:
                if partition.error is not None:
                    raise KafkaException(partition.error)  # noqa: TRY301
        except KafkaException as failure:
            error = error_of(failure)
            if time.monotonic() > deadline or not (error.retriable() or error.code() in _PASSING):
                raise
            time.sleep(_PAUSE)
        else:
            return found


def partition_counts(client: Consumer | AdminClient, names: Names) -> dict[Topic, int]:
    """How many partitions each topic has.

    Raises:
        JournalError: when Kafka does not answer, or naming the topics that are missing.
    """
    deadline = time.monotonic() + PROPAGATION_TIMEOUT
    while True:
        try:
            found = client.list_topics(timeout=REQUEST_TIMEOUT).topics
        except KafkaException as failure:
            raise JournalError(f"Kafka does not answer: {error_of(failure).str()}") from failure
        counts = {topic: len(found[full].partitions) for topic, full in names.full.items() if full in found}
        missing = [names.full[topic] for topic in Topic if not counts.get(topic)]
        if not missing:
            return counts
        if time.monotonic() > deadline:
            raise JournalError(f"topics are missing: {', '.join(missing)}; `runyard topics` creates them")
        time.sleep(_PAUSE)


def _keys(extra: Mapping[str, Any]) -> dict[str, Any]:
    return {name if name == "on_delivery" else name.replace("_", "."): value for name, value in extra.items()}


def _log_error(error: KafkaError) -> None:
    LOG.log(logging.CRITICAL if error.fatal() else logging.WARNING, "%s: %s", error.name(), error.str())
