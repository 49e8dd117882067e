"""The processor when something goes wrong beside the engine: one bad thing costs itself, and nothing stays for ever."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from executor.fleet import Fleet
from shared import messages as m
from shared.ports import Inbound, JournalError, Topic
from tests.executor_stand import LEASE, FakeWorker, Stand

LOG = "{id: %s, type: io.kestra.plugin.core.log.Log, message: %s}"
ONE = f"id: f\nnamespace: test.executor\ntasks:\n  - {LOG % ('a', 'm')}\n"


@pytest.fixture
def stand(tmp_path: Path) -> Iterator[Stand]:
    opened = Stand(tmp_path)
    yield opened
    opened.close()


def test_a_dead_letter_above_the_limit_is_named_without_its_bytes(tmp_path: Path) -> None:
    """A message that nobody can read, and that is too large to be repeated in a dead letter, stops nothing."""
    stand = Stand(tmp_path, record_limit=20_000)
    stand.add(ONE)
    worker = FakeWorker(stand, "w1")
    execution_id = stand.create()
    stand.raw(execution_id, b"?" * 18_000)

    stand.settle(worker)

    assert stand.state(execution_id) == "SUCCESS"
    (letter,) = stand.dead_letters()
    assert letter.value is None
    stand.close()


def test_a_command_that_cannot_be_written_fails_its_task_run_only(stand: Stand) -> None:
    """A number that JSON libraries do not write fails the task run that has it; others are sent."""
    stand.add(ONE)
    stand.add(f"id: g\nnamespace: test.executor\ntasks:\n  - {LOG % ('a', 10**30)}\n")
    worker = FakeWorker(stand, "w1")
    bad, good = stand.create("g"), stand.create()

    stand.settle(worker)

    assert stand.states(bad) == [("a", "FAILED")]
    assert [stand.state(bad), stand.state(good)] == ["FAILED", "SUCCESS"]


def test_a_command_above_the_limit_fails_its_task_run_only(stand: Stand) -> None:
    """A command that is too large for the log fails its task run, as its `allowFailure` permits; what follows runs."""
    stand.add(
        "id: f\nnamespace: test.executor\ntasks:\n"
        f"  - {{id: a, type: io.kestra.plugin.core.log.Log, message: {'x' * 5000}, allowFailure: true}}\n"
        f"  - {LOG % ('b', 'm')}\n"
    )
    stand.dispatcher._limit = 4000
    worker = FakeWorker(stand, "w1")
    execution_id = stand.create()

    stand.settle(worker)

    assert stand.states(execution_id) == [("a", "WARNING"), ("b", "SUCCESS")]
    assert "4000" in (stand.runs(execution_id)[0].error or "")


def test_an_execution_with_tasks_after_its_end_leaves_too(stand: Stand) -> None:
    """What runs behind the end counts on; the execution leaves all the same, and takes its entries with it."""
    stand.add(f"{ONE}afterExecution:\n  - {LOG % ('after', 'm')}\n")
    worker = FakeWorker(stand, "w1")
    execution_id = stand.create()
    stand.settle(worker)
    assert stand.states(execution_id) == [("a", "SUCCESS"), ("after", "SUCCESS")]

    stand.pass_time(3601)
    stand.settle(worker)  # the indexers' heartbeats are heard
    stand.pass_time(61)
    stand.settle(worker)

    assert stand.execution(execution_id) is None
    assert len(stand.processor._counts) == 0


def test_an_execution_that_fails_by_an_error_gives_its_slot_back(stand: Stand) -> None:
    """The next execution in the queue runs when the one before could not be decided on any more."""
    stand.add(f"{ONE}concurrency: {{limit: 1}}\n")
    plan = stand.plans["f"]
    worker = FakeWorker(stand, "w1")
    first, second = stand.create(), stand.create()
    stand.step()
    assert [stand.state(first), stand.state(second)] == ["RUNNING", "QUEUED"]
    (command,) = worker.take()

    del stand.plans["f"]
    worker.end(command)
    stand.step(1)
    stand.plans["f"] = plan
    stand.settle(worker)

    assert [stand.state(first), stand.state(second)] == ["FAILED", "SUCCESS"]


def test_nothing_is_sent_while_an_execution_is_killed(stand: Stand) -> None:
    """A large execution is killed in steps; what these have not reached yet is not given to workers any more."""
    values = [f"v{number}" for number in range(600)]
    stand.add(
        "id: f\nnamespace: test.executor\ntasks:\n  - id: each\n    type: io.kestra.plugin.core.flow.ForEach\n"
        f"    concurrencyLimit: 0\n    values: {values}\n    tasks:\n      - {LOG % ('a', 'm')}\n"
    )
    execution_id = stand.create()
    stand.settle()
    stand.kill(execution_id)
    worker = FakeWorker(stand, "w1", slots=700)

    stand.settle()

    assert worker.take() == []
    assert stand.state(execution_id) == "KILLED"
    assert {state for _, state in stand.states(execution_id)} == {"KILLED"}


def test_a_log_that_is_away_fails_no_execution(stand: Stand) -> None:
    """While flows can't be read the messages wait; then each is decided once."""
    stand.add(ONE)
    worker = FakeWorker(stand, "w1")
    known, away = stand.processor._batch.env.flows, [True, True]

    def flows(tenant: str, namespace: str, flow_id: str, revision: int | None) -> object:
        if away:
            away.pop()
            raise JournalError("away")
        return known(tenant, namespace, flow_id, revision)

    stand.processor._batch.env = replace(stand.processor._batch.env, flows=flows)  # type: ignore[arg-type]
    first, second = stand.create(), stand.create()
    for _ in range(2):
        with pytest.raises(JournalError):
            stand.step(1)

    stand.settle(worker)

    assert [stand.state(first), stand.state(second)] == ["SUCCESS", "SUCCESS"]
    assert sum(record.event == "ExecutionCreated" for record in stand.history()) == 2


