"""`q` read into a checked syntax tree."""

import contextlib
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.model.document import Kind
from shared.model.moment import from_iso
from shared.model.query import QueryError
from shared.query.ast import All, And, Equals, Exists, Node, Not, Or, Pattern, Range, Wild, Words
from shared.query.fields import CATALOGUE, FieldType
from shared.query.lucene import parse

NOW = from_iso("2026-11-23T12:00:00Z")
DAY = 86_400_000


def tree(q: str, kind: Kind = Kind.TASK_RUN) -> Node:
    return parse(q, kind, NOW).tree


FLOW_A, FLOW_B, FLOW_C = (Equals("flowId", letter) for letter in "abc")


@pytest.mark.parametrize(
    ("q", "expected"),
    [
        ("", All()),
        ("  ", All()),
        ("*", All()),
        ("flowId:a", FLOW_A),
        ('flowId:"a"', FLOW_A),
        ('flowId:"a b*"', Equals("flowId", "a b*")),
        ("flowId:a\\ b\\*", Equals("flowId", "a b*")),
        ("flowId:*", Exists("flowId")),
        ("flowId:a*", Pattern("flowId", ("a", Wild.ANY))),
        ("flowId:a**b?", Pattern("flowId", ("a", Wild.ANY, "b", Wild.ONE))),
        ("flowId:-a", Equals("flowId", "-a")),
        ("flowId:(a b)", And((FLOW_A, FLOW_B))),
        ("flowId:(a -b)", And((FLOW_A, Not(FLOW_B)))),
        ("flowId:a flowId:b", And((FLOW_A, FLOW_B))),
        ("flowId:a OR flowId:b AND flowId:c", Or((FLOW_A, And((FLOW_B, FLOW_C))))),
        ("(flowId:a OR flowId:b) AND flowId:c", And((Or((FLOW_A, FLOW_B)), FLOW_C))),
        ("+flowId:a -flowId:b", And((FLOW_A, Not(FLOW_B)))),
        ("NOT flowId:a", Not(FLOW_A)),
        ("flowId:[a TO b}", Range("flowId", "a", "b", high_included=False)),
        ("flowId:>a", Range("flowId", "a", None, low_included=False, high_included=False)),
        ("state:FAILED", Equals("state.current", "FAILED")),
        ("superseded:true", Equals("superseded", True)),
        ("seq:3", Equals("seq", 3)),
        ("seq:-3", Equals("seq", -3)),
        ("queueWait:0.5", Equals("queueWait", 0.5)),
        ("seq:[-3 TO *]", Range("seq", -3, None)),
        ("duration:>=2", Range("state.duration", 2, None)),
        ("labels.team:core", Equals("labels.team", "core")),
        ("labels.system.correlationId:x", Equals("labels.system.correlationId", "x")),
        ("labels.a\\:b:x", Equals("labels.a:b", "x")),
        ("labels.team:c*", Pattern("labels.team", ("c", Wild.ANY))),
        ("labels:core", Equals("labels", "core")),
        ("error:Boom", Words("error", ("boom",))),
        ("error:boom*", Words("error", ("boom",), prefix=True)),
        ("error:db-main", Words("error", ("db", "main"))),
        ("error:db-*", Words("error", ("db",))),
        ('error:"a, b"', Words("error", ("a", "b"))),
        ("error:*", Exists("error")),
        ("startDate:[now-1d TO now]", Range("state.startDate", NOW - DAY, NOW)),
        ("startDate:>2026-11-22", Range("state.startDate", from_iso("2026-11-23"), None)),
        ("startDate:<2026-11-22", Range("state.startDate", None, from_iso("2026-11-22") - 1)),
        ("startDate:<=2026-11-22", Range("state.startDate", None, from_iso("2026-11-23") - 1)),
        ("startDate:2026-11-22", Range("state.startDate", from_iso("2026-11-22"), from_iso("2026-11-23") - 1)),
    ],
)
def test_meaning(q: str, expected: Node) -> None:
    """What each form of the syntax says."""
    assert tree(q) == expected


