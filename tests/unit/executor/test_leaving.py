"""Ended executions leave the executor, when they can come back; repeated commands are answered as before."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from executor import departures
from executor.engine import labels
from shared import messages as m
from shared.model.document import Kind
from shared.ports import Aborted, Step
from tests.executor_stand import FakeWorker, Stand

FLOW = """
id: f
namespace: test.leaving
tasks:
  - id: each
    type: io.kestra.plugin.core.flow.ForEach
    values: [1, 2, 3]
    tasks:
      - {id: log, type: io.kestra.plugin.core.log.Log, message: hello}
"""


@pytest.fixture
def stand(tmp_path: Path) -> Iterator[Stand]:
    made = Stand(tmp_path)
    made.add(FLOW)
    yield made
    made.close()


def failed(stand: Stand) -> str:
    """An execution whose second value failed."""
    worker = FakeWorker(stand, "w1")
    execution_id = stand.create()
    for state in ("SUCCESS", "FAILED"):
        stand.step()
        (command,) = worker.take()
        worker.end(command, state)
    stand.settle(worker)
    assert stand.state(execution_id) == "FAILED"
    return execution_id


def leave(stand: Stand, seconds: float = 3601) -> None:
    stand.pass_time(seconds)
    stand.settle()
    stand.pass_time(61)
    stand.settle()


def snapshot(stand: Stand, execution_id: str) -> dict[str, Any]:
    """What a search store would have."""
    newest: dict[tuple[str, str], m.EventRecord] = {}
    for event in stand.history():
        if event.execution_id == execution_id and event.kind is not None and event.id is not None:
            newest[event.kind, event.id] = event
    of = {kind: [e.document for (k, _), e in newest.items() if k == kind] for kind in Kind}
    return {"execution": of[Kind.EXECUTION][0], "task_runs": of[Kind.TASK_RUN], "entries": of[Kind.ENTRY]}


def recall(stand: Stand, execution_id: str, given: dict[str, Any], command_id: str = "recall") -> None:
    stand.send(m.RecallExecution(execution_id, command_id, stand.now, tenant="main", snapshot=given))
    stand.settle()


def answers(stand: Stand, command_id: str) -> list[tuple[str, str | None]]:
    return [(e.event, e.reason) for e in stand.history() if e.command_id == command_id]


def tombstones(stand: Stand) -> set[str]:
    stand.history()
    return {record.key for record in stand.records if record.value is None}


def entries(stand: Stand, execution_id: str) -> list[str]:
    partition = stand.processor._owned[stand.journal.partition_of(execution_id)]
    return [key for key, _ in partition.entries.scan(f"x/{execution_id}/")]


def test_it_stays_until_it_is_indexed(stand: Stand) -> None:
    """Given no indexer that has its history, when the time is over, the execution stays; then it leaves."""
    execution_id = failed(stand)

    for _ in range(5):
        stand.pass_time(3601, indexed=False)
        stand.settle()
    assert stand.state(execution_id) == "FAILED"

    stand.pass_time(1)  # an indexer is heard of again
    stand.settle()
    leave(stand)
    assert entries(stand, execution_id) == []


def test_a_cold_execution_is_restarted(stand: Stand) -> None:
    """Given an execution that left, when it comes back and is restarted, it goes on where it failed, numbered on."""
    execution_id = failed(stand)
    last = max(event.seq for event in stand.history())
    leave(stand)
    stand.send(m.RestartExecution(execution_id, "early", stand.now))
    stand.settle()
    assert answers(stand, "early") == [("CommandRejected", m.NOT_HERE)]

    recall(stand, execution_id, snapshot(stand, execution_id))
    assert answers(stand, "recall") == [("ExecutionRecalled", None)]
    stand.send(m.RestartExecution(execution_id, "restart", stand.now))
    stand.settle(FakeWorker(stand, "w2"))

    assert stand.state(execution_id) == "SUCCESS"
    assert [state for task, state in stand.states(execution_id) if task == "log"] == ["SUCCESS"] * 3
    later = [event.seq for event in stand.history() if event.command_id == "restart"]
    assert min(later) > last
    assert len({(e.id, e.seq) for e in stand.history() if e.kind}) == len(
        [e for e in stand.history() if e.kind and e.event != "ExecutionCounted"]
    )


def test_what_is_here_is_newer_than_any_snapshot(stand: Stand) -> None:
    """Given an execution that is here, when a snapshot of it comes, it is refused and nothing changes."""
    execution_id = failed(stand)
    before = stand.execution(execution_id)

    recall(stand, execution_id, snapshot(stand, execution_id))

    assert answers(stand, "recall") == [("CommandRejected", m.HERE)]
    assert stand.execution(execution_id) == before


@pytest.mark.parametrize(
    ("lacking", "reason"),
    [
        (lambda s: s["task_runs"].pop(), "the snapshot has 2 of the 3 task runs"),
        (lambda s: s["entries"].clear(), "the snapshot lacks values of task run"),
        (lambda s: s["execution"].pop("entry"), "was indexed by an earlier version"),
        (lambda s: s["execution"].pop("state"), "the snapshot cannot be read"),
    ],
)
def test_an_incomplete_snapshot_is_refused(stand: Stand, lacking: Any, reason: str) -> None:
    """Given an execution that left, when its snapshot lacks something, it is refused with what that is."""
    execution_id = failed(stand)
    leave(stand)
    given = orjson.loads(orjson.dumps(snapshot(stand, execution_id)))
    lacking(given)

    recall(stand, execution_id, given)

    ((event, told),) = answers(stand, "recall")
    assert event == "CommandRejected"
    assert reason in (told or "")
    assert entries(stand, execution_id) == []


def test_a_cold_execution_is_deleted(stand: Stand) -> None:
    """Given an execution that left, when it is deleted, its documents go under a version above all of theirs."""
    execution_id = failed(stand)
    leave(stand)
    known = snapshot(stand, execution_id)
    documents = [known["execution"], *known["task_runs"], *known["entries"]]
    ids = {name: [each["id"] for each in known[name]] for name in ("task_runs", "entries")}
    last = max(each["seq"] for each in documents)

    given = {"tenant": "main", "seq": last, **ids}
    stand.send(m.DeleteExecution(execution_id, "delete", stand.now, documents=given))
    stand.settle()

    (deleted,) = [event for event in stand.history() if event.event == "ExecutionDeleted"]
    assert deleted.seq == last + 1
    assert deleted.document == {"tenantId": "main"}
    assert deleted.command_id == "delete"
    assert tombstones(stand) == {each["id"] for each in (*known["task_runs"], *known["entries"])}
    leave(stand)
    assert execution_id in tombstones(stand)


def test_a_deleted_execution_does_not_come_back(stand: Stand) -> None:
    """Given one that left, when it is deleted, what was read before cannot bring it back; later nothing is left of it."""
    execution_id = failed(stand)
    leave(stand)
    known = snapshot(stand, execution_id)
    ids = {name: [each["id"] for each in known[name]] for name in ("task_runs", "entries")}
    stand.send(m.DeleteExecution(execution_id, "delete", stand.now, documents={"seq": 1_000, **ids}))
    stand.settle()

    recall(stand, execution_id, known, "late")

    assert answers(stand, "late") == [("CommandRejected", "the execution was deleted")]
    leave(stand)
    assert entries(stand, execution_id) == []


def test_a_large_execution_leaves_in_steps(stand: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    """Given one that leaves in several steps, when it comes back between them, it is whole."""
    execution_id = failed(stand)
    monkeypatch.setattr(departures, "STEP", 1)
    stand.pass_time(3601)
    stand.step(1)
    given = snapshot(stand, execution_id)
    whole = set(entries(stand, execution_id))
    stand.pass_time(61)
    stand.step(1)
    left = set(entries(stand, execution_id))
    assert 0 < len(left) < len(whole)

    recall(stand, execution_id, given)

    assert set(entries(stand, execution_id)) == whole


def test_a_repeated_command_is_answered_as_before(stand: Stand) -> None:
    """Given a command that was carried out, when it comes again late, nothing happens, and the answer is the same."""
    execution_id = failed(stand)
    restart = m.RestartExecution(execution_id, "restart", stand.now)
    stand.send(restart)
    stand.pass_time(10)
    worker = FakeWorker(stand, "w2")
    stand.step()
    (command,) = worker.take()
    worker.end(command, "FAILED")
    stand.settle(worker)
    refused = m.ResumeExecution(execution_id, "resume", stand.now)
    stand.send(refused)
    stand.settle(worker)
    before = stand.runs(execution_id)

    stand.send(restart)
    stand.send(refused)
    stand.settle(worker)

    assert stand.runs(execution_id) == before
    assert [event for event, _ in answers(stand, "restart")][1:] == ["CommandRepeated"]
    first, second = answers(stand, "resume")
    assert first == second
    assert first[0] == "CommandRejected"


def test_a_snapshot_read_long_ago_is_refused(stand: Stand) -> None:
    """Given a recall that comes so late that the execution may have come, gone on and left since, it is refused."""
    execution_id = failed(stand)
    leave(stand)
    old, read = snapshot(stand, execution_id), stand.now
    recall(stand, execution_id, old, "first")
    stand.send(m.RestartExecution(execution_id, "restart", stand.now))
    stand.settle(FakeWorker(stand, "w2"))
    last = max(event.seq for event in stand.history())
    leave(stand)

    stand.send(m.RecallExecution(execution_id, "late", read, tenant="main", snapshot=old))
    stand.settle()

    ((event, reason),) = answers(stand, "late")
    assert event == "CommandRejected"
    assert "send the command again" in (reason or "")
    assert entries(stand, execution_id) == []
    assert max(event.seq for event in stand.history()) == last


def test_documents_listed_long_ago_delete_nothing(stand: Stand) -> None:
    """Given a deletion whose documents were listed before the execution came and left again, it is refused."""
    execution_id = failed(stand)
    leave(stand)
    read = stand.now
    stand.pass_time(3601)

    stand.send(m.DeleteExecution(execution_id, "late", read, documents={"seq": 9, "task_runs": [], "entries": []}))
    stand.settle()

    ((event, _),) = answers(stand, "late")
    assert event == "CommandRejected"
    assert not [each for each in stand.history() if each.event == "ExecutionDeleted"]


def test_a_repeated_deletion_is_accepted(stand: Stand) -> None:
    """Given a deletion whose answer was lost, when it comes again, it is answered as before, not as of one unknown."""
    execution_id = failed(stand)
    delete = m.DeleteExecution(execution_id, "delete", stand.now)

    stand.send(delete)
    stand.settle()
    stand.send(delete)
    stand.settle()

    assert [event for event, _ in answers(stand, "delete")] == ["ExecutionDeleted", "CommandRepeated"]
    (deleted,) = [event for event in stand.history() if event.event == "ExecutionDeleted"]
    assert deleted.document == {"tenantId": "main"}  # whose task runs' documents go, also without the execution's own


def test_a_deleted_execution_is_not_created_again(stand: Stand) -> None:
    """Given a deleted execution, when the command that created it comes again, it is refused."""
    execution_id = failed(stand)
    stand.send(m.DeleteExecution(execution_id, "delete", stand.now))
    stand.settle()

    flow = stand.plans["f"].flow
    again = m.CreateExecution(
        execution_id, "again", stand.now, tenant=flow.tenant, namespace=flow.namespace, flow_id="f", flow_revision=1
    )
    stand.send(again)
    stand.settle()

    assert answers(stand, "again") == [("CommandRejected", "the execution was deleted")]
    assert stand.execution(execution_id) is None


def test_many_executions_leave_in_steps(stand: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    """Given executions that leave at one moment, when there are more entries than fit a step, it removes no more."""
    worker = FakeWorker(stand, "w1")
    ids = [stand.create() for _ in range(12)]
    stand.settle(worker)
    monkeypatch.setattr(departures, "STEP", 20)
    stand.pass_time(3601)
    stand.step(1)
    stand.pass_time(61)
    before = sum(len(entries(stand, each)) for each in ids)
    steps = []
    while any(entries(stand, each) for each in ids):
        stand.step(1)
        after = sum(len(entries(stand, each)) for each in ids)
        steps.append(before - after)
        before = after

    assert max(steps) <= 20
    assert all(steps)


def test_a_step_that_is_too_much_at_once_is_tried_in_smaller_ones(stand: Stand) -> None:
    """Given a journal that takes no large transaction, when much is to be done, it is done in small ones."""
    journal, real = stand.journal, stand.journal.commit
    sizes = []

    def commit(step: Step) -> None:
        sizes.append(sum(len(changes) for changes in step.writes.values()))
        if sizes[-1] > 30:
            for topic, number in step.positions:
                journal._next[topic, number] = journal._group.position(topic, number)
            raise Aborted("its timeout was over")
        real(step)

    journal.commit = commit  # type: ignore[method-assign]
    ids = [stand.create() for _ in range(40)]

    stand.settle(FakeWorker(stand, "w1"))

    assert [stand.state(each) for each in ids] == ["SUCCESS"] * 40
    assert max(sizes) > 30


def test_a_large_execution_is_deleted_in_steps(stand: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    """Given more entries than a deletion removes at once, its documents go in steps, and nothing brings it back."""
    execution_id = failed(stand)
    known = snapshot(stand, execution_id)
    monkeypatch.setattr(labels, "AT_ONCE", 3)
    monkeypatch.setattr(departures, "STEP", 3)
    stand.send(m.DeleteExecution(execution_id, "delete", stand.now))
    stand.step(1)

    assert stand.execution(execution_id) is None
    between = tombstones(stand)
    recall(stand, execution_id, known, "late")
    stand.executor()
    stand.settle()

    assert [event for event, _ in answers(stand, "delete")] == ["ExecutionDeleted"]
    assert answers(stand, "late") == [("CommandRejected", "the execution was deleted")]
    documents = {each["id"] for each in (*known["task_runs"], *known["entries"])}
    assert between < documents
    assert tombstones(stand) == documents
    assert entries(stand, execution_id) == [f"x/{execution_id}/d"]
    leave(stand)
    assert execution_id in tombstones(stand)
    for partition in stand.processor._owned.values():
        assert list(partition.entries.keys("")) == []
