"""Verify: the search store against the log, document by document.

It reads the log by a plain reader of its own, so that a fault of the projector can't hide itself, and keeps what it
expects in a temporary file, so that its memory does not grow with the index.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, Protocol, runtime_checkable

import orjson

from indexer.log_end import LogEnd
from shared.messages import EventRecord, UnknownMessage, decode
from shared.model.document import JSON_OPTIONS, Kind
from shared.ports import DocumentStore, EventLog, Tail, Topic, Versioned

VERIFIED: Final = (Kind.TASK_RUN, Kind.EXECUTION, Kind.ENTRY)
"""What the log keeps in full. Log lines and metrics leave it after days."""

SETTLE: Final = 10.0
"""Seconds in which a difference may still turn out to be an event that was on its way."""

LOOKED_UP: Final = 5_000
"""Differences up to which each is looked at again; more are no matter of events on their way."""

_READ: Final = 2_000
_PAUSE: Final = 0.25
"""Seconds between two looks: an indexer needs about as long for a batch."""

_SHOWN: Final = 80
"""Characters of a value that a difference shows."""

_SCHEMA: Final = """
CREATE TABLE expected (kind TEXT, id TEXT, version INTEGER, routing TEXT, document BLOB, found TEXT, detail TEXT,
                       PRIMARY KEY (kind, id)) WITHOUT ROWID;
CREATE INDEX of_execution ON expected (routing);
CREATE TABLE extra (kind TEXT, id TEXT, version INTEGER, routing TEXT, PRIMARY KEY (kind, id)) WITHOUT ROWID;
CREATE TABLE misplaced (kind TEXT, id TEXT, detail TEXT);
-- A misplaced document is told as such, and not as missing from its place as well.
CREATE VIEW differing AS SELECT * FROM expected WHERE (kind, id) NOT IN (SELECT kind, id FROM misplaced);
"""


class Fault(StrEnum):
    """What is wrong with a document of the store."""

    MISSING = "missing"  #: the log has it, the store has not
    EXTRA = "extra"  #: the store has it, the log has not
    STALE = "stale"  #: the store has an older version
    AHEAD = "ahead"  #: the store has a newer version than the log
    DIFFERENT = "different"  #: the same version with another content
    MISPLACED = "misplaced"  #: it lies where its execution's documents do not belong


@dataclass(frozen=True, slots=True)
class Difference:
    """A document of which the store and the log disagree."""

    kind: Kind
    id: str
    fault: Fault
    detail: str  #: versions, fields with both values, or places

    def __str__(self) -> str:
        return f"{self.kind.value} {self.id}: {self.fault.value}: {self.detail}"


@runtime_checkable
class Locating(Protocol):
    """A store that can say where its documents lie."""

    def scan_located(self, kind: Kind) -> Iterator[tuple[Versioned, str | None]]:
        """As `scan`, with what is wrong with each document's place."""
        ...


def verify_index(log: EventLog, store: DocumentStore, *, settle: float = SETTLE) -> Iterator[Difference]:
    """Every difference between the log's last values and the store's documents; nothing when they agree.

    Both may change meanwhile: what looks different is looked up again for `settle` seconds before it is told.
    """
    verification = _Verification(log, store)
    try:
        yield from verification.differences(settle)
    finally:
        verification.close()


