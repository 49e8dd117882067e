"""The processor on a SQLite journal: what is accepted once, what is lost, what is taken over."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from shared import messages as m
from tests.executor_stand import LEASE, FakeWorker, Stand

LOG = "{id: %s, type: io.kestra.plugin.core.log.Log, message: m}"
ONE = f"id: f\nnamespace: test.executor\ntasks:\n  - {LOG % 'a'}\n"
TWO = f"{ONE}  - {LOG % 'b'}\n"


@pytest.fixture
def stand(tmp_path: Path) -> Iterator[Stand]:
    opened = Stand(tmp_path)
    yield opened
    opened.close()


def test_a_flow_runs_to_its_end(stand: Stand) -> None:
    """Commands go to a worker with free slots, its results end the execution; each event has the next number."""
    stand.add(TWO)
    worker = FakeWorker(stand, "w1")
    execution_id = stand.create()

    stand.settle(worker)

    assert stand.state(execution_id) == "SUCCESS"
    assert stand.states(execution_id) == [("a", "SUCCESS"), ("b", "SUCCESS")]
    history = [record for record in stand.history() if record.execution_id == execution_id]
    numbers = [record.seq for record in history]
    assert numbers == sorted(set(numbers))
    assert [record.event for record in history][-1] == "ExecutionSucceeded"
    assert history[0].command_id == f"create-{execution_id}"


def test_a_result_counts_once(stand: Stand) -> None:
    """A result that comes twice ends its attempt once."""
    stand.add(TWO)
    worker = FakeWorker(stand, "w1")
    execution_id = stand.create()
    stand.step()
    (command,) = worker.take()

    worker.end(command)
    worker.end(command, "FAILED")
    stand.settle(worker)
    worker.end(command, "FAILED")
    stand.settle(worker)

    assert stand.state(execution_id) == "SUCCESS"
    assert [len(run.attempts) for run in stand.runs(execution_id)] == [1, 1]
    assert sum(record.event == "TaskRunSucceeded" for record in stand.history()) == 2


def test_a_result_of_another_dispatch_is_rejected(stand: Stand) -> None:
    """Declined work is sent elsewhere as the same attempt's next dispatch; the first one's result is rejected."""
    stand.add(ONE)
    busy = FakeWorker(stand, "busy", slots=20)
    execution_id = stand.create()
    stand.step()
    (first,) = busy.take()
    FakeWorker(stand, "free", slots=99)
    stand.step(1)

    busy.decline(first)
    stand.step()
    busy.end(first, "FAILED")
    stand.step()

    (run,) = stand.runs(execution_id)
    assert run.state.current.value == "CREATED"
    lease = stand.dispatcher.leases.get(run.id)
    assert lease is not None
    assert (lease.session, lease.work.attempt, lease.work.dispatch) == ("free", 0, 1)


def test_a_result_of_another_session_is_rejected(stand: Stand) -> None:
    """Only the session that holds the lease can end the work, whatever numbers another one names."""
    stand.add(ONE)
    worker = FakeWorker(stand, "w1", slots=20)
    other = FakeWorker(stand, "w2", slots=1)
    execution_id = stand.create()
    stand.step()
    (command,) = worker.take()

    other.end(command, "FAILED")
    stand.step()

    assert stand.states(execution_id) == [("a", "CREATED")]


def test_lost_work_is_repeated(stand: Stand) -> None:
    """A lease that no heartbeat holds ends its attempt RESUBMITTED; the next attempt goes to another session."""
    stand.add(ONE)
    gone = FakeWorker(stand, "gone")
    execution_id = stand.create()
    stand.step()
    (command,) = gone.take()
    gone.begin(command)
    stand.step()

    stand.pass_time(LEASE + 1)
    alive = FakeWorker(stand, "alive")
    stand.step()
    gone.end(command, "FAILED")
    stand.settle(alive)

    (run,) = stand.runs(execution_id)
    assert [attempt.state.current.value for attempt in run.attempts] == ["RESUBMITTED", "SUCCESS"]
    assert [attempt.session for attempt in run.attempts] == ["gone", "alive"]
    assert stand.state(execution_id) == "SUCCESS"
    gone.take()
    assert [(stop.task_run_id, stop.reason) for stop in gone.stops] == [(run.id, "lost")]


def test_heartbeats_hold_a_lease(stand: Stand) -> None:
    """Work that heartbeats name is not taken away, however long it takes."""
    stand.add(ONE)
    worker = FakeWorker(stand, "w1")
    execution_id = stand.create()
    stand.step()
    (command,) = worker.take()
    worker.begin(command)

    for _ in range(10):
        stand.pass_time(LEASE - 1)
        worker.beat()
        stand.step(1)
    worker.end(command)
    stand.settle(worker)

    assert [len(run.attempts) for run in stand.runs(execution_id)] == [1]


def test_resubmissions_have_a_cap(tmp_path: Path) -> None:
    """Work whose workers are lost again and again fails after the cap, by no retry of its own."""
    stand = Stand(tmp_path, resubmissions=2)
    stand.add(ONE)
    execution_id = stand.create()
    for number in range(3):
        worker = FakeWorker(stand, f"w{number}")
        stand.step()
        assert len(worker.take()) == 1
        stand.pass_time(LEASE + 1)
        stand.step()

    (run,) = stand.runs(execution_id)
    states = [attempt.state.current.value for attempt in run.attempts]
    assert states == ["RESUBMITTED", "RESUBMITTED", "FAILED"]
    assert stand.state(execution_id) == "FAILED"
    stand.close()


def test_a_goodbye_gives_work_back_at_once(stand: Stand) -> None:
    """A session that ends with work in hand has it taken over without waiting for the lease."""
    stand.add(ONE)
    leaving = FakeWorker(stand, "leaving")
    execution_id = stand.create()
    stand.step()
    leaving.take()

    leaving.beat("TERMINATED")
    other = FakeWorker(stand, "other")
    stand.settle(other)

    assert stand.state(execution_id) == "SUCCESS"


def test_an_eviction_drops_the_batch_and_repeats_it(stand: Stand) -> None:
    """A step that is fenced leaves nothing behind; the same messages are decided again by who owns them."""
    stand.add(TWO)
    worker = FakeWorker(stand, "w1")
    execution_id = stand.create()
    stand.step()
    (command,) = worker.take()
    real = stand.journal.commit

    def fenced(step: object) -> None:
        stand.journal.commit = real  # type: ignore[method-assign]
        stand.journal.evict()
        real(step)  # type: ignore[arg-type]

    stand.journal.commit = fenced  # type: ignore[method-assign]
    worker.begin(command)
    worker.end(command)
    stand.settle(worker)

    assert stand.state(execution_id) == "SUCCESS"
    assert [len(run.attempts) for run in stand.runs(execution_id)] == [1, 1]
    assert sum(record.event == "TaskRunSucceeded" for record in stand.history()) == 2


def test_a_take_over_restores_queue_leases_and_timers(stand: Stand) -> None:
    """A new executor goes on where the last commit of the one before it was: what waits, is held, or is due."""
    stand.add(ONE)
    stand.add(
        f"id: retried\nnamespace: test.executor\ntasks:\n  - {LOG % 'a'}\n".replace(
            "message: m", "message: m, retry: {type: constant, interval: PT1M, maxAttempt: 2}"
        )
    )
    held, waiting, due = stand.create(), stand.create(), stand.create("retried")
    worker = FakeWorker(stand, "w1", slots=2)
    stand.step()
    commands = {command.execution_id: command for command in worker.take()}
    assert len(commands) == 2
    if due in commands:
        worker.end(commands.pop(due), "FAILED")
        stand.step()
    before = (len(stand.dispatcher.queues), len(stand.dispatcher.leases))

    stand.executor()
    stand.step()
    after = (len(stand.dispatcher.queues), len(stand.dispatcher.leases))
    commands |= {command.execution_id: command for command in worker.take()}
    for _ in range(6):
        for command in list(commands.values()):
            worker.end(command)
        stand.pass_time(2)
        worker.beat()
        stand.step()
        commands = {command.execution_id: command for command in worker.take()}
    for _ in range(20):
        stand.pass_time(5)
        worker.beat()
        stand.settle(worker)

    assert sum(before) == sum(after)
    assert [stand.state(each) for each in (held, waiting, due)] == ["SUCCESS"] * 3


def test_a_timer_alone_makes_a_step(stand: Stand) -> None:
    """A step without any message carries out what is due."""
    stand.add(
        "id: f\nnamespace: test.executor\ntasks:\n  - {id: p, type: io.kestra.plugin.core.flow.Pause, delay: PT10S}\n"
    )
    execution_id = stand.create()
    stand.step()
    assert stand.state(execution_id) == "PAUSED"

    stand.pass_time(11)
    stand.step(1)

    assert stand.state(execution_id) == "SUCCESS"


def test_a_poison_message_costs_its_execution_only(stand: Stand) -> None:
    """A message that raises fails its execution; the others of the batch are decided."""
    stand.add(ONE)
    worker = FakeWorker(stand, "w1")
    good, bad = stand.create(), stand.create()
    stand.step(1)
    stand.raw(bad, b'{"v":1,"type":"SetLabels","execution_id":"%s","command_id":"c","at":1,"labels":7}' % bad.encode())
    stand.settle(worker)

    assert (stand.state(good), stand.state(bad)) == ("SUCCESS", "FAILED")
    execution = stand.execution(bad)
    assert execution is not None
    assert "TypeError" in (execution.error or "")


def test_what_nobody_can_read_is_a_dead_letter(stand: Stand) -> None:
    """A record that is no message goes to the dead letters with its origin, and the next one is handled."""
    stand.add(ONE)
    worker = FakeWorker(stand, "w1")
    stand.raw("x", b"not json")
    stand.raw("x", b'{"v":1,"type":"FromTheFuture"}')
    stand.raw("x", b'{"v":99,"type":"KillExecution"}')
    execution_id = stand.create()

    stand.settle(worker)

    letters = stand.dead_letters()
    assert stand.state(execution_id) == "SUCCESS"
    assert [letter.service for letter in letters] == ["executor"] * 3
    assert "not JSON" in letters[0].reason
    assert all(letter.origin.startswith("execution-commands/") for letter in letters)


def test_a_record_too_large_fails_only_its_execution(tmp_path: Path) -> None:
    """An execution whose record is above the hard limit fails; what was in the same batch is not lost."""
    stand = Stand(tmp_path, record_limit=20_000)
    stand.add(ONE)
    worker = FakeWorker(stand, "w1")
    first, large, last = stand.create(), stand.create(), stand.create()
    stand.step()
    commands = {command.execution_id: command for command in worker.take()}

    worker.end(commands[first])
    worker.end(commands[large], outputs={"text": "x" * 19_700})
    worker.end(commands[last])
    stand.settle(worker)

    assert [stand.state(each) for each in (first, large, last)] == ["SUCCESS", "FAILED", "SUCCESS"]
    execution = stand.execution(large)
    assert execution is not None
    assert "20000" in (execution.error or "")
    stand.close()


GROUPED = """
id: f
namespace: test.executor
tasks:
  - id: a
    type: io.kestra.plugin.core.log.Log
    message: m
    workerGroup: {key: gpu, fallback: %s}
