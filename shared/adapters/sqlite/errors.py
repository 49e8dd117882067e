"""Storage errors: what SQLite or the file system refuses, said so that the reader knows what to do."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Final

from shared.ports import JournalError


class StorageError(JournalError):
    """The data directory can't be used, or could not take a write; the message names the file and the remedy."""


_REMEDIES: Final = {
    sqlite3.SQLITE_FULL: "the disk is full; nothing of the last write was kept. Free space and go on",
    sqlite3.SQLITE_READONLY: "the file or its directory is read-only. Give the user that runs this write permission",
    sqlite3.SQLITE_PERM: "access was denied. Give the user that runs this read and write permission",
    sqlite3.SQLITE_CANTOPEN: "the file can't be opened. Check that its directory exists and can be written",
    sqlite3.SQLITE_CORRUPT: "the file is damaged. Restore it from a backup, or move it away to start afresh",
    sqlite3.SQLITE_NOTADB: "the file is damaged or no SQLite database. Restore it from a backup, or move it away",
    sqlite3.SQLITE_IOERR: "the operating system reported a read or write error. Check the disk",
    sqlite3.SQLITE_BUSY: "another program holds the file locked. Close what has it open",
    sqlite3.SQLITE_LOCKED: "another program holds the file locked. Close what has it open",
}
"""By SQLite's primary result code (the low byte of the extended one)."""


def storage_error(error: sqlite3.Error | OSError, path: Path) -> StorageError:
    """The error as a StorageError that names the file, the cause and the remedy."""
    if isinstance(error, OSError):
        return StorageError(f"{path}: {error.strerror or error}")
    code = getattr(error, "sqlite_errorcode", None)
    remedy = _REMEDIES.get(code & 0xFF) if code is not None else None
    return StorageError(f"{path}: {remedy} ({error})" if remedy else f"{path}: {error}")
