"""Verifying an index against its log, and building it anew, over any document store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Self

import pytest

from indexer.reindex import reindex
from indexer.verify import Difference, Fault, verify_index
from shared.model.document import Kind
from shared.model.identifier import new_id
from shared.ports import EventLog, Outbound, Topic, Versioned
from tests.unit.indexer.memory import MemoryStore, event, execution, project, projector_of, run_event, task_run


def projected(log: EventLog, store: MemoryStore) -> str:
    """An execution with task runs a to e, and one that was deleted; returns the first one's id."""
    e, gone = new_id(), new_id()
    records = [event(execution(e, 1), execution_id=e, seq=1, kind=Kind.EXECUTION)]
    records += [run_event(e, name, seq) for seq, name in enumerate("abcde", 2)]
    records += [event(execution(gone, 1), execution_id=gone, seq=1, kind=Kind.EXECUTION), run_event(gone, "x", 2)]
    records += [
        event(None, execution_id=gone, seq=3, name="ExecutionDeleted"),
        *(Outbound(Topic.EXECUTION_EVENTS, key, None, partition=0) for key in (gone, "x")),
    ]
    log.publish(records)
    projector = projector_of(log, store)
    project(projector, len(records))
    projector.close()
    return e


def test_an_index_that_agrees_with_its_log_has_no_difference(log: EventLog, store: MemoryStore) -> None:
    """What the projector wrote is what the log says."""
    projected(log, store)
    assert list(verify_index(log, store, settle=0)) == []


def test_every_planted_defect_is_named(log: EventLog, store: MemoryStore) -> None:
    """Missing, extra, stale, different and misplaced documents are each told by name, with what differs."""
    # given
    e = projected(log, store)
    a, b, c, d = (store.documents[Kind.TASK_RUN, name] for name in "abcd")
    del store.documents[Kind.TASK_RUN, "a"]
    store.documents[Kind.TASK_RUN, "b"] = replace(b, version=b.version - 1)
    changed = task_run(e, "c", c.version, taskId="another", error="new")
    store.documents[Kind.TASK_RUN, "c"] = replace(c, document=changed)
    store.documents[Kind.TASK_RUN, "d"] = replace(d, routing="elsewhere")
    store.documents[Kind.TASK_RUN, "z"] = replace(a, id="z", document=task_run(e, "z", 9), version=9)
    store.documents[Kind.EXECUTION, e] = replace(store.documents[Kind.EXECUTION, e], version=7)

    # when
    found = list(verify_index(log, store, settle=0))

    # then
    assert found == [
        Difference(Kind.EXECUTION, e, Fault.AHEAD, "the log has version 1, the store 7"),
        Difference(Kind.TASK_RUN, "a", Fault.MISSING, "the log has version 2"),
        Difference(Kind.TASK_RUN, "b", Fault.STALE, "the log has version 3, the store 2"),
        Difference(
            Kind.TASK_RUN,
            "c",
            Fault.DIFFERENT,
            'error is absent in the log, "new" in the store; taskId is "task" in the log, "another" in the store',
        ),
        Difference(Kind.TASK_RUN, "d", Fault.MISPLACED, f"its routing is elsewhere, not {e}"),
        Difference(Kind.TASK_RUN, "z", Fault.EXTRA, "the store has version 9, the log has none"),
    ]
    assert str(found[1]) == "task-runs a: missing: the log has version 2"


def test_an_event_on_its_way_is_waited_for(log: EventLog, store: MemoryStore) -> None:
    """What the store lacks only because the projector is behind is no difference, once it has caught up."""
    # given a store that is a version behind when it is scanned
    e = projected(log, store)

    class Behind(MemoryStore):
        def __init__(self, current: MemoryStore) -> None:
            super().__init__()
            self.documents = current.documents

        def scan(self, kind: Kind):  # type: ignore[no-untyped-def]
            yield from super().scan(kind)
            if kind is Kind.TASK_RUN:
                log.publish([run_event(e, "a", 8), run_event(e, "new", 9)])
                self.write([Versioned(Kind.TASK_RUN, "a", 8, task_run(e, "a", 8), e)])
                self.write([Versioned(Kind.TASK_RUN, "new", 9, task_run(e, "new", 9), e)])

    # when
    found = list(verify_index(log, Behind(store), settle=5))

    # then
    assert found == []


class Generation(MemoryStore):
    """A store in memory that can be built anew."""

    def __init__(self, log: EventLog) -> None:
        super().__init__()
        self._log = log
        self.discarded: list[str] = []
        self.fails = False

    def next_generation(self) -> Self:
        following = type(self)(self._log)
        following.broken = self.broken
        return following

    def adopt(self, following: Self) -> Sequence[str]:
        if self.fails:
            raise ConnectionError("unreachable")
        self.documents = following.documents
        # what came to the old generation at the last moment is in the log
        self._log.publish([run_event("e", "late", 1)])
        return ["old"]

    def discard(self, unused: Sequence[str] | None = None) -> None:
        self.discarded += unused or ()


def test_a_next_generation_agrees_with_the_log(log: EventLog) -> None:
    """Reindexing repairs every defect, and has what was written while it ran."""
    # given
    store = Generation(log)
    e = projected(log, store)
    del store.documents[Kind.TASK_RUN, "a"]
    store.documents[Kind.TASK_RUN, "z"] = Versioned(Kind.TASK_RUN, "z", 9, task_run(e, "z", 9), e)

    # when
    rebuilt = reindex(log, store)

    # then
    assert list(verify_index(log, store, settle=0)) == []
    assert store.contents().keys() == {"a", "b", "c", "d", "e", "late"}
    assert store.discarded == ["old"]
    assert rebuilt.refused == ()


def test_what_a_next_generation_refuses_is_told(log: EventLog) -> None:
    """A document that can't be stored, and a record that can't be read, are named in the result."""
    # given
    store = Generation(log)
    projected(log, store)
    store.broken = {"b"}
    log.publish([Outbound(Topic.EXECUTION_EVENTS, "k", b"junk", partition=0)])

    # when
    rebuilt = reindex(log, store)

    # then
    assert sorted(reason.split(" ", 1)[0] for reason in rebuilt.refused)[1] == "task-runs"
    assert any("not JSON" in reason for reason in rebuilt.refused)
    assert any("task-runs b (execution-events/0/" in reason for reason in rebuilt.refused)


def test_a_failed_reindex_leaves_the_index_as_it_was(log: EventLog) -> None:
    """Nothing changes before the switch."""
    # given
    store = Generation(log)
    projected(log, store)
    before = store.contents()
    store.fails = True

    # when
    with pytest.raises(ConnectionError):
        reindex(log, store)

    # then
    assert store.contents() == before
