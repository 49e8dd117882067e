"""The executor's transactional producer: one step, one transaction, and what its errors mean."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final, NoReturn

from confluent_kafka import KafkaError, KafkaException, Message, TopicPartition

from shared.adapters.kafka import client
from shared.ports import Aborted, Fenced, Uncertain
from shared.settings import Settings

Record = tuple[str, str, bytes | None, int]
"""Full topic name, key, value, partition (-1: the key decides)."""

_END_TIMEOUT: Final = client.TRANSACTION_TIMEOUT + 5
"""Seconds to wait for a transaction's end: past its timeout and the broker's sweep, the outcome is decided."""

_EVICTED: Final = frozenset(
    {KafkaError.ILLEGAL_GENERATION, KafkaError.UNKNOWN_MEMBER_ID, KafkaError.FENCED_INSTANCE_ID}
)
_REPLACED: Final = frozenset(
    {KafkaError._FENCED, KafkaError.PRODUCER_FENCED, KafkaError.INVALID_PRODUCER_EPOCH}  # noqa: SLF001  # its public name
)


class Transactions:
    """A transactional producer. After an error that leaves it unusable, `broken` is true: open another one."""

    def __init__(self, settings: Settings, transactional_id: str) -> None:
        """Take over the id: an open transaction of its previous user is ended first. Raises KafkaException."""
        self._undelivered: KafkaError | None = None  #: the first of the open transaction
        self._producer: Final = client.producer(
            settings,
            transactional_id=transactional_id,
            transaction_timeout_ms=round(client.TRANSACTION_TIMEOUT * 1000),
            # Batches fill while a step's records are handed over (1 ms), and leave while its offsets are written;
            # the flush at its end waits for no linger.
            linger_ms=1,
            # A transaction right after another meets the markers of the first still being written. The default
            # back-off of 100 ms then stalls every second step: 4k instead of 42k records/s (measured).
            retry_backoff_ms=1,
            retry_backoff_max_ms=20,
            on_delivery=self._delivered,
            delivery_report_only_error=True,
        )
        self.broken = False
        self._producer.init_transactions(client.REQUEST_TIMEOUT)

    def run(self, records: Iterable[Record], offsets: Sequence[TopicPartition], member: Any) -> None:
        """Write records and offsets, all or nothing.

        Args:
            records: what to write.
            offsets: next offsets to read; they are what fences a member that was evicted.
            member: the group metadata of the assignment that the offsets belong to.

        Raises:
            Fenced: the group or another producer has taken over; nothing was written.
            Aborted: nothing was written.
            Uncertain: it may have been written.
        """
        self.begin(records)
        try:
            self._producer.send_offsets_to_transaction(list(offsets), member, client.TRANSACTION_TIMEOUT)
        except KafkaException as failure:
            self._abort(client.error_of(failure))
        self._end()

    def _delivered(self, error: KafkaError | None, message: Message) -> None:
        if error is not None and self._undelivered is None:
            client.LOG.error("%s record %r: %s", message.topic(), message.key(), error.str())
            self._undelivered = error

    def begin(self, records: Iterable[Record]) -> None:
        """Begin a transaction and hand its records to librdkafka. Raises as `run` does."""
        produce = self._producer.produce
        self._undelivered = None
        try:
            self._producer.begin_transaction()
            for topic, key, value, partition in records:
                try:
                    produce(topic, value, key, partition)
                except BufferError:  # librdkafka's queue is full
                    self._producer.flush(client.TRANSACTION_TIMEOUT)
                    produce(topic, value, key, partition)
        except BufferError as failure:
            self._abort(KafkaError(KafkaError._QUEUE_FULL, str(failure)))  # noqa: SLF001
        except KafkaException as failure:
            self._abort(client.error_of(failure))

    def _end(self) -> None:
        # The end would flush by itself. Flushed before, a record that could not be delivered is known of while it is
        # certain that the transaction's end has not been asked for.
        left = self._producer.flush(client.TRANSACTION_TIMEOUT)
        if left or self._undelivered is not None:
            self._abort(self._undelivered or KafkaError(KafkaError._MSG_TIMED_OUT))  # noqa: SLF001
        try:
            self._producer.commit_transaction(_END_TIMEOUT)
        except KafkaException as failure:
            # An indefinite error, after which the producer is not used again (Jepsen's analysis of Bufstream 0.1.0,
            # 2024, holds for Kafka's protocol too).
            self.broken = True
            error = client.error_of(failure)
            raise Uncertain(f"the transaction's end is not known: {error.name()}: {error.str()}") from failure

    def _abort(self, error: KafkaError) -> NoReturn:
        """Abort, and raise what `run` says."""
        text = f"{error.name()}: {error.str()}"
        if error.fatal():
            self.broken = True
            raise (Fenced if error.code() in _REPLACED else Uncertain)(f"the producer can't go on: {text}")
        try:
            self._producer.abort_transaction(client.TRANSACTION_TIMEOUT)
        except KafkaException as failure:
            self.broken = True
            raise Uncertain(f"the transaction could not be aborted: {client.error_of(failure).str()}") from failure
        if error.code() in _EVICTED:
            raise Fenced(f"no longer a member of the group: {text}")
        raise Aborted(f"the transaction was aborted: {text}")

    def close(self) -> None:
        """Let go of the connections. An open transaction is ended by the id's next user, or by its timeout."""
        if not self.broken:  # closing aborts what is open, which may take for ever on a broken one
            self._producer.close()
