"""The contract of sharing: journals of one executor group, and members of one reading group, that come and go."""

from collections.abc import Callable

import pytest

from shared.ports import Inbound, Journal, Outbound, Subscription, Topic
from tests.contract.streams import Owner, Streams, after, all_of, joined, step, until

COMMANDS, EVENTS, OUT = Topic.EXECUTION_COMMANDS, Topic.TASK_RUN_EVENTS, Topic.EXECUTION_EVENTS
KEYS = [f"e{number}" for number in range(40)]

Member = tuple[Journal, Owner]


def shared_between(one: Member, other: Member) -> None:
    """Poll both, without records, until each has a part of the partitions."""

    def balanced() -> bool:
        for journal, owner in (one, other):
            assert not journal.poll(owner, 1, 0.05)
        owned = [set(owner.states) for _, owner in (one, other)]
        return all(owned) and not owned[0] & owned[1] and len(owned[0] | owned[1]) == one[0].partitions

    until(balanced)


def handle(*members: Member, count: int) -> None:
    """Take `count` records in steps that add each one's value to its key's state, and publish it."""
    handled = 0

    def more() -> bool:
        nonlocal handled
        for journal, owner in members:
            for record in journal.poll(owner, 5, 0.05):
                assert record.value is not None
                old = owner.states[record.partition].get(record.key) or b""
                writes: dict[int, dict[str, bytes | None]] = {record.partition: {record.key: old + record.value}}
                journal.commit(step([record], writes, [Outbound(OUT, record.key, record.value, record.partition)]))
                handled += 1
        return handled >= count

    until(more)
    assert handled == count


def test_state_and_positions_go_with_their_partitions(streams: Streams) -> None:
    """When journals come and go, each record is handled once and each partition's state goes on."""
    log = streams.event_log()
    first = streams.journal(), Owner()

    joined(*first)
    log.publish([Outbound(COMMANDS, key, b"a") for key in KEYS])
    handle(first, count=40)
    second = streams.journal(), Owner()
    shared_between(first, second)
    log.publish([Outbound(EVENTS, key, b"b") for key in KEYS])
    handle(first, second, count=40)
    first[0].close()
    log.publish([Outbound(COMMANDS, key, b"c") for key in KEYS])
    handle(second, count=40)

    stored = {key: value for state in second[1].states.values() for key, value in state.scan("")}
    assert stored == dict.fromkeys(KEYS, b"abc")
    by_key: dict[str, bytes] = {}
    for record in all_of(log, OUT):
        by_key[record.key] = by_key.get(record.key, b"") + (record.value or b"")
    assert by_key == dict.fromkeys(KEYS, b"abc")


def test_revoked_is_told_while_a_commit_is_still_possible(streams: Streams) -> None:
    """A last commit inside `revoked` is written, and the partition's next owner sees it."""
    journal = streams.journal()

    class Last(Owner):
        def revoked(self, partition: int, *, lost: bool) -> None:
            if not lost:
                journal.commit(step(None, {partition: {"last": b"%d" % partition}}, None, {partition}))
            super().revoked(partition, lost=lost)

    owner = Last()
    joined(journal, owner)
    other = streams.journal(), Owner()
    shared_between((journal, owner), other)

    assert {p: s.get("last") for p, s in other[1].states.items()} == {p: b"%d" % p for p in other[1].states}


def test_what_a_journal_did_not_commit_comes_to_the_next_owner(streams: Streams) -> None:
    """Records that were polled and not committed are polled again by whoever gets their partitions."""
    log, first = streams.event_log(), (streams.journal(), Owner())
    joined(*first)
    log.publish([Outbound(COMMANDS, key, b"a") for key in KEYS])
    polled: list[Inbound] = []
    until(lambda: len(polled.extend(first[0].poll(first[1], 100, 0.2)) or polled) >= 40)

    first[0].close()
    second = streams.journal(), Owner()
    handle(second, count=40)

    assert len(second[1].states) == second[0].partitions
    assert sorted(record.key for record in all_of(log, OUT)) == sorted(KEYS)


@pytest.fixture
def members(streams: Streams) -> Callable[[], list[Subscription]]:
    """Makes two members of one group that share its partitions, after they have read what made that visible."""

    def make() -> list[Subscription]:
        log = streams.event_log()
        both = [log.subscribe([OUT], "g"), log.subscribe([OUT], "g")]
        number = 0

        def balanced() -> bool:
            nonlocal number
            number += 1
            wanted = {f"{number}-{partition}" for partition in range(4)}
            log.publish([Outbound(OUT, f"{number}-{partition}", b"", partition) for partition in range(4)])
            seen: list[set[str]] = [set(), set()]

            def read_by_both() -> bool:
                for keys, member in zip(seen, both, strict=True):
                    records = list(member.poll(100, 0.05))
                    member.commit(after(records))
                    keys.update(record.key for record in records)
                return wanted <= seen[0] | seen[1]

            until(read_by_both)
            return all(keys & wanted for keys in seen)

        until(balanced)
        return both

    return make


def test_members_of_a_group_share_the_partitions(streams: Streams, members: Callable[[], list[Subscription]]) -> None:
    """Two members read every record between them, and what one leaves behind uncommitted goes to the other."""
    one, other = members()
    wanted = {f"k{n}" for n in range(40)}
    streams.event_log().publish([Outbound(OUT, f"k{n}", b"", n % 4) for n in range(40)])
    read_by: tuple[set[str], set[str]] = set(), set()

    def take(*, committing: bool) -> None:
        records = list(other.poll(10, 0.05))
        if committing:
            other.commit(after(records))
        read_by[1].update(record.key for record in records if record.key in wanted)

    def both() -> bool:
        found = one.poll(10, 0.05)  # which commits nothing
        read_by[0].update(record.key for record in found if record.key in wanted)
        take(committing=True)
        return read_by[0] | read_by[1] == wanted

    until(both)
    assert read_by[0]
    assert read_by[1]
    one.close()

    def taken_over() -> bool:
        take(committing=False)
        return read_by[1] == wanted

    until(taken_over)
