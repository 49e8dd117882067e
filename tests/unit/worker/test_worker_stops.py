"""How attempts are stopped, declined and handed back, and how sessions end."""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass
from typing import ClassVar

import pytest

from shared.dead_letters import content
from shared.messages import (
    AttemptDeclined,
    AttemptEnded,
    AttemptStarted,
    DeadLetter,
    Heartbeat,
    RunTaskRun,
    StopTaskRun,
    decode,
)
from shared.ports import Inbound, Topic, UnreadableCommand
from tests.unit.worker.memory import Bench, until
from worker import runner
from worker.catalog import TaskCatalog
from worker.context import Context
from worker.task import Task
from worker.tasks import core_tasks

RETURN = "io.kestra.plugin.core.debug.Return"
SLEEP = "io.kestra.plugin.core.flow.Sleep"


@dataclass(frozen=True)
class Stubborn(Task):
    """Ignores that it is to stop, until the test lets it go."""

    type = "test.Stubborn"
    let_go: ClassVar[threading.Event]

    def run(self, context: Context) -> dict[str, str]:
        assert self.let_go.wait(20)
        return {"value": "too late"}


@pytest.fixture
def stubborn(monkeypatch: pytest.MonkeyPatch) -> TaskCatalog:
    """A catalog with the stubborn task, on a worker that soon gives up."""
    Stubborn.let_go = threading.Event()
    monkeypatch.setattr(runner, "STOP_WITHIN", 0.05)
    return TaskCatalog((*core_tasks(), Stubborn))


def stop(bench: Bench, command: RunTaskRun, reason: str) -> None:
    """Send the command to stop."""
    bench.inbox.send(
        StopTaskRun(
            command.session, command.execution_id, command.task_run_id, command.attempt, command.dispatch, reason
        )
    )


def started(bench: Bench, command: RunTaskRun) -> None:
    """Wait for the start."""
    until(lambda: bench.log.events(AttemptStarted, command.task_run_id), "a start")


def test_a_running_attempt_is_killed() -> None:
    """StopTaskRun(kill) ends a sleeping task at once, as KILLED."""
    with Bench() as bench:
        command = bench.send(SLEEP, duration="PT1H")
        started(bench, command)

        stop(bench, command, "kill")

        assert bench.ended(command).state == "KILLED"


def test_a_waiting_attempt_is_killed_before_it_begins() -> None:
    """A kill of a command that waits for a slot ends it KILLED, without a start."""
    with Bench(worker={"concurrency": 1}) as bench:
        first = bench.send(SLEEP, duration="PT1H")
        started(bench, first)
        second = bench.send(SLEEP, duration="PT1H")

        stop(bench, second, "kill")

        assert bench.ended(second).state == "KILLED"
        assert bench.log.events(AttemptStarted, second.task_run_id) == []


def test_a_kill_right_behind_its_command_finds_it() -> None:
    """Command and kill taken in one go: the attempt ends KILLED once."""
    with Bench() as bench:
        command = bench.command(SLEEP, duration="PT1H")
        kill = StopTaskRun(command.session, command.execution_id, command.task_run_id, 0, 0, "kill")
        bench.inbox.send(command, kill)

        assert bench.ended(command).state == "KILLED"

    assert len(bench.log.events(AttemptEnded, command.task_run_id)) == 1


@pytest.mark.parametrize("reason", ["unwanted", "lost"])
def test_what_nobody_waits_for_ends_without_a_result(reason: str) -> None:
    """An unwanted or lost attempt stops and leaves the heartbeats, and nothing is reported of its end."""
    with Bench() as bench:
        command = bench.send(SLEEP, duration="PT1H")
        until(lambda: any(beat.held for beat in bench.log.heartbeats()), "a heartbeat that names it")

        stop(bench, command, reason)

        until(lambda: not bench.log.heartbeats()[-1].held, "a heartbeat without it")
    assert [type(event) for event in bench.log.events()] == [AttemptStarted]


def test_a_task_that_ignores_its_kill_is_given_up(stubborn: TaskCatalog, caplog: pytest.LogCaptureFixture) -> None:
    """Reported KILLED without it; its slot stays taken until it ends; its late result is dropped and logged."""
    with Bench(tasks=stubborn, worker={"concurrency": 2}) as bench, caplog.at_level(logging.WARNING):
        command = bench.send("test.Stubborn")
        started(bench, command)
        stop(bench, command, "kill")

        assert bench.ended(command).state == "KILLED"
        taken = until(lambda: [b for b in bench.log.heartbeats() if b.slots == 1 and not b.held], "a taken slot")
        assert taken[0].free == 1

        Stubborn.let_go.set()
        until(lambda: bench.log.heartbeats()[-1].slots == 2, "the slot to be free")

    assert [event.state for event in bench.log.events(AttemptEnded)] == ["KILLED"]
    assert "its result is dropped" in caplog.text


def test_a_timeout_that_is_ignored_fails_the_attempt(stubborn: TaskCatalog) -> None:
    """A task that outlives its timeout is reported FAILED without it."""
    with Bench(tasks=stubborn) as bench:
        ended = bench.run("test.Stubborn", _timeout="PT0.01S")
        Stubborn.let_go.set()

    assert (ended.state, ended.error) == ("FAILED", "Timeout after 00:00:00.010")


def test_what_cannot_start_soon_is_declined() -> None:
    """With all slots taken a command is declined as busy after `start_within`; it never starts here."""
    with Bench(worker={"concurrency": 1, "start_within": 0.05}) as bench:
        started(bench, bench.send(SLEEP, duration="PT1H"))
        late = bench.send(RETURN, format="x")

        declined = until(lambda: bench.log.events(AttemptDeclined), "a decline")

    assert [(event.task_run_id, event.reason) for event in declined] == [(late.task_run_id, "busy")]
    assert bench.log.events(AttemptStarted, late.task_run_id) == []