def test_word_without_a_field_is_looked_for_in_every_free_field() -> None:
    """Keywords as a whole and as written, texts by word."""
    meaning = tree("Load", Kind.LOG)

    assert meaning == Or(
        (
            Equals("namespace", "Load"),
            Equals("flowId", "Load"),
            Equals("executionId", "Load"),
            Equals("taskId", "Load"),
            Equals("taskRunId", "Load"),
            Words("message", ("load",)),
        )
    )


def test_leading_wildcard_without_a_field_passes_over_ids_and_texts() -> None:
    """What can't be answered of a free value is left out, the rest is answered."""
    assert tree("*oad", Kind.LOG) == Or(
        tuple(Pattern(name, (Wild.ANY, "oad")) for name in ("namespace", "flowId", "taskId"))
    )


@pytest.mark.parametrize(
    ("q", "message"),
    [
        ("nothing:x", r"position 9: task-runs have no field 'nothing'; they have .*labels\.<key>"),
        ("flowId:a taskId~", "position 10: fuzzy"),
        ('"a b"~3', "position 1: words near"),
        ("a^2", "position 1: a boost"),
        ("flowId:/a.*/", "position 8: a regular expression"),
        ("a || b", r"position 3: \|\| is not supported; use OR"),
        ("!a", "position 1: !a is not supported; use NOT"),
        ("flowId:a:b", "position 8: 'a:' within the value of 'flowId:'"),
        ("(a", "not a Lucene query.*parenthesis"),
        ('"a', "not a Lucene query"),
        ("AND", "not a Lucene query"),
        ("[a TO b]", "a range without a field"),
        ("error:a*b", "position 7: a wildcard in error"),
        ("error:--", "not a Lucene query|words"),
        ('error:"--"', "words: letters or digits"),
        ("labels:c*", "wildcard for labels"),
        ("labels.team:*c", "wildcard for labels.team"),
        ("labels.team:[a TO b]", "a range of labels.team"),
        ("executionId:?a", "leading wildcard for executionId"),
        ("superseded:yes", "true or false"),
        ("seq:many", "'many' for seq.*a number"),
        ("seq:nan", "a number"),
        ("seq:inf", "a number"),
        ("startDate:soon", "'soon' for state.startDate"),
        ("startDate:2026-11-2*", "2026-11-2"),
        (" ".join(["a"] * 100), "400 conditions"),
        ("(" * 60 + "a" + ")" * 60, "50 groups"),
    ],
)
def test_refusals(q: str, message: str) -> None:
    """What is not supported is refused with its place and what is supported."""
    with pytest.raises(QueryError, match=message):
        tree(q)


@given(st.text(st.sampled_from('abAND ORNT"\\()[]{}:*?~^/+-!&|<>=.0123 TOflowIderrstaDlb'), max_size=60))
def test_any_text_is_read_or_refused(q: str) -> None:
    """No text makes it fail in another way."""
    with contextlib.suppress(QueryError):
        assert parse(q, Kind.TASK_RUN, NOW).text == q.strip()


@given(st.text(min_size=1, max_size=20))
def test_any_value_can_be_quoted(value: str) -> None:
    r"""In quotes, with \ before quotes and backslashes, every value is looked for as it is."""
    quoted = value.replace("\\", "\\\\").replace('"', '\\"')

    assert tree(f'flowId:"{quoted}"') == Equals("flowId", value)


def test_threads_parse_at_the_same_time() -> None:
    """Parsers of several threads do not disturb each other."""
    wrong: list[object] = []

    def work(letter: str) -> None:
        trees = [tree(f"flowId:{letter} OR flowId:{letter}") for _ in range(100)]
        wrong.extend(found for found in trees if found != Or((Equals("flowId", letter),) * 2))

    threads = [threading.Thread(target=work, args=(letter,)) for letter in "abc"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert wrong == []


@pytest.mark.parametrize("kind", Kind)
def test_catalogue_has_what_every_search_needs(kind: Kind) -> None:
    """A tenant, an id and a start date to sort by, and at least one field for free text."""
    fields = CATALOGUE[kind]

    assert fields["tenantId"].type is FieldType.KEYWORD
    assert fields["id"].sortable
    assert any(field.free for field in fields.values())