def test_a_goodbye_waits_for_the_last_results(stand: Stand) -> None:
    """A session's results come before its goodbye, and are counted also where the goodbye is heard first."""
    stand.processor._lease_check = 0.5
    stand.add(ONE)
    worker = FakeWorker(stand, "w1")
    execution_id = stand.create()
    stand.step()
    (command,) = worker.take()

    worker.beat("TERMINATED")
    stand.pass_time(1)
    stand.step(1)
    worker.end(command)
    stand.pass_time(1)
    stand.settle(FakeWorker(stand, "w2"))

    (run,) = stand.runs(execution_id)
    assert [attempt.state.current.value for attempt in run.attempts] == ["SUCCESS"]


def test_a_large_kill_spares_subflows_to_its_last_step(stand: Stand) -> None:
    """A kill without `cascade` kills no subflow, however many steps it takes."""
    values = [f"v{number}" for number in range(600)]
    stand.add(f"id: child\nnamespace: test.executor\ntasks:\n  - {LOG % ('a', 'm')}\n")
    stand.add(
        "id: f\nnamespace: test.executor\ntasks:\n  - id: each\n    type: io.kestra.plugin.core.flow.ForEach\n"
        f"    concurrencyLimit: 0\n    values: {values}\n    tasks:\n"
        "      - {id: sub, type: io.kestra.plugin.core.flow.Subflow, namespace: test.executor, flowId: child}\n"
    )
    execution_id = stand.create()
    stand.settle()

    stand.send(m.KillExecution(execution_id=execution_id, command_id="kill", at=stand.now, cascade=False))
    stand.settle()

    assert stand.state(execution_id) == "KILLED"
    killed = {record.execution_id for record in stand.history() if record.event == "ExecutionKilled"}
    assert killed == {execution_id}


def test_a_retry_later_than_the_execution_stays_is_kept(stand: Stand) -> None:
    """An ended execution that is to be repeated by a new one in two hours is there until then, and leaves after."""
    stand.add(f"{ONE}retry: {{behavior: CREATE_NEW_EXECUTION, type: constant, interval: PT2H, maxAttempt: 2}}\n")
    worker = FakeWorker(stand, "w1")
    execution_id = stand.create()
    stand.step()
    worker.end(worker.take()[0], "FAILED")
    stand.settle()
    assert stand.state(execution_id) == "RETRIED"

    stand.pass_time(3700)
    stand.settle()
    stand.pass_time(3700)
    stand.settle(FakeWorker(stand, "w2"))

    (again,) = {record.execution_id for record in stand.history()} - {execution_id}
    assert stand.state(again) == "SUCCESS"
    stand.pass_time(3700)
    stand.settle()
    assert stand.execution(execution_id) is None


