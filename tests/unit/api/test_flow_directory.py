"""The flow directory: what the flows topic says, whoever asks."""

from __future__ import annotations

import threading

import pytest

from shared.flow_directory import FlowDirectory, within
from shared.flows.problem import FlowError
from shared.messages import FlowStored
from shared.ports import Outbound, Topic
from tests.unit.api.conftest import FLOW
from tests.unit.api.fakes import MemoryLog


def put(
    log: MemoryLog,
    revision: int,
    source: str = FLOW,
    *,
    namespace: str = "company.team",
    flow_id: str = "hello",
    deleted: bool = False,
) -> None:
    """A revision, under both of its keys."""
    stored = FlowStored("main", namespace, flow_id, revision, source, deleted)
    uid = f"main/{namespace}/{flow_id}"
    log.publish([Outbound(Topic.FLOWS, key, stored.to_bytes()) for key in (f"{uid}@{revision}", uid)])


@pytest.fixture
def log() -> MemoryLog:
    """An empty log."""
    return MemoryLog()


@pytest.fixture
def flows(log: MemoryLog) -> FlowDirectory:
    """A directory over it."""
    return FlowDirectory(log.tail([Topic.FLOWS]))


def test_every_revision_is_known_and_the_latest_is_the_default(log: MemoryLog, flows: FlowDirectory) -> None:
    """By number, or the highest; parsed once."""
    put(log, 2, FLOW + "description: two\n")
    put(log, 1)
    flows.poll()

    latest = flows.get("main", "company.team", "hello")
    assert latest is not None
    assert (latest.revision, latest.description, latest.tenant) == (2, "two", "main")
    first = flows.get("main", "company.team", "hello", 1)
    assert first is not None
    assert first.description is None
    assert flows.get("main", "company.team", "hello", 3) is None
    assert flows.get("other", "company.team", "hello") is None
    assert flows.get("main", "company.team", "hello") is latest
    assert [stored.revision for stored in flows.revisions("main", "company.team", "hello")] == [1, 2]


def test_a_deleted_flow_is_gone_but_its_revisions_stay(log: MemoryLog, flows: FlowDirectory) -> None:
    """A deletion has no text: it is shown as the flow last was; a flow stored again goes on counting."""
    put(log, 1)
    put(log, 2, "", deleted=True)
    flows.poll()

    assert flows.get("main", "company.team", "hello") is None
    assert flows.get("main", "company.team", "hello", 1) is not None
    gone = flows.get("main", "company.team", "hello", 2)
    assert gone is not None
    assert gone.deleted
    assert list(flows.latest("main")) == []
    put(log, 3)
    flows.poll()
    again = flows.get("main", "company.team", "hello")
    assert again is not None
    assert again.revision == 3


def test_flows_are_listed_by_namespace_and_below(log: MemoryLog, flows: FlowDirectory) -> None:
    """In order; `company.team` is not above `company.teamwork`."""
    for namespace in ("company.teamwork", "company.team.data", "company.team"):
        put(log, 1, FLOW.replace("company.team", namespace), namespace=namespace)
    flows.poll()
    assert [s.namespace for s in flows.latest("main", "company.team")] == ["company.team", "company.team.data"]
    assert len(list(flows.latest("main"))) == 3
    assert list(flows.latest("mai")) == []
    assert within("a.b", "a")
    assert not within("ab", "a")


def test_catching_up_reads_what_was_written_before(log: MemoryLog, flows: FlowDirectory) -> None:
    """True when everything was read, also where another thread polls all the time."""
    stop = threading.Event()

    def reader() -> None:
        while not stop.is_set():
            flows.poll(0.05)

    thread = threading.Thread(target=reader)
    thread.start()
    try:
        for revision in range(1, 30):
            put(log, revision)
            assert flows.catch_up(5.0)
            stored = flows.stored("main", "company.team", "hello")
            assert stored is not None
            assert stored.revision == revision
    finally:
        stop.set()
        thread.join()


def test_a_tombstone_takes_a_revision_or_the_flow_away(log: MemoryLog, flows: FlowDirectory) -> None:
    """As compaction does."""
    put(log, 1)
    put(log, 2)
    log.publish([Outbound(Topic.FLOWS, "main/company.team/hello@2", None)])
    flows.poll()
    assert [stored.revision for stored in flows.revisions("main", "company.team", "hello")] == [1]
    log.publish([Outbound(Topic.FLOWS, "main/company.team/hello", None)])
    flows.poll()
    assert flows.stored("main", "company.team", "hello") is None


def test_a_source_that_is_no_longer_valid_is_told_when_it_is_asked_for(log: MemoryLog, flows: FlowDirectory) -> None:
    """Others are not touched; unreadable records are passed over."""
    log.publish([Outbound(Topic.FLOWS, "x", b"no json")])
    put(log, 1, "id: hello\nnamespace: company.team\ntasks:\n  - id: a\n    type: gone.Type\n")
    put(log, 1, FLOW.replace("id: hello", "id: fine"), flow_id="fine")
    flows.poll()
    with pytest.raises(FlowError, match=r"gone\.Type"):
        flows.get("main", "company.team", "hello")
    assert flows.get("main", "company.team", "fine") is not None
