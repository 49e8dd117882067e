"""What a setting passes over: the others go on, and nothing of it is lost."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from executor.skips import Skips
from indexer.letter_replay import LetterReplay
from shared import messages as m
from shared.dead_letters import content
from tests.executor_stand import LEASE, FakeWorker, Stand

LOG = "{id: %s, type: io.kestra.plugin.core.log.Log, message: m%s}"
FLOW = f"id: %s\nnamespace: test.executor\ntasks:\n  - {LOG % ('a', '')}\n  - {LOG % ('b', '')}\n"
RETRY = "\n    retry: {type: constant, interval: PT1M, maxAttempt: 3}"


@pytest.fixture
def stand(tmp_path: Path) -> Iterator[Stand]:
    opened = Stand(tmp_path)
    opened.add(FLOW % "f")
    opened.add(FLOW % "poison")
    yield opened
    opened.close()


def replay(stand: Stand) -> list[str]:
    """Replay every letter; what became of each."""

    def no_store() -> Any:
        raise AssertionError("commands and events need no store")

    return [each.outcome.value for each in LetterReplay(stand.log, no_store).replay(None)]


def skipping(stand: Stand, **skipped: frozenset[str]) -> None:
    """The executor again, with or without the setting."""
    stand.skips = Skips(**skipped)
    stand.executor()


def test_a_poison_flow_is_passed_over_and_goes_on_after_the_mend(
    stand: Stand, caplog: pytest.LogCaptureFixture
) -> None:
    """Its executions are dead letters while the setting holds; replayed without it, they end as any others."""
    skipping(stand, flows=frozenset({"test.executor.poison"}))
    known = stand.processor._batch.env.flows

    def flows(tenant: str, namespace: str, flow_id: str, revision: int | None) -> Any:
        if flow_id == "poison":
            raise RuntimeError("poison")
        return known(tenant, namespace, flow_id, revision)

    stand.processor._batch.env = replace(stand.processor._batch.env, flows=flows)
    worker = FakeWorker(stand, "w1")
    with caplog.at_level(logging.WARNING, "executor.skips"):
        ids = [stand.create(flow_id) for flow_id in ("poison", "f", "poison")]
        stand.send(m.PauseExecution(execution_id=ids[0], command_id="pause", at=stand.now))
        stand.settle(worker)

    assert [stand.state(each) for each in ids] == [None, "SUCCESS", None]
    reason = "skipped by setting executor.skip_flows"
    assert {(letter.execution_id, letter.reason) for letter in stand.dead_letters()} >= {
        (ids[0], reason),
        (ids[2], reason),
    }
    passed = [record.message for record in caplog.records]
    assert sorted(passed) == sorted(f"Execution {each} is passed over, {reason}" for each in (ids[0], ids[2]))
    assert stand.processor.metrics.skipped.labels("CreateExecution")._value.get() == 2

    skipping(stand)
    assert set(replay(stand)) == {"published"}
    stand.settle(worker)

    assert [stand.state(each) for each in ids] == ["SUCCESS", "SUCCESS", "SUCCESS"]
    assert replay(stand) == []


def test_what_a_running_execution_waits_for_is_not_lost(stand: Stand) -> None:
    """A result, a retry's timer, a lease and a waiting task run of what is passed over are there afterwards."""
    stand.add(
        "id: many\nnamespace: test.executor\ntasks:\n  - id: all\n    type: io.kestra.plugin.core.flow.Parallel\n"
        f"    tasks:\n      - {LOG % ('done', '')}\n      - {LOG % ('lost', '')}\n"
        f"      - {LOG % ('waits', ', workerGroup: {key: late, fallback: FAIL}')}\n"
        f"      - {LOG % ('again', ', retry: {type: constant, interval: PT1M, maxAttempt: 3}')}\n"
    )
    worker = FakeWorker(stand, "w1", slots=3)
    late = FakeWorker(stand, "late", "late", slots=0)
    execution_id = stand.create("many")
    stand.step()
    commands = {command.task["id"]: command for command in worker.take()}
    assert commands.keys() == {"done", "lost", "again"}
    worker.end(commands["again"], "FAILED")
    stand.step()

    skipping(stand, executions=frozenset({execution_id}))
    worker.end(commands["done"])
    worker.held.clear()
    other = stand.create()
    for _ in range(12):
        stand.pass_time(LEASE)
        for each in (worker, late):
            each.beat()
        stand.settle(worker)
        late.beat("TERMINATED")

    assert stand.state(other) == "SUCCESS"
    assert stand.state(execution_id) == "RETRYING"
    before = stand.states(execution_id)
    assert [letter.execution_id for letter in stand.dead_letters()] == [execution_id]
    (letter,) = stand.dead_letters()
    ended = m.decode(content(letter) or b"")
    assert isinstance(ended, m.AttemptEnded)
    assert ended.task_run_id == commands["done"].task_run_id
    assert stand.dispatcher.leases.of_session("w1") == frozenset()

    skipping(stand)
    assert replay(stand) == ["published"]
    everyone = [FakeWorker(stand, "w2"), FakeWorker(stand, "late2", "late")]
    for _ in range(4):
        stand.settle(*everyone)
        stand.pass_time(LEASE)
        for each in everyone:
            each.beat()

    assert len(before) == 5
    assert stand.state(execution_id) == "SUCCESS"
    attempts = {run.task_id: [a.state.current.value for a in run.attempts] for run in stand.runs(execution_id)}
    assert attempts["done"] == ["SUCCESS"]
    assert attempts["lost"] == ["RESUBMITTED", "SUCCESS"]
    assert attempts["again"] == ["FAILED", "SUCCESS"]
    assert attempts["waits"] == ["SUCCESS"]


@pytest.mark.parametrize(
    ("skips", "passed"),
    [
        (Skips(flows=frozenset({"poison"})), True),
        (Skips(flows=frozenset({"main/test.executor/poison"})), True),
        (Skips(flows=frozenset({"other.poison"})), False),
        (Skips(namespaces=frozenset({"test.executor"})), True),
        (Skips(namespaces=frozenset({"test"})), False),
        (Skips(), False),
    ],
)
def test_flows_and_namespaces_are_named_whole(stand: Stand, skips: Skips, passed: bool) -> None:
    """A flow by its id, with its namespace, or with its tenant, too; a namespace without those below it."""
    stand.skips = skips
    stand.executor()
    execution_id = stand.create("poison")
    stand.settle(FakeWorker(stand, "w1"))

    assert (stand.state(execution_id) is None) == passed
    assert bool(stand.dead_letters()) == passed


def test_an_event_for_an_unknown_execution_is_a_dead_letter(stand: Stand) -> None:
    """A result of work that no execution here knows is kept with its ids; one that is only late is rejected."""
    worker = FakeWorker(stand, "w1")
    known = stand.create()
    stand.step()
    (command,) = worker.take()
    worker.end(command)
    worker.end(command, "FAILED")
    worker.end(replace(command, execution_id="034ShhzcBh3iKml7yo4GgO"))
    stand.settle(worker)

    (letter,) = stand.dead_letters()
    assert letter.reason.startswith("AttemptEnded of an execution that is not known")
    assert (letter.execution_id, letter.task_run_id) == ("034ShhzcBh3iKml7yo4GgO", command.task_run_id)
    assert letter.origin.startswith("task-run-events/")
    assert isinstance(m.decode(content(letter) or b""), m.AttemptEnded)
    assert stand.state(known) == "SUCCESS"
    assert stand.processor.metrics.dead_letters.labels("unknown execution")._value.get() == 1
