"""Letter replay: sending what a dead letter holds again, after what was wrong is mended.

What was sent to executors and indexers is published again, as it was. A document is not: the log has it, perhaps a
newer one since, and compaction keeps what comes last. So the log's last value for it goes to the store, in which
versions decide.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from indexer.dead_letters import DeadLetters, records_of
from indexer.delivery import Delivery, Item
from indexer.projection import Removal, project
from shared.dead_letters import buried, content, place_of
from shared.messages import (
    AttemptEvent,
    DeadLetter,
    DeadLetterReplayed,
    EventRecord,
    ExecutionCommand,
    FlowCommand,
    LogLine,
    Message,
    Metric,
    UnknownMessage,
    decode,
)
from shared.model.document import Kind
from shared.model.moment import iso
from shared.ports import DocumentStore, EventLog, Inbound, Outbound, Topic
from shared.settings import IndexerSettings

READ_BY: Final[dict[Topic, tuple[type[Message], ...]]] = {
    Topic.EXECUTION_COMMANDS: (ExecutionCommand, FlowCommand),
    Topic.TASK_RUN_EVENTS: (AttemptEvent,),
    Topic.EXECUTION_EVENTS: (EventRecord,),
    Topic.LOGS: (LogLine,),
    Topic.METRICS: (Metric,),
}
"""Topics whose records can be replayed, and what their readers take."""

SKEW: Final = 60_000
"""Milliseconds by which the log is read from before a record's own time: its writer's clock may have been ahead."""

PATIENCE: Final = 60.0
"""Seconds for which the store may refuse to take documents just now."""

_TOGETHER: Final = 100
_TOGETHER_BYTES: Final = 4 * 1024 * 1024
"""Letters, and bytes of them, that are published at once."""

_log = logging.getLogger(__name__)


class Outcome(StrEnum):
    """What became of one letter that was to be replayed."""

    PUBLISHED = "published"  #: on its topic again
    WRITTEN = "written"  #: the store has the document, this version or a newer one
    GONE = "gone"  #: its execution is deleted: there is nothing to write, and the letter is settled
    NOTHING = "nothing to send"  #: it is about no record that could be sent again; the letter is settled
    ALREADY = "replayed before"  #: nothing was done
    REFUSED = "not replayed"  #: the letter stays open
    UNKNOWN = "unknown"  #: there is no such letter


SETTLING: Final = frozenset({Outcome.PUBLISHED, Outcome.WRITTEN, Outcome.GONE, Outcome.NOTHING})


@dataclass(frozen=True, slots=True)
class Replayed:
    """One letter's outcome."""

    origin: str
    outcome: Outcome
    detail: str


