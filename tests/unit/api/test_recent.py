"""The tail cache: bounded, newest by sequence number, and the answers to commands."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from indexer.recent import Accepted, Recent, Rejected
from shared.flow_directory import FlowDirectory
from shared.messages import EventRecord, FlowRejected, FlowStored
from shared.model.document import Kind
from shared.ports import Inbound, JournalError, Outbound, Topic
from tests.unit.api.fakes import MemoryLog


def event(seq: int, *, execution: str = "e1", run: str | None = None, state: str = "RUNNING", **more: Any) -> Inbound:
    """A record of execution-events."""
    kind = Kind.EXECUTION if run is None else Kind.TASK_RUN
    document = {"id": run or execution, "tenantId": "main", "state": {"current": state}, "seq": seq}
    record = EventRecord("Happened", execution, seq, 0, kind, run or execution, document, **more)
    return Inbound(Topic.EXECUTION_EVENTS, 0, seq, run or execution, record.to_bytes(), 0)


def rejection(command_id: str) -> Inbound:
    """A record that refuses a command."""
    record = EventRecord("CommandRejected", "e1", 0, 0, command_id=command_id, reason="it has ended")
    return Inbound(Topic.EXECUTION_EVENTS, 0, 0, "rejected/e1", record.to_bytes(), 0)


@pytest.fixture
def log() -> MemoryLog:
    """An empty log."""
    return MemoryLog()


def recent_of(log: MemoryLog, executions: int = 10, size: int = 1_000_000) -> Recent:
    """A cache that a test feeds."""
    return Recent(log, FlowDirectory(log.tail([Topic.FLOWS])), executions, size)


def test_the_newest_document_of_each_id_is_kept(log: MemoryLog) -> None:
    """A record that comes late changes nothing."""
    recent = recent_of(log)
    recent.take([event(1, state="CREATED"), event(3, state="SUCCESS"), event(2, state="RUNNING")])
    recent.take([event(2, run="r1", state="RUNNING"), event(4, run="r1", state="SUCCESS"), event(3, run="r1")])

    snapshot = recent.snapshot("main", "e1")
    assert snapshot is not None
    assert snapshot.execution is not None
    assert snapshot.execution["state"]["current"] == "SUCCESS"
    assert [run["state"]["current"] for run in snapshot.task_runs] == ["SUCCESS"]
    assert (snapshot.seq, snapshot.whole) == (4, True)
    assert recent.task_run("main", "r1") is not None


def test_an_execution_seen_from_its_middle_on_is_not_whole(log: MemoryLog) -> None:
    """Its task runs have to be completed from the store."""
    recent = recent_of(log)
    recent.take([event(7)])
    snapshot = recent.snapshot("main", "e1")
    assert snapshot is not None
    assert not snapshot.whole


def test_the_least_recently_changed_execution_leaves_first(log: MemoryLog) -> None:
    """By count; with it leave its task runs and its bytes."""
    recent = recent_of(log, executions=2)
    recent.take([event(1, execution="a"), event(2, execution="a", run="ra"), event(1, execution="b")])
    recent.take([event(3, execution="a"), event(1, execution="c")])

    assert recent.snapshot("main", "b") is None
    assert recent.snapshot("main", "a") is not None
    assert recent.snapshot("main", "c") is not None
    recent.take([event(1, execution="d"), event(1, execution="e")])
    assert recent.task_run("main", "ra") is None
    assert recent.gauges()["recent_executions"] == 2


def test_bytes_are_bounded(log: MemoryLog) -> None:
    """However large single documents are, and also where one grows."""
    recent = recent_of(log, executions=1000, size=20_000)
    for number in range(50):
        recent.take([event(1, execution=f"e{number}"), event(2, execution=f"e{number}", run=f"r{number}")])
        assert recent.gauges()["recent_bytes"] <= 20_000
    assert recent.snapshot("main", "e0") is None
    assert recent.snapshot("main", "e49") is not None
    for seq in range(3, 500):
        recent.take([event(seq, execution="e49", run="same")])
    assert recent.snapshot("main", "e48") is not None


def test_task_runs_of_one_execution_are_bounded(log: MemoryLog) -> None:
    """The first thousand are kept; the execution then is not whole."""
    recent = recent_of(log, size=100_000_000)
    recent.take([event(1), *(event(seq, run=f"r{seq}") for seq in range(2, 1_203))])
    snapshot = recent.snapshot("main", "e1")
    assert snapshot is not None
    assert len(snapshot.task_runs) == 1_000
    assert not snapshot.whole


def test_a_tombstone_takes_an_execution_away(log: MemoryLog) -> None:
    """It is known to be deleted, although the store may still have it."""
    recent = recent_of(log)
    recent.take([event(1), Inbound(Topic.EXECUTION_EVENTS, 0, 2, "e1", None, 0)])
    snapshot = recent.snapshot("main", "e1")
    assert snapshot is not None
    assert snapshot.deleted


def test_a_refused_command_is_answered_with_the_reason(log: MemoryLog) -> None:
    """Once, and only to its own command."""
    recent = recent_of(log)
    answers: list[object] = []
    recent.expect("c1", answers.append, "e1")
    recent.expect("c2", answers.append, "e1")
    recent.take([event(1), rejection("c1"), rejection("c1")])
    assert answers == [Rejected("it has ended")]


def test_an_accepted_command_is_answered_with_the_execution_after_it(log: MemoryLog) -> None:
    """The first event has the command's id; what follows in the same batch belongs to it too."""
    recent = recent_of(log)
    answers: list[Any] = []
    recent.expect("c1", answers.append, "e1")
    recent.take([event(1), event(2, run="r1", state="KILLED", command_id="c1"), event(3, state="KILLING")])

    (answer,) = answers
    assert isinstance(answer, Accepted)
    assert answer.seq == 2
    assert answer.snapshot is not None
    assert answer.snapshot.execution is not None
    assert answer.snapshot.execution["state"]["current"] == "KILLING"