"""


@pytest.mark.parametrize(("fallback", "state"), [("WAIT", "RUNNING"), ("FAIL", "FAILED"), ("CANCEL", "CANCELLED")])
def test_a_group_without_workers(stand: Stand, fallback: str, state: str) -> None:
    """A task whose worker group has no worker waits, fails or is cancelled, as its fallback says."""
    stand.add(GROUPED % fallback)
    other = FakeWorker(stand, "other")
    execution_id = stand.create()
    stand.settle(other)
    assert stand.state(execution_id) == "RUNNING"

    stand.pass_time(3)
    stand.settle(other)

    (run,) = stand.runs(execution_id)
    expected = {"WAIT": "CREATED", "FAIL": "FAILED", "CANCEL": "CANCELLED"}[fallback]
    assert run.state.current.value == expected
    if fallback == "WAIT":
        stand.settle(FakeWorker(stand, "gpu", "gpu"))
        assert stand.state(execution_id) == "SUCCESS"
    elif fallback == "FAIL":
        assert stand.state(execution_id) == state


def test_work_goes_to_the_session_with_most_free_slots(stand: Stand) -> None:
    """Work spreads by free slots, never over them; what finds none waits."""
    stand.add(ONE)
    small, large = FakeWorker(stand, "small", slots=1), FakeWorker(stand, "large", slots=3)
    for _ in range(6):
        stand.create()

    stand.step()

    assert (len(small.take()), len(large.take())) == (1, 3)
    assert len(stand.dispatcher.queues) == 2


def test_a_kill_stops_workers_and_has_a_deadline(stand: Stand) -> None:
    """A kill asks the worker to stop; where it does not answer, the deadline closes the task run."""
    stand.add(ONE)
    worker = FakeWorker(stand, "w1")
    polite, silent = stand.create(), stand.create()
    stand.step()
    commands = {command.execution_id: command for command in worker.take()}
    for command in commands.values():
        worker.begin(command)
    stand.step()

    stand.kill(polite)
    stand.kill(silent)
    stand.step()
    worker.take()
    assert {stop.reason for stop in worker.stops} == {"kill"}
    assert [stand.state(each) for each in (polite, silent)] == ["KILLING"] * 2
    worker.end(commands[polite], "KILLED")
    stand.step()
    assert [stand.state(each) for each in (polite, silent)] == ["KILLED", "KILLING"]
    for _ in range(3):
        stand.pass_time(4)
        worker.beat()
        stand.step()

    assert stand.states(silent) == [("a", "KILLED")]
    assert stand.state(silent) == "KILLED"


def test_an_ended_execution_leaves(stand: Stand) -> None:
    """An hour after its end an execution's entries are removed, all of them; one that was restarted stays."""
    stand.add(ONE)
    worker = FakeWorker(stand, "w1")
    execution_id, again = stand.create(), stand.create()
    stand.step()
    for command in worker.take():
        worker.end(command, "FAILED" if command.execution_id == again else "SUCCESS")
    stand.settle(worker)
    stand.pass_time(1800)
    worker = FakeWorker(stand, "w2")
    stand.send(m.RestartExecution(execution_id=again, command_id="restart", at=stand.now))
    stand.settle(worker)
    assert stand.state(again) == "SUCCESS"

    stand.pass_time(1801)
    stand.step()

    assert stand.state(execution_id) is None
    assert stand.runs(execution_id) == []
    assert stand.state(again) == "SUCCESS"


