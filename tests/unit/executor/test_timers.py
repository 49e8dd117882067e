"""Timers as durable state: whatever happens to the executor around their time, each acts once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from executor import departures
from executor.partition import Partition
from executor.timers import Timers
from shared import messages as m
from shared.adapters.sqlite.partition_entries import PartitionEntries
from shared.ports import Aborted, Step, Uncertain
from tests.executor_stand import LEASE, START, FakeWorker, Stand

HEAD = "id: f\nnamespace: test.executor\n"
CORE = "io.kestra.plugin.core"
LOG = "tasks:\n  - {id: a, type: %s.log.Log, message: m%s}\n"


@dataclass(frozen=True)
class Kind:
    """A kind of timer: the flow that sets one, what its first task run meets, and after how long it is due."""

    flow: str
    due: float  #: seconds
    first: str | None = None  #: what the first command meets: fail, hold, or vanish with its worker; None: done
    more: dict[str, Any] = field(default_factory=dict)  #: of the creation
    kill: bool = False
    changes: str = ""  #: an event that the timer brings


RETRY = ", retry: {type: constant, interval: PT1M, maxAttempt: 2%s}"
KINDS = {
    "retry": Kind(LOG % (CORE, RETRY % ""), 60, "fail", changes="TaskRunSucceeded"),
    "retry by a new execution": Kind(
        LOG % (CORE, RETRY % ", behavior: CREATE_NEW_EXECUTION"), 60, "fail", changes="ExecutionCreated"
    ),
    "pause delay": Kind(
        f"tasks:\n  - {{id: a, type: {CORE}.flow.Pause, pauseDuration: PT1M}}\n", 60, changes="ExecutionSucceeded"
    ),
    "pause timeout": Kind(
        f"tasks:\n  - {{id: a, type: {CORE}.flow.Pause, timeout: PT1M}}\n", 60, changes="ExecutionFailed"
    ),
    "sla": Kind(
        "sla:\n  - {id: quick, type: MAX_DURATION, behavior: FAIL, duration: PT1M}\n" + LOG % (CORE, ""),
        60,
        "hold",
        changes="ExecutionFailed",
    ),
    "schedule": Kind(LOG % (CORE, ""), 60, more={"schedule_at": START + 60_000}, changes="ExecutionStarted"),
    "loop": Kind(
        f"tasks:\n  - id: loop\n    type: {CORE}.flow.LoopUntil\n    condition: '{{{{ outputs.loop.iterationCount == 2 }}}}'\n"
        f"    checkFrequency: {{interval: PT1M}}\n    tasks:\n      - {{id: a, type: {CORE}.log.Log, message: m}}\n",
        60,
        changes="TaskRunSuperseded",
    ),
    "kill deadline": Kind(LOG % (CORE, ""), 10, "hold", kill=True, changes="ExecutionKilled"),
    "lease": Kind(LOG % (CORE, ""), LEASE, "vanish", changes="ExecutionSucceeded"),
    "expiry": Kind(LOG % (CORE, ""), 3600),
}


def crash(stand: Stand) -> None:
    """What the executor had in memory is gone."""
    stand.executor()


def lose(stand: Stand) -> None:
    """Every partition is another's for a moment."""
    for number in range(stand.journal.partitions):
        stand.journal.revoke(number)


def hand_over(stand: Stand) -> None:
    """Every partition is asked back, as in a rebalance."""
    for number in range(stand.journal.partitions):
        stand.journal.revoke(number, lost=False)


def commit_that(stand: Stand, does: Callable[[Callable[[Step], None], Step], None]) -> None:
    """Let something happen to the next commit that changes state."""
    journal, real = stand.journal, stand.journal.commit

    def commit(step: Step) -> None:
        if not step.writes:
            real(step)
            return
        journal.commit = real  # type: ignore[method-assign]
        does(real, step)

    journal.commit = commit  # type: ignore[method-assign]


def fenced(stand: Stand) -> None:
    """The executor is put out of its group as it commits."""

    def does(real: Callable[[Step], None], step: Step) -> None:
        stand.journal.evict()
        real(step)

    commit_that(stand, does)


def aborted(stand: Stand) -> None:
    """The commit is not taken."""

    def does(_: Callable[[Step], None], step: Step) -> None:
        for topic, number in step.positions:
            stand.journal._next[topic, number] = stand.journal._group.position(topic, number)
        raise Aborted("not now")

    commit_that(stand, does)


