"""Document order: sorting and cursors. A document without a value comes last in both directions; ids break ties."""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson

from shared.adapters.sqlite.document_columns import expression
from shared.adapters.sqlite.document_filters import Condition
from shared.model.document import Kind
from shared.model.query import Page, QueryError
from shared.query.fields import CATALOGUE, WINDOW, countable, sortable

_ALWAYS: Final = ("d.id", "d.started")
"""Expressions that every document has a value of: no need to sort by whether there is one, so an index can serve."""


@dataclass(frozen=True, slots=True)
class Order:
    """A checked sort order, the id last."""

    fields: tuple[tuple[str, bool], ...]  #: (name, ascending)
    expressions: tuple[str, ...]
    countable: bool  #: whether page numbers reach beyond the window: the first field is a date or a duration

    @property
    def sql(self) -> str:
        terms = []
        for (_, ascending), value in zip(self.fields, self.expressions, strict=True):
            if value not in _ALWAYS:
                terms.append(f"{value} IS NULL")
            terms.append(f"{value} {'ASC' if ascending else 'DESC'}")
        return ", ".join(terms)

    @property
    def signature(self) -> str:
        return hashlib.blake2b(repr(self.fields).encode(), digest_size=6).hexdigest()

    def cursor(self, values: Sequence[Any]) -> str:
        """An opaque text: the order and the sort values of the last document of a page."""
        return base64.urlsafe_b64encode(orjson.dumps([self.signature, list(values)])).decode().rstrip("=")

    def add_after(self, cursor: str, condition: Condition) -> None:
        """Only what comes after a cursor. Raises QueryError for a text that is none, or one of another order."""
        values = self._values(cursor)
        branches: list[str] = []
        parameters: list[Any] = []
        for index, (_, ascending) in enumerate(self.fields):
            if values[index] is None:
                continue  # nothing comes after a missing value but its ties, told apart by the next fields
            ties = [f"{value} IS ?" for value in self.expressions[:index]]
            value = self.expressions[index]
            missing = "" if value in _ALWAYS else f" OR {value} IS NULL"
            branches.append(" AND ".join([*ties, f"({value} {'>' if ascending else '<'} ?{missing})"]))
            parameters += [*values[:index], values[index]]
        condition.add("(" + " OR ".join(f"({branch})" for branch in branches) + ")", *parameters)

    def _values(self, cursor: str) -> list[Any]:
        try:
            signature, values = orjson.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        except (binascii.Error, ValueError, TypeError) as error:
            raise QueryError("cursor: not one that a page of this search gave") from error
        if signature != self.signature or not isinstance(values, list) or len(values) != len(self.fields):
            raise QueryError("cursor: of a search in another order")
        if values[-1] is None or any(isinstance(value, list | dict) for value in values):
            raise QueryError("cursor: not one that a page of this search gave")
        return values


def order_of(kind: Kind, page: Page) -> Order:
    """The page's order, checked. Raises QueryError naming a field that documents can't be sorted by."""
    fields: list[tuple[str, bool]] = []
    for name, ascending in page.sort:
        field = CATALOGUE[kind].get(name)
        if field is None or not field.sortable:
            raise QueryError(f"{kind.value} can't be sorted by {name}; they can by {', '.join(sortable(kind))}")
        fields.append((name, ascending))
    if all(name != "id" for name, _ in fields):
        fields.append(("id", True))
    expressions = tuple(expression(kind, name) for name, _ in fields)
    return Order(tuple(fields), expressions, countable(kind, fields[0][0]))


def too_deep(page: Page) -> QueryError:
    """What to say to a deep page in an order that page numbers don't reach."""
    return QueryError(
        f"page {page.number} of size {page.size} lies beyond {WINDOW:,} documents, which only an order by date or"
        " duration reaches: sort by state.startDate, or follow `cursor` from page to page"
    )
