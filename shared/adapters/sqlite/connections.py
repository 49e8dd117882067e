"""Connections to the one file: how each is opened, and a pool of those that only read."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from shared.adapters.sqlite.errors import storage_error

_WAL_PAGES: Final = 4000
"""Pages (of 4 KiB) in the write-ahead log before a commit moves them into the file. A commit that does so takes
some milliseconds; with SQLite's default of 1,000 that is four times as often, for no smaller total."""

_CACHE_KIB: Final = 16_000
"""Page cache of the writer. Appending and the index of recent documents fit; more did not measure faster."""


def open_writer(path: Path, synchronous: str) -> sqlite3.Connection:
    """The connection that writes. Raises sqlite3.Error."""
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, cached_statements=512)
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(f"PRAGMA synchronous = {synchronous}")
        connection.execute(f"PRAGMA wal_autocheckpoint = {_WAL_PAGES}")
        connection.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
        connection.execute("PRAGMA journal_size_limit = 67108864")
        connection.execute("PRAGMA temp_store = MEMORY")
        # Some builds overwrite what is deleted with zeros: twice the writes for records that are trimmed all the time.
        connection.execute("PRAGMA secure_delete = OFF")
    except sqlite3.Error:
        connection.close()
        raise
    return connection


class ReaderPool:
    """Connections for reading, which neither wait for the writer nor hold it up (WAL)."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._idle: list[sqlite3.Connection] = []
        self._lock = threading.Lock()
        self._closed = False

    @contextlib.contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """A connection with one consistent view for as long as the block lasts. Raises StorageError."""
        try:
            connection = self._take()
            try:
                connection.execute("BEGIN")
                yield connection
            finally:
                if connection.in_transaction:
                    connection.execute("COMMIT")
                self._give_back(connection)
        except sqlite3.Error as error:
            raise storage_error(error, self._path) from error

    def _take(self) -> sqlite3.Connection:
        with self._lock:
            if self._idle:
                return self._idle.pop()
        connection = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False)
        connection.execute("PRAGMA query_only = ON")
        connection.execute("PRAGMA temp_store = MEMORY")
        return connection

    def _give_back(self, connection: sqlite3.Connection) -> None:
        with self._lock:
            if not self._closed:
                self._idle.append(connection)
                return
        connection.close()

    def close(self) -> None:
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()