def uncertain(stand: Stand) -> None:
    """The commit is taken, and its answer is lost: the journal restores what it owns, as Kafka's does."""

    def does(real: Callable[[Step], None], step: Step) -> None:
        real(step)
        stand.journal.evict()
        raise Uncertain("no answer")

    commit_that(stand, does)


BEFORE = {"crash": crash, "lose": lose, "hand over": hand_over}
AS_IT_FIRES = {"fenced": fenced, "aborted": aborted, "uncertain": uncertain}


def waiting(stand: Stand, kind: Kind) -> tuple[str, FakeWorker]:
    """An execution that waits for the timer, and the worker that is there."""
    stand.add(HEAD + kind.flow)
    worker = FakeWorker(stand, "w1")
    execution_id = stand.create(**kind.more)
    stand.step()
    if kind.first is None:
        stand.settle(worker)
    else:
        (command,) = worker.take()
        if kind.first == "fail":
            worker.end(command, "FAILED")
        else:
            worker.begin(command)
        worker.held = {command.task_run_id: command} if kind.first == "hold" else {}
        stand.step()
    if kind.kill:
        stand.kill(execution_id)
        stand.step()
    if kind.first == "vanish":
        return execution_id, FakeWorker(stand, "w2")
    worker.beat()
    return execution_id, worker


def told(stand: Stand, worker: FakeWorker) -> list[list[str]]:
    """Let what is due happen, and what follows from it; the events of each execution."""
    for _ in range(2 * int(LEASE) + 2):  # a lease's time begins anew with a take-over
        worker.beat()
        stand.settle(worker)
        stand.pass_time(1)
    for _ in range(2):  # one that waits for the index is looked at again
        stand.pass_time(61)
        worker.beat()
        stand.settle(worker)
    return events(stand)


def events(stand: Stand) -> list[list[str]]:
    """The state changes of each execution."""
    found: dict[str, list[str]] = {}
    for record in stand.history():
        if record.event != "ExecutionCounted":
            found.setdefault(record.execution_id, []).append(record.event)
    return sorted(found.values())


def count(histories: list[list[str]], event: str) -> int:
    return sum(history.count(event) for history in histories)


def numbered(stand: Stand) -> bool:
    """Whether the state changes of each execution have numbers without gaps, each once."""
    seen: dict[str, list[int]] = {}
    for record in stand.history():
        if record.document is not None and record.event != "ExecutionCounted":
            seen.setdefault(record.execution_id, []).append(record.seq)
    return all(numbers == sorted(set(numbers)) for numbers in seen.values())


@pytest.fixture
def stands(tmp_path: Path) -> Iterator[Callable[[], Stand]]:
    opened: list[Stand] = []

    def open_one() -> Stand:
        folder = tmp_path / str(len(opened))
        folder.mkdir()
        opened.append(Stand(folder))
        return opened[-1]

    yield open_one
    for stand in opened:
        stand.close()


def undisturbed(stand: Stand, kind: Kind) -> tuple[list[list[str]], bool]:
    """The events where nothing goes wrong, and whether the execution is still here."""
    execution_id, worker = waiting(stand, kind)
    before = events(stand)
    stand.pass_time(kind.due + 1)
    after = told(stand, worker)
    if kind.changes:
        assert count(after, kind.changes) == count(before, kind.changes) + 1
    return after, stand.execution(execution_id) is not None


@pytest.mark.parametrize("name", KINDS)
def test_a_timer_acts_once_whatever_happens_before_its_time(stands: Callable[[], Stand], name: str) -> None:
    """A crash, a loss or a rebalance while it waits, or while it became due, neither loses nor repeats it."""
    kind = KINDS[name]
    expected = undisturbed(stands(), kind)

    for what, fault in BEFORE.items():
        stand = stands()
        execution_id, worker = waiting(stand, kind)
        fault(stand)
        if name != "lease":  # whose time begins anew with a take-over
            stand.pass_time(kind.due / 2)
            worker.beat()
            stand.step()
            fault(stand)
        stand.pass_time(kind.due + 1)
        fault(stand)
        stand.step(1)
        after = told(stand, worker)

        assert (after, stand.execution(execution_id) is not None) == expected, what
        assert numbered(stand), what


