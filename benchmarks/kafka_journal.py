"""Raw rates of the Kafka adapters: publishing, steps under load, steps when idle, restoring.

    python benchmarks/kafka_journal.py [--partitions 16] [--steps 100] [--outputs 500] [--writes 300]

Kafka is where RUNYARD_KAFKA__BOOTSTRAP_SERVERS says. The topics are the benchmark's own, and are removed.
"""

import argparse
import statistics
import time
import uuid

from confluent_kafka.admin import AdminClient

from shared.adapters.kafka import KafkaEventLog, KafkaInbox, KafkaJournal, topics
from shared.messages import StopTaskRun
from shared.ports import Inbound, Outbound, PartitionState, Step, Topic
from shared.settings import Settings, TopicSettings

#: About a task run's document with its event.
DOCUMENT = (
    b'{"v":1,"type":"TaskRunStarted","execution_id":"%022d","seq":17,"at":1795467984000,"kind":"taskrun","document":'
    b'{"tenantId":"main","namespace":"company.team","flowId":"hello","flowRevision":3,"taskId":"log","state":{"current":'
    b'"RUNNING","histories":[{"state":"CREATED","date":"2026-11-23T21:06:24.000Z"},{"state":"RUNNING","date":'
    b'"2026-11-23T21:06:24.120Z"}],"startDate":"2026-11-23T21:06:24.120Z"},"attempts":[{"number":%d}]}}'
)


class Owner:
    """Keeps the states that it is given."""

    def __init__(self) -> None:
        self.states: dict[int, PartitionState] = {}

    def assigned(self, partition: int, state: PartitionState) -> None:
        self.states[partition] = state

    def revoked(self, partition: int, *, lost: bool) -> None:  # noqa: ARG002  # the port's name
        self.states.pop(partition)


def key(number: int) -> str:
    return f"e{number:021d}"


def step(batch: list[Inbound], outputs: int, writes: int) -> Step:
    """A step with outputs and writes in the partitions of its records."""
    positions: dict[tuple[Topic, int], int] = {}
    for record in batch:
        positions[record.topic, record.partition] = record.offset + 1
    out = []
    changes: dict[int, dict[str, bytes | None]] = {}
    for number in range(max(outputs, writes)):
        record = batch[number % len(batch)]
        value = DOCUMENT % (record.offset, number)
        if number < outputs:
            out.append(Outbound(Topic.EXECUTION_EVENTS, record.key, value, record.partition))
        if number < writes:
            changes.setdefault(record.partition, {})[f"x/{record.key}/{number}"] = value
    return Step(positions, changes, out)


def show(what: str, seconds: float, count: int, cpu: float | None = None) -> None:
    python = "" if cpu is None else f", this thread's CPU {cpu / count * 1e6:.1f} µs each"
    print(f"{what:46} {count / seconds:10,.0f}/s{python}")


