"""Database: the one file, its one writer, and what is shared by the adapters that stand on it.

Every write is a unit of work that runs in a transaction, alone or together with the units that waited
meanwhile (group commit). What a unit changes in memory it changes after the commit, in commit order, so memory
never shows what the file could lose.
"""

from __future__ import annotations

import sqlite3
import threading
from collections import deque
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Final, TypeVar, cast

from shared.adapters.sqlite import schema
from shared.adapters.sqlite.connections import ReaderPool, open_writer
from shared.adapters.sqlite.errors import StorageError, storage_error
from shared.adapters.sqlite.groups import Group
from shared.adapters.sqlite.inspection import inspect
from shared.adapters.sqlite.lock import DirectoryLock
from shared.adapters.sqlite.partition_entries import PartitionEntries
from shared.adapters.sqlite.retention import Retention
from shared.adapters.sqlite.streams import MAX_PARTITIONS, Streams

T = TypeVar("T")

RECORD_LIMIT: Final = 8 * 1024 * 1024
"""Bytes of one record at most: the default of `topics.max_message_bytes`, so that both stores refuse the same."""

_SYNCHRONOUS: Final = ("OFF", "NORMAL", "FULL", "EXTRA")


class Transaction:
    """What a unit of work sees: the connection, and a list of what to do once it is committed."""

    __slots__ = ("after_commit", "connection")

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection
        self.after_commit: list[Callable[[], None]] = []


class _Unit:
    """A unit of work that waits for the writer, then its result or error."""

    __slots__ = ("done", "error", "result", "transaction", "work")

    def __init__(self, work: Callable[[Transaction], Any]) -> None:
        self.work = work
        self.done = False
        self.error: BaseException | None = None
        self.result: Any = None
        self.transaction: Transaction | None = None


