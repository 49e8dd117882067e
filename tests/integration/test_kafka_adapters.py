# ruff: noqa: F811  # fixtures are imported, and named by parameters
"""What only a real broker shows of topics, partitioner, tail, inbox and event log."""

import random
from collections.abc import Callable

import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType

from shared.adapters.kafka import KafkaEventLog, topics
from shared.adapters.kafka.partitioner import partition_of
from shared.adapters.kafka.transaction import Transactions
from shared.messages import StopTaskRun
from shared.ports import Aborted, JournalError, Outbound, Topic
from shared.settings import KafkaSettings, Settings
from tests.contract.kafka_fixtures import KafkaStreams, kafka_settings, kafka_streams  # noqa: F401
from tests.contract.streams import Owner, all_of, joined, numbered, read, step, until, values

pytestmark = pytest.mark.real

OUT = Topic.EXECUTION_EVENTS


def altered(kafka: str, topic: str, key: str, value: str) -> None:
    entry = ConfigEntry(key, value, incremental_operation=AlterConfigOpType.SET)
    admin = AdminClient({"bootstrap.servers": kafka})
    resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[entry])
    for done in admin.incremental_alter_configs([resource]).values():
        done.result(30)


def test_topics_are_created_once(kafka_settings: Callable[..., Settings]) -> None:
    """Creating makes every topic; repeating it makes none and finds nothing that differs."""
    settings = kafka_settings()

    first, second = topics.create(settings), topics.create(settings)

    assert sorted(first.created) == sorted(f"{settings.topics.prefix}{topic}" for topic in Topic)
    assert (second.created, second.differences) == ([], [])


def test_topics_that_differ_are_described(kafka_settings: Callable[..., Settings], kafka: str) -> None:
    """Existing topics with other sizes or rules are left as they are, and named with both values."""
    settings = kafka_settings(partitions=2)
    topics.create(settings)
    logs = f"{settings.topics.prefix}logs"
    altered(kafka, logs, "retention.ms", "1000")

    def differences() -> list[str]:
        return topics.create(kafka_settings(partitions=3)).differences

    found = until(lambda: (some := differences()) and any("retention.ms" in line for line in some) and some)

    assert f"{logs}: retention.ms is 1000, 604800000 is expected" in found
    assert f"{settings.topics.prefix}executor-state: 2 partitions, the settings say 3" in found
    assert not any("flows" in line for line in found)


def test_topics_that_are_not_co_partitioned_are_an_error(kafka_settings: Callable[..., Settings], kafka: str) -> None:
    """When one co-partitioned topic is missing and would be made with another size, the message shows each size."""
    settings = kafka_settings(partitions=2)
    topics.create(settings)
    admin = AdminClient({"bootstrap.servers": kafka})
    gone = f"{settings.topics.prefix}executor-state"
    for done in admin.delete_topics([gone]).values():
        done.result(30)
    until(lambda: gone not in admin.list_topics(timeout=10).topics)

    with pytest.raises(topics.TopicsDiffer, match=f"{gone} has 3") as refused:
        topics.create(kafka_settings(partitions=3))

    assert f"{settings.topics.prefix}execution-commands has 2" in str(refused.value)


def test_python_and_librdkafka_choose_the_same_partition(kafka_settings: Callable[..., Settings]) -> None:
    """`partition_of` is librdkafka's murmur2_random, for keys of every length and any characters."""
    settings = kafka_settings(partitions=13)
    topics.create(settings)
    dice = random.Random(3)
    letters = "abcXYZ019/@.-_éж😀"
    keys = ["".join(dice.choices(letters, k=length)) for length in range(1, 60) for _ in range(5)]
    log = KafkaEventLog(settings)
    log.publish([Outbound(OUT, key, b"") for key in keys])

    records = all_of(log, OUT)
    log.close()

    assert {r.key: r.partition for r in records} == {key: partition_of(key, 13) for key in keys}
    assert len({r.partition for r in records}) == 13


def test_open_transaction_is_not_seen_and_aborted_records_never_are(kafka_streams: KafkaStreams) -> None:
    """A tail is caught up in front of an open transaction, and again after its abort, of which it shows nothing."""
    settings, log = kafka_streams.settings, kafka_streams.event_log()
    name = f"{settings.topics.prefix}{OUT}"
    log.publish(numbered(OUT, "k", 2))
    place = all_of(log, OUT)[0].partition
    transactions = Transactions(settings, f"{settings.topics.prefix}torn")
    transactions.begin([(name, "k", b"torn", place)])
    transactions._producer.flush(10)
    tail = log.tail([OUT])

    in_front = read(tail, 2)
    until(lambda: not tail.poll(10, 0.05) and tail.caught_up())
    with pytest.raises(Aborted):
        transactions._abort(_refused())
    log.publish([Outbound(OUT, "k", b"after", place)])
    behind = read(tail, 1)
    until(lambda: not tail.poll(10, 0.05) and tail.caught_up())
    tail.close()
    transactions.close()

    assert values(in_front) == [b"0", b"1"]
    assert values(behind) == [b"after"]


