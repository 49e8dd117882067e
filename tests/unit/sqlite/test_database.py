"""The one file: who may open it, what it refuses, what it says."""

import re
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from shared.adapters.sqlite import (
    SqliteDatabase,
    SqliteDocumentStore,
    SqliteEventLog,
    SqliteJournal,
    StorageError,
    inspection,
    schema,
)
from shared.model.document import Kind
from shared.model.query import Page, Query
from shared.ports import Aborted, Outbound, Step, Topic, Verdict
from tests.contract.documents import execution_id, task_run
from tests.contract.streams import Owner, joined

EVENTS = Topic.EXECUTION_EVENTS


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "runyard.db"


@pytest.fixture
def database(path: Path) -> Iterator[SqliteDatabase]:
    database = SqliteDatabase(path)
    yield database
    database.close()


def write(journal: SqliteJournal, number: int, size: int = 10) -> None:
    journal.commit(
        Step({}, {0: {f"k{number:05}": b"v" * size}}, [Outbound(EVENTS, "e", b"v" * size, 0)], frozenset({0}))
    )


def allow_pages(database: SqliteDatabase, pages: int) -> None:
    """As large as the file may become: what a full disk looks like to SQLite."""
    database.write(lambda transaction: transaction.connection.execute(f"PRAGMA max_page_count = {pages}").fetchone())


def test_second_process_is_refused_and_told_who_is_there(database: SqliteDatabase, path: Path) -> None:
    """Opening a data directory that another process uses fails with that process' id and what to do."""
    program = (
        "import sys; from pathlib import Path; from shared.adapters.sqlite import SqliteDatabase;"
        "SqliteDatabase(Path(sys.argv[1]))"
    )

    second = subprocess.run([sys.executable, "-c", program, path], capture_output=True, text=True, check=False)

    assert second.returncode != 0
    assert "StorageError" in second.stderr
    assert f"{path} is in use by another process (pid " in second.stderr
    assert "stop the other one" in second.stderr


def test_directory_is_free_again_after_close(path: Path) -> None:
    """What one process closed, the next one opens, with everything in it."""
    first = SqliteDatabase(path)
    SqliteEventLog(first).publish([Outbound(EVENTS, "e", b"1")])
    first.close()
    first.close()

    second = SqliteDatabase(path)
    records = SqliteEventLog(second).tail([EVENTS]).poll(10, 0)
    second.close()

    assert [r.value for r in records] == [b"1"]


def test_failed_opening_lets_the_directory_go(path: Path) -> None:
    """After an error, the same process can open the directory once the cause is gone."""
    path.write_bytes(b"no database" * 1000)
    with pytest.raises(StorageError):
        SqliteDatabase(path)

    path.unlink()

    SqliteDatabase(path).close()


def test_file_that_is_no_database(path: Path) -> None:
    """The message names the file and what to do."""
    path.write_bytes(b"no database" * 1000)

    with pytest.raises(
        StorageError, match=rf"{path}: the file is damaged: it does not begin as.*Restore its directory"
    ):
        SqliteDatabase(path)


def overwrite(path: Path, start: int, size: int) -> None:
    with path.open("r+b") as file:
        file.seek(start)
        file.write(b"\xff" * size)


def contents(path: Path) -> dict[str, bytes]:
    """The files of the data directory, but the lock."""
    return {file.name: file.read_bytes() for file in path.parent.iterdir() if file.suffix != ".lock"}


@pytest.fixture
def filled(path: Path) -> Path:
    """A closed file with a hundred steps, records and documents in it."""
    database = SqliteDatabase(path)
    journal, store = SqliteJournal(database), SqliteDocumentStore(database)
    joined(journal, Owner())
    for number in range(100):
        write(journal, number, size=2000)
        store.write([task_run(str(number), execution_id(), outputs="some text " * 50)])
    database.close()
    return path


