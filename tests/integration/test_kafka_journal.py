# ruff: noqa: F811  # fixtures are imported, and named by parameters
"""What only a real broker shows of the journal: fencing, rebalances, aborted and torn transactions."""

import random
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence

import pytest
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    ResourceType,
)

from shared.adapters.kafka import KafkaJournal, topics
from shared.ports import Aborted, Fenced, JournalError, Outbound, Topic
from shared.settings import Settings
from tests.contract.kafka_fixtures import KafkaStreams, kafka_settings, kafka_streams  # noqa: F401
from tests.contract.streams import Owner, all_of, joined, numbered, step, taken, until, values
from tests.servers import KafkaServer

pytestmark = pytest.mark.real

COMMANDS, EVENTS, OUT = Topic.EXECUTION_COMMANDS, Topic.TASK_RUN_EVENTS, Topic.EXECUTION_EVENTS


def shared_between(*members: tuple[KafkaJournal, Owner]) -> None:
    """Poll in turn until each has partitions, all together all of them, and none two owners."""

    def settled() -> bool:
        for journal, owner in members:
            assert not journal.poll(owner, 1, 0.05)
        owned = [partition for _, owner in members for partition in owner.states]
        return all(owner.states for _, owner in members) and sorted(owned) == list(range(members[0][0].partitions))

    until(settled)


@pytest.fixture
def opened() -> Iterator[list[KafkaJournal]]:
    """Journals to close at the end."""
    journals: list[KafkaJournal] = []
    yield journals
    for journal in journals:
        journal.close()


def test_evicted_executor_is_fenced_on_a_step_that_only_a_timer_caused(
    kafka_settings: Callable[..., Settings], opened: list[KafkaJournal]
) -> None:
    """An executor that the group has given up writes nothing, though its step consumed no record, and begins anew."""
    settings = kafka_settings(max_poll_interval_ms=6000, session_timeout_ms=6000)
    topics.create(settings)
    old, old_owner, new, new_owner = KafkaJournal(settings), Owner(), KafkaJournal(settings), Owner()
    opened += [old, new]
    joined(old, old_owner)
    old.commit(step(None, {0: {"k": b"old"}}, None, {0}))
    joined(new, new_owner)  # while the old one hangs: it does not poll for max.poll.interval.ms

    with pytest.raises(Fenced):
        old.commit(step(None, {0: {"k": b"zombie"}}, [Outbound(OUT, "doc", b"zombie", 0)], {0}))
    new.commit(step(None, {0: {"k2": b"new"}}, [Outbound(OUT, "doc", b"new", 0)], {0}))
    shared_between((old, old_owner), (new, new_owner))

    assert "lost 0" in old_owner.calls
    states = old_owner.states | new_owner.states
    assert list(states[0].scan("")) == [("k", b"old"), ("k2", b"new")]
    assert values(all_of(KafkaStreams(settings).event_log(), OUT)) == [b"new"]


