"""Schema of the one file, and the steps by which an older file becomes the current one."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Final

from shared.adapters.sqlite.errors import StorageError

_STREAMS_AND_STATE: Final = (
    "CREATE TABLE settings (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
    # `place` is topic, partition and offset in one integer (see streams.py): appending needs no second index.
    "CREATE TABLE records (place INTEGER PRIMARY KEY, key TEXT NOT NULL, value BLOB, at INTEGER NOT NULL)",
    (
        "CREATE TABLE positions (crowd TEXT NOT NULL, stream INTEGER NOT NULL, next INTEGER NOT NULL,"
        " PRIMARY KEY (crowd, stream)) WITHOUT ROWID"
    ),
    (
        "CREATE TABLE state (partition INTEGER NOT NULL, key TEXT NOT NULL, value BLOB NOT NULL,"
        " PRIMARY KEY (partition, key)) WITHOUT ROWID"
    ),
    # What compaction has passed: where the newest record of each key stands.
    (
        "CREATE TABLE compacted (stream INTEGER NOT NULL, key TEXT NOT NULL, place INTEGER NOT NULL,"
        " PRIMARY KEY (stream, key)) WITHOUT ROWID"
    ),
)

_DOCUMENTS: Final = (
    # A deleted document keeps its row, with its version and without a body.
    (
        "CREATE TABLE documents (place INTEGER PRIMARY KEY, kind INTEGER NOT NULL, id TEXT NOT NULL,"
        " version INTEGER NOT NULL, routing TEXT NOT NULL, tenant TEXT, namespace TEXT, flow_id TEXT,"
        " execution_id TEXT, task_id TEXT, state TEXT, started INTEGER, ended INTEGER, duration REAL,"
        " trigger_execution_id TEXT, superseded INTEGER NOT NULL, labels TEXT, texts BLOB, body TEXT)"
    ),
    "CREATE UNIQUE INDEX documents_by_id ON documents (kind, id)",
    # Counting, the newest first, and histograms by state read this index alone.
    ("CREATE INDEX documents_by_start ON documents (kind, tenant, superseded, started, state) WHERE body IS NOT NULL"),
    "CREATE INDEX documents_by_execution ON documents (execution_id, kind)",
    (
        "CREATE VIRTUAL TABLE documents_text USING fts5"
        " (value, error, inputs, outputs, message, tokenize = 'unicode61 remove_diacritics 0')"
    ),
)

MIGRATIONS: Final[tuple[tuple[str, ...], ...]] = (_STREAMS_AND_STATE, _DOCUMENTS)
"""Statements that lead from version n to n + 1. Only ever appended to."""


def migrate(connection: sqlite3.Connection) -> None:
    """Bring the file to the current version, all or nothing."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version == len(MIGRATIONS):
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        for statements in MIGRATIONS[version:]:
            for statement in statements:
                connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")
        connection.execute("COMMIT")
    except sqlite3.Error:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def agree(connection: sqlite3.Connection, path: Path, partitions: int) -> None:
    """Remember the partition count in a new file; raise StorageError when an old file has another."""
    connection.execute("INSERT OR IGNORE INTO settings VALUES ('partitions', ?)", (str(partitions),))
    (stored,) = connection.execute("SELECT value FROM settings WHERE name = 'partitions'").fetchone()
    if int(stored) != partitions:
        raise StorageError(f"{path} was made with {stored} partitions and can't be opened with {partitions}")