class LetterReplay:
    """Replays letters, one call at a time."""

    def __init__(
        self, log: EventLog, store: Callable[[], DocumentStore], settings: IndexerSettings | None = None
    ) -> None:
        """`store` is called when a document is to be written."""
        self._log = log
        self._letters = DeadLetters(log)
        self._store = store
        self._settings = settings or IndexerSettings()
        self._replaying = threading.Lock()

    def replay(self, origins: Sequence[str] | None, *, dry_run: bool = False) -> Iterator[Replayed]:
        """Replay letters by their origins; all open ones where there are none. With `dry_run` say what would be done.

        In the order in which they were written. Raises JournalError, and OSError where the store does not answer:
        what has been told by then is settled, and the rest is as it was.
        """
        with self._replaying:
            for done in self._replay(origins, dry_run=dry_run):
                if not dry_run:
                    _log.info("dead letter %s: %s: %s", done.origin, done.outcome, done.detail)
                yield done

    def _replay(self, origins: Sequence[str] | None, *, dry_run: bool) -> Iterator[Replayed]:
        known = self._letters.places()
        places: dict[tuple[int, int], str] = {}
        for origin in dict.fromkeys(known if origins is None else origins):
            entry, place = known.get(origin, (None, None))
            if entry is None or place is None:
                yield Replayed(origin, Outcome.UNKNOWN, "there is no dead letter of this origin")
            elif entry.replayed is None:
                places[place] = origin
            elif origins is not None:
                yield Replayed(
                    origin, Outcome.ALREADY, f"{iso(entry.replayed.at)}, {entry.replayed.outcome}: nothing was done"
                )
        documents: list[tuple[DeadLetter, EventRecord]] = []
        together = _Together(self._log, dry_run=dry_run)
        for record, message in self._letters.read() if places else ():
            if (record.partition, record.offset) not in places or not isinstance(message, DeadLetter):
                continue
            prepared = self._prepared(message)
            if isinstance(prepared, EventRecord):
                documents.append((message, prepared))
            else:
                yield from together.add(*prepared)
        yield from together.send()
        yield from self._written(documents, dry_run=dry_run)

    def _prepared(self, letter: DeadLetter) -> EventRecord | tuple[Replayed, Outbound | None]:
        """What is to be done with a letter: a document to be looked up, or an outcome with a record to publish."""

        def ends(outcome: Outcome, detail: str) -> tuple[Replayed, None]:
            return Replayed(letter.origin, outcome, detail), None

        place = place_of(letter.origin)
        if place is None or place[0] not in READ_BY:
            return ends(Outcome.NOTHING, _instead(letter))
        topic, partition, _ = place
        try:
            value = content(letter)
            value = self._original(letter) if value is None else value
        except ValueError as error:
            return ends(Outcome.REFUSED, str(error))
        if value is None:
            return ends(Outcome.REFUSED, "its bytes were not kept, and its topic has them no longer")
        try:
            message = decode(value)
        except UnknownMessage as error:
            return ends(Outcome.REFUSED, f"it still can't be read: {error}")
        if not isinstance(message, READ_BY[topic]):
            return ends(Outcome.REFUSED, f"a {type(message).__name__} does not belong on {topic.value}")
        if isinstance(message, EventRecord):
            return message
        if isinstance(message, LogLine | Metric) and not self._indexed(message.execution_id):
            return ends(Outcome.GONE, f"execution {message.execution_id} is not in the index: it was deleted")
        again = Outbound(topic, letter.key or "", value, partition)
        return Replayed(letter.origin, Outcome.PUBLISHED, f"{type(message).__name__} on {topic.value}"), again

    def _indexed(self, execution_id: str) -> bool:
        known = self._store().get(Kind.EXECUTION, execution_id, execution_id)
        return known is not None and known.document is not None

    def _original(self, letter: DeadLetter) -> bytes | None:
        """The bytes of a record that was too large for its letter, out of its own topic while that keeps them."""
        place = place_of(letter.origin)
        if place is None or not letter.size:
            return None
        topic, partition, offset = place
        for record in records_of(self._log, topic):
            if (record.partition, record.offset) == (partition, offset):
                return record.value if record.key == letter.key else None
        return None

    # ------------------------------------------------------------------ documents

    def _written(self, documents: list[tuple[DeadLetter, EventRecord]], *, dry_run: bool) -> Iterator[Replayed]:
        """Write the log's last value for each document, which may be newer than the one that was refused."""
        if not documents:
            return
        wanted = {letter.key: event.execution_id for letter, event in documents}
        executions = frozenset(wanted.values())
        since = min(min(letter.at, event.at) for letter, event in documents) - SKEW
        last: dict[str, Inbound] = {}
        deleted: dict[str, int] = {}
        for record in records_of(self._log, Topic.EXECUTION_EVENTS, since):
            if record.key in wanted:
                last[record.key] = record
            elif record.key in executions and isinstance(removal := _projected(record), Removal):
                deleted[removal.execution_id] = removal.version
        outcomes = self._put({key: record for key, record in last.items() if record.value is not None}, dry_run=dry_run)
        for letter, event in documents:
            outcome, detail = outcomes.get(letter.key or "", (Outcome.GONE, ""))
            if outcome is Outcome.GONE or deleted.get(event.execution_id, -1) >= event.seq:
                outcome, detail = Outcome.GONE, f"execution {event.execution_id} was deleted"
            done = Replayed(letter.origin, outcome, detail)
            if outcome in SETTLING and not dry_run:
                self._log.publish([_mark(done)])
            yield done

    def _put(self, records: dict[str, Inbound], *, dry_run: bool) -> dict[str, tuple[Outcome, str]]:
        """Write documents; by the records' keys what became of each."""
        outcomes: dict[str, tuple[Outcome, str]] = {}
        items: list[Item] = []
        for key, record in records.items():
            try:
                found = project(record)
            except UnknownMessage as error:
                outcomes[key] = Outcome.REFUSED, f"its newest record can't be read: {error}"
                continue
            if found is None or isinstance(found, Removal):
                continue
            outcomes[key] = Outcome.WRITTEN, f"version {found.version} of {found.kind.value} {found.id}"
            items.append(Item(found, record))
        if dry_run or not items:
            return outcomes

        def refuse(item: Item, reason: str) -> None:
            outcomes[item.origin.key] = Outcome.REFUSED, f"the store still refuses it: {reason}"

        delivery = Delivery(self._store(), self._settings, refuse)
        delivery.put(items, [])
        until = time.monotonic() + PATIENCE
        while not delivery.push():
            if time.monotonic() > until:
                raise OSError(f"the search store does not take documents: {delivery.problem}")
            time.sleep(delivery.delay)
        return outcomes


class _Together:
    """Records that are published at once, each with its letter's outcome, and after them the marks."""

    def __init__(self, log: EventLog, *, dry_run: bool) -> None:
        self._log = log
        self._dry_run = dry_run
        self._waiting: list[tuple[Replayed, Outbound | None]] = []
        self._bytes = 0

    def add(self, done: Replayed, record: Outbound | None) -> Iterator[Replayed]:
        self._waiting.append((done, record))
        self._bytes += len(record.value or b"") if record is not None else 0
        if len(self._waiting) >= _TOGETHER or self._bytes >= _TOGETHER_BYTES:
            yield from self.send()

    def send(self) -> Iterator[Replayed]:
        waiting, self._waiting, self._bytes = self._waiting, [], 0
        if not self._dry_run:
            # The records first: cut short, they are sent twice, which their readers find out, and not never.
            self._log.publish([record for _, record in waiting if record is not None])
            self._log.publish([_mark(done) for done, _ in waiting if done.outcome in SETTLING])
        for done, _ in waiting:
            yield done


def _mark(done: Replayed) -> Outbound:
    return buried(DeadLetterReplayed(done.origin, time.time_ns() // 1_000_000, f"{done.outcome}: {done.detail}"))


def _projected(record: Inbound) -> object:
    try:
        return project(record)
    except UnknownMessage:
        return None


def _instead(letter: DeadLetter) -> str:
    """What to do about a letter that can't be sent again."""
    if letter.origin.startswith("entry-point/"):
        return "mend or remove the package and start the service again"
    if letter.task_run_id is not None:
        return f"a worker's command is not repeated: restart execution {letter.execution_id} if it has failed"
    return "a worker's command is not repeated: its work was found lost, and sent again"
