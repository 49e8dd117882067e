"""Inbox: a worker session's commands, out of the task-run-commands streams."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Final

from shared.adapters.sqlite.database import SqliteDatabase
from shared.adapters.sqlite.streams import Bell
from shared.messages import UnknownMessage, WorkerCommand, decode
from shared.ports import InboxAddress, Topic, UnreadableCommand

_CHUNK: Final = 500
"""Records looked at in one go: most are for other sessions of the partition."""


class SqliteInbox:
    """Reads one partition from its end at session start, passing over what is for other sessions."""

    def __init__(self, database: SqliteDatabase) -> None:
        self._database = database
        self._bell = Bell()
        self._session = ""
        self._closed = False
        self._partition = 0
        self._position = 0

    def open(self, session: str) -> InboxAddress:
        """Begin a session: what was sent before, and what is for others, is not seen."""
        streams = self._database.streams
        streams.leave(self._bell)
        self._session, self._closed = session, False
        self._partition = streams.partition_of(session)
        self._position = streams.stream(Topic.TASK_RUN_COMMANDS, self._partition).end
        streams.listen(self._bell, (Topic.TASK_RUN_COMMANDS,), (self._partition,))
        return InboxAddress(self._partition, self._position)

    def take(self, limit: int, timeout: float) -> Sequence[WorkerCommand]:
        """At most `limit` commands for the session, waiting at most `timeout` seconds for the first.

        Raises UnreadableCommand, once, for a command that can't be read; the next call goes on after it.
        """
        deadline = time.monotonic() + timeout
        while True:
            self._bell.quiet()
            commands = self._read(limit)
            remaining = deadline - time.monotonic()
            if commands or remaining <= 0 or self._closed:
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
                if record.key == self._session and record.value is not None:
                    try:
                        commands.append(self._command(record.value))
                    except UnknownMessage as error:
                        if commands:
                            return commands  # the record is met again, first, by the next call
                        self._position = record.offset + 1
                        raise UnreadableCommand(record, str(error)) from error
                self._position = record.offset + 1
        return commands

    def _command(self, value: bytes) -> WorkerCommand:
        message = decode(value)
        if not isinstance(message, WorkerCommand):
            raise UnknownMessage(f"{type(message).__name__} is no command for a worker")
        return message

    @property
    def position(self) -> int:
        """The next offset that will be read: everything before has been seen."""
        return self._position

    def close(self) -> None:
        self._closed = True
        self._database.streams.leave(self._bell)
        self._bell.ring()
