"""A worker session's commands: its records in one partition of `task-run-commands`, read from the end."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from typing import Final

from confluent_kafka import Consumer, TopicPartition

from shared.adapters.kafka import client, partitioner, positions
from shared.messages import UnknownMessage, WorkerCommand, decode
from shared.ports import Inbound, InboxAddress, Topic, UnreadableCommand
from shared.settings import Settings

_BATCH: Final = 500
"""Records fetched at a time: a shared partition also holds other sessions' commands."""


class KafkaInbox:
    """Implements `Inbox`: `assign()` and no group, read_committed. Used by one thread."""

    def __init__(self, settings: Settings) -> None:
        """Check the topics.

        Raises:
            JournalError: when Kafka does not answer, or topics are missing.
        """
        self._settings = settings
        self._names: Final = client.Names(settings)
        self._consumer: Final[Consumer] = client.consumer(settings, None, enable_partition_eof=True)
        try:
            self._partitions: Final = client.partition_counts(self._consumer, self._names)[Topic.TASK_RUN_COMMANDS]
        except BaseException:
            self._consumer.close()
            raise
        self._session = ""
        self._place: positions.Place = "", 0
        self._positions = positions.Positions()
        self._fetched: deque[Inbound] = deque()
        self._position = 0

    def open(self, session: str) -> InboxAddress:
        """See `Inbox.open`. The session's id chooses the partition. Raises JournalError."""
        partition = partitioner.partition_of(session, self._partitions)
        place = self._names.full[Topic.TASK_RUN_COMMANDS], partition
        # The last stable offset: records of transactions that are open now are read, and are for other sessions.
        end = positions.ends(self._consumer, [place])[place]
        self._consumer.assign([TopicPartition(*place, end)])
        self._session, self._place, self._position = session, place, end
        self._positions = positions.Positions()
        self._fetched.clear()
        return InboxAddress(partition, end)

    def take(self, limit: int, timeout: float) -> Sequence[WorkerCommand]:
        """See `Inbox.take`.

        Raises:
            UnreadableCommand: for a record of the session that cannot be read; it is passed over after that.
            JournalError: when the topic is missing or may not be read.
        """
        deadline = time.monotonic() + timeout
        while True:
            commands = self._for_session(limit)
            left = deadline - time.monotonic()
            if commands or left < 0:
                return commands
            messages = positions.receive(self._consumer, _BATCH, left)
            self._fetched.extend(self._positions.note(messages, self._names))

    def _for_session(self, limit: int) -> list[WorkerCommand]:
        commands: list[WorkerCommand] = []
        fetched = self._fetched
        while fetched and len(commands) < limit:
            record = fetched[0]
            if record.key == self._session and record.value is not None:
                try:
                    command = decode(record.value)
                    if not isinstance(command, WorkerCommand):
                        raise UnknownMessage(f"{type(command).__name__} is no command for a worker")  # noqa: TRY301
                except UnknownMessage as failure:
                    if commands:  # these first; the next call raises
                        return commands
                    self._pass(record)
                    raise UnreadableCommand(record, str(failure)) from failure
                commands.append(command)
            self._pass(record)
        if not fetched:
            self._position = max(self._position, self._positions.next.get(self._place, 0))
        return commands

    def _pass(self, record: Inbound) -> None:
        self._fetched.popleft()
        self._position = record.offset + 1

    @property
    def position(self) -> int:
        return self._position

    def close(self) -> None:
        self._consumer.close()