def test_an_execution_stays_while_tasks_after_its_end_run(stand: Stand) -> None:
    """What runs behind the end may take longer than ended executions are kept; its end is still recorded."""
    stand.add(f"{ONE}afterExecution:\n  - {LOG % ('after', 'm')}\n")
    worker = FakeWorker(stand, "w1")
    execution_id = stand.create()
    stand.step()
    worker.end(worker.take()[0])
    stand.step()
    (command,) = worker.take()
    worker.begin(command)
    stand.step()

    for _ in range(2):
        stand.pass_time(3601)
        worker.beat()
        stand.step()
    worker.end(command)
    stand.step()

    assert stand.states(execution_id) == [("a", "SUCCESS"), ("after", "SUCCESS")]


def test_error_lines_stay_small(stand: Stand) -> None:
    """Long error lines of many attempts are not all kept: each failure writes them anew."""
    tasks = "".join(f"  - {{id: a{n}, type: io.kestra.plugin.core.log.Log, message: m}}\n" for n in range(30))
    stand.add(f"id: f\nnamespace: test.executor\ntasks:\n{tasks.replace('}', ', allowFailure: true}')}")
    worker = FakeWorker(stand, "w1")
    execution_id = stand.create()
    for number in range(30):
        stand.step()
        (command,) = worker.take()
        worker.held.clear()
        lines = [{"level": "ERROR", "message": f"{number} " + "x" * 8000}]
        worker._say(m.AttemptEnded, command, state="FAILED", started_at=stand.now, error_logs=lines)

    stand.settle()

    kept = stand.entry(execution_id, "g")
    assert kept[-1]["message"].startswith("29 ")
    assert sum(len(line["message"]) for line in kept) <= 64 * 1024


def test_a_subflow_that_cannot_begin_ends_for_its_caller(stand: Stand) -> None:
    """A subflow whose flow is gone by the time it is to be created fails the task run that waits for it."""
    stand.add(f"id: child\nnamespace: test.executor\ntasks:\n  - {LOG % ('a', 'm')}\n")
    stand.add(
        "id: f\nnamespace: test.executor\ntasks:\n"
        "  - {id: sub, type: io.kestra.plugin.core.flow.Subflow, namespace: test.executor, flowId: child}\n"
    )
    execution_id = stand.create()
    stand.step(1)
    assert stand.states(execution_id) == [("sub", "RUNNING")]

    del stand.plans["child"]
    stand.settle()

    assert stand.states(execution_id) == [("sub", "FAILED")]
    assert stand.state(execution_id) == "FAILED"


class LateTail:
    """Heartbeats of which the newest are written, but not read yet, as after a broker's restart."""

    def __init__(self, stand: Stand) -> None:
        self.inner = stand.log.tail([Topic.HEARTBEATS])
        self.late = False

    def poll(self, limit: int, timeout: float) -> Sequence[Inbound]:
        return [] if self.late else self.inner.poll(limit, timeout)

    def caught_up(self) -> bool:
        return self.inner.caught_up()

    def close(self) -> None:
        self.inner.close()


def test_no_lease_is_over_while_heartbeats_are_unread(stand: Stand) -> None:
    """Heartbeats that are written but not read yet hold their work and their session."""
    tail = LateTail(stand)
    stand.dispatcher.fleet = Fleet(tail, LEASE, lambda: stand.clock)
    stand.add(ONE)
    worker = FakeWorker(stand, "w1")
    execution_id = stand.create()
    stand.step()
    (command,) = worker.take()

    tail.late = True
    stand.pass_time(LEASE + 1)
    worker.beat()
    stand.step()
    assert "w1" in stand.dispatcher.fleet.sessions
    tail.late = False
    stand.step()
    worker.end(command)
    stand.settle(worker)

    (run,) = stand.runs(execution_id)
    assert [attempt.state.current.value for attempt in run.attempts] == ["SUCCESS"]


def test_work_that_others_ended_is_forgotten(stand: Stand) -> None:
    """An executor hears of all work in heartbeats, but only of the ends of its own: it keeps none for ever."""
    fleet = Fleet(stand.log.tail([Topic.HEARTBEATS]), LEASE, lambda: stand.clock)
    stand.add(ONE)
    worker = FakeWorker(stand, "w1")
    stand.create()
    stand.step()
    worker.take()
    worker.beat()
    fleet.poll()
    assert len(fleet.named) == 1

    worker.held.clear()
    for _ in range(3):
        stand.pass_time(LEASE)
        worker.beat()
        fleet.poll()

    assert fleet.named == {}
    assert "w1" in fleet.sessions
