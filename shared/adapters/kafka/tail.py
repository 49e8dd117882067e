"""Reading every record of some topics, without a group."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from confluent_kafka import Consumer, TopicPartition

from shared.adapters.kafka import client, positions
from shared.model.moment import Millis
from shared.ports import Inbound, Topic
from shared.settings import Settings


class KafkaTail:
    """Implements `Tail`: all partitions, read_committed. Used by one thread."""

    def __init__(self, settings: Settings, topics: Sequence[Topic], since: Millis | None) -> None:
        """Assign the partitions that the topics have now.

        Raises:
            JournalError: when Kafka does not answer, or topics are missing.
        """
        self._settings: Final = settings
        self._asking: Consumer | None = None
        self._names: Final = client.Names(settings)
        self._positions: Final = positions.Positions()
        self._consumer: Final = client.consumer(settings, None, enable_partition_eof=True)
        try:
            counts = client.partition_counts(self._consumer, self._names)
            self._places: Final = [(self._names.full[t], partition) for t in topics for partition in range(counts[t])]
            moment = client.MOMENT_FIRST if since is None else since
            start = positions.at(self._consumer, self._places, moment)
            self._positions.next.update(start)
            self._consumer.assign([TopicPartition(*place, start[place]) for place in self._places])
        except BaseException:
            self._consumer.close()
            raise

    def poll(self, limit: int, timeout: float) -> Sequence[Inbound]:
        """See `Tail.poll`. May return nothing before the time is up."""
        return self._positions.note(positions.receive(self._consumer, limit, timeout), self._names)

    def caught_up(self) -> bool:
        """See `Tail.caught_up`. One request for each broker. Raises JournalError when Kafka does not answer.

        A broker answers the requests of a connection one after another, and the reader's is nearly always taken by a
        fetch that waits for records (`fetch.wait.max.ms`). Asked there, it took 470 ms; on another connection 1 ms
        (measured). An executor that met a new flow asked twice, and its whole loop stood still for a second.
        """
        if self._asking is None:
            self._asking = client.consumer(self._settings, None)
        seen = self._positions.next
        return all(seen[place] >= end for place, end in positions.ends(self._asking, self._places).items())

    def close(self) -> None:
        self._consumer.close()
        if self._asking is not None:
            self._asking.close()
