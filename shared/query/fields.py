"""Fields: what of each kind's documents can be searched and sorted by, and how a value is compared.

The one catalogue of both document stores: SQLite compiles against it, and the Elasticsearch mappings have these types.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Final

from shared.model.document import Kind


class FieldType(StrEnum):
    """How values of a field are compared."""

    KEYWORD = "keyword"  #: the whole text, as it is written; wildcards and ranges by code point
    TEXT = "text"  #: words: runs of letters and digits, whatever their case
    DATE = "date"
    NUMBER = "number"
    BOOLEAN = "boolean"
    FLATTENED = "flattened"  #: any keys, each a keyword: `labels.team`


WORDS_ANALYSIS: Final[Mapping[str, Any]] = {
    "analyzer": {"words": {"type": "custom", "tokenizer": "words", "filter": ["lowercase", "word_length"]}},
    "tokenizer": {"words": {"type": "pattern", "pattern": "[^\\p{L}\\p{N}\\p{Co}]+"}},
    "filter": {"word_length": {"type": "truncate", "length": 1000}},
}
"""`settings.index.analysis` of an index whose text fields split into the same words as SQLite's FTS5 (unicode61 without
removal of diacritics) does: Elasticsearch's standard analyzer keeps `a_b` and `example.com` as one word."""

WINDOW: Final = 10_000
"""Documents that page numbers reach in any order: Elasticsearch's `index.max_result_window`."""


@dataclass(frozen=True, slots=True)
class Field:
    """One field."""

    name: str
    type: FieldType
    free: bool = False  #: searched by a text that names no field
    many: bool = False  #: nearly every document has another value: a leading wildcard would read them all

    @property
    def sortable(self) -> bool:
        return self.type not in (FieldType.TEXT, FieldType.FLATTENED)


def _keyword(name: str, *, free: bool = False, many: bool = False) -> Field:
    return Field(name, FieldType.KEYWORD, free, many)


def _text(name: str) -> Field:
    return Field(name, FieldType.TEXT, free=True)


def _number(name: str) -> Field:
    return Field(name, FieldType.NUMBER)


def _date(name: str) -> Field:
    return Field(name, FieldType.DATE)


_PLACE: Final = (_keyword("tenantId"), _keyword("namespace", free=True), _keyword("flowId", free=True))
_STATE: Final = (
    _keyword("state.current"),
    _date("state.startDate"),
    _date("state.endDate"),
    _number("state.duration"),
)
_CAUSE: Final = (
    Field("labels", FieldType.FLATTENED),
    _keyword("trigger.id"),
    _keyword("trigger.type"),
    _keyword("trigger.executionId", many=True),
)
_TASK: Final = (_keyword("executionId", free=True, many=True), _keyword("taskId", free=True))

_FIELDS: Final[dict[Kind, tuple[Field, ...]]] = {
    Kind.TASK_RUN: (
        *_PLACE,
        *_TASK,
        *_STATE,
        *_CAUSE,
        _keyword("id", free=True, many=True),
        _number("flowRevision"),
        _keyword("taskType"),
        _keyword("parentTaskRunId", many=True),
        _keyword("value", free=True),
        _text("value.text"),
        _number("iteration"),
        _number("attemptsCount"),
        _keyword("workerId"),
        _number("queueWait"),
        _text("outputs"),
        _text("error"),
        Field("superseded", FieldType.BOOLEAN),
        _number("createdSeq"),
        _number("seq"),
    ),
    Kind.EXECUTION: (
        *_PLACE,
        *_STATE,
        *_CAUSE,
        _keyword("id", free=True, many=True),
        _number("flowRevision"),
        _keyword("parentId", many=True),
        _keyword("originalId", many=True),
        _number("attemptNumber"),
        _date("originalCreatedDate"),
        _date("scheduleDate"),
        _text("inputs"),
        _text("outputs"),
        _text("error"),
        _number("taskRunCount"),
        Field("deleted", FieldType.BOOLEAN),
        _number("seq"),
    ),
    Kind.LOG: (
        *_PLACE,
        *_TASK,
        _keyword("id", many=True),
        _keyword("taskRunId", free=True, many=True),
        _number("attemptNumber"),
        _keyword("level"),
        _text("message"),
        _date("timestamp"),
        _keyword("thread"),
        _number("index"),
    ),
    Kind.METRIC: (
        *_PLACE,
        *_TASK,
        _keyword("id", many=True),
        _keyword("taskRunId", free=True, many=True),
        _keyword("name", free=True),
        _keyword("type"),
        _number("value"),
        _date("timestamp"),
        Field("tags", FieldType.FLATTENED),
    ),
    Kind.ENTRY: (
        *_PLACE,
        _keyword("executionId", many=True),
        _keyword("id", many=True),
        _date("timestamp"),
        _number("seq"),
    ),
}

CATALOGUE: Final[Mapping[Kind, Mapping[str, Field]]] = MappingProxyType(
    {kind: MappingProxyType({field.name: field for field in fields}) for kind, fields in _FIELDS.items()}
)
"""Fields by kind and name."""

STARTS: Final = {
    Kind.TASK_RUN: "state.startDate",
    Kind.EXECUTION: "state.startDate",
    Kind.LOG: "timestamp",
    Kind.METRIC: "timestamp",
    Kind.ENTRY: "timestamp",
}
"""The date by which a kind's documents are filtered and counted."""


def field_of(kind: Kind, name: str) -> Field | None:
    """The field of that name; for `labels.team` the flattened field `labels`. None where there is none."""
    fields = CATALOGUE[kind]
    found = fields.get(name)
    if found is None:
        root, dot, key = name.partition(".")
        flattened = fields.get(root)
        if dot and key and flattened is not None and flattened.type is FieldType.FLATTENED:
            return flattened
    return found


def sortable(kind: Kind) -> tuple[str, ...]:
    """Names of the fields that documents can be put in order by."""
    return tuple(sorted(field.name for field in CATALOGUE[kind].values() if field.sortable))


def countable(kind: Kind, name: str) -> bool:
    """Whether page numbers reach beyond WINDOW in the order of a field: dates and durations can be counted."""
    field = field_of(kind, name)
    return field is not None and (field.type is FieldType.DATE or name in ("state.duration", "queueWait"))