def test_more_than_fits_in_the_queue_is_declined_at_once() -> None:
    """One slot, one place in the queue: of three commands that come while it is taken, two are declined."""
    with Bench(worker={"concurrency": 1, "start_within": 20.0}) as bench:
        started(bench, bench.send(SLEEP, duration="PT1H"))
        for _ in range(3):
            bench.send(SLEEP, duration="PT0S")

        until(lambda: len(bench.log.events(AttemptDeclined)) == 2, "two declines")


def test_a_drain_finishes_what_runs_and_declines_the_rest() -> None:
    """A draining worker says TERMINATING, finishes its task, declines what waits and what comes, says TERMINATED."""
    with Bench(worker={"concurrency": 1}) as bench:
        running = bench.send(SLEEP, duration="PT0.3S")
        started(bench, running)
        waiting = bench.send(RETURN, format="waits")
        until(lambda: bench.worker._pool.waiting, "the queue")

        bench.worker.drain()
        until(lambda: bench.log.heartbeats()[-1].state == "TERMINATING", "the news")
        late = bench.send(RETURN, format="comes")

        assert bench.ended(running).state == "SUCCESS"
        until(lambda: bench.log.heartbeats()[-1].state == "TERMINATED", "the goodbye")

    declined = {event.task_run_id: event.reason for event in bench.log.events(AttemptDeclined)}
    assert declined == {waiting.task_run_id: "drain", late.task_run_id: "drain"}


def test_what_outlives_the_grace_is_handed_back() -> None:
    """After the grace period a running task is stopped and declined with reason drain."""
    with Bench(worker={"grace": 0.05}) as bench:
        command = bench.send(SLEEP, duration="PT1H")
        started(bench, command)

        bench.worker.drain()

        declined = until(lambda: bench.log.events(AttemptDeclined), "the hand-back")

    assert [(event.task_run_id, event.reason) for event in declined] == [(command.task_run_id, "drain")]
    assert bench.log.events(AttemptEnded) == []


def test_without_heartbeats_for_a_lease_a_new_session_begins() -> None:
    """A worker that can't send heartbeats stops its tasks without a result; the new session works, the old is over."""
    with Bench(worker={"lease": 0.3, "heartbeat": 0.05}) as bench:
        command = bench.send(SLEEP, duration="PT1H")
        started(bench, command)

        bench.log.away.set()
        until(lambda: len(bench.inbox.sessions) > 1, "another session")
        bench.log.away.clear()

        until(lambda: bench.log.heartbeats()[-1].session == bench.session, "its heartbeat")
        assert bench.run(RETURN, format="works").state == "SUCCESS"

    assert bench.log.events(AttemptEnded, command.task_run_id) == []
    assert any(b.session == bench.inbox.sessions[-2] and b.state == "TERMINATED" for b in bench.log.heartbeats())


def test_a_session_that_was_silent_for_a_lease_does_not_come_back() -> None:
    """After a pause of the whole process (SIGSTOP) the first thing sent is no heartbeat of the old session."""
    with Bench(worker={"lease": 30.0, "heartbeat": 30.0}) as bench:
        until(bench.log.heartbeats, "the first heartbeat")
        old, pulse = bench.session, bench.worker._pulse
        count = len(bench.log.heartbeats())

        pulse._sent -= 31.0
        pulse.beat()

        until(lambda: bench.session != old, "another session")
        until(lambda: any(beat.session == bench.session for beat in bench.log.heartbeats()), "its heartbeat")
        assert {(b.session, b.state) for b in bench.log.heartbeats()[count:] if b.session == old} <= {
            (old, "TERMINATED")
        }


def test_heartbeats_name_what_was_taken_before_their_position() -> None:
    """Every heartbeat names all work read before its position whose result was not published by then."""
    with Bench(worker={"heartbeat": 0.01}) as bench:
        for _ in range(40):
            bench.send(SLEEP, duration="PT0.005S")
            time.sleep(0.002)
        until(lambda: bench.worker._pool.busy == 0 and bench.worker._pool.waiting == 0, "the end")
        until(lambda: not bench.log.heartbeats()[-1].held, "a heartbeat without work")

    seen: set[str] = set()
    order = [command.task_run_id for command in bench.inbox._commands]
    for record in bench.log.records:
        message = decode(record.value or b"")
        if isinstance(message, (AttemptEnded, AttemptDeclined)):
            seen.add(message.task_run_id)
        elif isinstance(message, Heartbeat):
            held = {work[1] for work in message.held}
            assert set(order[: message.position]) <= held | seen


def test_a_command_that_cannot_be_read_is_dead_lettered() -> None:
    """It is passed over, its position too, and a dead letter keeps it and says why; the worker goes on."""
    with Bench() as bench:
        record = Inbound(Topic.TASK_RUN_COMMANDS, 3, 17, bench.session, b'{"v":1,"type":"New"}', 0)
        bench.inbox.send(UnreadableCommand(record, "type 'New' is not known"))

        (letter,) = until(lambda: bench.log.messages(Topic.DEAD_LETTERS), "a dead letter")
        until(lambda: bench.log.heartbeats()[-1].position == 1, "its position")
        assert bench.run(RETURN, format="works").state == "SUCCESS"

    assert isinstance(letter, DeadLetter)
    assert (letter.service, letter.reason) == ("worker", "type 'New' is not known")
    assert (letter.origin, content(letter)) == ("task-run-commands/3/17", record.value)
