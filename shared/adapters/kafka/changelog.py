"""Restoring partitions' state from the changelog, the compacted topic `executor-state`."""

from __future__ import annotations

import time
from collections.abc import Collection
from typing import Final

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from shared.adapters.kafka import client, positions
from shared.adapters.kafka.state import KeyValueState
from shared.ports import JournalError, Topic
from shared.settings import Settings

_STALLED: Final = 60.0
"""Seconds without progress after which a restore gives up; an open transaction or a broker's restart takes up to 20."""

_BATCH: Final = 10_000


def restore(settings: Settings, partitions: Collection[int]) -> dict[int, KeyValueState]:
    """The state of partitions, with everything that was committed.

    Call it after the committed offsets were read. The end is the high watermark of a read_uncommitted reader; a
    read_committed one then waits there until open transactions have ended. To end at the last stable offset would
    lose what a crashed owner's transaction, whose offsets are committed already, still adds.

    Raises:
        JournalError: when Kafka does not answer, or a transaction stays open.
        KafkaException: when a request fails.
    """
    name = client.Names(settings).full[Topic.EXECUTOR_STATE]
    states = {partition: KeyValueState() for partition in partitions}
    ends = _ends(settings, name, partitions)
    pending = {partition: end for partition, end in ends.items() if end > 0}
    if not pending:
        return states
    # All of it is wanted, as fast as it comes.
    reader = client.consumer(settings, None, enable_partition_eof=True, queued_min_messages=100_000)
    try:
        reader.assign([TopicPartition(name, partition, 0) for partition in pending])
        _read(reader, states, pending)
    finally:
        reader.close()
    return states


def _ends(settings: Settings, name: str, partitions: Collection[int]) -> dict[int, int]:
    reader = client.consumer(settings, None, committed=False)
    try:
        ends = positions.at(reader, [(name, partition) for partition in partitions], client.MOMENT_END)
        return {partition: end for (_, partition), end in ends.items()}
    finally:
        reader.close()


def _read(reader: Consumer, states: dict[int, KeyValueState], pending: dict[int, int]) -> None:
    progress = time.monotonic()
    changes: dict[int, dict[str, bytes | None]] = {partition: {} for partition in pending}
    while pending:
        first = reader.poll(1.0)
        messages = [] if first is None else [first, *reader.consume(_BATCH, 0)]
        for message in messages:
            error, partition, offset = message.error(), message.partition(), message.offset()
            assert partition is not None
            if error is None:
                key = message.key()
                assert isinstance(key, bytes)
                changes[partition][key.decode()] = message.value()
                continue
            if error.code() != KafkaError._PARTITION_EOF:  # noqa: SLF001  # its public name
                raise KafkaException(error)
            # The end of what is stable. Its offset counts transaction markers, which no record's does.
            if offset is not None and offset >= pending.get(partition, offset + 1):
                del pending[partition]
        if messages:
            progress = time.monotonic()
        elif time.monotonic() - progress > _STALLED:
            raise JournalError(f"restoring partitions {sorted(pending)}: nothing came for {_STALLED:.0f} s")
    for partition, changed in changes.items():
        states[partition].apply(changed)