@pytest.mark.parametrize("first", ["run", "execution"])
def test_a_restart_is_answered_before_the_execution_runs_on(log: MemoryLog, first: str) -> None:
    """Whichever comes first, the task runs or the execution, RESTARTED is what is shown, with all that belongs to it."""
    recent = recent_of(log)
    recent.take([event(1, state="FAILED"), event(2, run="r1", state="FAILED"), event(3, run="r2", state="FAILED")])
    answers: list[Any] = []
    recent.expect("c1", answers.append, "e1", frozenset({"RESTARTED"}))
    runs = {"run": "r1", "execution": None}
    steps = [
        event(4, run=runs[first], state="RESTARTED", command_id="c1"),
        event(5, run=None if first == "run" else "r1", state="RESTARTED"),
        event(6, run="r2", state="RESTARTED"),
        event(7, state="RUNNING"),
        event(8, run="r1", state="RUNNING"),
    ]
    recent.take(steps)

    (answer,) = answers
    assert answer.snapshot.execution["state"]["current"] == "RESTARTED"
    assert [run["state"]["current"] for run in answer.snapshot.task_runs] == ["RESTARTED", "RESTARTED"]


def test_a_replay_is_answered_by_the_new_execution(log: MemoryLog) -> None:
    """Also where the events of the new one do not have the command's id, or come later."""
    recent = recent_of(log)
    answers: list[Any] = []
    recent.expect("c1", answers.append, "new", frozenset({"RESTARTED"}), fresh=True)
    recent.take([event(1), event(2, command_id="c1")])
    assert answers == []
    recent.take([event(1, execution="new", state="RESTARTED"), event(2, execution="new", run="r", state="SUCCESS")])
    (answer,) = answers
    assert answer.snapshot.execution_id == "new"
    assert len(answer.snapshot.task_runs) == 1


