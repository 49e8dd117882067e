"""Store: the DocumentStore on Elasticsearch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, Self
from urllib.parse import quote

import orjson

from shared.adapters.elasticsearch import bulk
from shared.adapters.elasticsearch.connection import Connection, RequestRefused, StoreUnavailable
from shared.adapters.elasticsearch.indices import Indices
from shared.adapters.elasticsearch.names import Names, period_of
from shared.adapters.elasticsearch.scanning import Located, scan
from shared.adapters.elasticsearch.searching import ROUTED, Searching
from shared.model.document import Kind
from shared.model.query import Bucket, Found, Page, Query
from shared.ports import Outcome, Verdict, Versioned
from shared.settings import Settings

GENERATED: Final = (Kind.TASK_RUN, Kind.EXECUTION, Kind.ENTRY)
"""Kinds that a next generation can be built of: the log keeps all of them, but log lines and metrics for days only."""

_IF_THERE: Final = {"ignore_unavailable": "true", "filter_path": "_shards.failed"}
"""Of a refresh: an index that was never written to has nothing to show."""


class ElasticsearchDocumentStore:
    """Documents in Elasticsearch, one alias per kind. Thread-safe.

    Versions are external: a document is replaced only by a higher version, in whatever order writes arrive.
    """

    def __init__(self, settings: Settings, *, _of: tuple[Connection, Indices] | None = None) -> None:
        """Connects at the first request."""
        self._settings = settings
        own = settings.elasticsearch
        if _of is None:
            connection = Connection(own)
            _of = connection, Indices(connection, own, Names(own.prefix, own.period))
        self._connection, self._indices = _of
        self._searching = Searching(self._connection, self._names)
        self._index_json: dict[str, bytes] = {}

    @property
    def _names(self) -> Names:
        return self._indices.names

    # ------------------------------------------------------------------ indices

    def prepare(self) -> None:
        """Put the templates and make this period's indices. Raises StoreUnavailable and RequestRefused."""
        self._indices.prepare()

    def ready(self) -> str | None:
        """None when templates and aliases are there; else what is missing, or why Elasticsearch does not answer."""
        return self._indices.ready()

    def next_generation(self) -> Self:
        """An empty store for task runs and executions, beside this one, to be filled and then adopted."""
        return type(self)(self._settings, _of=(self._connection, self._indices.begin(GENERATED)))

    def adopt(self, following: Self) -> list[str]:
        """Make the next generation the current one, kind by kind, each at one moment; returns the unused indices."""
        unused = []
        for kind in GENERATED:
            unused += self._indices.adopt(following._indices, kind)
        return unused

    def discard(self, unused: Sequence[str] | None = None) -> None:
        """Delete indices that `adopt` named; without names, this generation in the making."""
        if unused is not None:
            self._indices.remove(list(unused))
        elif self._names.stage:
            for kind in GENERATED:
                self._indices.discard(kind)

    # ------------------------------------------------------------------ writing

    def write(self, documents: Sequence[Versioned]) -> Sequence[Outcome]:
        """Write in one bulk request; a verdict for each document, in their order. Raises nothing for a failed one."""
        if not documents:
            return ()
        try:
            for kind, period in {(d.kind, period_of(d.routing, self._names.period)) for d in documents}:
                self._indices.ensure(kind, period)
        except (StoreUnavailable, RequestRefused) as error:
            # Also a refusal, such as too many shards in the cluster, is no fault of these documents.
            return [Outcome(Verdict.RETRY, str(error))] * len(documents)
        try:
            answer = self._connection.request("POST", "/_bulk", self._body(documents), bulk.PARAMETERS)
        except StoreUnavailable as error:
            return [Outcome(Verdict.RETRY, str(error))] * len(documents)
        except RequestRefused as error:
            return self._refused(documents, error)
        outcomes = bulk.outcomes_of(answer, len(documents))
        if answer["errors"]:
            for document, outcome in zip(documents, outcomes, strict=True):
                if bulk.misses_index(outcome):
                    self._indices.forget(self._names.of(document.kind, document.routing))
        return outcomes

    def _body(self, documents: Sequence[Versioned]) -> bytes:
        return b"".join([bulk.lines_of(d, self._index(d.kind, d.routing)) for d in documents])

    def _index(self, kind: Kind, routing: str) -> bytes:
        name = self._names.of(kind, routing)
        text = self._index_json.get(name)
        if text is None:
            text = self._index_json[name] = orjson.dumps(name)
        return text

    def _refused(self, documents: Sequence[Versioned], error: RequestRefused) -> Sequence[Outcome]:
        """A bulk that was refused as a whole: too large, or one of its lines is malformed, to be found by halving."""
        if error.status == 413:
            return [Outcome(Verdict.TOO_LARGE, str(error))] * len(documents)
        if error.status >= 500 or error.status == 404:
            return [Outcome(Verdict.RETRY, str(error))] * len(documents)
        if len(documents) == 1:
            return [Outcome(Verdict.REFUSED, str(error))]
        half = len(documents) // 2
        return [*self.write(documents[:half]), *self.write(documents[half:])]

    def delete_by_executions(self, tenant: str, execution_ids: Sequence[str]) -> int:
        """Remove executions' log lines and metrics. Raises StoreUnavailable."""
        if not execution_ids:
            return 0
        kinds = (Kind.LOG, Kind.METRIC)
        targets = ",".join(sorted({self._names.of(kind, name) for kind in kinds for name in execution_ids}))
        # A deletion by query sees what a search sees.
        self._connection.request("POST", f"/{targets}/_refresh", params=_IF_THERE)
        conditions = [{"term": {"tenantId": tenant}}, {"terms": {"executionId": list(execution_ids)}}]
        params = {"conflicts": "proceed", "ignore_unavailable": "true"}
        if len(execution_ids) <= ROUTED:
            params["routing"] = ",".join(execution_ids)
        answer = self._connection.request(
            "POST", f"/{targets}/_delete_by_query", {"query": {"bool": {"filter": conditions}}}, params
        )
        if answer["deleted"]:
            self._connection.request("POST", f"/{targets}/_refresh", params=_IF_THERE)
        return int(answer["deleted"])

    # ------------------------------------------------------------------ reading

    def get(self, kind: Kind, id: str, routing: str) -> Versioned | None:  # noqa: A002 (the port's name)
        """The document as last written, visible to searches or not. Raises StoreUnavailable."""
        path = f"/{self._names.of(kind, routing)}/_doc/{quote(id, safe='')}"
        found = self._connection.find(
            "GET", path, {"routing": routing, "filter_path": "found,_version,_source,_routing"}
        )
        if found is None or not found.get("found"):
            return None
        return Versioned(kind, id, found["_version"], found["_source"], found.get("_routing", routing))

    def search(self, query: Query, page: Page) -> Found:
        """One page with the exact total. Raises QueryError and StoreUnavailable."""
        return self._searching.search(query, page)

    def histogram(self, query: Query, buckets: int) -> Sequence[Bucket]:
        """Counts by state over start dates. Raises QueryError and StoreUnavailable."""
        return self._searching.histogram(query, buckets)

    def refresh(self, kind: Kind, execution_id: str) -> None:
        """Make an execution's documents visible to searches: the index that holds them, no other."""
        path = f"/{self._names.of(kind, execution_id)}/_refresh"
        self._connection.request("POST", path, params=_IF_THERE)

    def scan(self, kind: Kind) -> Iterator[Versioned]:
        """Every document with its version, as of one moment."""
        for located in self.scan_located(kind):
            yield located.document

    def scan_located(self, kind: Kind) -> Iterator[Located]:
        """Every document with its version, and what is wrong with the place where it lies."""
        return scan(self._connection, self._names, kind)

    def close(self) -> None:
        """Close the connections."""
        self._connection.close()
