"""Dead letters over the embedded log: which are open, what they hold, and what replaying them does."""

from __future__ import annotations

import orjson
import pytest

from indexer.dead_letters import DeadLetters, Entry, Selection
from indexer.letter_replay import LetterReplay, Outcome
from shared.dead_letters import PACKED_FROM, buried, content, dead_letter, origin_of, without
from shared.messages import DeadLetter, KillExecution
from shared.model.document import Kind
from shared.model.identifier import new_id
from shared.ports import EventLog, Inbound, JournalError, Outbound, Topic
from tests.unit.indexer.memory import (
    MemoryStore,
    event,
    execution,
    log_line,
    project,
    projector_of,
    run_event,
)

AT = 1_790_000_000_000


def refused(log: EventLog, store: MemoryStore, *records: Outbound) -> None:
    """Let the projector read records."""
    log.publish(list(records))
    projector = projector_of(log, store)
    project(projector, len(records))
    projector.close()


def bury(log: EventLog, record: Inbound, reason: str = "no", service: str = "executor", at: int = AT) -> str:
    """Write a record's dead letter; its origin."""
    letter = dead_letter(record, reason, service, at)
    log.publish([buried(letter)])
    return letter.origin


def command(execution_id: str, offset: int = 17) -> Inbound:
    value = KillExecution(execution_id, "kill", AT).to_bytes()
    return Inbound(Topic.EXECUTION_COMMANDS, 3, offset, execution_id, value, AT)


def read(log: EventLog, topic: Topic) -> list[Inbound]:
    tail = log.tail([topic])
    found: list[Inbound] = []
    while not (found.extend(tail.poll(100, 0.05)) or tail.caught_up()):
        pass
    tail.close()
    return found


def outcomes(log: EventLog, store: MemoryStore, *origins: str, dry_run: bool = False) -> list[tuple[str, Outcome]]:
    replay = LetterReplay(log, lambda: store)
    return [(each.origin, each.outcome) for each in replay.replay(origins or None, dry_run=dry_run)]


def test_letters_are_selected(log: EventLog) -> None:
    """By service, moment and a part of the reason; the newest first, without what they hold."""
    first = bury(log, command("a", 1), "one", at=AT)
    second = bury(log, command("b", 2), "Two", "indexer/runyard-indexer", at=AT + 1)
    letters = DeadLetters(log)

    def found(selection: Selection) -> list[str]:
        return [entry.letter.origin for entry in letters.entries(selection)]

    assert found(Selection()) == [second, first]
    assert found(Selection(service="indexer")) == [second]
    assert found(Selection(since=AT + 1)) == [second]
    assert found(Selection(reason="two")) == [second]
    assert [entry.letter.value for entry in letters.entries()] == [None, None]


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (b'{"v":99,"execution_id":"e"}', ({"v": 99, "execution_id": "e"}, "json")),
        (b"not json", ("not json", "text")),
        (b"\xff\x00", ("/wA=", "base64")),
        (b"", ("", "text")),
        (None, (None, None)),
    ],
)
def test_a_letter_shows_what_it_holds(log: EventLog, value: bytes | None, shown: tuple[object, object]) -> None:
    """JSON as JSON, text as text, other bytes in base64, and a tombstone as none."""
    origin = bury(log, Inbound(Topic.EXECUTION_COMMANDS, 0, 5, "e", value, AT))

    entry = DeadLetters(log).entry(origin)

    assert entry is not None
    whole = entry.whole()
    assert (whole["value"], whole["encoding"]) == shown
    assert (whole["origin"], whole["key"], whole["executionId"]) == ("execution-commands/0/5", "e", "e")


def test_large_bytes_are_kept_compressed() -> None:
    """A letter of a large record is smaller than the record, and holds all of it."""
    value = b'{"v":1,"text":"' + b"words " * PACKED_FROM + b'"}'
    letter = dead_letter(Inbound(Topic.LOGS, 0, 0, "e", value, AT), "no", "indexer", AT)

    assert len(letter.to_bytes()) < len(value)
    assert content(letter) == value
    assert letter.size == len(value)


