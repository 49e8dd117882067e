"""Document store: the search store on SQLite. Columns with indices for filters, FTS5 for words, JSON for the rest."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any, Final

import orjson

from shared.adapters.sqlite.database import SqliteDatabase, Transaction
from shared.adapters.sqlite.document_columns import COLUMNS, KIND_NUMBERS, digest, row, texts
from shared.adapters.sqlite.document_filters import condition
from shared.adapters.sqlite.document_order import order_of, too_deep
from shared.adapters.sqlite.errors import StorageError
from shared.model.document import Kind
from shared.model.query import Bucket, Found, Page, Query, QueryError
from shared.ports import Outcome, Verdict, Versioned
from shared.query.fields import WINDOW

_CHUNK: Final = 100
"""Documents of one transaction: some milliseconds, during which the executor's commits wait."""

_SCANNED: Final = 500
"""Documents that a scan reads at once."""

_FARTHEST: Final = 2**62
"""Documents passed over at most: SQLite's integers end soon after, and no file holds as many."""

_MARKS: Final = ", ".join("?" * len(COLUMNS))
_INSERT: Final = f"INSERT INTO documents ({', '.join(COLUMNS)}) VALUES ({_MARKS})"  # noqa: S608 - constants
_UPDATE: Final = f"UPDATE documents SET {', '.join(f'{column} = ?' for column in COLUMNS)} WHERE place = ?"  # noqa: S608 - constants
_BURY: Final = "UPDATE documents SET version = ?, body = NULL, texts = NULL WHERE place = ?"
_INSERT_TEXT: Final = (
    "INSERT INTO documents_text (rowid, value, error, inputs, outputs, message) VALUES (?, ?, ?, ?, ?, ?)"
)
_STORED: Final = Outcome(Verdict.STORED)
_STALE: Final = Outcome(Verdict.STALE)


