"""The contract of `Journal` and `PartitionState`."""

import pytest

from shared.ports import Fenced, Outbound, RecordTooLarge, Topic
from tests.contract.streams import (
    LIMIT,
    Owner,
    Streams,
    after,
    all_of,
    joined,
    numbered,
    step,
    taken,
    until,
    values,
)

COMMANDS, EVENTS, OUT = Topic.EXECUTION_COMMANDS, Topic.TASK_RUN_EVENTS, Topic.EXECUTION_EVENTS


def test_first_poll_assigns_every_partition_empty(streams: Streams) -> None:
    """The only journal owns all partitions, each once, with nothing in their state."""
    owner = Owner()

    journal = joined(streams.journal(), owner)

    assert sorted(owner.calls) == [f"assigned {partition}" for partition in range(journal.partitions)]
    assert [list(state.scan("")) for state in owner.states.values()] == [[]] * journal.partitions


def test_commands_come_before_events(streams: Streams) -> None:
    """A command that waits is handed over before events that were published earlier."""
    journal, owner, log = streams.journal(), Owner(), streams.event_log()
    joined(journal, owner)
    log.publish(numbered(EVENTS, "e", 3))
    log.publish(numbered(COMMANDS, "e", 2))
    records = taken(journal, owner, 5)

    journal.close()
    again = taken(streams.journal(), Owner(), 5)

    assert sorted(r.topic for r in records) == [COMMANDS] * 2 + [EVENTS] * 3
    assert [(r.topic, r.value) for r in again][:2] == [(COMMANDS, b"0"), (COMMANDS, b"1")]


def test_order_within_a_key(streams: Streams) -> None:
    """Records of one key come in the order in which they were published, whatever the limit."""
    journal, owner = streams.journal(), Owner()
    streams.event_log().publish(numbered(EVENTS, "e", 50))

    records = taken(journal, owner, 50, limit=7)

    assert values(records) == [b"%d" % number for number in range(50)]


def test_limit(streams: Streams) -> None:
    """A poll returns no more than its limit."""
    journal, owner = streams.journal(), Owner()
    streams.event_log().publish([*numbered(EVENTS, "e", 10), *numbered(COMMANDS, "f", 10)])
    batches = []

    until(lambda: batches.append(journal.poll(owner, 3, 0.2)) or sum(map(len, batches)) >= 20)

    assert max(map(len, batches)) <= 3
    assert sum(map(len, batches)) == 20


def test_partition_of_a_key_is_where_its_records_come_from(streams: Streams) -> None:
    """`partition_of` tells the partition of a key's commands and events alike."""
    journal, owner = streams.journal(), Owner()
    keys = ["", "a", "7Zk3qk5", "main/company.team/flow", "ключ", "x" * 99]
    streams.event_log().publish([Outbound(topic, key, b"") for key in keys for topic in (COMMANDS, EVENTS)])

    records = taken(journal, owner, 2 * len(keys))

    assert sorted((r.key, r.partition) for r in records) == sorted((k, journal.partition_of(k)) for k in keys * 2)


def test_commit_shows_everything_of_a_step(streams: Streams) -> None:
    """After a commit the outputs are in their topics and the writes in the state; before it, neither is."""
    journal, owner, log = streams.journal(), Owner(), streams.event_log()
    joined(journal, owner)
    log.publish(numbered(COMMANDS, "e", 1))
    [record] = taken(journal, owner, 1)
    place = record.partition
    before = owner.states[place].get("k"), all_of(log, OUT)

    journal.commit(step([record], {place: {"k": b"v"}}, [Outbound(OUT, "doc", b"event", place)]))

    assert before == (None, [])
    assert owner.states[place].get("k") == b"v"
    assert [(r.key, r.value, r.partition) for r in all_of(log, OUT)] == [("doc", b"event", place)]


def test_state_and_positions_outlive_the_journal(streams: Streams) -> None:
    """The next journal finds the state as of the last commit, and the records after it."""
    journal, owner, log = streams.journal(), Owner(), streams.event_log()
    log.publish(numbered(EVENTS, "e", 3))
    first, second, third = taken(journal, owner, 3)
    place = first.partition
    journal.commit(step([first], {place: {"a": b"1", "b": b"1", "c": b"1"}}))
    journal.commit(step([second], {place: {"a": b"2", "b": None}}))
    journal.close()

    owner = Owner()
    again = taken(streams.journal(), owner, 1)

    assert again == [third]
    assert list(owner.states[place].scan("")) == [("a", b"2"), ("c", b"1")]


def test_one_commit_over_several_partitions(streams: Streams) -> None:
    """A step may rest on several partitions and write all of them."""
    journal, owner, log = streams.journal(), Owner(), streams.event_log()
    log.publish([Outbound(COMMANDS, f"e{number}", b"") for number in range(40)])
    records = taken(journal, owner, 40)
    places = {record.partition for record in records}
    journal.commit(step(records, {place: {"at": b"%d" % place} for place in places}))
    journal.close()

    owner = Owner()
    joined(streams.journal(), owner)

    assert len(places) > 1
    assert {place: owner.states[place].get("at") for place in places} == {place: b"%d" % place for place in places}


