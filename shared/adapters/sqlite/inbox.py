"""Inbox: a worker session's commands, out of the task-run-commands streams."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from typing import Final

from shared.adapters.sqlite.database import SqliteDatabase
from shared.adapters.sqlite.streams import Bell
from shared.messages import UnknownMessage, WorkerCommand, decode
from shared.ports import Inbound, InboxAddress, Topic

_LOG = logging.getLogger(__name__)

_CHUNK: Final = 500
"""Records looked at in one go: most are for other sessions of the partition."""


class SqliteInbox:
    """Reads one partition from its end at session start, passing over what is for other sessions."""

    def __init__(self, database: SqliteDatabase) -> None:
        self._database = database
        self._bell = Bell()
        self._session = b""
        self._name = ""
        self._partition = 0
        self._position = 0

    def open(self, session: str) -> InboxAddress:
        """Begin a session: what was sent before, and what is for others, is not seen."""
        streams = self._database.streams
        streams.leave(self._bell)
        self._name, self._session = session, session.encode()
        self._partition = streams.partition_of(session)
        self._position = streams.stream(Topic.TASK_RUN_COMMANDS, self._partition).end
        streams.listen(self._bell, (Topic.TASK_RUN_COMMANDS,), (self._partition,))
        return InboxAddress(self._partition, self._position)

    def take(self, limit: int, timeout: float) -> Sequence[WorkerCommand]:
        """At most `limit` commands for the session, waiting at most `timeout` seconds for the first."""
        deadline = time.monotonic() + timeout
        while True:
            self._bell.quiet()
            commands = self._read(limit)
            remaining = deadline - time.monotonic()
            if commands or remaining <= 0:
                return commands
            self._bell.wait(remaining)

    def _read(self, limit: int) -> list[WorkerCommand]:
        commands: list[WorkerCommand] = []
        read = self._database.streams.read
        while len(commands) < limit:
            records = read(Topic.TASK_RUN_COMMANDS, self._partition, self._position, _CHUNK)
            if not records:
                break
            for record in records:
                if len(commands) == limit:
                    break
                self._position = record.offset + 1
                command = self._command(record)
                if command is not None:
                    commands.append(command)
        return commands

    def _command(self, record: Inbound) -> WorkerCommand | None:
        # Searching the bytes costs a hundredth of parsing what is for somebody else.
        if record.value is None or self._session not in record.value:
            return None
        try:
            message = decode(record.value)
        except UnknownMessage as error:
            _LOG.warning("%s/%d/%d passed over: %s", record.topic, record.partition, record.offset, error)
            return None
        return message if isinstance(message, WorkerCommand) and message.session == self._name else None

    @property
    def position(self) -> int:
        """The next offset that will be read: everything before has been seen."""
        return self._position

    def close(self) -> None:
        self._database.streams.leave(self._bell)
        self._bell.ring()
