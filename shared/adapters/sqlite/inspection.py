"""Inspection: what is found wrong with an existing file before anything is written to it."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path
from typing import Final
from urllib.parse import quote

from shared.adapters.sqlite.errors import StorageError, storage_error

FULL_UP_TO: Final = 128 * 1024 * 1024
"""Bytes of a file that is read as a whole at each start: 0.14 s from memory, about a second from a slow disk."""

_ALWAYS: Final = ("settings", "positions", "state", "compacted")
"""Tables of the first schema version, checked however large the file is: open executions stand on them, and they are
small."""

_FINDINGS: Final = 3
"""Findings that are named: one damaged page may give hundreds."""

_MAGIC: Final = b"SQLite format 3\0"
_HEADER: Final = 100


def inspect(path: Path, versions: int) -> None:
    """Look at the file, if there is one, through a connection that only reads.

    `versions`: the newest schema version that this program knows. Raises StorageError for a damaged file, a cut one,
    another program's database, and one of a newer schema version. The caller holds the directory's lock.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            header = file.read(_HEADER)
        waiting = _size(path.with_name(path.name + "-wal")) > 0
    except FileNotFoundError:
        return
    except OSError as error:
        raise storage_error(error, path) from error
    if size == 0:
        return
    if len(header) < _HEADER or not header.startswith(_MAGIC):
        raise _damaged(path, "it does not begin as an SQLite database does")
    if not waiting:  # else pages that the header counts may still be in the write-ahead log
        _check_length(path, header, size)
    # Immutable: without a log to read, SQLite would make an empty one, and leave it.
    address = f"file:{quote(str(path))}?mode=ro{'' if waiting else '&immutable=1'}"
    try:
        with contextlib.closing(sqlite3.connect(address, uri=True)) as connection:
            _check_schema(connection, path, versions)
            _check_pages(connection, path, size)
    except sqlite3.DatabaseError as error:
        if getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            raise _damaged(path, str(error)) from error
        raise storage_error(error, path) from error


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _damaged(path: Path, finding: str) -> StorageError:
    return StorageError(
        f"{path}: the file is damaged: {finding}. It was left as it is. Restore its directory from a backup, or move "
        f"{path.name}* away to start afresh"
    )


def _check_length(path: Path, header: bytes, size: int) -> None:
    """A file that was cut, as by a copy that did not finish, is shorter than its header says."""
    page = int.from_bytes(header[16:18], "big")
    pages = int.from_bytes(header[28:32], "big")
    expected = pages * (65_536 if page == 1 else page)
    if header[24:28] == header[92:96] and size < expected:  # else the count is not kept up to date
        raise _damaged(path, f"it was cut, and has {size:,} bytes of {expected:,}")


def _check_schema(connection: sqlite3.Connection, path: Path, versions: int) -> None:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}
    if tables and (version == 0 or not tables.issuperset(_ALWAYS)):
        raise StorageError(f"{path} is the database of another program. Name another directory")
    if version > versions:
        raise StorageError(
            f"{path} has schema version {version}, this program knows {versions}: use the newer program again"
        )


def _check_pages(connection: sqlite3.Connection, path: Path, size: int) -> None:
    checks = [""] if size <= FULL_UP_TO else [f"('{table}')" for table in _ALWAYS]
    for check in checks:
        rows = connection.execute(f"PRAGMA quick_check{check}").fetchmany(_FINDINGS)
        findings = [line for (row,) in rows for line in row.splitlines() if line != "ok" and not line.startswith("***")]
        if findings:
            raise _damaged(path, "; ".join(findings[:_FINDINGS]))
