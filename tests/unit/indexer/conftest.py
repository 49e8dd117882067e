"""The embedded log, and a store in memory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from shared.adapters.sqlite import SqliteDatabase, SqliteEventLog
from shared.ports import EventLog
from tests.unit.indexer.memory import MemoryStore


@pytest.fixture
def log(tmp_path: Path) -> Iterator[EventLog]:
    database = SqliteDatabase(tmp_path / "runyard.db")
    log = SqliteEventLog(database)
    yield log
    log.close()
    database.close()


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()
