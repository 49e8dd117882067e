"""Writing records so that they are durable when the call returns."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Final

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from shared.adapters.kafka import client
from shared.ports import JournalError, Outbound
from shared.settings import Settings

_TIMEOUT: Final = 30.0
"""Seconds that a record may take: longer than a broker's restart (5 to 20 s, measured)."""

_TURN: Final = 0.2
"""Seconds of one wait of the thread that serves deliveries; deliveries end it at once."""


class _Batch:
    """The records of one call, counted down as they are delivered."""

    def __init__(self, count: int) -> None:
        self._open = count
        self.error: KafkaError | None = None
        self.done: Final = threading.Event()

    def delivered(self, error: KafkaError | None, _message: Message) -> None:
        """Called by the serving thread alone."""
        if error is not None and self.error is None:
            self.error = error
        self._open -= 1
        if self._open == 0:
            self.done.set()


class Publisher:
    """An idempotent producer for several threads, with one thread that serves its deliveries."""

    def __init__(self, settings: Settings) -> None:
        self._settings: Final = settings
        self._names: Final = client.Names(settings)
        self._limit: Final = settings.topics.max_message_bytes
        self._lock: Final = threading.Lock()
        self._closed: Final = threading.Event()
        self._producer = self._open()
        self._retired: list[Producer] = []
        self._server = threading.Thread(target=self._serve, name="kafka-deliveries", daemon=True)
        self._server.start()

    def _open(self) -> Producer:
        # Whoever publishes waits for it: no linger. Records of several threads find company while others are in
        # flight (measured: 1,150 calls/s of one thread and 7,000 of 16; with 1 ms of linger 500 and 5,700).
        return client.producer(self._settings, linger_ms=0, delivery_timeout_ms=round(_TIMEOUT * 1000))

    def publish(self, records: Sequence[Outbound]) -> None:
        """See `EventLog.publish`. After a JournalError some of the records may have been written.

        Raises:
            RecordTooLarge: before anything is written.
            JournalError: with the first error.
        """
        if not records:
            return
        for record in records:
            client.check_size(record, self._limit)
        batch = _Batch(len(records))
        producer = self._producer
        for record in records:
            self._produce(producer, record, batch)
        # Each record ends by its own timeout; the longer wait is for one that was produced last.
        while not batch.done.wait(_TIMEOUT):
            if self._closed.is_set():
                raise JournalError("closed before the records were delivered")
        if batch.error is not None:
            if batch.error.fatal():
                self._replace(producer)
            raise JournalError(f"not published: {batch.error.name()}: {batch.error.str()}")

    def _produce(self, producer: Producer, record: Outbound, batch: _Batch) -> None:
        topic = self._names.full[record.topic]
        partition = -1 if record.partition is None else record.partition
        while True:
            try:
                producer.produce(topic, record.value, record.key, partition, on_delivery=batch.delivered)
            except BufferError:  # librdkafka's queue is full: the serving thread makes room
                if self._closed.wait(0.01):
                    raise JournalError("closed before the records were sent") from None
            except KafkaException as failure:
                error = client.error_of(failure)
                if error.fatal():
                    self._replace(producer)
                raise JournalError(f"not published: {record.topic} {record.key}: {error.str()}") from failure
            else:
                return

    def _replace(self, failed: Producer) -> None:
        """After a fatal error, the first who met it opens another producer."""
        with self._lock:
            if self._producer is failed:
                self._producer = self._open()
                self._retired.append(failed)  # its deliveries fail, which others wait to hear

    def _serve(self) -> None:
        while not self._closed.is_set():
            self._producer.poll(_TURN)
            for retired in self._retired:
                retired.poll(0)

    def close(self) -> None:
        """Wait for what is being delivered, and stop."""
        self._closed.set()
        self._server.join()
        self._producer.flush(_TIMEOUT)
        self._producer.close()