class SqliteDatabase:
    """One SQLite file in WAL mode, used by one process, by any number of its threads.

    `synchronous`: NORMAL keeps everything through a kill of the process; FULL through a loss of power too, for one
    fsync per commit. Raises StorageError when the directory is in use, can't be written, or holds something else
    or a damaged file.
    """

    def __init__(
        self, path: Path, synchronous: str = "NORMAL", partitions: int = 4, record_limit: int = RECORD_LIMIT
    ) -> None:
        if synchronous.upper() not in _SYNCHRONOUS:
            raise ValueError(f"synchronous is one of {', '.join(_SYNCHRONOUS)}, not {synchronous!r}")
        if not 0 < partitions <= MAX_PARTITIONS:
            raise ValueError(f"partitions is 1 to {MAX_PARTITIONS}, not {partitions}")
        self.path = path
        self.partitions = partitions
        self.record_limit = record_limit
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise storage_error(error, path.parent) from error
        self._lock = DirectoryLock(path)
        try:
            self._open(synchronous.upper())
        except sqlite3.Error as error:
            self._abandon()
            raise storage_error(error, path) from error
        except StorageError:
            self._abandon()
            raise

    def _open(self, synchronous: str) -> None:
        self._writer_lock = threading.Lock()
        self._waiting: deque[_Unit] = deque()
        self._closed = False
        self._connection: sqlite3.Connection | None = None
        inspect(self.path, len(schema.MIGRATIONS))
        self._connection = connection = open_writer(self.path, synchronous)
        schema.migrate(connection)
        schema.agree(connection, self.path, self.partitions)
        self._readers = ReaderPool(self.path)
        self._groups: dict[str, Group] = {}
        self._groups_lock = threading.Lock()
        self._entries: dict[int, PartitionEntries] = {}
        self.streams = Streams(self)
        self.streams.load(connection)
        self.retention = Retention(self)
        self.retention.start()

    def _abandon(self) -> None:
        if self._connection is not None:
            self._connection.close()
        self._lock.release()

    def reading(self) -> AbstractContextManager[sqlite3.Connection]:
        """A connection to read with, one consistent view for as long as the block lasts. Raises StorageError."""
        if self._closed:
            raise StorageError(f"{self.path} is closed")
        return self._readers.reading()

    def write(self, work: Callable[[Transaction], T]) -> T:
        """Run a unit of work in a transaction; durable on return. Raises what it raises, or StorageError.

        The unit may run on another thread that is writing already. An error undoes this unit alone.
        """
        unit = _Unit(work)
        self._waiting.append(unit)
        with self._writer_lock:
            if not unit.done:
                self._run_waiting()
        if unit.error is not None:
            raise unit.error
        return cast("T", unit.result)

    def _run_waiting(self) -> None:
        units: list[_Unit] = []
        while self._waiting:
            units.append(self._waiting.popleft())
        if self._closed or self._connection is None:
            self._fail(units, StorageError(f"{self.path} is closed"))
            return
        connection = self._connection
        try:
            connection.execute("BEGIN IMMEDIATE")
            for unit in units:
                self._run(unit, connection, alone=len(units) == 1)
            if connection.in_transaction:
                connection.execute("COMMIT")
        except sqlite3.Error as error:
            self._undo(connection)
            self._fail(units, storage_error(error, self.path))
            return
        except BaseException:  # Ctrl-C on the thread that writes: nothing of this stays half done
            self._undo(connection)
            self._fail(units, StorageError(f"{self.path}: the write was interrupted, nothing of it was kept"))
            raise
        for unit in units:
            if unit.error is None and unit.transaction is not None:
                for action in unit.transaction.after_commit:
                    action()
            unit.done = True

    def _run(self, unit: _Unit, connection: sqlite3.Connection, *, alone: bool) -> None:
        """Run one unit; its own error undoes it alone, an error of SQLite goes up and undoes all."""
        unit.transaction = Transaction(connection)
        if not alone:
            connection.execute("SAVEPOINT unit")
        try:
            unit.result = unit.work(unit.transaction)
        except sqlite3.Error:
            raise
        except Exception as error:  # noqa: BLE001 - it is raised to the one who waits for this unit
            unit.error = error
            connection.execute("ROLLBACK" if alone else "ROLLBACK TO unit")
        if not alone:
            connection.execute("RELEASE unit")

    def _undo(self, connection: sqlite3.Connection) -> None:
        if connection.in_transaction:
            connection.execute("ROLLBACK")

    def _fail(self, units: list[_Unit], error: StorageError) -> None:
        for unit in units:
            unit.error = unit.error or error
            unit.done = True

    def group(self, name: str) -> Group:
        """The group of that name, with its positions from the file."""
        with self._groups_lock:
            group = self._groups.get(name)
            if group is None:
                with self.reading() as connection:
                    group = Group(name, self.partitions)
                    group.load(connection)
                self._groups[name] = group
            return group

    def consumed(self, stream: int) -> int | None:
        """The offset below which every group has read a stream; None when no group reads it."""
        with self._writer_lock:
            assert self._connection is not None
            (lowest,) = self._connection.execute(
                "SELECT min(next) FROM positions WHERE stream = ?", (stream,)
            ).fetchone()
        return cast("int | None", lowest)

    def entries(self, partition: int) -> PartitionEntries:
        """A partition's state as of the last commit, read from the file the first time."""
        with self._groups_lock:
            entries = self._entries.get(partition)
            if entries is None:
                with self.reading() as connection:
                    rows = connection.execute(
                        "SELECT key, value FROM state WHERE partition = ? ORDER BY key", (partition,)
                    )
                    entries = PartitionEntries(rows.fetchall())
                self._entries[partition] = entries
            return entries

    def close(self) -> None:
        """Finish what is being written and let the file go; repeatable."""
        if self._closed:
            return
        self.retention.stop()
        with self._writer_lock:
            self._closed = True
            connection, self._connection = self._connection, None
        self._readers.close()
        try:
            if connection is not None:
                connection.close()
        finally:
            self._lock.release()
