"""Kills and losses of power: nothing acknowledged is lost, no step is half there."""

import random
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from shared.adapters.sqlite import SqliteDatabase, SqliteDocumentStore, SqliteEventLog, SqliteJournal
from shared.model.document import Kind
from shared.model.query import Page, Query
from shared.ports import Outbound, Step, Topic
from tests.contract.documents import task_run
from tests.contract.streams import Owner, joined
from tests.unit.sqlite.writer import EVENTS, LOGS, OUT

KILLS = 8


@dataclass(frozen=True)
class Held:
    """What a file holds of the writer's work."""

    steps: int
    lines: set[int]
    documents: set[int]


def held(path: Path) -> Held:
    """Read it, after checking that each step, publication and document is whole and that the file is sound."""
    database = SqliteDatabase(path)
    try:
        owner = Owner()
        joined(SqliteJournal(database), owner)
        steps = int(owner.states[0].get("count") or b"0")
        numbers = [b"%d" % number for number in range(1, steps + 1)]
        log = SqliteEventLog(database)
        for partition in (0, 1):
            assert values(log, OUT, partition) == numbers
        assert len(list(owner.states[0].scan("entry/"))) == steps
        assert database.group("executor").position(EVENTS, 0) == steps
        lines = values(log, LOGS, 2)
        assert lines == values(log, LOGS, 3)
        store = SqliteDocumentStore(database)
        documents = {int(document.id) for document in store.scan(Kind.TASK_RUN)}
        worded = store.search(Query("main", q="outputs:word"), Page(size=10_000)).documents
        assert {int(document["id"]) for document in worded} == {n for n in documents if n % 50}
        with database.reading() as connection:
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        return Held(steps, set(map(int, lines)), documents)
    finally:
        database.close()


def values(log: SqliteEventLog, topic: Topic, partition: int) -> list[bytes]:
    tail = log.tail([topic])
    records = []
    while not tail.caught_up():
        records += tail.poll(1000, 0)
    return [r.value or b"" for r in records if r.partition == partition]


@pytest.mark.parametrize("synchronous", ["NORMAL", "FULL"])
def test_killed_writer_loses_nothing_acknowledged(tmp_path: Path, synchronous: str) -> None:
    """kill -9 at random moments: what was acknowledged is there, at most the step in flight besides, all whole."""
    path = tmp_path / "runyard.db"
    chance = random.Random(20)
    acknowledged: set[int] = set()

    for _ in range(KILLS):
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.unit.sqlite.writer", path, synchronous], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        acknowledged.add(int(process.stdout.readline()))
        time.sleep(chance.random() * 0.2)
        process.send_signal(signal.SIGKILL)
        acknowledged |= set(map(int, process.stdout.read().split()))
        process.wait()
        process.stdout.close()
        found = held(path)

        assert max(acknowledged) <= found.steps <= max(acknowledged) + 1
        assert acknowledged <= found.lines
        assert acknowledged <= found.documents


def test_write_ahead_log_that_ends_anywhere_holds_whole_steps(tmp_path: Path) -> None:
    """A loss of power leaves some beginning of the write-ahead log: it opens as some beginning of the steps."""
    path = tmp_path / "runyard.db"
    database = SqliteDatabase(path)
    journal = SqliteJournal(database)
    joined(journal, Owner())
    log, store = SqliteEventLog(database), SqliteDocumentStore(database)
    for number in range(1, 41):
        text = b"%d" % number
        entries = {"count": text, f"entry/{number}": b"x" * (number * 37 % 3000)}
        journal.commit(
            Step({(EVENTS, 0): number}, {0: entries}, [Outbound(OUT, "e", text, 0), Outbound(OUT, "e", text, 1)])
        )
        log.publish([Outbound(LOGS, "e", text, 2), Outbound(LOGS, "e", text, 3)])
        store.write([task_run(f"{number:08}", "x", outputs="word " * (number % 50))])
    wal = path.with_name("runyard.db-wal")
    whole = wal.read_bytes()
    chance = random.Random(20)
    counts = []

    for round_number, length in enumerate(sorted(chance.randrange(len(whole)) for _ in range(15))):
        copy = tmp_path / str(round_number) / "runyard.db"
        copy.parent.mkdir()
        shutil.copy(path, copy)
        copy.with_name("runyard.db-wal").write_bytes(whole[:length] + chance.randbytes(chance.randrange(9000)))
        counts.append(held(copy).steps)
    database.close()

    assert counts == sorted(counts)
    assert counts[-1] > 0
    assert held(path).steps == 40