def publish(log: KafkaEventLog, count: int) -> None:
    records = [Outbound(Topic.TASK_RUN_EVENTS, key(n // 4), DOCUMENT % (n, 0)) for n in range(count)]
    began, cpu = time.perf_counter(), time.thread_time()
    for start in range(0, count, 1000):
        log.publish(records[start : start + 1000])
    show("publish, 1,000 records a call", time.perf_counter() - began, count, time.thread_time() - cpu)
    began, cpu = time.perf_counter(), time.thread_time()
    for record in records[:200]:
        log.publish([Outbound(Topic.METRICS, record.key, record.value)])
    show("publish, 1 record a call", time.perf_counter() - began, 200, time.thread_time() - cpu)


def load(journal: KafkaJournal, owner: Owner, total: int, outputs: int, writes: int) -> None:
    seen = written = 0
    waits, commits, took, partitions = 0.0, 0.0, [], []
    commit_cpu = poll_cpu = 0.0
    while seen < total:
        began, cpu = time.perf_counter(), time.thread_time()
        batch = list(journal.poll(owner, 500, 1.0))
        waits += time.perf_counter() - began
        poll_cpu += time.thread_time() - cpu
        if not batch:
            continue
        seen += len(batch)
        next_step = step(batch, outputs, writes)
        began, cpu = time.perf_counter(), time.thread_time()
        journal.commit(next_step)
        took.append(time.perf_counter() - began)
        commits += took[-1]
        commit_cpu += time.thread_time() - cpu
        partitions.append(len(next_step.writes))
        written += len(next_step.outputs) + sum(map(len, next_step.writes.values()))
    print(
        f"{len(took)} steps of {outputs} outputs and {writes} writes over {statistics.mean(partitions):.1f} partitions"
    )
    show("  records read", waits, seen, poll_cpu)
    show("  records written, in commits", commits, written, commit_cpu)
    print(f"  a commit takes {statistics.median(took) * 1000:.1f} ms p50, {max(took) * 1000:.1f} ms at most")
    show("  steps, poll and commit", waits + commits, len(took))


def idle(journal: KafkaJournal, owner: Owner, log: KafkaEventLog, inbox: KafkaInbox, count: int) -> None:
    session = "benchmark"
    address = inbox.open(session)
    while inbox.take(10, 0.2):
        pass
    commits, trips = [], []
    for number in range(count):
        began = time.perf_counter()
        log.publish([Outbound(Topic.EXECUTION_COMMANDS, key(number), b"{}")])
        batch: list[Inbound] = []
        while not batch:
            batch = list(journal.poll(owner, 500, 1.0))
        command = StopTaskRun(session, key(number), "t", 0, 0, "kill").to_bytes()
        base = step(batch, 2, 3)
        out = [*base.outputs, Outbound(Topic.TASK_RUN_COMMANDS, session, command, address.partition)]
        commit = time.perf_counter()
        journal.commit(Step(base.positions, base.writes, out))
        commits.append(time.perf_counter() - commit)
        while not inbox.take(10, 1.0):
            pass
        trips.append(time.perf_counter() - began)
    for what, times in (("commit of one message", commits), ("publish → step → worker's inbox", trips)):
        ordered = sorted(times)
        p50, p99 = ordered[len(ordered) // 2] * 1000, ordered[int(len(ordered) * 0.99)] * 1000
        print(f"{what:46} {p50:.1f} ms p50, {p99:.1f} ms p99")


def restore(settings: Settings) -> None:
    owner = Owner()
    journal = KafkaJournal(settings)
    began = time.perf_counter()
    while len(owner.states) < journal.partitions:
        journal.poll(owner, 1, 0.1)
    seconds = time.perf_counter() - began
    keys = sum(1 for state in owner.states.values() for _ in state.scan(""))
    journal.close()
    show("restore, with joining the group: keys", seconds, keys)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--partitions", type=int, default=16)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--outputs", type=int, default=500)
    parser.add_argument("--writes", type=int, default=300)
    arguments = parser.parse_args()
    prefix = f"bench-{uuid.uuid4().hex[:8]}-"
    settings = Settings(topics=TopicSettings(prefix=prefix, partitions=arguments.partitions))
    created = topics.create(settings).created
    try:
        log, journal, inbox, owner = KafkaEventLog(settings), KafkaJournal(settings), KafkaInbox(settings), Owner()
        while len(owner.states) < journal.partitions:
            journal.poll(owner, 1, 0.1)
        publish(log, arguments.steps * 500)
        load(journal, owner, arguments.steps * 500, arguments.outputs, arguments.writes)
        idle(journal, owner, log, inbox, 300)
        for opened in (journal, log, inbox):
            opened.close()
        restore(settings)
    finally:
        admin = AdminClient({"bootstrap.servers": settings.kafka.bootstrap_servers})
        for removed in admin.delete_topics(created).values():
            removed.result(30)


if __name__ == "__main__":
    main()
