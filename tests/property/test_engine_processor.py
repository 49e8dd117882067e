"""The processor on a SQLite journal with random flows: it is fenced, re-created, and its workers come and go."""

from __future__ import annotations

import random
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

from shared import messages as m
from shared.model.state import StateType
from tests.executor_stand import LEASE, FakeWorker, Stand
from tests.property.engine_world import QUICK, outcome
from tests.property.flow_strategies import flows, source
from tests.property.operators import Operator, begins_another

CHILD = """
id: child
namespace: test.random
tasks:
  - {id: ok1, type: io.kestra.plugin.core.log.Log, message: m}
"""
UNNUMBERED = ("ExecutionCounted", "CommandRejected", "CommandRepeated")
"""Records that are no event of their execution's history."""
EXAMPLES = max(10, settings().max_examples // 5)
"""Fewer than of the engine alone: each one has a database of its own."""


class Chaos:
    """Random steps of one executor and its workers, faults included."""

    def __init__(self, directory: Path, seed: int) -> None:
        self.rng = random.Random(seed)
        self.stand = Stand(directory, resubmissions=1000)
        self.workers = [FakeWorker(self.stand, "w0", slots=3)]
        self.begun: set[tuple[str, m.RunTaskRun]] = set()
        self.sessions = 1
        self.resumes = 0
        self.executions: list[str] = []
        self.operator = Operator(self.rng)
        self.asked: dict[str, m.ExecutionCommand] = {}

    def operate(self) -> None:
        """An operator asks for something, and asks again under the same id where no answer came to him."""
        execution_id = self.rng.choice(self.executions)
        owned = self.stand.journal.partition_of(execution_id) in self.stand.processor.owned
        runs = self.stand.runs(execution_id) if owned else []
        command = self.operator.draw(execution_id, runs, self.stand.now)
        note(str(command))
        self.asked[command.command_id] = command
        self.stand.send(command)
        begun = begins_another(command)
        if begun is not None:
            self.executions.append(begun)
        if self.rng.random() < 0.3:
            self.stand.step(self.rng.randrange(3))
            if self.rng.random() < 0.5:
                self.stand.executor()
            self.stand.send(command)

    def answers(self) -> dict[str, list[m.EventRecord]]:
        """What the log says to each command of the operator."""
        found: dict[str, list[m.EventRecord]] = {command_id: [] for command_id in self.asked}
        for record in self.stand.history():
            if record.command_id in found:
                found[record.command_id].append(record)
        return found

    def expected(self) -> list[str]:
        """Executions that must be there at the end: created, and not deleted since."""
        history = self.stand.history()
        created = {record.execution_id for record in history if record.event == "ExecutionCreated"}
        deleted = {record.execution_id for record in history if record.event == "ExecutionDeleted"}
        return [each for each in self.executions if each in created - deleted]

    def worker_acts(self, *, faults: bool) -> None:
        """A worker reads its inbox, and does the next thing about one of its commands, in any order."""
        worker = self.rng.choice(self.workers)
        worker.take()
        for stop in worker.stops:
            held = worker.held.get(stop.task_run_id)
            if held is not None and (held.attempt, held.dispatch) == (stop.attempt, stop.dispatch):
                if stop.reason == "kill" and self.rng.random() < 0.8:
                    worker.end(held, "KILLED")
                else:
                    worker.held.pop(stop.task_run_id)
        worker.stops.clear()
        if not worker.held:
            return
        command = self.rng.choice(list(worker.held.values()))
        key = (worker.session, f"{command.task_run_id} {command.attempt} {command.dispatch}")
        if key not in self.begun:
            if faults and self.rng.random() < 0.15:
                worker.decline(command)
                return
            self.begun.add(key)
            worker.begin(command)
            return
        state = outcome(command.task["id"], command.attempt)
        worker.end(command, state.value)
        if faults and self.rng.random() < 0.2:
            worker.end(command, "FAILED" if state is StateType.SUCCESS else "SUCCESS")

    def fault(self) -> None:
        """The executor is fenced, loses a partition or dies; a worker dies and another one comes."""
        kind = self.rng.choice(("evict", "revoke", "crash", "worker", "fenced"))
        note(kind)
        journal = self.stand.journal
        if kind == "evict":
            journal.evict()
        elif kind == "revoke":
            journal.revoke(self.rng.randrange(journal.partitions), lost=self.rng.random() < 0.5)
        elif kind == "crash":
            self.stand.executor()
        elif kind == "fenced":
            real = journal.commit

            def fenced(step: Any) -> None:
                journal.commit = real  # type: ignore[method-assign]
                journal.evict()
                real(step)

            journal.commit = fenced  # type: ignore[method-assign]
        else:
            self.workers.pop(self.rng.randrange(len(self.workers)))
            self.workers.append(FakeWorker(self.stand, f"w{self.sessions}", slots=self.rng.randrange(1, 4)))
            self.sessions += 1

    def run(self, steps: int, *, faults: bool, operator: float = 0.0) -> None:
        for _ in range(steps):
            if self.rng.random() < operator:
                self.operate()
            chance = self.rng.random()
            if faults and chance < 0.03:
                self.fault()
            elif chance < 0.55:
                self.worker_acts(faults=faults)
            elif chance < 0.95:
                self.stand.step(1)
            else:
                self.stand.pass_time(self.rng.choice((0.1, LEASE / 2)))
                for worker in self.workers:
                    worker.beat()

    def finish(self) -> None:
        """Without further faults, everything ends."""
        for _ in range(400):
            executions = self.expected()
            self.run(40, faults=False)
            self.stand.pass_time(1)
            for worker in self.workers:
                worker.beat()
            for execution_id in executions:
                execution = self.stand.execution(execution_id)
                if execution is not None and (execution.state.current is StateType.PAUSED or execution.paused_runs):
                    self.stand.send(
                        m.ResumeExecution(execution_id=execution_id, command_id=f"r{self.resumes}", at=self.stand.now)
                    )
                    self.resumes += 1
            if all(self.ended(execution_id) for execution_id in executions):
                return
        states = [(self.stand.state(each), self.stand.states(each)) for each in executions]
        raise AssertionError(f"not ended: {states}")

    def ended(self, execution_id: str) -> bool:
        execution = self.stand.execution(execution_id)
        return (
            execution is not None
            and execution.state.terminated
            and execution.scope.open == 0
            and all(run.state.terminated for run in self.stand.runs(execution_id))
        )


@settings(max_examples=EXAMPLES, suppress_health_check=list(HealthCheck), phases=QUICK)
@given(flows(), st.integers(0, 2**32 - 1))
def test_executions_end_once_whatever_happens_to_the_executor(flow: dict[str, Any], seed: int) -> None:
    """Executions end; each event has a number of its own; an attempt has one result; nothing is left leased."""
    with tempfile.TemporaryDirectory() as directory:
        chaos = Chaos(Path(directory), seed)
        stand = chaos.stand
        note(source(flow))
        try:
            stand.add(CHILD)
            stand.add(source(flow))
            chaos.executions = [stand.create("main") for _ in range(1 + seed % 3)]
            chaos.run(150, faults=True)
            chaos.finish()
            chaos.run(60, faults=False)
            _check(chaos)
        finally:
            stand.close()


@settings(max_examples=EXAMPLES, suppress_health_check=list(HealthCheck), phases=QUICK)
@given(flows(), st.integers(0, 2**32 - 1))
def test_every_command_is_answered_once_whatever_happens_to_the_executor(flow: dict[str, Any], seed: int) -> None:
    """Commands at any moment, repeated under their id, around crashes: one answer each, and everything ends."""
    with tempfile.TemporaryDirectory() as directory:
        chaos = Chaos(Path(directory), seed)
        stand = chaos.stand
        note(source(flow))
        try:
            stand.add(CHILD)
            stand.add(source(flow))
            chaos.executions = [stand.create("main") for _ in range(1 + seed % 2)]
            chaos.run(150, faults=True, operator=0.1)
            chaos.finish()
            chaos.run(60, faults=False)
            _check(chaos)
            for command_id, answers in chaos.answers().items():
                command = chaos.asked[command_id]
                assert answers, f"no answer to {command}"
                _one_answer(command, answers)
        finally:
            stand.close()


def _one_answer(command: m.ExecutionCommand, answers: list[m.EventRecord]) -> None:
    """All answers to a command say the same; what it begins, begins once."""
    # An execution that is not there remembers nothing: one that began, or was deleted, since answers for itself.
    reasons = {answer.reason for answer in answers} - {m.NOT_HERE}
    assert len(reasons) <= 1, f"{command}: {answers}"
    begun = begins_another(command)
    if begun is not None and reasons == {None}:
        assert [answer.execution_id for answer in answers].count(begun) == 1, f"{command}: {answers}"


def _check(chaos: Chaos) -> None:
    stand, executions = chaos.stand, chaos.expected()
    # One event may have a document beside its own: the values of a loop that a replay carried over.
    numbered = [(each.execution_id, each.seq, each.id) for each in stand.history() if each.event not in UNNUMBERED]
    assert [key for key, count in Counter(numbered).items() if count > 1] == []
    for execution_id in executions:
        for run in stand.runs(execution_id):
            assert all(attempt.state.terminated for attempt in run.attempts)
            assert stand.dispatcher.leases.get(run.id) is None
    # What a worker still says about a task of an execution that an operator deleted is kept there.
    gone = {record.execution_id for record in stand.history() if record.event == "ExecutionDeleted"}
    assert [letter for letter in stand.dead_letters() if letter.execution_id not in gone] == []