def test_a_tail_is_asked_where_it_stands_while_its_fetch_waits(kafka_settings: Callable[..., Settings]) -> None:
    """A fetch that waits for records, for longer than a look-up may take, holds no look-up of the tail's end back."""
    # given a tail of a topic without records, whose fetch waits after the end of each partition was reported
    settings = kafka_settings(fetch_wait_max_ms=100_000, socket_timeout_ms=120_000)
    topics.create(settings)
    log = KafkaEventLog(settings)
    tail = log.tail([OUT])
    for _ in range(2 * settings.topics.partitions):
        assert not tail.poll(10, 0.25)
    # when it is asked, then it answers
    assert tail.caught_up()
    tail.close()
    log.close()


def _refused() -> object:
    from confluent_kafka import KafkaError

    return KafkaError(KafkaError.POLICY_VIOLATION)


def test_subscription_has_no_lag_behind_transaction_markers(kafka_streams: KafkaStreams) -> None:
    """When every record of transactions is committed as read, the lag is 0 although their markers take offsets."""
    journal, owner = kafka_streams.journal(), Owner()
    joined(journal, owner)
    for number in range(3):
        journal.commit(step(None, None, [Outbound(OUT, "k", b"%d" % number, 1)], {1}))
    subscription = kafka_streams.event_log().subscribe([OUT], "g")
    records = read(subscription, 3)

    subscription.commit({(OUT, 1): records[-1].offset + 1})
    until(lambda: not subscription.poll(10, 0.05) and sum(subscription.lag().values()) == 0)
    subscription.close()

    assert values(records) == [b"0", b"1", b"2"]
    assert records[-1].offset > 2  # markers lie between


def test_commands_of_a_step_reach_the_inbox(kafka_streams: KafkaStreams) -> None:
    """A worker session takes what an executor's committed steps send it, and nothing of an aborted one."""
    inbox, journal, owner = kafka_streams.inbox(), kafka_streams.journal(), Owner()
    address = inbox.open("s")
    joined(journal, owner)
    commands = [StopTaskRun("s", "e", f"t{number}", 0, 0, "kill") for number in range(3)]

    for command in commands:
        sent = Outbound(Topic.TASK_RUN_COMMANDS, "s", command.to_bytes(), address.partition)
        journal.commit(step(None, None, [sent], {0}))
    taken: list = []
    until(lambda: len(taken.extend(inbox.take(10, 0.2)) or taken) >= 3)
    until(lambda: not inbox.take(10, 0.05) and inbox.position >= address.position + 6)  # three records, three markers

    assert taken == commands


def test_publishing_without_a_broker_is_an_error(kafka_settings: Callable[..., Settings]) -> None:
    """When nobody answers, `publish` says that nothing was published."""
    settings = kafka_settings(delivery_timeout_ms=1500)
    nowhere = KafkaSettings(bootstrap_servers="127.0.0.1:1", delivery_timeout_ms=1500)
    log = KafkaEventLog(settings.model_copy(update={"kafka": nowhere}))

    with pytest.raises(JournalError, match="not published"):
        log.publish([Outbound(OUT, "k", b"")])

    log.close()


def test_offsets_of_a_step_are_the_groups(kafka_streams: KafkaStreams) -> None:
    """A step's positions are the executor group's committed offsets, where Kafka's own tools show its lag."""
    from shared.adapters.kafka import client

    log, journal, owner = kafka_streams.event_log(), kafka_streams.journal(), Owner()
    log.publish([Outbound(Topic.TASK_RUN_EVENTS, "e", b"", 2)])
    records: list = []
    until(lambda: records.extend(journal.poll(owner, 10, 0.2)) or records)
    journal.commit(step(records))
    reader = client.consumer(kafka_streams.settings, "executor")

    name = f"{kafka_streams.settings.topics.prefix}{Topic.TASK_RUN_EVENTS}"
    [found] = reader.committed([TopicPartition(name, 2)], 30)
    reader.close()

    assert found.offset == 1
