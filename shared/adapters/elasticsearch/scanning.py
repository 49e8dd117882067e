"""Scanning: every document of a kind as of one moment, with its version and whether it lies where it belongs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from shared.adapters.elasticsearch.connection import Connection
from shared.adapters.elasticsearch.names import Names
from shared.model.document import Kind
from shared.ports import Versioned

BATCH: Final = 1_000
"""Documents of one answer: about 1 MB."""

_KEEP: Final = "5m"
"""How long Elasticsearch keeps the moment after each answer; the reader does something with each batch."""


class Located(NamedTuple):
    """A document, and what is wrong with its place (None: nothing)."""

    document: Versioned
    misplaced: str | None


def scan(connection: Connection, names: Names, kind: Kind) -> Iterator[Located]:
    """Documents in no order, through a point in time; what was written before the call is among them."""
    alias = names.all(kind)
    connection.request("POST", f"/{alias}/_refresh", params={"filter_path": "_shards.failed"})
    owners = _aliases(connection, alias)
    pit = connection.request("POST", f"/{alias}/_pit", params={"keep_alive": _KEEP})["id"]
    try:
        after: list[Any] | None = None
        while True:
            body: dict[str, Any] = {
                "size": BATCH,
                "pit": {"id": pit, "keep_alive": _KEEP},
                "sort": ["_shard_doc"],
                "version": True,
                "track_total_hits": False,
            }
            if after is not None:
                body["search_after"] = after
            answer = connection.request("POST", "/_search", body, {"filter_path": "pit_id,hits.hits"})
            pit = answer.get("pit_id", pit)
            hits = answer.get("hits", {}).get("hits", [])
            if not hits:
                return
            for hit in hits:
                yield _located(hit, names, kind, owners)
            after = hits[-1]["sort"]
    finally:
        connection.request("DELETE", "/_pit", {"id": pit})


def _aliases(connection: Connection, alias: str) -> dict[str, frozenset[str]]:
    found = connection.request("GET", f"/{alias}/_alias")
    return {index: frozenset(of["aliases"]) for index, of in found.items()}


def _located(hit: dict[str, Any], names: Names, kind: Kind, owners: dict[str, frozenset[str]]) -> Located:
    source = hit["_source"]
    routing = hit.get("_routing", "")
    owner = str(source["id"] if kind is Kind.EXECUTION else source["executionId"])
    misplaced = None
    if routing != owner:
        misplaced = f"its routing is {routing or 'missing'}, not {owner}"
    elif names.of(kind, owner) not in owners[hit["_index"]]:
        misplaced = f"it lies in {hit['_index']}, not in {names.of(kind, owner)}"
    return Located(Versioned(kind, hit["_id"], hit["_version"], source, routing), misplaced)
