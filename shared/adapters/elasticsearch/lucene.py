"""Lucene: the syntax tree of `q` as Elasticsearch's Query DSL."""

from __future__ import annotations

import re
from typing import Any, Final

from shared.adapters.elasticsearch import fields
from shared.model.document import Kind
from shared.query.ast import All, And, Equals, Exists, Node, Not, Or, Pattern, Range, Wild, Words

_EXPANSIONS: Final = 10_000
"""Words that the open end of a phrase may stand for."""

_WORD_LENGTH: Final = 1_000
"""Characters kept of a word (`word_length` of the mappings)."""

_SPECIAL: Final = re.compile(r"[*?\\]")

Clause = dict[str, Any]


def translate(node: Node, kind: Kind) -> Clause:
    """A query clause that holds for the same documents as the node."""
    match node:
        case All():
            return {"match_all": {}}
        case Exists(field):
            return {"exists": {"field": field}}
        case Equals(field, value):
            return {"term": {field: {"value": value}}}
        case Pattern(field, parts):
            if node.prefix is not None:
                return {"prefix": {field: {"value": node.prefix}}}
            return {"wildcard": {field: {"value": "".join(_wild(part) for part in parts)}}}
        case Range():
            return _range(node, kind)
        case Words():
            return _words(node)
        case And(nodes):
            return {"bool": {"filter": [translate(each, kind) for each in _flat(nodes, And)]}}
        case Or(nodes):
            clauses = [translate(each, kind) for each in _flat(nodes, Or)]
            return {"bool": {"should": clauses, "minimum_should_match": 1}}
        case Not(inner):
            return {"bool": {"must_not": [translate(inner, kind)]}}


def _flat(nodes: tuple[Node, ...], kind: type[And | Or]) -> list[Node]:
    """Without groups of the same kind within each other: Elasticsearch takes 30 levels."""
    flat: list[Node] = []
    for node in nodes:
        if isinstance(node, kind):
            flat += _flat(node.nodes, kind)
        else:
            flat.append(node)
    return flat


def _wild(part: str | Wild) -> str:
    return part.value if isinstance(part, Wild) else _SPECIAL.sub(r"\\\g<0>", part)


def _range(node: Range, kind: Kind) -> Clause:
    bounds: dict[str, Any] = {}
    if node.low is not None:
        bounds["gte" if node.low_included else "gt"] = node.low
    if node.high is not None:
        bounds["lte" if node.high_included else "lt"] = node.high
    if not bounds:
        return {"exists": {"field": node.field}}
    if fields.types(kind).get(node.field) == "date":
        bounds["format"] = "epoch_millis"
    return {"range": {node.field: bounds}}


def _words(node: Words) -> Clause:
    text = " ".join(node.words)
    if not node.prefix:
        return {"match_phrase": {node.field: {"query": text}}}
    if len(node.words) == 1:
        return {"prefix": {node.field: {"value": text[:_WORD_LENGTH]}}}
    return {"match_phrase_prefix": {node.field: {"query": text, "max_expansions": _EXPANSIONS}}}
