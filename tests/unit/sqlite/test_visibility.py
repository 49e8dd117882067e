"""A document store that lags as an index does, for tests of what is above it."""

from pathlib import Path

import pytest

from shared.adapters.sqlite import SqliteDatabase, SqliteDocumentStore
from shared.model.document import Kind
from shared.ports import Verdict, Versioned
from tests.contract.documents import execution_id, found, task_run

FOR_EVER = 3600.0


@pytest.fixture
def database(tmp_path: Path):
    database = SqliteDatabase(tmp_path / "runyard.db")
    yield database
    database.close()


def test_search_lags_and_get_does_not(database: SqliteDatabase) -> None:
    """A write is read by id at once, and searched only after the delay or a refresh of its own execution."""
    store = SqliteDocumentStore(database, visibility_delay=FOR_EVER)
    first, second = execution_id(0), execution_id(1)
    store.write([task_run("a", first), task_run("b", second)])

    before = found(store)
    stored = store.get(Kind.TASK_RUN, "a", first)
    store.refresh(Kind.TASK_RUN, first)

    assert before == []
    assert stored == task_run("a", first)
    assert found(store) == ["a"]


def test_old_version_is_searched_while_the_new_one_is_not_visible(database: SqliteDatabase) -> None:
    """Searches show the last visible version; verdicts and `get` go by the newest."""
    SqliteDocumentStore(database).write([task_run("a", "x", version=1, state="RUNNING")])
    store = SqliteDocumentStore(database, visibility_delay=FOR_EVER)

    newer = store.write([task_run("a", "x", version=3)])
    older = store.write([task_run("a", "x", version=2)])
    stored = store.get(Kind.TASK_RUN, "a", "x")

    assert (newer[0].verdict, older[0].verdict) == (Verdict.STORED, Verdict.STALE)
    assert found(store, states=("RUNNING",)) == ["a"]
    assert stored is not None
    assert stored.version == 3


def test_deletion_lags_too(database: SqliteDatabase) -> None:
    """A deleted document is found until the deletion is visible, but is no longer got."""
    SqliteDocumentStore(database).write([task_run("a", "x")])
    store = SqliteDocumentStore(database, visibility_delay=FOR_EVER)
    store.write([Versioned(Kind.TASK_RUN, "a", 2, None, "x")])

    before, got = found(store), store.get(Kind.TASK_RUN, "a", "x")
    store.refresh(Kind.TASK_RUN, "x")

    assert (before, got, found(store)) == (["a"], None, [])


def test_delay_passes(database: SqliteDatabase) -> None:
    """After the delay, searches see the write by themselves."""
    store = SqliteDocumentStore(database, visibility_delay=1e-9)
    store.write([task_run("a", "x")])

    assert found(store) == ["a"]


def test_closing_keeps_everything(database: SqliteDatabase) -> None:
    """What was not visible yet is in the file after `close`."""
    store = SqliteDocumentStore(database, visibility_delay=FOR_EVER)
    store.write([task_run("a", "x")])

    store.close()

    assert found(SqliteDocumentStore(database)) == ["a"]
