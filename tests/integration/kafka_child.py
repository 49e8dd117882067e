"""A process with a journal, for the tests that kill it. Arguments: bootstrap servers, prefix, what to do, instance."""

import sys
import time

from confluent_kafka import TopicPartition

from shared.adapters.kafka import KafkaJournal
from shared.ports import Fenced, Outbound, Topic
from shared.settings import KafkaSettings, Settings, TopicSettings
from tests.contract.streams import Owner, joined, step

OUT = Topic.EXECUTION_EVENTS


def settings(bootstrap_servers: str, prefix: str) -> Settings:
    # A killed member is missed soon, or the tests would mostly wait for that.
    kafka = KafkaSettings(bootstrap_servers=bootstrap_servers, session_timeout_ms=1500, heartbeat_interval_ms=300)
    return Settings(kafka=kafka, topics=TopicSettings(prefix=prefix))


def say(line: str) -> None:
    print(line, flush=True)


def leave_a_transaction_open(journal: KafkaJournal, owner: Owner) -> None:
    """Write all of a step but the end of its transaction; then wait to be killed."""
    records = []
    while not records:
        records = list(journal.poll(owner, 1, 0.2))
    place = records[0].partition
    wanted = step(records, {place: {"count": b"torn", "new": b"torn"}}, [Outbound(OUT, "doc", b"torn", place)])
    transactions = journal._transactions
    transactions.begin(journal._records(wanted))
    offsets = [
        TopicPartition(journal._names.full[topic], partition, offset, "torn")
        for (topic, partition), offset in wanted.positions.items()
    ]
    transactions._producer.send_offsets_to_transaction(offsets, journal._member, 10)
    transactions._producer.flush(10)
    say("open")
    time.sleep(600)


def stall(journal: KafkaJournal, owner: Owner) -> None:
    """Own everything; when told to go on, commit what a timer caused before any further poll, and say how it went."""
    joined(journal, owner)
    say("joined")
    sys.stdin.readline()
    try:
        journal.commit(step(None, {0: {"k": b"zombie"}}, [Outbound(OUT, "doc", b"zombie", 0)], {0}))
    except Fenced:
        say("fenced")
    else:
        say("committed")


def count_for_ever(journal: KafkaJournal, owner: Owner) -> None:
    """For each record: one more in its partition's count, and one output that carries it."""
    while True:
        records = list(journal.poll(owner, 20, 0.2))
        writes, outputs = {}, []
        for record in records:
            state = writes.setdefault(record.partition, {})
            old = state.get("count") or owner.states[record.partition].get("count") or b"0"
            state["count"] = b"%d" % (int(old) + 1)
            outputs.append(Outbound(OUT, record.key, record.value, record.partition))
        if records:
            journal.commit(step(records, writes, outputs))
            say("step")


if __name__ == "__main__":
    servers, names, what, *instance = sys.argv[1:]
    opened = KafkaJournal(settings(servers, names), instance=instance[0] if instance else None)
    {"torn": leave_a_transaction_open, "count": count_for_ever, "stall": stall}[what](opened, Owner())
