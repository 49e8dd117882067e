"""The SQLite adapters, for the contract tests. Everything is in the test's own temporary directory."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from shared.adapters.sqlite import SqliteDatabase, SqliteDocumentStore, SqliteEventLog, SqliteInbox, SqliteJournal
from tests.contract.streams import LIMIT


class SqliteStreams:
    """Implements `Streams` over one database."""

    def __init__(self, database: SqliteDatabase) -> None:
        self.database = database
        self._opened: list[Any] = []

    def journal(self) -> SqliteJournal:
        return self._keep(SqliteJournal(self.database))

    def inbox(self) -> SqliteInbox:
        return self._keep(SqliteInbox(self.database))

    def event_log(self) -> SqliteEventLog:
        return self._keep(SqliteEventLog(self.database))

    def _keep(self, opened: Any) -> Any:
        self._opened.append(opened)
        return opened

    def close(self) -> None:
        for opened in reversed(self._opened):
            opened.close()


@pytest.fixture
def sqlite_database(tmp_path: Path) -> Iterator[SqliteDatabase]:
    database = SqliteDatabase(tmp_path / "runyard.db", record_limit=LIMIT)
    yield database
    database.close()


@pytest.fixture
def sqlite_streams(sqlite_database: SqliteDatabase) -> Iterator[SqliteStreams]:
    streams = SqliteStreams(sqlite_database)
    yield streams
    streams.close()


@pytest.fixture
def sqlite_document_store(sqlite_database: SqliteDatabase) -> Iterator[SqliteDocumentStore]:
    store = SqliteDocumentStore(sqlite_database)
    store.prepare()
    yield store
    store.close()
