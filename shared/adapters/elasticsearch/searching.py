"""Searching: pages of documents and histograms, in the Query DSL."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from shared.adapters.elasticsearch import fields, paging
from shared.adapters.elasticsearch.connection import Connection, RequestRefused
from shared.adapters.elasticsearch.filters import Clause, dsl
from shared.adapters.elasticsearch.lucene import translate
from shared.adapters.elasticsearch.names import Names
from shared.adapters.elasticsearch.paging import Order
from shared.model.document import Kind
from shared.model.moment import Millis
from shared.model.query import Bucket, Found, Page, Query, QueryError
from shared.query.fields import STARTS, sortable
from shared.query.lucene import parse

ROUTED: Final = 50
"""Executions up to which a search goes to their shards only; the ids travel in the address of the request."""

_STATES: Final = 32
"""More than there are states."""

_HITS: Final = "hits.total.value,hits.hits._source,hits.hits.sort"


class Searching:
    """Answers queries for the indices of a deployment."""

    def __init__(self, connection: Connection, names: Names) -> None:
        """Reads through the names' aliases."""
        self._connection = connection
        self._names = names

    def search(self, query: Query, page: Page) -> Found:
        """One page, with the exact total and the cursor of what follows."""
        filters = _filters(query)
        order = order_of(query.kind, page)
        if page.cursor is not None:
            seen, values = paging.decode_cursor(order, page.cursor)
            return self._page(query, order, seen, {"query": filters, "size": page.size, "search_after": values})
        skip = (page.number - 1) * page.size
        if skip + page.size <= paging.WINDOW:
            return self._page(query, order, skip, {"query": filters, "size": page.size, "from": skip})
        if page.size > paging.WINDOW or not order.countable:
            raise paging.too_deep(page)
        return self._deep(query, order, filters, skip, page.size)

    def _page(self, query: Query, order: Order, before: int, body: dict[str, Any], total: int | None = None) -> Found:
        body = {**body, "sort": order.sort, "track_total_hits": total is None}
        hits = self._ask(query, body, _HITS).get("hits", {})
        if total is None:
            total = int(hits["total"]["value"])
        found = hits.get("hits", [])
        seen = before + len(found)
        more = len(found) == body["size"] and seen < total
        cursor = paging.encode_cursor(order, seen, found[-1]["sort"]) if more and found else None
        return Found(tuple(hit["_source"] for hit in found), total, cursor)

    def _deep(self, query: Query, order: Order, filters: Clause, skip: int, size: int) -> Found:
        place = paging.locate(lambda body: self._ask(query, body), filters, order, skip, size)
        body: dict[str, Any] = {"query": place.filter, "size": size}
        left = place.skip
        if left + size <= paging.WINDOW:
            return self._page(query, order, skip, {**body, "from": left}, place.total)
        # More documents of one value than the window holds: pass over them by their ids.
        while left > 0:
            step = {**body, "size": min(left, paging.WINDOW), "sort": order.sort, "_source": False}
            hits = self._ask(query, {**step, "track_total_hits": False}).get("hits", {}).get("hits", [])
            if not hits:
                return Found((), place.total)
            body["search_after"] = hits[-1]["sort"]
            left -= len(hits)
        return self._page(query, order, skip, body, place.total)

    def histogram(self, query: Query, buckets: int) -> Sequence[Bucket]:
        """Counts by state (log lines: by level) over the documents' start, in at most `buckets` equal intervals."""
        field = STARTS[query.kind]
        filters = _filters(query)
        bounds = self._bounds(query, filters, field)
        if bounds is None:
            return ()
        first, last = bounds
        width = max(1, -(-(last - first + 1) // max(1, buckets)))
        states = "level" if query.kind is Kind.LOG else "state.current"
        over: Clause = {
            "field": field,
            "fixed_interval": f"{width}ms",
            "offset": f"{first % width}ms",
            "min_doc_count": 1,
        }
        aggregation = {
            "bars": {"date_histogram": over, "aggs": {"states": {"terms": {"field": states, "size": _STATES}}}}
        }
        body = {"size": 0, "track_total_hits": False, "query": filters, "aggs": aggregation}
        counted = {
            bar["key"]: {state["key"]: state["doc_count"] for state in bar["states"]["buckets"]}
            for bar in self._ask(query, body)["aggregations"]["bars"]["buckets"]
        }
        return tuple(Bucket(start, counted.get(start, {})) for start in range(first, last + 1, width))

    def _bounds(self, query: Query, filters: Clause, field: str) -> tuple[Millis, Millis] | None:
        """First and last start: of the query where it says, else of the documents."""
        if query.started_from is not None and query.started_to is not None:
            return (query.started_from, query.started_to) if query.started_from <= query.started_to else None
        aggregations = {"first": {"min": {"field": field}}, "last": {"max": {"field": field}}}
        body = {"size": 0, "track_total_hits": False, "query": filters, "aggs": aggregations}
        found = self._ask(query, body)["aggregations"]
        if found["first"]["value"] is None:
            return None
        first = query.started_from if query.started_from is not None else int(found["first"]["value"])
        last = query.started_to if query.started_to is not None else int(found["last"]["value"])
        return first, max(first, last)

    def _ask(self, query: Query, body: dict[str, Any], filter_path: str | None = None) -> Any:
        params: dict[str, Any] = {"ignore_unavailable": "true"}
        if filter_path is not None:
            params["filter_path"] = filter_path
        ids = query.execution_ids
        if 0 < len(ids) <= ROUTED:
            target = ",".join(sorted({self._names.of(query.kind, execution_id) for execution_id in ids}))
            params["routing"] = ",".join(ids)
        else:
            target = self._names.all(query.kind)
            params["ignore_unavailable"] = "false"
        try:
            return self._connection.request("POST", f"/{target}/_search", body, params)
        except RequestRefused as error:
            if error.status == 400:
                raise QueryError(f"the search store refuses the query: {error.reason}") from error
            raise


def _filters(query: Query) -> Clause:
    text = None if query.q is None else translate(parse(query.q, query.kind).tree, query.kind)
    return dsl(query, text)


def order_of(kind: Kind, page: Page) -> Order:
    """The page's order, checked. Raises QueryError naming a field that documents can't be sorted by."""
    types, possible = fields.types(kind), sortable(kind)
    named: list[tuple[str, bool, str]] = []
    for field, ascending in page.sort:
        if field not in possible:
            raise QueryError(f"{kind.value} can't be sorted by {field}; they can by {', '.join(possible)}")
        named.append((field, ascending, types[field]))
    if all(field != "id" for field, _, _ in named):
        named.append(("id", True, "keyword"))
    return Order(tuple(named))
