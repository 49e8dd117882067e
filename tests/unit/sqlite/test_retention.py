"""What is removed from the file, and what never is."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from shared.adapters.sqlite import SqliteDatabase, SqliteEventLog, SqliteJournal
from shared.adapters.sqlite.retention import COMPACTED
from shared.model.moment import Millis
from shared.ports import Outbound, Topic
from tests.contract.streams import Owner, after, step, taken

EVENTS, HISTORY, LOGS = Topic.TASK_RUN_EVENTS, Topic.EXECUTION_EVENTS, Topic.LOGS
MINUTE = 60_000
DAY = 24 * 60 * MINUTE


@pytest.fixture
def database(tmp_path: Path) -> Iterator[SqliteDatabase]:
    database = SqliteDatabase(tmp_path / "runyard.db")
    yield database
    database.close()


def now_of(database: SqliteDatabase) -> Millis:
    with database.reading() as connection:
        (at,) = connection.execute("SELECT max(at) FROM records").fetchone()
    return at


def held(database: SqliteDatabase, topic: Topic) -> list[tuple[str, bytes | None]]:
    tail = SqliteEventLog(database).tail([topic])
    # Reading from the file: what is in memory would hide what is gone.
    database.streams.stream(topic, 0)._recent = []
    return [(r.key, r.value) for r in tail.poll(10_000, 0)]


def test_what_every_group_has_read_goes_after_a_minute(database: SqliteDatabase) -> None:
    """Events that the journal committed go, but for the last one; unread ones stay."""
    journal, owner, log = SqliteJournal(database), Owner(), SqliteEventLog(database)
    log.publish([Outbound(EVENTS, "e", b"%d" % n, 0) for n in range(10)])
    journal.commit(step(taken(journal, owner, 8, limit=8)[:8]))
    now = now_of(database)

    early = database.retention.run(now)
    removed = database.retention.run(now + 2 * MINUTE)

    assert (early, removed) == (0, 8)
    assert held(database, EVENTS) == [("e", b"8"), ("e", b"9")]


def test_slowest_group_decides(database: SqliteDatabase) -> None:
    """A record stays while one group has not read it."""
    log = SqliteEventLog(database)
    log.publish([Outbound(LOGS, "e", b"%d" % n, 0) for n in range(5)])
    for group, count in (("fast", 5), ("slow", 2)):
        subscription = log.subscribe([LOGS], group)
        subscription.commit(after(list(subscription.poll(count, 0))))

    database.retention.run(now_of(database) + 2 * MINUTE)

    assert [value for _, value in held(database, LOGS)] == [b"2", b"3", b"4"]


def test_unread_records_go_after_days(database: SqliteDatabase) -> None:
    """What nobody reads does not stay for ever."""
    SqliteEventLog(database).publish([Outbound(LOGS, "e", b"%d" % n, 0) for n in range(5)])

    six = database.retention.run(now_of(database) + 6 * DAY)
    eight = database.retention.run(now_of(database) + 8 * DAY)

    assert (six, eight) == (0, 4)


def test_compaction_keeps_the_last_of_each_key(database: SqliteDatabase) -> None:
    """Of each document its last event stays; a deleted one leaves nothing; offsets go on where they were."""
    log = SqliteEventLog(database)
    log.publish([Outbound(HISTORY, key, b"%d" % n, 0) for n in range(400) for key in "abc"])
    log.publish([Outbound(HISTORY, "b", None, 0), Outbound(HISTORY, "end", b"", 0)])
    now = now_of(database)

    early = database.retention.run(now)
    database.retention.run(now + COMPACTED[HISTORY] + 1)
    again = database.retention.run(now + COMPACTED[HISTORY] + 1)

    assert (early, again) == (0, 0)
    assert held(database, HISTORY) == [("a", b"399"), ("c", b"399"), ("end", b"")]
    assert database.streams.stream(HISTORY, 0).end == 1202


def test_compaction_waits_for_the_groups(database: SqliteDatabase) -> None:
    """What a group has not read yet is not compacted."""
    log = SqliteEventLog(database)
    log.publish([Outbound(HISTORY, "a", b"%d" % n, 0) for n in range(10)])
    subscription = log.subscribe([HISTORY], "indexer")
    subscription.commit(after(list(subscription.poll(4, 0))))

    database.retention.run(now_of(database) + 2 * COMPACTED[HISTORY])

    assert [value for _, value in held(database, HISTORY)] == [b"3", b"4", b"5", b"6", b"7", b"8", b"9"]


def test_compaction_goes_on_over_restarts(tmp_path: Path) -> None:
    """The cursor and what it has passed are in the file."""
    path = tmp_path / "runyard.db"
    for round_number in range(3):
        database = SqliteDatabase(path)
        SqliteEventLog(database).publish([Outbound(HISTORY, k, b"%d" % round_number, 0) for k in "abz"])
        database.retention.run(now_of(database) + 2 * COMPACTED[HISTORY])
        database.close()

    database = SqliteDatabase(path)
    left = held(database, HISTORY)
    database.close()

    assert left == [("z", b"1"), ("a", b"2"), ("b", b"2"), ("z", b"2")]


def test_offsets_are_never_given_twice(tmp_path: Path) -> None:
    """Even when everything else was removed, a new process goes on after the last record."""
    path = tmp_path / "runyard.db"
    first = SqliteDatabase(path)
    SqliteEventLog(first).publish([Outbound(LOGS, "e", b"%d" % n, 0) for n in range(5)])
    first.retention.run(now_of(first) + 30 * DAY)
    first.close()

    second = SqliteDatabase(path)
    tail = SqliteEventLog(second).tail([LOGS])
    SqliteEventLog(second).publish([Outbound(LOGS, "e", b"new", 0)])
    records = [(r.offset, r.value) for r in tail.poll(10, 0)]
    second.close()

    assert records == [(4, b"4"), (5, b"new")]


def test_tail_of_removed_records_begins_with_what_is_left(database: SqliteDatabase) -> None:
    """Reading from before the first record left is no error, nor is a moment before it."""
    log = SqliteEventLog(database)
    log.publish([Outbound(LOGS, "e", b"%d" % n, 0) for n in range(5)])
    now = now_of(database)
    database.retention.run(now + 30 * DAY)

    assert [r.value for r in log.tail([LOGS]).poll(10, 0)][-1:] == [b"4"]
    assert [r.value for r in log.tail([LOGS], since=now - DAY).poll(10, 0)][-1:] == [b"4"]
    assert log.tail([LOGS], since=now + DAY).poll(10, 0) == []