def test_a_partition_that_comes_back_is_read_anew(stand: Stand) -> None:
    """Partitions that are revoked and assigned again go on from their state, in whatever order it happens."""
    stand.add(TWO)
    worker = FakeWorker(stand, "w1")
    executions = [stand.create() for _ in range(8)]
    for partition in range(stand.journal.partitions):
        stand.step(1)
        stand.journal.revoke(partition, lost=partition % 2 == 0)
        stand.step(1)
        worker.work()
    stand.settle(worker)

    assert [stand.state(each) for each in executions] == ["SUCCESS"] * 8
    assert all(len(run.attempts) == 1 for each in executions for run in stand.runs(each))


def test_steps_that_are_not_stored_do_not_count_as_health(stand: Stand) -> None:
    """While the file takes no writes, no step has finished; once it does, the same messages are decided, none is lost."""
    stand.add(ONE)
    worker = FakeWorker(stand, "w1")
    stand.settle(worker)
    execution_id = stand.create()
    before = stand.processor.last_step
    writer = stand.database._connection
    assert writer is not None

    writer.execute("PRAGMA query_only = ON")
    stand.clock += 1
    stand.processor.step(0.0)
    refused = stand.processor.last_step
    writer.execute("PRAGMA query_only = OFF")
    stand.settle(worker)

    assert refused == before
    assert stand.processor.last_step == stand.clock
    assert stand.state(execution_id) == "SUCCESS"