def test_a_command_is_published_as_it_was(log: EventLog, store: MemoryStore) -> None:
    """The same bytes under the same key on the same partition; then it is settled, and a second time does nothing."""
    e = new_id()
    origin = bury(log, command(e))

    assert outcomes(log, store, dry_run=True) == [(origin, Outcome.PUBLISHED)]
    assert read(log, Topic.EXECUTION_COMMANDS) == []
    assert outcomes(log, store) == [(origin, Outcome.PUBLISHED)]
    assert outcomes(log, store) == []
    assert outcomes(log, store, origin) == [(origin, Outcome.ALREADY)]

    (record,) = read(log, Topic.EXECUTION_COMMANDS)
    assert (record.partition, record.key, record.value) == (3, e, command(e).value)
    letters = DeadLetters(log)
    assert letters.entries() == []
    (settled,) = letters.entries(Selection(settled=True))
    assert settled.replayed is not None
    assert settled.replayed.outcome.startswith("published")


def test_a_letter_that_comes_back_is_open_again(log: EventLog, store: MemoryStore) -> None:
    """A record that is refused once more after it was replayed, as by a reader that began anew, is open."""
    origin = bury(log, command(new_id()))
    outcomes(log, store, origin)

    bury(log, command(new_id()))

    assert [entry.letter.origin for entry in DeadLetters(log).entries()] == [origin]


def test_what_still_cannot_be_read_stays_open(log: EventLog, store: MemoryStore) -> None:
    """A record that no reader here understands is not sent again; the others are."""
    bad = bury(log, Inbound(Topic.EXECUTION_COMMANDS, 0, 1, "e", b"nonsense", AT))
    misplaced = bury(log, Inbound(Topic.TASK_RUN_EVENTS, 0, 1, "e", command("e").value, AT))
    good = bury(log, command(new_id()))

    assert outcomes(log, store) == [(bad, Outcome.REFUSED), (misplaced, Outcome.REFUSED), (good, Outcome.PUBLISHED)]
    assert {entry.letter.origin for entry in DeadLetters(log).entries()} == {bad, misplaced}


def test_an_unknown_origin_is_said(log: EventLog, store: MemoryStore) -> None:
    """Asking for a letter that is not there changes nothing."""
    assert outcomes(log, store, "execution-commands/0/0") == [("execution-commands/0/0", Outcome.UNKNOWN)]


def test_bytes_that_were_not_kept_come_from_their_topic(log: EventLog, store: MemoryStore) -> None:
    """A record too large for a letter is read where it stands; once that is gone, the letter stays open."""
    e = new_id()
    log.publish([Outbound(Topic.EXECUTION_COMMANDS, e, command(e).value, 3)])
    (record,) = read(log, Topic.EXECUTION_COMMANDS)
    there = without(dead_letter(record, "no", "executor", AT))
    gone = without(dead_letter(command(e, offset=99), "no", "executor", AT))
    log.publish([buried(there), buried(gone)])

    assert dict(outcomes(log, store)) == {origin_of(record): Outcome.PUBLISHED, gone.origin: Outcome.REFUSED}
    assert [again.value for again in read(log, Topic.EXECUTION_COMMANDS)] == [record.value, record.value]


@pytest.mark.parametrize("origin", ["entry-point/runyard.tasks/x/worker", "task-run-commands/2/7", "elsewhere"])
def test_what_cannot_be_sent_again_is_settled(log: EventLog, store: MemoryStore, origin: str) -> None:
    """A letter about a package, or a command of a worker, is settled with what to do instead."""
    letter = DeadLetter(origin, "raised", AT, "worker")
    log.publish([buried(letter)])

    assert outcomes(log, store) == [(origin, Outcome.NOTHING)]
    assert DeadLetters(log).entries() == []


# ------------------------------------------------------------------ documents


