"""Document filters: a Query, with its checked `q`, as an SQL condition."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from shared.adapters.sqlite.document_columns import (
    KIND_NUMBERS,
    MOMENTS,
    expression,
    flattened_column,
    text_column,
)
from shared.model.document import Kind
from shared.model.moment import iso
from shared.model.query import Query, QueryError
from shared.query import lucene
from shared.query.ast import All, And, Equals, Exists, Node, Not, Or, Pattern, Range, Wild, Words
from shared.query.fields import FieldType, field_of

LEVELS: Final = ("TRACE", "DEBUG", "INFO", "WARN", "ERROR")
"""Log levels, lowest first."""


class Condition:
    """Clauses that all must hold, with their parameters."""

    def __init__(self) -> None:
        self._clauses: list[str] = []
        self.parameters: list[Any] = []

    def add(self, clause: str, *parameters: Any) -> None:
        self._clauses.append(clause)
        self.parameters += parameters

    @property
    def sql(self) -> str:
        return " AND ".join(self._clauses)


def condition(query: Query) -> Condition:
    """Everything that a query asks for, on the table alias `d`. Raises QueryError."""
    kind = query.kind
    found = Condition()
    # A plus keeps SQLite from the index by start where the one by execution finds a handful of documents.
    tenant = "+d.tenant" if query.execution_ids else "d.tenant"
    found.add(f"d.kind = ? AND {tenant} = ? AND d.body IS NOT NULL", KIND_NUMBERS[kind], query.tenant)
    if query.namespace is not None:
        below = f"{query.namespace}."
        # Everything that begins with `company.` lies between it and `company/`, the character after the dot.
        found.add(
            "(d.namespace = ? OR (d.namespace >= ? AND d.namespace < ?))",
            query.namespace,
            below,
            f"{query.namespace}/",
        )
    for name, value in (
        ("flowId", query.flow_id),
        ("taskId", query.task_id),
        ("id" if kind is Kind.TASK_RUN else "taskRunId", query.task_run_id),
        ("trigger.executionId", query.trigger_execution_id),
        ("attemptNumber", query.attempt),
    ):
        if value is not None:
            _add_equal(found, kind, name, value)
    if query.execution_ids:
        found.add(f"d.execution_id IN ({_marks(len(query.execution_ids))})", *query.execution_ids)
    if query.states:
        found.add(f"d.state IN ({_marks(len(query.states))})", *query.states)
    for key, label in query.labels:
        found.add("EXISTS (SELECT 1 FROM json_each(d.labels) WHERE key = ? AND value = ?)", key, label)
    if query.started_from is not None:
        found.add("d.started >= ?", query.started_from)
    if query.started_to is not None:
        found.add("d.started <= ?", query.started_to)
    if query.ended_to is not None:
        found.add("d.ended <= ?", query.ended_to)
    if query.min_level is not None:
        levels = _levels(query.min_level)
        found.add(f"d.state IN ({_marks(len(levels))})", *levels)
    if query.child_filter is not None:
        if query.child_filter not in ("CHILD", "MAIN"):
            raise QueryError(f"unknown child filter {query.child_filter}; expected CHILD or MAIN")
        found.add(f"d.trigger_execution_id IS {'NOT ' if query.child_filter == 'CHILD' else ''}NULL")
    if not query.include_superseded:
        found.add("d.superseded = 0")  # only task runs ever are; said of every kind, since the index has it
    if query.q is not None:
        tree = lucene.parse(query.q, kind).tree
        if not isinstance(tree, All):
            found.add(f"({_Compiler(kind, found.parameters).sql(tree)})")
    return found


def _add_equal(found: Condition, kind: Kind, name: str, value: object) -> None:
    """A filter on a field that the kind does not have finds nothing."""
    if field_of(kind, name) is None:
        found.add("0")
    else:
        found.add(f"{expression(kind, name)} = ?", value)


def _levels(lowest: str) -> tuple[str, ...]:
    if lowest not in LEVELS:
        raise QueryError(f"unknown level {lowest}; expected one of {', '.join(LEVELS)}")
    return LEVELS[LEVELS.index(lowest) :]


def _marks(count: int) -> str:
    return ",".join("?" * count)


class _Compiler:
    """Writes a syntax tree as SQL and its values to `parameters`, in the order of their marks."""

    def __init__(self, kind: Kind, parameters: list[Any]) -> None:
        self._kind = kind
        self._parameters = parameters

    def sql(self, node: Node) -> str:
        match node:
            case All():
                return "1"
            case And(nodes):
                return "(" + " AND ".join(self.sql(child) for child in nodes) + ")"
            case Or(nodes):
                return "(" + " OR ".join(self._alternatives(nodes)) + ")"
            case Not(child):
                return f"({self.sql(child)}) IS NOT TRUE"
            case Words():
                return self._words(node, (node.field,))
            case _:
                return self._leaf(node)

    def _alternatives(self, nodes: tuple[Node, ...]) -> Iterator[str]:
        """The same words in several fields, as a text without a field asks for, are one look into the index."""
        fields: dict[tuple[tuple[str, ...], bool], list[Words]] = {}
        for node in nodes:
            if isinstance(node, Words):
                fields.setdefault((node.words, node.prefix), []).append(node)
            else:
                yield self.sql(node)
        for same in fields.values():
            yield self._words(same[0], tuple(node.field for node in same))

    def _words(self, node: Words, fields: tuple[str, ...]) -> str:
        columns = " ".join(map(text_column, fields))
        phrase = " ".join(node.words)  # letters and digits only: nothing to escape
        self._parameters.append(f'{{{columns}}} : "{phrase}"{" *" if node.prefix else ""}')
        return "d.place IN (SELECT rowid FROM documents_text WHERE documents_text MATCH ?)"

    def _leaf(self, node: Exists | Equals | Pattern | Range) -> str:
        field = field_of(self._kind, node.field)
        assert field is not None
        if field.type is FieldType.FLATTENED:
            return self._flattened(node, field.name)
        if field.type is FieldType.TEXT:
            assert isinstance(node, Exists)
            return f"json_extract(d.body, '$.{text_column(node.field)}') IS NOT NULL"
        value = expression(self._kind, node.field)
        return "(" + self._compare(node, value, date=field.type is FieldType.DATE) + ")"

    def _flattened(self, node: Exists | Equals | Pattern | Range, root: str) -> str:
        conditions = "1"
        if node.field != root:
            self._parameters.append(node.field[len(root) + 1 :])
            conditions = "key = ?"
        compared = self._compare(node, "value", date=False)
        return f"EXISTS (SELECT 1 FROM json_each({flattened_column(root)}) WHERE {conditions} AND {compared})"  # noqa: S608

    def _compare(self, node: Exists | Equals | Pattern | Range, value: str, *, date: bool) -> str:
        match node:
            case Exists():
                return f"{value} IS NOT NULL"
            case Equals():
                self._parameters.append(node.value)
                return f"{value} = ?"
            case Pattern():
                self._parameters.append(_glob(node))
                return f"{value} GLOB ?"
            case Range():
                return self._range(node, value, date=date)

    def _range(self, node: Range, value: str, *, date: bool) -> str:
        text = date and node.field not in MOMENTS
        clauses = [f"{value} IS NOT NULL"]
        for bound, sign in (
            (node.low, ">=" if node.low_included else ">"),
            (node.high, "<=" if node.high_included else "<"),
        ):
            if bound is not None:
                clauses.append(f"{value} {sign} ?")
                self._parameters.append(iso(int(bound)) if text else bound)
        return " AND ".join(clauses)


def _glob(node: Pattern) -> str:
    """The pattern as SQLite's GLOB; brackets around what GLOB would read as more than itself."""
    return "".join(
        part.value if isinstance(part, Wild) else "".join(f"[{c}]" if c in "*?[" else c for c in part)
        for part in node.parts
    )
