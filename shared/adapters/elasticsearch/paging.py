"""Paging: sort orders, cursors, and pages beyond the first 10,000 documents.

Elasticsearch answers `from + size` up to 10,000. A page beyond, in the order of a date or a number, is found by
counting: histograms say how many documents come before a value, narrower each time, until the page lies within 10,000
documents of one.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson

from shared.adapters.elasticsearch.filters import Clause
from shared.model.query import Page, QueryError

WINDOW: Final = 10_000
"""`index.max_result_window`: as far as `from + size` goes."""

_BARS: Final = 1_000
"""Bars of one counting histogram: four of them tell a millisecond in 30 years."""

_DURATIONS: Final = frozenset(("state.duration", "queueWait"))
"""Numbers of seconds, told apart by whole milliseconds, as dates are."""

Ask = Callable[[dict[str, Any]], Any]
"""Sends the body of a search, returns its answer."""


@dataclass(frozen=True, slots=True)
class Order:
    """A checked sort order: fields with their types, the id last."""

    fields: tuple[tuple[str, bool, str], ...]  #: (field, ascending, type)

    @property
    def sort(self) -> list[Clause]:
        """As Elasticsearch takes it. A document without a value comes last in both directions."""
        clauses: list[Clause] = []
        for field, ascending, kind in self.fields:
            options = {"order": "asc" if ascending else "desc", "missing": "_last"}
            if kind == "date":
                options["format"] = "epoch_millis"
            clauses.append({field: options})
        return clauses

    @property
    def countable(self) -> bool:
        """Whether pages can be found by counting: the first field is a date or a duration."""
        return self.fields[0][2] == "date" or self.fields[0][0] in _DURATIONS

    @property
    def signature(self) -> str:
        """Short text that tells one order from another."""
        return hashlib.blake2b(repr([f[:2] for f in self.fields]).encode(), digest_size=6).hexdigest()


def encode_cursor(order: Order, seen: int, values: Sequence[Any]) -> str:
    """An opaque text: the order, how many documents came before, and the sort values of the last of them."""
    return base64.urlsafe_b64encode(orjson.dumps([order.signature, seen, list(values)])).decode().rstrip("=")


def decode_cursor(order: Order, cursor: str) -> tuple[int, list[Any]]:
    """Raises QueryError for a text that is no cursor, or one of another order."""
    try:
        data = orjson.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        signature, seen, values = data
    except (binascii.Error, ValueError, TypeError) as error:
        raise QueryError("cursor: not one that a page of this search gave") from error
    if signature != order.signature or not isinstance(seen, int) or not isinstance(values, list):
        raise QueryError("cursor: of a search in another order")
    if len(values) != len(order.fields):
        raise QueryError("cursor: of a search in another order")
    return seen, values


@dataclass(frozen=True, slots=True)
class Place:
    """Where a deep page begins: `skip` documents after the first of those that `filter` leaves."""

    filter: Clause
    skip: int
    total: int  #: of the whole search


def too_deep(page: Page) -> QueryError:
    """What to say to a deep page in an order that can't be counted."""
    return QueryError(
        f"page {page.number} of size {page.size} lies beyond {WINDOW:,} documents, which only an order by date or"
        " duration reaches: sort by state.startDate, or follow `cursor` from page to page"
    )


def locate(ask: Ask, query: Clause, order: Order, skip: int, size: int) -> Place:
    """Find the page that begins after `skip` documents, for a countable order; skip + size lie beyond the window.

    Where more than 10,000 documents have the very same value, `skip` of the answer is beyond the window too.
    """
    field, ascending, kind = order.fields[0]
    axis = _Axis(field, kind)
    total, counted, low, high = _extent(ask, query, axis)
    if skip >= counted:  # among the documents without a value, which come last
        return Place(_without(query, {"exists": {"field": field}}), skip - counted, total)
    before = 0
    while skip - before + size > WINDOW and low < high:
        width = -(-(high - low + 1) // _BARS)
        bars = _bars(ask, query, axis, low, high, width)
        start = low
        for start, count in bars if ascending else reversed(bars):  # noqa: B007 (the bar where the loop ends is used)
            if before + count > skip:
                break
            before += count
        low, high = max(low, start), min(high, start + width - 1)
    passed = {"lt": axis.edge(low)} if ascending else {"gte": axis.edge(high + 1)}
    return Place(_without(query, axis.range(passed)), skip - before, total)


@dataclass(frozen=True, slots=True)
class _Axis:
    """Values of a field as whole ticks: milliseconds, of a date or of a number of seconds."""

    field: str
    kind: str

    def tick(self, value: float) -> int:
        return round(value) if self.kind == "date" else round(value * 1000)

    def edge(self, tick: int) -> float:
        """A value below the tick and above the one before: floating point never rounds over it."""
        return tick if self.kind == "date" else (tick - 0.5) / 1000

    def range(self, bounds: dict[str, Any]) -> Clause:
        return {"range": {self.field: bounds | ({"format": "epoch_millis"} if self.kind == "date" else {})}}

    def histogram(self, low: int, width: int) -> Clause:
        if self.kind == "date":
            interval: dict[str, Any] = {"fixed_interval": f"{width}ms", "offset": f"{low % width}ms"}
            return {"date_histogram": {"field": self.field, "min_doc_count": 1, **interval}}
        interval = {"interval": width / 1000, "offset": self.edge(low) % (width / 1000)}
        return {"histogram": {"field": self.field, "min_doc_count": 1, **interval}}

    def start(self, key: float) -> int:
        """The first tick of a bar."""
        return round(key) if self.kind == "date" else round(key * 1000 + 0.5)


def _extent(ask: Ask, query: Clause, axis: _Axis) -> tuple[int, int, int, int]:
    """How many documents there are, how many have a value, and the lowest and highest value."""
    body = {
        "size": 0,
        "track_total_hits": True,
        "query": query,
        "aggs": {"of": {"stats": {"field": axis.field}}},
    }
    answer = ask(body)
    of = answer["aggregations"]["of"]
    if not of["count"]:
        return answer["hits"]["total"]["value"], 0, 0, 0
    return answer["hits"]["total"]["value"], of["count"], axis.tick(of["min"]), axis.tick(of["max"])


def _bars(ask: Ask, query: Clause, axis: _Axis, low: int, high: int, width: int) -> list[tuple[int, int]]:
    """First tick and count of each bar that is not empty, lowest first."""
    within = axis.range({"gte": axis.edge(low), "lt": axis.edge(high + 1)})
    body = {
        "size": 0,
        "track_total_hits": False,
        "query": {"bool": {"filter": [query, within]}},
        "aggs": {"bars": axis.histogram(low, width)},
    }
    return [(axis.start(bar["key"]), bar["doc_count"]) for bar in ask(body)["aggregations"]["bars"]["buckets"]]


def _without(query: Clause, excluded: Clause) -> Clause:
    return {"bool": {"filter": [query], "must_not": [excluded]}}