def test_unchanged_partitions_are_not_read_again_and_changed_ones_are(
    kafka_streams: KafkaStreams, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a rebalance a member restores what another has changed, and goes on with what none has."""
    from shared.adapters.kafka import changelog

    restored: list[Sequence[int]] = []
    restore = changelog.restore

    def recorded(settings: Settings, partitions: Sequence[int]) -> dict:
        restored.append(partitions)
        return restore(settings, partitions)

    first, second = (kafka_streams.journal(), Owner()), (kafka_streams.journal(), Owner())
    joined(*first)
    first[0].commit(step(None, {p: {"k": b"1"} for p in range(4)}, None, set(range(4))))
    shared_between(first, second)
    moved, stayed = sorted(second[1].states), sorted(first[1].states)
    second[0].commit(step(None, {moved[0]: {"k": b"2"}}, None, {moved[0]}))
    monkeypatch.setattr(changelog, "restore", recorded)

    second[0].close()
    until(lambda: not first[0].poll(first[1], 1, 0.1) and len(first[1].states) == 4)

    assert {p: s.get("k") for p, s in first[1].states.items()} == dict.fromkeys(range(4), b"1") | {moved[0]: b"2"}
    assert set(moved) & set(restored[-1])
    assert not set(stayed) & set(restored[-1])


def test_abort_drops_everything_and_the_records_come_again(kafka_streams: KafkaStreams, kafka: str) -> None:
    """A step with a record that the broker refuses leaves no trace; the same records are polled once more."""
    log = kafka_streams.event_log()
    journal, owner = kafka_streams.journal(), Owner()
    joined(journal, owner)
    metrics = f"{kafka_streams.settings.topics.prefix}{Topic.METRICS}"
    small = ConfigEntry("max.message.bytes", "1000", incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ResourceType.TOPIC, metrics, incremental_configs=[small])
    admin = AdminClient({"bootstrap.servers": kafka})
    for done in admin.incremental_alter_configs([resource]).values():
        done.result(30)
    log.publish([*numbered(COMMANDS, "e", 2), *numbered(EVENTS, "e", 2)])
    records = taken(journal, owner, 4)
    place = records[0].partition
    refused = Outbound(Topic.METRICS, "m", random.Random(1).randbytes(50_000))
    fine = Outbound(OUT, "doc", b"event", place)

    with pytest.raises(Aborted):
        journal.commit(step(records, {place: {"k": b"v"}}, [fine, refused]))
    nothing = list(owner.states[place].scan(""))
    again = taken(journal, owner, 4)
    journal.commit(step(again, {place: {"k": b"w"}}, [fine]))

    assert nothing == []
    # The first time they may have come in two polls, whose order is theirs.
    assert sorted(again, key=lambda r: (r.topic, r.offset)) == sorted(records, key=lambda r: (r.topic, r.offset))
    assert values(all_of(log, OUT, Topic.METRICS)) == [b"event"]
    assert owner.states[place].get("k") == b"w"
    assert owner.calls == [f"assigned {partition}" for partition in range(4)]
    assert not journal.poll(owner, 10, 0.2)


class Child:
    """A journal in a process of its own."""

    def __init__(self, kafka: str, prefix: str, what: str, *instance: str) -> None:
        command = [sys.executable, "-m", "tests.integration.kafka_child", kafka, prefix, what, *instance]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def says(self) -> str:
        line = self._process.stdout.readline().strip()
        assert line, "the process ended"
        return line

    def send(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def go_on(self) -> None:
        self._process.stdin.write("go on\n")
        self._process.stdin.flush()

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()
        self._process.stdin.close()
        self._process.stdout.close()


def test_stalled_process_is_fenced_when_it_goes_on(kafka_streams: KafkaStreams, kafka: str, prefix: str) -> None:
    """A process that was stopped for longer than its session writes nothing when it is continued."""
    child, owner = Child(kafka, prefix, "stall"), Owner()
    assert child.says() == "joined"
    child.send(signal.SIGSTOP)
    journal = kafka_streams.journal()
    joined(journal, owner)

    child.send(signal.SIGCONT)
    until(lambda: not journal.poll(owner, 1, 0.5))
    child.go_on()
    said = child.says()
    child.kill()

    assert said == "fenced"
    assert list(owner.states[0].scan("")) == []
    assert all_of(kafka_streams.event_log(), OUT) == []


@pytest.mark.parametrize("instance", [["x1"], []], ids=["same instance", "another instance"])
def test_torn_transaction_of_a_killed_executor(
    kafka_streams: KafkaStreams, kafka: str, prefix: str, instance: list[str]
) -> None:
    """A transaction that a SIGKILL left open never happened: its records come again, its writes are nowhere.

    The next owner waits for the transaction's end: the broker's timeout, or at once where it has the same instance.
    """
    log = kafka_streams.event_log()
    log.publish(numbered(COMMANDS, "e", 2))
    before = kafka_streams.journal()
    owner = Owner()
    first = taken(before, owner, 2)[0]
    place = first.partition
    before.commit(step([first], {place: {"count": b"1"}}, [Outbound(OUT, "doc", b"one", place)]))
    before.close()
    child = Child(kafka, prefix, "torn", *instance)
    assert child.says() == "open"
    child.kill()

    owner = Owner()
    journal = kafka_streams.journal(instance=instance[0] if instance else None)
    [again] = taken(journal, owner, 1)
    state = list(owner.states[place].scan(""))
    journal.commit(step([again], {place: {"count": b"2"}}, [Outbound(OUT, "doc", b"two", place)]))

    assert again.value == b"1"
    assert state == [("count", b"1")]
    assert values(all_of(log, OUT)) == [b"one", b"two"]


def test_killed_again_and_again_each_record_counts_once(kafka_streams: KafkaStreams, kafka: str, prefix: str) -> None:
    """Executors killed at any moment lose no record and count none twice, in the state and in the outputs."""
    log, dice = kafka_streams.event_log(), random.Random(7)
    published = 0
    for _ in range(6):
        log.publish([Outbound(COMMANDS, f"e{n}", b"%d" % n) for n in range(published, published + 300)])
        published += 300
        child = Child(kafka, prefix, "count", "x1")
        for _ in range(dice.randrange(1, 12)):
            child.says()
        child.kill()

    child = Child(kafka, prefix, "count", "x1")
    until(lambda: len(all_of(log, OUT)) >= published)
    child.kill()
    owner = Owner()
    joined(kafka_streams.journal(instance="x1"), owner)

    outputs = sorted(int(r.value) for r in all_of(log, OUT))
    assert outputs == list(range(published))
    assert sum(int(state.get("count") or 0) for state in owner.states.values()) == published


def test_broker_killed_under_a_step(kafka_settings: Callable[..., Settings], prefix: str) -> None:
    """A commit during which the broker dies raises; after its restart the step has happened wholly or not at all."""
    with KafkaServer() as server:
        settings = kafka_settings()
        settings = settings.model_copy(update={"kafka": type(settings.kafka)(bootstrap_servers=server.address)})
        topics.create(settings)
        streams, owner = KafkaStreams(settings), Owner()
        journal, log = streams.journal(), streams.event_log()
        log.publish(numbered(COMMANDS, "e", 1))
        [record] = taken(journal, owner, 1)
        place = record.partition
        server.kill()

        with pytest.raises(JournalError):
            journal.commit(step([record], {place: {"k": b"v"}}, [Outbound(OUT, "doc", b"event", place)]))
        server.start()
        records: list = []
        until(lambda: records.extend(journal.poll(owner, 10, 0.2)) or (len(owner.states) == 4 and owner.states))
        if not list(owner.states[place].scan("")):  # it had not happened
            records = records or taken(journal, owner, 1)
            journal.commit(step(records, {place: {"k": b"v"}}, [Outbound(OUT, "doc", b"event", place)]))

        assert values(all_of(log, OUT)) == [b"event"]
        assert list(owner.states[place].scan("")) == [("k", b"v")]
        assert not journal.poll(owner, 10, 0.2)
        streams.close()


def test_topics_with_different_partitions_are_refused(kafka_streams: KafkaStreams, kafka: str) -> None:
    """A journal does not start on topics that are not co-partitioned, and names them."""
    name = f"{kafka_streams.settings.topics.prefix}{EVENTS}"
    admin = AdminClient({"bootstrap.servers": kafka})
    for done in admin.create_partitions([NewPartitions(name, 5)]).values():
        done.result(30)

    def refused() -> str:
        try:
            KafkaJournal(kafka_streams.settings).close()
        except JournalError as failure:
            return str(failure)
        return ""

    assert f"{name} 5" in until(refused)


def test_missing_topics_are_named(kafka_settings: Callable[..., Settings]) -> None:
    """A journal without its topics says which are missing, and what creates them."""
    settings = kafka_settings()

    with pytest.raises(JournalError, match=f"{settings.topics.prefix}executor-state.*runyard topics"):
        KafkaJournal(settings)