def test_a_refused_document_is_written_once_the_store_takes_it(log: EventLog, store: MemoryStore) -> None:
    """While the store refuses it the letter stays open; then it is written, with its version, and the log is as it was."""
    e = new_id()
    store.broken = {"bad"}
    refused(log, store, run_event(e, "bad", 2))
    records = read(log, Topic.EXECUTION_EVENTS)
    (entry,) = DeadLetters(log).entries()
    origin = entry.letter.origin

    assert outcomes(log, store) == [(origin, Outcome.REFUSED)]
    store.broken = set()
    assert outcomes(log, store, dry_run=True) == [(origin, Outcome.WRITTEN)]
    assert store.contents() == {}
    assert outcomes(log, store) == [(origin, Outcome.WRITTEN)]

    assert store.contents()["bad"][0] == 2
    assert read(log, Topic.EXECUTION_EVENTS) == records
    assert outcomes(log, store, origin) == [(origin, Outcome.ALREADY)]


def test_a_newer_version_is_what_is_written(log: EventLog, store: MemoryStore) -> None:
    """Of a document that was refused in several versions the log's last one goes to the store, for all its letters."""
    e = new_id()
    store.broken = {"bad"}
    refused(log, store, run_event(e, "bad", 2))
    refused(log, store, run_event(e, "bad", 5))
    store.broken = set()

    assert [outcome for _, outcome in outcomes(log, store)] == [Outcome.WRITTEN, Outcome.WRITTEN]
    assert store.contents()["bad"][0] == 5


def test_a_document_of_a_deleted_execution_stays_away(log: EventLog, store: MemoryStore) -> None:
    """Neither a task run's document nor the execution's own comes back after the deletion; the letters are settled."""
    e = new_id()
    store.broken = {"bad", e}
    refused(
        log,
        store,
        event(execution(e, 1), execution_id=e, seq=1, kind=Kind.EXECUTION, name="ExecutionCreated"),
        run_event(e, "bad", 2),
    )
    deleted = event(None, execution_id=e, seq=3, name="ExecutionDeleted").value
    gone = [Outbound(Topic.EXECUTION_EVENTS, key, value, 0) for key, value in ((e, deleted), ("bad", None))]
    refused(log, store, *gone)
    store.broken = set()

    assert {outcome for _, outcome in outcomes(log, store)} == {Outcome.GONE}
    assert store.contents() == {}
    assert store.contents(Kind.EXECUTION) == {}
    assert DeadLetters(log).entries() == []


def test_log_lines_are_published_again_unless_their_execution_is_gone(log: EventLog, store: MemoryStore) -> None:
    """A refused log line comes once more by the log; one of an execution that is not in the index does not."""
    kept, gone = new_id(), new_id()
    lines = [log_line(kept, "there"), log_line(gone, "gone")]
    ids = [orjson.loads(line.value or b"")["id"] for line in lines]
    store.broken = set(ids)
    refused(log, store, *lines)
    refused(
        log, store, event(execution(kept, 1), execution_id=kept, seq=1, kind=Kind.EXECUTION, name="ExecutionCreated")
    )
    store.broken = set()

    assert sorted(outcome for _, outcome in outcomes(log, store)) == [Outcome.GONE, Outcome.PUBLISHED]
    projector = projector_of(log, store)
    project(projector, 1)
    projector.close()
    assert store.contents(Kind.LOG).keys() == {ids[0]}


def test_a_log_that_fails_leaves_the_letter_open(
    log: EventLog, store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where publishing fails the letter is not settled, and can be replayed later."""
    origin = bury(log, command(new_id()))

    def away(_: object) -> None:
        raise JournalError("away")

    with monkeypatch.context() as patched:
        patched.setattr(log, "publish", away)
        with pytest.raises(JournalError):
            outcomes(log, store)

    assert outcomes(log, store) == [(origin, Outcome.PUBLISHED)]


def test_an_entry_tells_of_its_replay() -> None:
    """A summary names the letter's ids, and says that it is open."""
    letter = dead_letter(command("e"), "no", "executor", AT)

    summary = Entry(letter).summary()

    assert (summary["executionId"], summary["taskRunId"], summary["replayed"]) == ("e", None, None)
