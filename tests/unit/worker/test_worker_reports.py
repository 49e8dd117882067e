"""How reports reach the log: in batches, in order, all of them."""

from __future__ import annotations

import threading

from shared.messages import AttemptEnded, AttemptStarted, LogLine, decode
from shared.ports import Outbound, RecordTooLarge, Topic
from tests.unit.worker.memory import Bench, MemoryLog, until
from worker.reporter import Report, Reporter

LOG = "io.kestra.plugin.core.log.Log"
RETURN = "io.kestra.plugin.core.debug.Return"
SLEEP = "io.kestra.plugin.core.flow.Sleep"


def record(text: str, topic: Topic = Topic.LOGS) -> Outbound:
    return Outbound(topic, "x", text.encode())


def test_what_comes_while_publishing_goes_out_together() -> None:
    """Reports that come while a batch is under way are the next batch; an idle reporter publishes one at once."""
    log = MemoryLog()
    reporter = Reporter(log, "test")
    log.held.set()
    reporter.start()
    reporter.report(Report([record("first")]))
    until(lambda: not reporter._waiting, "the first batch to be under way")
    for number in range(50):
        reporter.report(Report([record(str(number))]))

    log.held.clear()
    assert reporter.close(10)

    assert log.batches == [1, 50]
    assert [r.value for r in log.records] == [b"first", *(str(n).encode() for n in range(50))]


def test_a_log_that_is_away_loses_nothing() -> None:
    """Publishing is repeated until it works; then everything is there once, in order, and was called durable once."""
    log = MemoryLog()
    log.away.set()
    durable: list[int] = []
    reporter = Reporter(log, "test")
    reporter.start()
    for number in range(20):
        reporter.report(Report([record(str(number))], lambda number=number: durable.append(number)))
    until(lambda: log.refused >= 2, "two failures")
    assert durable == []

    log.away.clear()
    assert reporter.close(10)

    assert [r.value for r in log.records] == [str(n).encode() for n in range(20)]
    assert durable == list(range(20))


def test_a_record_above_the_limit_keeps_no_other_back() -> None:
    """The record is left out, or replaced by what its report has instead; the rest of the batch is published."""
    log = MemoryLog(limit=10)

    def instead(error: RecordTooLarge) -> list[Outbound]:
        return [record(f"{error.size}>{error.limit}")]

    reporter = Reporter(log, "test")
    reporter.report(Report([record("before")]))
    reporter.report(Report([record("far too large a line"), record("kept")]))
    reporter.report(Report([record("far too large an event")], instead=instead))
    reporter.report(Report([record("after")]))
    reporter.start()
    assert reporter.close(10)

    assert [r.value for r in log.records] == [b"before", b"kept", b"22>10", b"after"]


def test_log_lines_wait_while_the_log_has_no_room() -> None:
    """A reporter that holds too much says so; it has room again when that is published."""
    log = MemoryLog()
    log.held.set()
    reporter = Reporter(log, "test")
    reporter.report(Report([record("x")] * 30_000))

    assert not reporter.has_room()
    log.held.clear()
    reporter.start()
    until(reporter.has_room, "room")
    assert reporter.close(10)


def test_the_order_of_a_task_run_is_kept_under_load() -> None:
    """Of each of many task runs the start comes before its lines, these before the end, and each end is there."""
    with Bench(worker={"concurrency": 8, "start_within": 20.0}) as bench:
        commands = [bench.command(*task) for task in [(LOG, None), (SLEEP, None)] * 60]
        for command in commands:
            command.task.update({"message": ["a", "b"], "duration": "PT0.001S"})
        for first in range(0, len(commands), 8):
            bench.inbox.send(*commands[first : first + 8])
            for command in commands[first : first + 8]:
                bench.ended(command)

    for command in commands:
        own = [
            message
            for message in (decode(r.value or b"") for r in bench.log.records)
            if getattr(message, "task_run_id", None) == command.task_run_id
        ]
        kinds = [type(message) for message in own]
        assert kinds[0] is AttemptStarted
        assert kinds[-1] is AttemptEnded
        assert set(kinds[1:-1]) == {LogLine}
        assert [line.index for line in own[1:-1]] == list(range(len(own) - 2))


def test_a_result_above_the_topics_limit_fails_its_attempt_only() -> None:
    """An error text of many bytes that no message can hold becomes a FAILED result that names size and limit."""
    log = MemoryLog(limit=2000)
    with Bench(log=log) as bench:
        ended = bench.run(RETURN, format="x" * 1500, _task_id="t" * 10)
        large = bench.run(RETURN, format="y" * 5000)

    assert ended.state == "SUCCESS"
    assert large.state == "FAILED"
    assert "has exceeded the configured limit of 2000" in large.error


def test_a_bench_of_threads_ends_with_its_worker() -> None:
    """After the end of a worker none of its service threads is left."""
    with Bench() as bench:
        bench.run(RETURN, format="x")
    left = {thread.name for thread in threading.enumerate()}

    assert not {"worker-reporter", "worker-deadlines", "worker-heartbeat"} & left
