"""Dead letters: which of them are open, and what they hold.

The topic keeps letters for 30 days and is only added to: a letter that was replayed is followed by a record under its
key that says so.
"""

from __future__ import annotations

import base64
import contextlib
import logging
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Final

import orjson

from indexer.log_end import LogEnd
from shared.dead_letters import content
from shared.messages import DeadLetter, DeadLetterReplayed, Message, UnknownMessage, decode
from shared.model.moment import Millis, iso
from shared.ports import EventLog, Inbound, Topic

READ: Final = 100
"""Records of one poll: a letter may have some megabytes."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Entry:
    """A dead letter, and whether it is settled. In lists it has no value."""

    letter: DeadLetter
    replayed: DeadLetterReplayed | None = None

    def summary(self) -> dict[str, Any]:
        """As lists show it."""
        letter = self.letter
        return {
            "origin": letter.origin,
            "reason": letter.reason,
            "at": iso(letter.at),
            "service": letter.service,
            "executionId": letter.execution_id,
            "taskRunId": letter.task_run_id,
            "key": letter.key,
            "size": letter.size,
            "replayed": None
            if self.replayed is None
            else {"at": iso(self.replayed.at), "outcome": self.replayed.outcome},
        }

    def whole(self) -> dict[str, Any]:
        """Everything: the value as JSON where it is JSON, as text where it is text, else in base64."""
        value = content(self.letter)
        return {**self.summary(), **_shown(value), "kept": value is not None}


@dataclass(frozen=True, slots=True)
class Selection:
    """Which letters a list shows: all conditions hold."""

    service: str | None = None  #: executor, worker or indexer; what follows a slash need not be given
    since: Millis | None = None
    reason: str | None = None  #: a part of the reason, in any case
    settled: bool = False  #: also those that were replayed

    def takes(self, entry: Entry) -> bool:
        """Whether the list shows this one."""
        letter = entry.letter
        return (
            (self.settled or entry.replayed is None)
            and (self.service is None or letter.service.partition("/")[0] == self.service.partition("/")[0])
            and (self.since is None or letter.at >= self.since)
            and (self.reason is None or self.reason.lower() in letter.reason.lower())
        )


class DeadLetters:
    """The topic of dead letters, read anew for each question."""

    def __init__(self, log: EventLog) -> None:
        """Nothing is read yet."""
        self._log = log

    def entries(self, selection: Selection = Selection()) -> list[Entry]:
        """The letters that are selected, newest first, without their values."""
        found = [entry for entry, _ in self.places().values() if selection.takes(entry)]
        return sorted(found, key=lambda entry: entry.letter.at, reverse=True)

    def entry(self, origin: str) -> Entry | None:
        """A letter with its value, whether settled or not."""
        found: Entry | None = None
        for record, message in self.read():
            if record.key == origin:
                found = _after(found, message)
        return found

    def places(self) -> dict[str, tuple[Entry, tuple[int, int]]]:
        """By origin the newest letter without its value, and partition and offset of its record."""
        found: dict[str, tuple[Entry, tuple[int, int]]] = {}
        for record, message in self.read():
            known, place = found.get(record.key, (None, (record.partition, record.offset)))
            entry = _after(known, message)
            if isinstance(message, DeadLetter):
                place = record.partition, record.offset
            if entry is not None:
                found[record.key] = replace(entry, letter=replace(entry.letter, value=None)), place
        return found

    def read(self) -> Iterator[tuple[Inbound, DeadLetter | DeadLetterReplayed]]:
        """The letters and their marks, in the order of the log."""
        for record in records_of(self._log, Topic.DEAD_LETTERS):
            message = _message(record)
            if isinstance(message, DeadLetter | DeadLetterReplayed):
                yield record, message


def records_of(log: EventLog, topic: Topic, since: Millis | None = None) -> Iterator[Inbound]:
    """A topic's records up to its end of now."""
    tail = log.tail([topic], since)
    try:
        end = LogEnd(tail)
        ended = False
        while not ended:
            records = tail.poll(READ, 0.2)
            ended = end.reached(records)
            yield from records
    finally:
        tail.close()


def _message(record: Inbound) -> Message | None:
    try:
        return decode(record.value or b"")
    except UnknownMessage as error:
        _log.warning("dead letter %s can't be read: %s", record.key, error)
        return None


def _after(known: Entry | None, message: DeadLetter | DeadLetterReplayed) -> Entry | None:
    """The entry after one more record: a letter that comes after its mark is open again."""
    if isinstance(message, DeadLetter):
        return Entry(message)
    return None if known is None else replace(known, replayed=message)


def _shown(value: bytes | None) -> dict[str, Any]:
    if value is None:
        return {"value": None, "encoding": None}
    with contextlib.suppress(orjson.JSONDecodeError):
        return {"value": orjson.loads(value), "encoding": "json"}
    try:
        return {"value": value.decode(), "encoding": "text"}
    except UnicodeDecodeError:
        return {"value": base64.b64encode(value).decode(), "encoding": "base64"}
