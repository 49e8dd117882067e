"""The SQL of any checked query finds what a plain reading of the documents finds."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.adapters.sqlite import SqliteDatabase, SqliteDocumentStore
from shared.adapters.sqlite.document_filters import _Compiler
from shared.model.document import Kind
from shared.model.moment import from_iso
from shared.query.ast import And, Equals, Exists, Node, Not, Or, Pattern, Range, Wild, Words
from tests.contract.documents import START, execution_id, task_run

DAY = 86_400_000

DOCUMENTS = [
    task_run("a", execution_id(), labels={"team": "core", "env": "dev"}, outputs='{"rows": "ab ba"}'),
    task_run("b", execution_id(), at=START + DAY, seconds=None, value="ab*[x]", taskId="ba", error="b a ab"),
    task_run("c", execution_id(), seconds=2.5, taskId="Ab", labels={"team": "a"}, flowRevision=2, value="ba"),
    task_run("d", execution_id(), superseded=True, parentTaskRunId="a", namespace="a.b", error="AB_b"),
]

texts = st.sampled_from(["a", "b", "ab", "ba", "Ab", "load", "core", "ab*[x]", "a.b", ""])
keywords = st.sampled_from(["taskId", "value", "namespace", "parentTaskRunId", "labels.team", "labels.none", "id"])
plain_keywords = st.sampled_from(["taskId", "value", "namespace", "parentTaskRunId", "id"])
numbers = st.sampled_from(["state.duration", "flowRevision", "iteration"])
dates = st.sampled_from(["state.startDate", "state.endDate"])
moments = st.sampled_from([None, START - 1, START, START + 1000, START + 2500, START + DAY])
amounts = st.sampled_from([None, 0, 1, 2, 2.5])
parts = st.lists(st.sampled_from(["a", "b", "*[", Wild.ANY, Wild.ONE]), min_size=1, max_size=4).map(tuple)
words = st.lists(st.sampled_from(["a", "b", "ab", "ba", "rows"]), min_size=1, max_size=3).map(tuple)

leaves = st.one_of(
    st.builds(Exists, keywords | numbers | dates | st.sampled_from(["outputs", "error"])),
    st.builds(Equals, keywords, texts),
    st.builds(Equals, numbers, amounts.filter(lambda n: n is not None)),
    st.builds(Equals, st.just("labels"), texts),
    st.builds(Equals, st.just("superseded"), st.just(True)),
    st.builds(Pattern, plain_keywords, parts),
    st.builds(Pattern, st.just("labels.team"), st.tuples(st.sampled_from("abc"), st.just(Wild.ANY))),
    st.builds(Range, plain_keywords, st.none() | texts, st.none() | texts, st.booleans(), st.booleans()),
    st.builds(Range, numbers, amounts, amounts, st.booleans(), st.booleans()),
    st.builds(Range, dates, moments, moments),
    st.builds(Words, st.sampled_from(["outputs", "error", "value.text"]), words, st.booleans()),
)
nodes = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.builds(And, st.lists(inner, min_size=1, max_size=3).map(tuple)),
        st.builds(Or, st.lists(inner, min_size=1, max_size=3).map(tuple)),
        st.builds(Not, inner),
    ),
    max_leaves=6,
)


def holds(node: Node, document: dict[str, Any]) -> bool:
    match node:
        case And(inner):
            return all(holds(child, document) for child in inner)
        case Or(inner):
            return any(holds(child, document) for child in inner)
        case Not(inner):
            return not holds(inner, document)
        case Words(field, wanted, prefix):
            text = str(document.get(field.removesuffix(".text"), ""))
            there = re.findall(r"[^\W_]+", text.lower())
            runs = [there[start : start + len(wanted)] for start in range(len(there))]
            return any(
                run == list(wanted)
                or (
                    prefix
                    and run[:-1] == list(wanted[:-1])
                    and len(run) == len(wanted)
                    and run[-1].startswith(wanted[-1])
                )
                for run in runs
            )
        case _:
            return any(matches(node, value) for value in values(node.field, document))


def values(field: str, document: dict[str, Any]) -> list[Any]:
    if field == "labels":
        return list(document["labels"].values())
    if field.startswith("labels."):
        value = document["labels"].get(field.removeprefix("labels."))
    elif field.startswith("state."):
        value = document["state"].get(field.removeprefix("state."))
        value = from_iso(value) if isinstance(value, str) else value
    else:
        value = document.get(field)
    return [] if value is None else [value]


def matches(node: Node, value: Any) -> bool:
    match node:
        case Exists():
            return True
        case Equals(_, wanted):
            return value == wanted
        case Pattern(_, wanted):
            regex = "".join({Wild.ANY: ".*", Wild.ONE: "."}.get(part) or re.escape(part) for part in wanted)
            return re.fullmatch(regex, value, re.DOTALL) is not None
        case Range(_, low, high, low_included, high_included):
            above = low is None or value > low or (low_included and value == low)
            return above and (high is None or value < high or (high_included and value == high))
    raise AssertionError(node)


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SqliteDatabase]:
    path: Path = tmp_path_factory.mktemp("filters") / "runyard.db"
    database = SqliteDatabase(path)
    SqliteDocumentStore(database).write(DOCUMENTS)
    yield database
    database.close()


@given(nodes)
def test_any_tree_finds_what_reading_finds(database: SqliteDatabase, node: Node) -> None:
    """Missing values, negations, patterns, ranges and words mean in SQL what the tree says."""
    parameters: list[Any] = []
    sql = _Compiler(Kind.TASK_RUN, parameters).sql(node)

    with database.reading() as connection:
        rows = connection.execute(f"SELECT d.id FROM documents d WHERE {sql} ORDER BY d.id", parameters).fetchall()

    assert [row[0] for row in rows] == [d.id for d in DOCUMENTS if holds(node, dict(d.document or {}))]