def test_every_damaged_page_is_found_at_opening(filled: Path) -> None:
    """Whichever page something else has overwritten: the file is refused with the remedy, and left as it is."""
    whole = filled.read_bytes()
    told: list[str] = []
    for page in range(len(whole) // 4096):
        filled.write_bytes(whole)
        overwrite(filled, page * 4096, 4096)
        before = contents(filled)
        try:
            SqliteDatabase(filled).close()
            told.append(f"nothing, about page {page}")
        except StorageError as error:
            told.append(str(error))
        assert contents(filled) == before
    form = rf"{filled}: the file is damaged: .* Restore its directory from a backup, or move runyard\.db\* away to .*"
    assert len(told) > 100
    assert [text for text in told if not re.fullmatch(form, text, re.DOTALL)] == []


def test_file_that_was_cut_is_found_at_opening(filled: Path) -> None:
    """A copy that did not finish is told by its length, with both numbers."""
    whole = filled.read_bytes()
    filled.write_bytes(whole[: len(whole) // 2])

    with pytest.raises(StorageError, match=f"was cut, and has {len(whole) // 2:,} bytes of {len(whole):,}"):
        SqliteDatabase(filled)

    assert contents(filled) == {filled.name: whole[: len(whole) // 2]}


@pytest.mark.parametrize(
    ("table", "found"), [("state", True), ("positions", True), ("documents", False)], ids=lambda value: str(value)
)
def test_large_file_is_checked_in_part(filled: Path, table: str, found: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a large file what open executions stand on is checked at opening; other damage is told when it is read."""
    monkeypatch.setattr(inspection, "FULL_UP_TO", 0)
    connection = sqlite3.connect(filled)
    (page,) = connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = ?", (table,)).fetchone()
    connection.close()
    overwrite(filled, (page - 1) * 4096, 4096)

    if found:
        with pytest.raises(StorageError, match="the file is damaged: "):
            SqliteDatabase(filled)
        return
    database = SqliteDatabase(filled)
    with pytest.raises(StorageError, match="the file is damaged.*Restore"):
        SqliteDocumentStore(database).search(Query("main", Kind.TASK_RUN), Page())
    database.close()


def test_damage_is_found_behind_a_log_that_a_kill_left(path: Path, tmp_path: Path) -> None:
    """What a killed process left in the write-ahead log is neither taken for damage nor written to a damaged file."""
    database = SqliteDatabase(path)
    journal = SqliteJournal(database)
    joined(journal, Owner())
    for number in range(500):
        write(journal, number, size=20_000)
    killed = tmp_path / "killed" / path.name
    killed.parent.mkdir()
    for name in (path.name, f"{path.name}-wal"):
        (killed.parent / name).write_bytes((path.parent / name).read_bytes())
    database.close()
    whole = killed.read_bytes()
    assert (killed.parent / f"{path.name}-wal").stat().st_size > 0
    connection = sqlite3.connect(path)
    (page,) = connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'documents'").fetchone()
    connection.close()
    log = killed.with_name(f"{path.name}-wal").read_bytes()

    overwrite(killed, (page - 1) * 4096, 4096)
    with pytest.raises(StorageError, match="the file is damaged: "):
        SqliteDatabase(killed)
    assert killed.with_name(f"{path.name}-wal").read_bytes() == log
    killed.write_bytes(whole)
    again = SqliteDatabase(killed)
    records = SqliteEventLog(again).tail([EVENTS]).poll(1000, 0)
    again.close()

    assert len(records) == 500


def test_database_of_another_program_is_left_alone(path: Path) -> None:
    """A file that is an SQLite database, but holds something else, is refused and not written to."""
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE bookmarks (url TEXT)")
    connection.commit()
    connection.close()
    before = contents(path)

    with pytest.raises(StorageError, match="database of another program. Name another directory"):
        SqliteDatabase(path)

    assert contents(path) == before


def test_directory_that_cannot_be_made() -> None:
    """A place where nothing can be written is named."""
    with pytest.raises(StorageError, match="/proc/nowhere"):
        SqliteDatabase(Path("/proc/nowhere/runyard.db"))


def test_file_of_a_newer_program(path: Path) -> None:
    """A schema version above the known one is refused, the file left as it is."""
    SqliteDatabase(path).close()
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    before = contents(path)

    with pytest.raises(StorageError, match="schema version 99.*newer program"):
        SqliteDatabase(path)

    assert contents(path) == before


def test_older_file_is_migrated_with_what_it_holds(path: Path) -> None:
    """A file of any earlier version becomes the current one; its records stay."""
    connection = sqlite3.connect(path)
    for statement in schema.MIGRATIONS[0]:
        connection.execute(statement)
    connection.execute("PRAGMA user_version = 1")
    connection.execute("INSERT INTO records VALUES (?, 'e', x'31', 5)", ((4 << 10) << 47,))
    connection.commit()
    connection.close()

    database = SqliteDatabase(path)
    records = SqliteEventLog(database).tail([EVENTS]).poll(10, 0)
    outcomes = SqliteDocumentStore(database).write([task_run("a", execution_id())])
    database.close()

    assert [(r.key, r.value, r.at) for r in records] == [("e", b"1", 5)]
    assert [o.verdict for o in outcomes] == [Verdict.STORED]


def test_partitions_are_fixed_by_the_file(path: Path) -> None:
    """Another count would send keys elsewhere: refused with both numbers."""
    SqliteDatabase(path, partitions=4).close()

    with pytest.raises(StorageError, match="4 partitions.*opened with 8"):
        SqliteDatabase(path, partitions=8)


@pytest.mark.parametrize("arguments", [{"synchronous": "MAYBE"}, {"partitions": 0}, {"partitions": 5000}])
def test_impossible_settings(path: Path, arguments: dict[str, object]) -> None:
    """A value that can't be is refused before anything is made."""
    with pytest.raises(ValueError, match="synchronous|partitions"):
        SqliteDatabase(path, **arguments)

    assert not path.exists()


def test_full_disk_aborts_a_step_and_loses_nothing(database: SqliteDatabase) -> None:
    """A commit that finds the disk full writes nothing, says so, and succeeds when there is room again."""
    journal, owner = SqliteJournal(database), Owner()
    joined(journal, owner)
    write(journal, 0)
    allow_pages(database, 40)
    last = 0

    def fill() -> None:
        nonlocal last
        for last in range(1, 100):
            write(journal, last, size=10_000)

    with pytest.raises(Aborted, match=r"runyard\.db: the disk is full"):
        fill()
    kept = [key for key, _ in owner.states[0].scan("k")]

    allow_pages(database, 100_000)
    write(journal, last, size=10_000)

    assert kept == [f"k{number:05}" for number in range(last)]
    assert [key for key, _ in owner.states[0].scan("k")] == [f"k{number:05}" for number in range(last + 1)]
    assert len(SqliteEventLog(database).tail([EVENTS]).poll(200, 0)) == last + 1


def test_full_disk_makes_documents_retry(database: SqliteDatabase) -> None:
    """The document store answers RETRY with the cause; the same write succeeds when there is room."""
    store = SqliteDocumentStore(database)
    documents = [task_run(str(n), execution_id(), outputs="x" * 10_000) for n in range(50)]
    allow_pages(database, 40)

    full = store.write(documents)
    allow_pages(database, 100_000)
    again = store.write(documents)

    assert {o.verdict for o in full} == {Verdict.RETRY}
    assert "the disk is full" in full[0].reason
    assert {o.verdict for o in again} == {Verdict.STORED}


def test_read_only_file(database: SqliteDatabase) -> None:
    """Publishing to a file that can't be written raises with the remedy."""
    database.write(lambda transaction: transaction.connection.execute("PRAGMA query_only = ON").fetchone())

    with pytest.raises(StorageError, match=r"read-only.*write permission"):
        SqliteEventLog(database).publish([Outbound(EVENTS, "e", b"1")])


def test_closed_database_says_so(path: Path) -> None:
    """Reading and writing after `close` raise StorageError, not something of SQLite's."""
    database = SqliteDatabase(path)
    store, log = SqliteDocumentStore(database), SqliteEventLog(database)
    database.close()

    assert "closed" in (store.ready() or "")
    with pytest.raises(StorageError, match="closed"):
        log.publish([Outbound(EVENTS, "e", b"1")])


def test_threads_write_together_and_an_error_stays_with_its_own(database: SqliteDatabase) -> None:
    """Units of many threads all happen, each whole; one that fails is undone alone."""
    log = SqliteEventLog(database)
    errors: list[BaseException] = []

    def publish(name: str) -> None:
        for number in range(50):
            log.publish([Outbound(EVENTS, name, b"%d" % number), Outbound(EVENTS, name, b"%d" % number)])

    def fail() -> None:
        for _ in range(50):
            try:
                database.write(failing)
            except RuntimeError as error:
                errors.append(error)

    def failing(transaction: object) -> None:
        transaction.connection.execute("INSERT INTO settings VALUES ('half', 'done')")  # type: ignore[attr-defined]
        raise RuntimeError("no")

    threads = [threading.Thread(target=publish, args=(name,)) for name in "abcd"] + [threading.Thread(target=fail)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    records = log.tail([EVENTS]).poll(1000, 0)
    assert len(errors) == 50
    for name in "abcd":
        assert [r.value for r in records if r.key == name] == [b"%d" % n for n in range(50) for _ in range(2)]
    with database.reading() as connection:
        assert connection.execute("SELECT count(*) FROM settings WHERE name = 'half'").fetchone() == (0,)