def test_step_without_records(streams: Streams) -> None:
    """A step that only a timer caused names its partition, and writes like any other."""
    journal, owner = streams.journal(), Owner()
    joined(journal, owner)

    journal.commit(step(None, {2: {"t/1": b"x"}}, [Outbound(OUT, "doc", b"tick", 2)], {2}))
    journal.commit(step(None, {2: {"t/1": None, "t/2": b"y"}}, [Outbound(OUT, "doc", b"tock", 2)], {2}))

    assert list(owner.states[2].scan("t/")) == [("t/2", b"y")]
    assert values(all_of(streams.event_log(), OUT)) == [b"tick", b"tock"]


def test_outputs_come_back_as_records(streams: Streams) -> None:
    """What a step sends to the executor's own topics is polled like what others send."""
    journal, owner = streams.journal(), Owner()
    joined(journal, owner)
    place = journal.partition_of("e")

    journal.commit(step(None, None, [Outbound(COMMANDS, "e", b"to myself")], {place}))

    [record] = taken(journal, owner, 1)
    assert (record.topic, record.partition, record.key, record.value) == (COMMANDS, place, "e", b"to myself")


def test_step_of_a_partition_that_is_not_owned_is_fenced(streams: Streams) -> None:
    """Nothing of a step is written when it rests on a partition of another owner."""
    journal, owner = streams.journal(), Owner()

    with pytest.raises(Fenced):
        journal.commit(step(None, {1: {"k": b"v"}}, [Outbound(OUT, "doc", b"event", 1)], {1}))

    joined(journal, owner)
    assert owner.states[1].get("k") is None
    assert all_of(streams.event_log(), OUT) == []


@pytest.mark.parametrize("where", ["output", "state"])
def test_record_above_the_limit_is_found_before_anything_is_written(streams: Streams, where: str) -> None:
    """A step with a too large record writes nothing and names it; the step without it can be committed."""
    journal, owner, log = streams.journal(), Owner(), streams.event_log()
    log.publish(numbered(COMMANDS, "e", 1))
    [record] = taken(journal, owner, 1)
    place, large = record.partition, b"x" * (LIMIT + 1)
    good = Outbound(OUT, "good", b"", place)
    outputs = [good, Outbound(OUT, "large", large, place)] if where == "output" else [good]
    writes = {place: {"small": b"", **({"large": large} if where == "state" else {})}}

    with pytest.raises(RecordTooLarge) as refused:
        journal.commit(step([record], writes, outputs))
    nothing = all_of(log, OUT), list(owner.states[place].scan(""))
    journal.commit(step([record], {place: {"small": b""}}, [good]))

    assert refused.value.record.key == "large"
    assert refused.value.limit == LIMIT
    assert nothing == ([], [])
    assert [r.key for r in all_of(log, OUT)] == ["good"]


def test_record_of_exactly_the_limit(streams: Streams) -> None:
    """The limit itself is allowed, in outputs and in the state."""
    journal, owner = streams.journal(), Owner()
    joined(journal, owner)
    value = b"x" * (LIMIT - 3)

    journal.commit(step(None, {0: {"key": value}}, [Outbound(OUT, "key", value, 0)], {0}))

    assert owner.states[0].get("key") == value
    assert values(all_of(streams.event_log(), OUT)) == [value]


def test_scan_is_in_key_order_by_prefix_and_from_a_key_on(streams: Streams) -> None:
    """`scan` gives the keys of a prefix in order, beginning after `after`."""
    journal, owner = streams.journal(), Owner()
    joined(journal, owner)
    keys = ["t/2", "x/1", "t/10", "t", "u", "t/1", "s/9", "t/é"]
    journal.commit(step(None, {0: {key: key.encode() for key in keys}}, None, {0}))
    state = owner.states[0]

    assert [key for key, _ in state.scan("")] == sorted(keys)
    assert list(state.scan("t/")) == [(key, key.encode()) for key in ("t/1", "t/10", "t/2", "t/é")]
    assert [key for key, _ in state.scan("t/", "t/1")] == ["t/10", "t/2", "t/é"]
    assert [key for key, _ in state.scan("t/", "t/15")] == ["t/2", "t/é"]
    assert [key for key, _ in state.scan("t/", "a")] == ["t/1", "t/10", "t/2", "t/é"]
    assert list(state.scan("t/", "u")) == []
    assert list(state.scan("y")) == []


def test_empty_value_is_not_a_deletion(streams: Streams) -> None:
    """An empty value is kept, also over a restart; None removes the key."""
    journal, owner = streams.journal(), Owner()
    joined(journal, owner)
    journal.commit(step(None, {0: {"empty": b"", "gone": b"x"}}, None, {0}))
    journal.commit(step(None, {0: {"gone": None, "never": None}}, None, {0}))
    journal.close()

    owner = Owner()
    joined(streams.journal(), owner)

    assert list(owner.states[0].scan("")) == [("empty", b"")]


def test_records_that_were_not_committed_come_again(streams: Streams) -> None:
    """What was polled and not committed comes again to the next journal, and nothing else does."""
    journal, owner = streams.journal(), Owner()
    streams.event_log().publish([*numbered(COMMANDS, "e", 4), *numbered(EVENTS, "e", 4)])
    records = taken(journal, owner, 8)
    done = [r for r in records if r.topic is COMMANDS][:3] + [r for r in records if r.topic is EVENTS][:1]
    journal.commit(step(done))
    journal.close()

    again = taken(streams.journal(), Owner(), 4)

    assert [(r.topic, r.value) for r in again] == [(COMMANDS, b"3"), (EVENTS, b"1"), (EVENTS, b"2"), (EVENTS, b"3")]
    assert after(again) == after(records)
