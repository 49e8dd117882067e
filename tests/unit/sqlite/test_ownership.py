"""Several journals and subscriptions in one process share the partitions as a consumer group would."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from shared.adapters.sqlite import SqliteDatabase, SqliteEventLog, SqliteJournal
from shared.ports import Fenced, Outbound, Topic
from tests.contract.streams import Owner, after, joined, numbered, step, taken

COMMANDS, EVENTS = Topic.EXECUTION_COMMANDS, Topic.TASK_RUN_EVENTS


@pytest.fixture
def database(tmp_path: Path) -> Iterator[SqliteDatabase]:
    database = SqliteDatabase(tmp_path / "runyard.db")
    yield database
    database.close()


def spread(topic: Topic) -> list[Outbound]:
    """One record in each partition."""
    return [Outbound(topic, f"k{partition}", b"%d" % partition, partition) for partition in range(4)]


def test_second_journal_gets_its_share_after_the_first_gave_it_back(database: SqliteDatabase) -> None:
    """A joining journal owns nothing until the other one, asked at its next poll, has handed over."""
    first, second, one, two = SqliteJournal(database), None, Owner(), Owner()
    joined(first, one)

    second = SqliteJournal(database)
    second.poll(two, 1, 0)
    before = sorted(two.states)
    first.poll(one, 1, 0)
    second.poll(two, 1, 0)

    assert before == []
    assert (sorted(one.states), sorted(two.states)) == ([0, 1], [2, 3])
    assert one.calls[4:] == ["revoked 2", "revoked 3"]


def test_last_commit_is_possible_while_a_partition_is_given_back(database: SqliteDatabase) -> None:
    """Within `revoked(lost=False)` the partition is still owned; the next owner sees what was committed there."""

    class Closing(Owner):
        def revoked(self, partition: int, *, lost: bool) -> None:
            super().revoked(partition, lost=lost)
            first.commit(step(writes={partition: {"last": b"words"}}))

    first, one, two = SqliteJournal(database), Closing(), Owner()
    joined(first, one)
    second = SqliteJournal(database)

    first.poll(one, 1, 0)
    second.poll(two, 1, 0)

    assert [two.states[partition].get("last") for partition in (2, 3)] == [b"words", b"words"]


def test_closing_hands_everything_over_with_uncommitted_records(database: SqliteDatabase) -> None:
    """What a journal polled without committing comes to the next owner."""
    first, second, one, two = SqliteJournal(database), SqliteJournal(database), Owner(), Owner()
    SqliteEventLog(database).publish(spread(COMMANDS))
    first.poll(one, 10, 0)
    second.poll(two, 10, 0)

    first.close()
    records = second.poll(two, 10, 0)

    assert sorted(two.states) == [0, 1, 2, 3]
    assert [r.partition for r in records] == [0, 1]


def test_lost_partition_is_fenced_and_comes_back_at_the_next_poll(database: SqliteDatabase) -> None:
    """After `revoke` the step writes nothing; all of the journal's partitions count as lost, then are assigned anew."""
    journal, owner = SqliteJournal(database), Owner()
    SqliteEventLog(database).publish(spread(EVENTS))
    records = taken(journal, owner, 4)
    journal.revoke(1)

    with pytest.raises(Fenced, match="partition 1"):
        journal.commit(step(records, {0: {"k": b"v"}}, numbered(Topic.EXECUTION_EVENTS, "e", 1)))
    again = journal.poll(owner, 10, 0)

    assert owner.calls[4:] == [f"lost {p}" for p in range(4)] + [f"assigned {p}" for p in range(4)]
    assert [r.offset for r in again] == [r.offset for r in records]
    assert owner.states[0].get("k") is None
    assert SqliteEventLog(database).tail([Topic.EXECUTION_EVENTS]).poll(10, 0) == []


def test_touched_partition_alone_fences(database: SqliteDatabase) -> None:
    """A step that consumed and wrote nothing of a partition but rests on it is fenced as well."""
    journal = SqliteJournal(database)
    joined(journal, Owner())
    journal.revoke(3)

    with pytest.raises(Fenced):
        journal.commit(step(writes={0: {"k": b"v"}}, touched={3}))


def test_partition_can_be_asked_back(database: SqliteDatabase) -> None:
    """`revoke(lost=False)`: given back and assigned again at one poll, its uncommitted records with it."""
    journal, owner = SqliteJournal(database), Owner()
    SqliteEventLog(database).publish(spread(EVENTS))
    taken(journal, owner, 4)
    journal.revoke(2, lost=False)

    again = journal.poll(owner, 10, 0)

    assert owner.calls[4:] == ["revoked 2", "assigned 2"]
    assert [r.partition for r in again] == [2]


def test_evicted_journal_is_fenced_and_learns_its_loss(database: SqliteDatabase) -> None:
    """A stalled journal's partitions go to another one without its help; its late step does nothing."""
    stalled, live, one, two = SqliteJournal(database), SqliteJournal(database), Owner(), Owner()
    SqliteEventLog(database).publish(spread(COMMANDS))
    late = stalled.poll(one, 10, 0)
    stalled.evict()
    live.poll(two, 0, 0)
    records = taken(live, two, 4)
    live.commit(step(records, {p: {"owner": b"live"} for p in range(4)}))

    with pytest.raises(Fenced):
        stalled.commit(step(list(late), {0: {"owner": b"stalled"}}))
    stalled.poll(one, 10, 0)

    assert two.states[0].get("owner") == b"live"
    assert one.calls == ["assigned 0", "assigned 1", "lost 0", "lost 1"]


def test_subscriptions_of_a_group_share_and_hand_over(database: SqliteDatabase) -> None:
    """Each record goes to one member; what one leaves uncommitted, the other gets."""
    log = SqliteEventLog(database)
    first, second = log.subscribe([EVENTS], "g"), log.subscribe([EVENTS], "g")
    log.publish(spread(EVENTS))

    ones, twos = first.poll(10, 0), second.poll(10, 0)
    second.commit(after(list(twos)))
    first.close()
    rest = second.poll(10, 0)

    assert sorted(r.partition for r in ones) == [0, 1]
    assert sorted(r.partition for r in twos) == [2, 3]
    assert sorted(r.partition for r in rest) == [0, 1]


def test_positions_outlive_the_process(tmp_path: Path) -> None:
    """A group goes on where it was, also when it has read old records from the file."""
    path = tmp_path / "runyard.db"
    first = SqliteDatabase(path)
    log = SqliteEventLog(first)
    log.publish(numbered(EVENTS, "a", 3000))
    subscription = log.subscribe([EVENTS], "g")
    records = [r for _ in range(20) for r in subscription.poll(100, 0)]
    subscription.commit(after(records))
    first.close()

    second = SqliteDatabase(path)
    rest = SqliteEventLog(second).subscribe([EVENTS], "g").poll(5000, 0)
    second.close()

    assert [r.value for r in records + list(rest)] == [b"%d" % n for n in range(3000)]