class SqliteDocumentStore:
    """Documents by kind and id, replaced only by a higher version; deletions are remembered with theirs.

    `visibility_delay` (seconds, for tests): searches see a write only so long after it, `get` at once, as with an
    index that is refreshed now and then. What is not visible yet is in memory only.
    """

    def __init__(self, database: SqliteDatabase, visibility_delay: float = 0.0) -> None:
        self._database = database
        self._delay = visibility_delay
        self._unseen: list[tuple[float, Versioned]] = []  #: writes that searches don't see yet, oldest first
        self._unseen_lock = threading.Lock()

    def prepare(self) -> None:
        """Nothing to do: the tables come with the file."""

    def ready(self) -> str | None:
        """None when reads and writes can work; else what is missing."""
        try:
            with self._database.reading() as connection:
                connection.execute("SELECT 1 FROM documents LIMIT 1").fetchone()
        except StorageError as error:
            return str(error)
        return None

    # ------------------------------------------------------------------ writing

    def write(self, documents: Sequence[Versioned]) -> Sequence[Outcome]:
        """A verdict for each document, in their order. Raises nothing for a failed one."""
        if self._delay:
            return [self._hold_back(document) for document in documents]
        outcomes: list[Outcome] = []
        for start in range(0, len(documents), _CHUNK):
            chunk = documents[start : start + _CHUNK]
            try:
                outcomes += self._write(chunk)
            except StorageError as error:
                outcomes += [Outcome(Verdict.RETRY, str(error))] * len(chunk)
        return outcomes

    def _write(self, documents: Sequence[Versioned]) -> list[Outcome]:
        prepared = [_prepare(document) for document in documents]

        def work(transaction: Transaction) -> list[Outcome]:
            connection = transaction.connection
            return [
                _put(connection, document, *ready) if isinstance(ready, tuple) else ready
                for document, ready in zip(documents, prepared, strict=True)
            ]

        return self._database.write(work)

    def delete_by_executions(self, tenant: str, execution_ids: Sequence[str]) -> int:
        """Remove executions' log lines and metrics; returns how many."""
        self._show(everything=True)
        kinds = (KIND_NUMBERS[Kind.LOG], KIND_NUMBERS[Kind.METRIC])

        def work(transaction: Transaction) -> int:
            connection = transaction.connection
            places = [
                place
                for execution_id in execution_ids
                for place in connection.execute(
                    "SELECT place FROM documents WHERE execution_id = ? AND kind IN (?, ?) AND tenant = ?",
                    (execution_id, *kinds, tenant),
                )
            ]
            connection.executemany("DELETE FROM documents_text WHERE rowid = ?", places)
            connection.executemany("DELETE FROM documents WHERE place = ?", places)
            return len(places)

        return self._database.write(work)

    # ------------------------------------------------------------------ the delay

    def _hold_back(self, document: Versioned) -> Outcome:
        prepared = _prepare(document)
        if isinstance(prepared, Outcome):
            return prepared
        with self._unseen_lock:
            known = self._newest(document.kind, document.id)
            if known is not None and known >= document.version:
                return _STALE
            self._unseen.append((time.monotonic() + self._delay, document))
            return _STORED

    def _newest(self, kind: Kind, identifier: str) -> int | None:
        for _, held in reversed(self._unseen):
            if (held.kind, held.id) == (kind, identifier):
                return held.version
        with self._database.reading() as connection:
            found = connection.execute(
                "SELECT version FROM documents WHERE kind = ? AND id = ?", (KIND_NUMBERS[kind], identifier)
            ).fetchone()
        return None if found is None else int(found[0])

    def _show(self, *, everything: bool = False, of: tuple[Kind, str] | None = None) -> None:
        """Write what is due to the file: all, or one execution's documents, or what has waited long enough."""
        if not self._delay:
            return
        with self._unseen_lock:
            now = time.monotonic()
            due = [
                held
                for at, held in self._unseen
                if everything or at <= now or (of is not None and (held.kind, held.routing) == of)
            ]
            if due:
                self._write(due)
                shown = set(map(id, due))
                self._unseen = [entry for entry in self._unseen if id(entry[1]) not in shown]

    def refresh(self, kind: Kind, execution_id: str) -> None:
        """Make what is written for an execution visible to `search`."""
        self._show(of=(kind, execution_id))

    # ------------------------------------------------------------------ reading

    def get(self, kind: Kind, id: str, routing: str) -> Versioned | None:  # noqa: A002 (the port's name)
        """The document as last written, visible to searches or not."""
        del routing  # the id alone finds it here
        if self._delay:
            with self._unseen_lock:
                for _, held in reversed(self._unseen):
                    if (held.kind, held.id) == (kind, id):
                        return held if held.document is not None else None
        with self._database.reading() as connection:
            found = connection.execute(
                "SELECT version, routing, body FROM documents WHERE kind = ? AND id = ?", (KIND_NUMBERS[kind], id)
            ).fetchone()
        if found is None or found[2] is None:
            return None
        return Versioned(kind, id, found[0], orjson.loads(found[2]), found[1])

    def search(self, query: Query, page: Page) -> Found:
        """One page with the exact total. Raises QueryError for what it cannot answer, StorageError."""
        self._show()
        if page.number < 1 or page.size < 0 or page.size > WINDOW:
            raise QueryError(f"page is 1 or more and size 0 to {WINDOW:,}, not {page.number} and {page.size}")
        order = order_of(query.kind, page)
        found = condition(query)
        skip = (page.number - 1) * page.size if page.cursor is None else 0
        if skip + page.size > WINDOW and not order.countable:
            raise too_deep(page)
        with self._database.reading() as connection:
            total = _count(connection, found.sql, found.parameters)
            if page.cursor is not None:
                order.add_after(page.cursor, found)
            rows = connection.execute(
                f"SELECT d.place, {', '.join(order.expressions)} FROM documents d WHERE {found.sql}"  # noqa: S608
                f" ORDER BY {order.sql} LIMIT ? OFFSET ?",
                (*found.parameters, page.size + 1, min(skip, _FARTHEST)),
            ).fetchall()
            more = len(rows) > page.size > 0
            rows = rows[: page.size]
            bodies = _bodies(connection, [found_row[0] for found_row in rows])
        cursor = order.cursor(rows[-1][1:]) if more else None
        return Found(tuple(bodies), total, cursor)

    def histogram(self, query: Query, buckets: int) -> Sequence[Bucket]:
        """Counts by state (log lines: by level) over the documents' start, in at most `buckets` equal intervals."""
        self._show()
        found = condition(query)
        with self._database.reading() as connection:
            low, high = connection.execute(
                f"SELECT min(d.started), max(d.started) FROM documents d WHERE {found.sql}",  # noqa: S608
                found.parameters,
            ).fetchone()
            if query.started_from is not None and query.started_to is not None:
                low, high = query.started_from, query.started_to
            elif low is None:
                return ()
            first = low if query.started_from is None else query.started_from
            last = high if query.started_to is None else query.started_to
            if first > last:
                return ()
            width = max(1, -(-(last - first + 1) // max(1, buckets)))
            counts: dict[int, dict[str, int]] = {}
            for number, state, count in connection.execute(
                f"SELECT (d.started - ?) / ? AS bar, d.state, count(*) FROM documents d"  # noqa: S608
                f" WHERE {found.sql} AND d.started IS NOT NULL AND d.state IS NOT NULL GROUP BY bar, d.state",
                (first, width, *found.parameters),
            ):
                counts.setdefault(number, {})[state] = count
        return tuple(
            Bucket(start, counts.get(number, {})) for number, start in enumerate(range(first, last + 1, width))
        )

    def scan(self, kind: Kind) -> Iterator[Versioned]:
        """Every document with its version, in the order in which they first came."""
        self._show()
        place = 0
        while True:
            with self._database.reading() as connection:
                rows = connection.execute(
                    "SELECT place, id, version, routing, body FROM documents"
                    " WHERE place > ? AND kind = ? AND body IS NOT NULL ORDER BY place LIMIT ?",
                    (place, KIND_NUMBERS[kind], _SCANNED),
                ).fetchall()
            for place, identifier, version, routing, body in rows:  # noqa: B007 - the last place is where it goes on
                yield Versioned(kind, identifier, version, orjson.loads(body), routing)
            if len(rows) < _SCANNED:
                return

    def close(self) -> None:
        """Write what searches did not see yet."""
        self._show(everything=True)


def _prepare(document: Versioned) -> tuple[tuple[Any, ...] | None, tuple[str, ...]] | Outcome:
    """A document's columns and texts, or why the store will never take it. Done outside of the transaction."""
    if document.document is None:
        return None, ()
    try:
        texts_of = texts(document.document)
        return row(document, texts_of), texts_of
    except (ValueError, TypeError) as error:
        return Outcome(Verdict.REFUSED, str(error))


def _put(
    connection: sqlite3.Connection, document: Versioned, columns: tuple[Any, ...] | None, texts_of: tuple[str, ...]
) -> Outcome:
    kind = KIND_NUMBERS[document.kind]
    known = connection.execute(
        "SELECT place, version, texts FROM documents WHERE kind = ? AND id = ?", (kind, document.id)
    ).fetchone()
    if known is not None and known[1] >= document.version:
        return _STALE
    place, had = (known[0], known[2]) if known is not None else (None, None)
    has = None if columns is None else digest(texts_of)
    if had is not None and had != has:
        connection.execute("DELETE FROM documents_text WHERE rowid = ?", (place,))
    if columns is None:
        if place is None:
            connection.execute(
                "INSERT INTO documents (kind, id, version, routing, superseded) VALUES (?, ?, ?, ?, 0)",
                (kind, document.id, document.version, document.routing),
            )
        else:
            connection.execute(_BURY, (document.version, place))
        return _STORED
    if place is None:
        place = connection.execute(_INSERT, columns).lastrowid
    else:
        connection.execute(_UPDATE, (*columns, place))
    if has is not None and had != has:
        connection.execute(_INSERT_TEXT, (place, *texts_of))
    return _STORED


def _count(connection: sqlite3.Connection, where: str, parameters: Sequence[Any]) -> int:
    (total,) = connection.execute(f"SELECT count(*) FROM documents d WHERE {where}", parameters).fetchone()  # noqa: S608
    return int(total)


def _bodies(connection: sqlite3.Connection, places: list[int]) -> list[dict[str, Any]]:
    """The documents at these places, in this order. Fetched after sorting, so that the sort carries no bodies."""
    if not places:
        return []
    marks = ",".join("?" * len(places))
    bodies = dict(connection.execute(f"SELECT place, body FROM documents WHERE place IN ({marks})", places))  # noqa: S608
    return [orjson.loads(bodies[place]) for place in places]