class _Verification:
    def __init__(self, log: EventLog, store: DocumentStore) -> None:
        self._store = store
        self._tail: Tail = log.tail([Topic.EXECUTION_EVENTS])
        self._expected = sqlite3.connect("")  # an empty name: a temporary file, removed by itself
        self._expected.executescript(_SCHEMA)

    def close(self) -> None:
        self._tail.close()
        self._expected.close()

    def differences(self, settle: float) -> Iterator[Difference]:
        self._read()
        for kind in VERIFIED:
            self._compare(kind)
        deadline = time.monotonic() + settle
        self._read()
        if self._open() <= LOOKED_UP:
            self._look_again()
            while self._open() and time.monotonic() < deadline:
                time.sleep(_PAUSE)
                self._read()
                self._look_again()
        yield from self._told()

    # ------------------------------------------------------------------ the log

    def _read(self) -> None:
        """Take in the log to its end of now: of each key the last value."""
        end = LogEnd(self._tail)
        while True:
            records = self._tail.poll(_READ, 0.2)
            ended = end.reached(records)
            for record in records:
                if record.value is None:
                    self._expected.execute("DELETE FROM expected WHERE id = ?", (record.key,))
                    continue
                try:
                    message = decode(record.value)
                except UnknownMessage:
                    continue  # a dead letter: the store keeps the value before
                if isinstance(message, EventRecord):
                    self._take(message)
            if ended:
                return

    def _take(self, event: EventRecord) -> None:
        if event.event == "ExecutionDeleted":
            self._expected.execute("DELETE FROM expected WHERE routing = ?", (event.execution_id,))
        elif event.document is not None:
            document = orjson.dumps(event.document, option=JSON_OPTIONS)
            self._expected.execute(
                "INSERT OR REPLACE INTO expected VALUES (?, ?, ?, ?, ?, NULL, NULL)",
                (str(event.kind), event.id, event.seq, event.execution_id, document),
            )

    # ------------------------------------------------------------------ the store

    def _compare(self, kind: Kind) -> None:
        """Strike off what agrees; note what is wrong with the others."""
        for stored, misplaced in _located(self._store, kind):
            key = (kind.value, stored.id)
            if misplaced is not None:
                self._expected.execute("INSERT INTO misplaced VALUES (?, ?, ?)", (*key, misplaced))
                continue
            expected = self._row(*key)
            if expected is None:
                self._extra(stored)
                continue
            self._judge(expected, stored)

    def _extra(self, stored: Versioned) -> None:
        row = (stored.kind.value, stored.id, stored.version, stored.routing)
        self._expected.execute("INSERT OR REPLACE INTO extra VALUES (?, ?, ?, ?)", row)

    def _judge(self, expected: Versioned, stored: Versioned | None) -> None:
        key = (expected.kind.value, expected.id)
        fault = _fault(expected, stored)
        if fault is None:
            self._expected.execute("DELETE FROM expected WHERE kind = ? AND id = ?", key)
        else:
            # Found in a wrong place by the scan, it is not to be found in its own.
            self._expected.execute(
                "UPDATE expected SET found = ?1, detail = ?2 WHERE kind = ?3 AND id = ?4"
                " AND NOT (?1 = 'missing' AND found IS 'misplaced')",
                (*fault, *key),
            )

    def _row(self, kind: str, name: str) -> Versioned | None:
        row = self._expected.execute(
            "SELECT version, routing, document FROM expected WHERE kind = ? AND id = ?", (kind, name)
        ).fetchone()
        return None if row is None else Versioned(Kind(kind), name, row[0], orjson.loads(row[2]), row[1])

    def _open(self) -> int:
        """How many differences there are that waiting may resolve."""
        (count,) = self._expected.execute(
            "SELECT (SELECT count(*) FROM differing WHERE found IS NOT ?) + (SELECT count(*) FROM extra)",
            (Fault.DIFFERENT.value,),
        ).fetchone()
        return int(count)

    def _look_again(self) -> None:
        """Look each difference up by its id."""
        for kind, name in self._expected.execute("SELECT kind, id FROM expected").fetchall():
            expected = self._row(kind, name)
            if expected is not None:
                self._judge(expected, self._store.get(expected.kind, expected.id, expected.routing))
        for kind, name, routing in self._expected.execute("SELECT kind, id, routing FROM extra").fetchall():
            if self._row(kind, name) is not None or self._store.get(Kind(kind), name, routing) is None:
                self._expected.execute("DELETE FROM extra WHERE kind = ? AND id = ?", (kind, name))

    def _told(self) -> Iterator[Difference]:
        for kind, name, detail in self._expected.execute("SELECT kind, id, detail FROM misplaced ORDER BY kind, id"):
            yield Difference(Kind(kind), name, Fault.MISPLACED, detail)
        for kind, name, version, found, detail in self._expected.execute(
            "SELECT kind, id, version, found, detail FROM differing ORDER BY kind, id"
        ):
            if found is None:
                yield Difference(Kind(kind), name, Fault.MISSING, f"the log has version {version}")
            else:
                yield Difference(Kind(kind), name, Fault(found), detail)
        for kind, name, version in self._expected.execute("SELECT kind, id, version FROM extra ORDER BY kind, id"):
            yield Difference(Kind(kind), name, Fault.EXTRA, f"the store has version {version}, the log has none")


def _located(store: DocumentStore, kind: Kind) -> Iterator[tuple[Versioned, str | None]]:
    if isinstance(store, Locating):
        yield from store.scan_located(kind)
    else:
        for stored in store.scan(kind):
            yield stored, None


def _fault(expected: Versioned, stored: Versioned | None) -> tuple[Fault, str] | None:
    if stored is None:
        return Fault.MISSING, f"the log has version {expected.version}"
    if stored.routing != expected.routing:
        return Fault.MISPLACED, f"its routing is {stored.routing}, not {expected.routing}"
    if stored.version != expected.version:
        fault = Fault.STALE if stored.version < expected.version else Fault.AHEAD
        return fault, f"the log has version {expected.version}, the store {stored.version}"
    different = list(_different(expected.document or {}, stored.document or {}, ""))
    return (Fault.DIFFERENT, "; ".join(different)) if different else None


def _different(log: Mapping[str, Any], store: Mapping[str, Any], prefix: str) -> Iterator[str]:
    """Fields that differ, with both values."""
    for name in sorted({*log, *store}):
        ours, theirs = log.get(name, _ABSENT), store.get(name, _ABSENT)
        if isinstance(ours, Mapping) and isinstance(theirs, Mapping):
            yield from _different(ours, theirs, f"{prefix}{name}.")
        elif ours != theirs:
            yield f"{prefix}{name} is {_shown(ours)} in the log, {_shown(theirs)} in the store"


_ABSENT: Final = object()


def _shown(value: object) -> str:
    if value is _ABSENT:
        return "absent"
    text = orjson.dumps(value, option=JSON_OPTIONS, default=str).decode()
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
