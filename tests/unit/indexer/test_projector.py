"""The projector over the embedded log and a store in memory that fails on demand."""

from __future__ import annotations

import base64
import threading

import pytest

from indexer.projector import STALE, Projector
from shared.messages import DeadLetter, Metric, decode
from shared.model.document import Kind
from shared.model.identifier import new_id
from shared.ports import EventLog, Inbound, JournalError, Outbound, Topic
from shared.settings import IndexerSettings, Settings
from tests.unit.indexer.memory import (
    MemoryStore,
    event,
    execution,
    log_line,
    project,
    projector_of,
    run_event,
    task_run,
)


def dead_letters(log: EventLog) -> list[DeadLetter]:
    tail = log.tail([Topic.DEAD_LETTERS])
    found: list[Inbound] = []
    while not (found.extend(tail.poll(100, 0.05)) or tail.caught_up()):
        pass
    tail.close()
    letters = [decode(record.value or b"") for record in found]
    return [letter for letter in letters if isinstance(letter, DeadLetter)]


def test_each_record_puts_its_document_with_its_sequence_number_as_version(log: EventLog, store: MemoryStore) -> None:
    """What the store holds after projecting is the log's last document of each task run and execution."""
    # given
    e = new_id()
    log.publish(
        [
            event(execution(e, 1), execution_id=e, seq=1, kind=Kind.EXECUTION, name="ExecutionCreated"),
            run_event(e, "a", 2),
            run_event(e, "b", 3),
            run_event(e, "a", 4, value='["x", {"command_id": 1}]'),
        ]
    )

    # when
    projector = projector_of(log, store)
    project(projector, 4)
    projector.close()

    # then
    assert store.contents() == {
        "a": (4, task_run(e, "a", 4, value='["x", {"command_id": 1}]')),
        "b": (3, task_run(e, "b", 3)),
    }
    assert store.contents(Kind.EXECUTION) == {e: (1, execution(e, 1))}
    assert {stored.routing for stored in store.documents.values()} == {e}


def test_log_lines_and_metrics_become_documents(log: EventLog, store: MemoryStore) -> None:
    """Lines and metrics are written once, with the names that the search store's mapping has."""
    # given
    e = new_id()
    metric = Metric("m1", "main", "company.team", "flow", e, "task", "r1", "rows", "counter", 3.0, 0, {"k": "v"})
    log.publish(
        [
            log_line(e, "hello", task_id="task", task_run_id="r1", attempt=0, thread="w-1", index=7),
            Outbound(Topic.METRICS, e, metric.to_bytes()),
        ]
    )

    # when
    projector = projector_of(log, store)
    project(projector, 2)
    projector.close()

    # then
    ((version, line),) = store.contents(Kind.LOG).values()
    assert version == 1
    assert {**line, "id": ""} == {
        "id": "",
        "tenantId": "main",
        "namespace": "company.team",
        "flowId": "flow",
        "executionId": e,
        "taskId": "task",
        "taskRunId": "r1",
        "attemptNumber": 0,
        "level": "INFO",
        "message": "hello",
        "timestamp": "2026-11-18T11:06:40.123Z",
        "thread": "w-1",
        "index": 7,
    }
    assert store.contents(Kind.METRIC)["m1"][1] == {
        "id": "m1",
        "tenantId": "main",
        "namespace": "company.team",
        "flowId": "flow",
        "executionId": e,
        "taskId": "task",
        "taskRunId": "r1",
        "name": "rows",
        "type": "counter",
        "value": 3.0,
        "timestamp": "1970-01-01T00:00:00.000Z",
        "tags": {"k": "v"},
    }


def test_versions_of_one_document_collapse_into_the_last(log: EventLog, store: MemoryStore) -> None:
    """A bulk holds each document once, however many of its versions were read."""
    # given
    e = new_id()
    log.publish([run_event(e, "a", seq) for seq in range(1, 11)])

    # when
    projector = projector_of(log, store)
    project(projector, 10)
    projector.close()

    # then
    assert [[document.version for document in bulk] for bulk in store.bulks] == [[10]]


def test_what_was_committed_is_not_read_again_and_the_rest_is(log: EventLog, store: MemoryStore) -> None:
    """A projector that dies before its commit leaves its records to the next one, where they are stale."""
    # given one that wrote but did not commit, since the store turned the second bulk away
    e = new_id()
    log.publish([run_event(e, "a", 1)])
    first = projector_of(log, store)
    project(first, 1)
    log.publish([run_event(e, "a", 2), run_event(e, "b", 3)])
    store.busy = 1
    assert first.step(0.05) == 0
    first.close()

    # when
    second = projector_of(log, store)
    project(second, 2)
    second.close()

    # then
    assert [[document.version for document in bulk] for bulk in store.bulks] == [[1], [2, 3], [2, 3]]