@pytest.mark.parametrize("name", KINDS)
def test_a_timer_acts_once_whatever_happens_as_it_fires(stands: Callable[[], Stand], name: str) -> None:
    """A commit that is fenced, not taken, or taken without an answer, and a crash behind it, leave one effect."""
    kind = KINDS[name]
    expected = undisturbed(stands(), kind)

    for what, fault in AS_IT_FIRES.items():
        for crashes in (False, True):
            stand = stands()
            execution_id, worker = waiting(stand, kind)
            stand.pass_time(kind.due + 1)
            worker.beat()
            fault(stand)
            stand.step(1)
            if crashes:
                stand.executor()
            after = told(stand, worker)

            assert (after, stand.execution(execution_id) is not None) == expected, (what, crashes)
            assert numbered(stand), (what, crashes)


# ------------------------------------------------------------------ those that nobody waits for any more


def test_the_timers_of_an_execution_leave_with_it(stands: Callable[[], Stand]) -> None:
    """A promise for a year of an execution that took a moment does not stay for a year."""
    stand = stands()
    stand.add(HEAD + "sla:\n  - {id: slow, type: MAX_DURATION, behavior: FAIL, duration: P365D}\n" + LOG % (CORE, ""))
    worker = FakeWorker(stand, "w1")
    left, deleted = stand.create(), stand.create()
    stand.settle(worker)
    assert len(stand.processor._timers) == 4

    stand.send(m.DeleteExecution(execution_id=deleted, command_id="delete", at=stand.now))
    stand.settle(worker)
    assert len(stand.processor._timers) == 3  # the year's and the expiry of one, the last trace of the other
    stand.pass_time(3601)
    stand.settle(worker)
    stand.pass_time(61)
    stand.settle(worker)

    assert stand.execution(left) is None
    assert len(stand.processor._timers) == 0
    for partition in stand.processor._owned.values():
        assert list(partition.entries.keys("")) == []


def test_an_execution_with_many_timers_leaves_in_steps(
    stands: Callable[[], Stand], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One step removes a bounded number of timers; in the end none is left."""
    stand = stands()
    promises = "".join(f"  - {{id: s{n}, type: MAX_DURATION, behavior: FAIL, duration: P9D}}\n" for n in range(7))
    stand.add(f"{HEAD}sla:\n{promises}{LOG % (CORE, '')}")
    worker = FakeWorker(stand, "w1")
    stand.create()
    stand.settle(worker)
    monkeypatch.setattr(departures, "STEP", 3)  # the header and two timers
    stand.pass_time(3601)
    stand.step(1)
    stand.pass_time(61)

    stand.step(1)
    between = len(stand.processor._timers)
    stand.settle(worker)

    assert between == 6  # of seven, five, and the next step
    assert len(stand.processor._timers) == 0


def test_cancelled_timers_are_forgotten_before_their_time() -> None:
    """What is cancelled leaves state and memory, in steps as large as asked for; what is not, is due as before."""
    partition = Partition(0, PartitionEntries())
    timers = Timers()
    timers.load(partition)

    def wake(execution_id: str, number: int) -> m.WakeTimer:
        return m.WakeTimer(execution_id, f"c{number}", number, "sla")

    for number in range(4000):
        timers.set(partition, number, wake("gone", number))
    timers.set(partition, 5000, wake("kept", 5000))

    assert timers.cancel(partition, "gone", limit=2000)
    assert not timers.cancel(partition, "gone", limit=2000)
    assert not timers.cancel(partition, "gone")

    assert len(timers) == 1
    assert len(timers._heap) == 1
    assert [each.execution_id for _, each in timers.due(9000, {0: partition}, 10)] == ["kept"]
    assert set(partition.batch.changes.values()) == {None}


def test_a_timer_that_is_set_twice_is_one() -> None:
    """The same command at the same time is the same timer, also after it was cancelled in between."""
    partition = Partition(0, PartitionEntries())
    timers = Timers()
    timers.load(partition)
    wake = m.WakeTimer("e", "c", 7, "retry")

    timers.set(partition, 7, wake)
    timers.set(partition, 7, wake)
    timers.cancel(partition, "e")
    timers.set(partition, 7, wake)

    assert len(timers) == 1
    assert timers.due(7, {0: partition}, 10) == [(partition, wake)]
    assert timers.due(7, {0: partition}, 10) == []