def test_other_executions_and_later_events_do_not_answer(log: MemoryLog) -> None:
    """Without the command's id nothing is an answer; forgotten commands get none."""
    recent = recent_of(log)
    answers: list[Any] = []
    recent.expect("c1", answers.append, "e1")
    recent.expect("c2", answers.append, "e2")
    recent.forget("c2")
    recent.take([event(1), event(1, execution="e2", command_id="c2")])
    assert answers == []
    assert recent.gauges()["commands_awaiting_answer"] == 1


def test_flow_commands_are_answered_from_the_flows_topic(log: MemoryLog) -> None:
    """Stored or rejected, by command id."""
    flows = FlowDirectory(log.tail([Topic.FLOWS]))
    recent = Recent(log, flows, 10)
    answers: list[Any] = []
    recent.expect("c1", answers.append)
    recent.expect("c2", answers.append)
    stored = FlowStored("main", "n", "f", 1, "id: f", command_id="c1")
    rejected = FlowRejected("main", "n", "f", "exists", command_id="c2")
    log.publish(
        [Outbound(Topic.FLOWS, "main/n/f@1", stored.to_bytes()), Outbound(Topic.FLOWS, "main/n/f", stored.to_bytes())]
    )
    log.publish([Outbound(Topic.FLOWS, "rejected/main/n/f", rejected.to_bytes())])
    flows.poll()
    assert answers == [stored, Rejected("exists")]


def test_watchers_hear_of_changes_until_they_stop(log: MemoryLog) -> None:
    """Of their execution only, once for each batch."""
    recent = recent_of(log)
    heard: list[str] = []
    unwatch = recent.watch("e1", lambda: heard.append("e1"))
    recent.take([event(1), event(2)])
    recent.take([event(1, execution="e2")])
    assert heard == ["e1"]
    unwatch()
    recent.take([event(3)])
    assert heard == ["e1"]
    assert recent.gauges()["followers"] == 0


def test_another_tenant_s_execution_is_not_shown(log: MemoryLog) -> None:
    """Neither it nor its task runs."""
    recent = recent_of(log)
    recent.take([event(1), event(2, run="r1")])
    assert recent.snapshot("other", "e1") is None
    assert recent.execution("other", "e1") is None
    assert recent.task_run("other", "r1") is None


def test_records_that_cannot_be_read_are_passed_over(log: MemoryLog) -> None:
    """The indexer, which reads them too, keeps them as dead letters."""
    recent = recent_of(log)
    recent.take([Inbound(Topic.EXECUTION_EVENTS, 0, 0, "e1", b"{}", 0), event(1)])
    assert recent.snapshot("main", "e1") is not None


def test_a_log_that_cannot_be_read_is_tried_again(log: MemoryLog, monkeypatch: pytest.MonkeyPatch) -> None:
    """Until then health says so; nothing is lost."""
    recent = recent_of(log)
    broken = threading.Event()
    seen = threading.Event()

    def poll(limit: int, timeout: float) -> list[Inbound]:
        if not broken.is_set():
            broken.set()
            raise JournalError("the broker is gone")
        seen.set()
        return []

    monkeypatch.setattr(recent._tail, "poll", poll)
    recent.start()
    try:
        assert broken.wait(10)
        recent._stop.wait(0.1)
        assert recent.failure == "recent-events: the broker is gone"
        assert seen.wait(10)
        recent._stop.wait(0.1)
        assert recent.failure is None
    finally:
        recent.close()


def test_a_document_of_another_shape_ends_nothing(log: MemoryLog) -> None:
    """Given an event whose document lacks what every one has, when it is read, the events around it are taken in."""
    recent = recent_of(log)
    odd = EventRecord("Happened", "e1", 2, 0, Kind.EXECUTION, "e1", {"id": "e1", "state": {}})

    recent.take(
        [
            event(1),
            Inbound(Topic.EXECUTION_EVENTS, 0, 2, "e1", odd.to_bytes(), 0),
            event(3, state="SUCCESS"),
        ]
    )

    snapshot = recent.snapshot("main", "e1")
    assert snapshot is not None
    assert snapshot.execution is not None
    assert (snapshot.seq, snapshot.execution["state"]["current"]) == (3, "SUCCESS")