def test_a_busy_store_stops_reading_and_loses_nothing(log: EventLog, store: MemoryStore) -> None:
    """While a bulk is turned away nothing more is read, and the same documents are tried again."""
    # given
    e = new_id()
    log.publish([run_event(e, "a", 1)])
    projector = projector_of(log, store)
    store.busy = 3
    assert projector.step(0.05) == 0
    log.publish([run_event(e, "b", 2)])

    # when
    done = 0
    while not done:
        problem = projector.problem
        done = projector.step(0.05)
    project(projector, 1)
    projector.close()

    # then
    assert problem is not None
    assert "busy" in problem
    assert projector.problem is None
    assert [[document.id for document in bulk] for bulk in store.bulks] == [["a"]] * 4 + [["b"]]
    assert store.contents().keys() == {"a", "b"}


def test_only_what_was_turned_away_is_tried_again(log: EventLog, store: MemoryStore) -> None:
    """Of a bulk of which a part was stored, the other part comes again."""
    # given
    e = new_id()
    store.busy_with = {"b": 2}
    log.publish([run_event(e, name, seq) for seq, name in enumerate("abc", 1)])

    # when
    projector = projector_of(log, store)
    project(projector, 3)
    projector.close()

    # then
    assert [[document.id for document in bulk] for bulk in store.bulks] == [["a", "b", "c"], ["b"], ["b"]]
    assert store.contents().keys() == {"a", "b", "c"}


def test_a_refused_document_becomes_a_dead_letter_with_its_origin(log: EventLog, store: MemoryStore) -> None:
    """One document that the store will never take stops neither its bulk nor the ones after it."""
    # given
    e = new_id()
    store.broken = {"bad"}
    log.publish([run_event(e, "good", 1), run_event(e, "bad", 2), run_event(e, "fine", 3)])

    # when
    projector = projector_of(log, store)
    project(projector, 3)
    projector.close()

    # then
    assert store.contents().keys() == {"good", "fine"}
    (letter,) = dead_letters(log)
    topic, _, offset = letter.origin.split("/")
    assert topic == "execution-events"
    assert offset.isdigit()
    assert letter.reason == "task-runs bad: 400 mapper_parsing_exception: no"
    assert (letter.key, letter.execution_id, letter.task_run_id) == ("bad", e, "bad")
    assert base64.b64decode(letter.value or "") == run_event(e, "bad", 2).value


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (b"not json", "not JSON"),
        (b"[]", "not a JSON object"),
        (b'{"v":99,"type":"EventRecord"}', "version 99"),
        (b'{"v":1,"type":"Unheard"}', "type 'Unheard' is not known"),
        (b'{"v":1,"type":"EventRecord","seq":1,"document":{"a":1},"command_id":null}', "missing"),
        (b'{"v":1,"type":"LogLine"}', "missing"),
        (run_event("e", "r", 1).value.replace(b'"task-runs"', b'"tasks"'), "kind 'tasks'"),  # type: ignore[union-attr]
        (log_line("e", "a line").value, "a LogLine on execution-events"),
    ],
)
def test_an_unreadable_record_becomes_a_dead_letter(
    log: EventLog, store: MemoryStore, value: bytes, reason: str
) -> None:
    """A record that can't be read is kept with the reason, and the records around it are projected."""
    # given
    e = new_id()
    log.publish([run_event(e, "a", 1), Outbound(Topic.EXECUTION_EVENTS, "k", value, partition=0), run_event(e, "b", 2)])

    # when
    projector = projector_of(log, store)
    project(projector, 3)
    projector.close()

    # then
    assert store.contents().keys() == {"a", "b"}
    (letter,) = dead_letters(log)
    assert reason in letter.reason
    assert base64.b64decode(letter.value or "") == value


def test_too_large_a_bulk_is_halved(log: EventLog, store: MemoryStore) -> None:
    """A bulk that the store finds too large goes in halves; only a document that is too large alone is given up."""
    # given
    e = new_id()
    store.room = 2
    log.publish([run_event(e, f"r{seq}", seq) for seq in range(1, 8)])

    # when
    projector = projector_of(log, store)
    project(projector, 7)
    projector.close()

    # then
    assert len(store.contents()) == 7
    assert [len(bulk) for bulk in store.bulks] == [7, 4, 2, 2, 3, 2, 1]
    assert dead_letters(log) == []

    # given
    store.room = 0
    log.publish([run_event(e, "huge", 8)])

    # when
    projector = projector_of(log, store)
    project(projector, 1)
    projector.close()

    # then
    assert [letter.task_run_id for letter in dead_letters(log)] == ["huge"]


def test_a_bulk_is_bounded_by_count_and_bytes(log: EventLog, store: MemoryStore) -> None:
    """No bulk is larger than the settings say, unless one document alone is."""
    # given
    e = new_id()
    log.publish([run_event(e, f"r{seq}", seq) for seq in range(1, 8)])

    # when
    projector = projector_of(log, store, bulk_documents=3)
    project(projector, 7)
    projector.close()

    # then
    assert [len(bulk) for bulk in store.bulks] == [3, 3, 1]

    # given documents of about 1 KB and a bound of 2.5 KB
    store.bulks.clear()
    log.publish([run_event(e, f"s{seq}", seq, value="x" * (5_000 if seq == 3 else 500)) for seq in range(1, 6)])

    # when
    projector = projector_of(log, store, bulk_bytes=2_500)
    project(projector, 5)
    projector.close()

    # then
    assert [len(bulk) for bulk in store.bulks] == [2, 1, 2]


def test_rejections_and_tombstones_change_no_document(log: EventLog, store: MemoryStore) -> None:
    """Records without a document only move the position."""
    # given
    e = new_id()
    log.publish(
        [
            event(None, execution_id=e, seq=3, name="CommandRejected"),
            Outbound(Topic.EXECUTION_EVENTS, "a", None, partition=0),
        ]
    )

    # when
    projector = projector_of(log, store)
    project(projector, 2)
    projector.close()

    # then
    assert store.documents == {}
    assert dead_letters(log) == []


@pytest.mark.parametrize("with_document", [True, False])
def test_a_deleted_execution_leaves_but_its_log_lines_stay(
    log: EventLog, store: MemoryStore, with_document: bool
) -> None:
    """The event of a deletion removes task runs and the execution; logs are kept or deleted by who asks for it."""
    # given
    e, other = new_id(), new_id()
    records = [event(execution(i, 1), execution_id=i, seq=1, kind=Kind.EXECUTION) for i in (e, other)]
    records += [run_event(e, "a", 2), run_event(e, "b", 3, superseded=True), run_event(other, "c", 2)]
    records += [log_line(e, "kept"), log_line(other, "stays")]
    log.publish(records)
    projector = projector_of(log, store)
    project(projector, len(records))

    # when
    document = execution(e, 4, deleted=True) if with_document else None
    store.busy = 1
    log.publish(
        [
            event(document, execution_id=e, seq=4, kind=Kind.EXECUTION, name="ExecutionDeleted"),
            Outbound(Topic.EXECUTION_EVENTS, "a", None, partition=0),
        ]
    )
    project(projector, 2)
    projector.close()

    # then
    assert store.contents().keys() == {"c"}
    assert store.contents(Kind.EXECUTION).keys() == {other}
    assert sorted(line["message"] for _, line in store.contents(Kind.LOG).values()) == ["kept", "stays"]


def test_an_older_event_after_a_deletion_brings_nothing_back(log: EventLog, store: MemoryStore) -> None:
    """Deletions have versions: what was written before them is stale when it comes again."""
    # given
    e = new_id()
    records = [
        event(execution(e, 1), execution_id=e, seq=1, kind=Kind.EXECUTION),
        run_event(e, "a", 2),
    ]
    log.publish(records)
    projector = projector_of(log, store)
    project(projector, 2)
    log.publish([event(None, execution_id=e, seq=3, name="ExecutionDeleted")])
    project(projector, 1)

    # when
    log.publish(records)
    project(projector, 2)
    projector.close()

    # then
    assert store.contents() == {}
    assert store.contents(Kind.EXECUTION) == {}


def test_a_batch_that_waited_too_long_is_read_again(log: EventLog, store: MemoryStore) -> None:
    """A process that stood still must not write what others may have deleted meanwhile."""
    # given
    e = new_id()
    moments = iter([1_000.0, 1_000.0 + STALE + 1.0])
    settings = Settings(indexer=IndexerSettings(bulk_delay=0.0))
    projector = Projector(log, store, settings, wall=lambda: next(moments, 2_000.0))
    log.publish([run_event(e, "a", 2)])

    # when
    with pytest.raises(JournalError, match="1 records have waited for 301 s"):
        project(projector, 1)
    written_late = dict(store.documents)
    projector.restart()
    project(projector, 1)
    projector.close()

    # then
    assert written_late == {}
    assert store.contents().keys() == {"a"}


def test_an_unreachable_store_is_waited_for_in_a_deletion(log: EventLog, store: MemoryStore) -> None:
    """A deletion that can't be looked up is tried again."""
    # given
    e = new_id()
    log.publish([event(execution(e, 1), execution_id=e, seq=1, kind=Kind.EXECUTION), run_event(e, "a", 2)])
    projector = projector_of(log, store)
    project(projector, 2)
    store.unreachable = True
    log.publish([event(None, execution_id=e, seq=3, name="ExecutionDeleted")])
    for _ in range(3):
        assert projector.step(0.05) == 0
    assert projector.problem == "unreachable"

    # when
    store.unreachable = False
    project(projector, 1)
    projector.close()

    # then
    assert store.contents() == {}


def test_run_projects_until_it_is_told_to_stop(log: EventLog, store: MemoryStore) -> None:
    """The loop ends on demand; what it had read and not written comes again."""
    # given
    e = new_id()
    projector = projector_of(log, store, bulk_delay=0.2)
    stop = threading.Event()
    thread = threading.Thread(target=projector.run, args=(stop,))
    thread.start()

    # when
    log.publish([run_event(e, f"r{seq}", seq) for seq in range(1, 4)])
    tries = 0
    while len(store.contents()) < 3 and tries < 400:
        stop.wait(0.05)
        tries += 1
    stop.set()
    thread.join(10)

    # then
    assert not thread.is_alive()
    assert len(store.contents()) == 3
    assert len(store.bulks) == 1
