"""The contract of `DocumentStore`: what a search finds, by filters and by `q`, and its histogram."""

from typing import Any

import pytest

from shared.model.document import Kind
from shared.model.moment import iso
from shared.model.query import Query, QueryError
from shared.ports import DocumentStore
from tests.contract.documents import (
    DAY,
    START,
    TENANT,
    execution,
    execution_id,
    found,
    log_line,
    metric,
    put,
    task_run,
)

Store = DocumentStore


# ------------------------------------------------------------------ filters


def test_tenants_do_not_see_each_other(document_store: Store) -> None:
    """A search shows documents of its tenant only, by filters and by text."""
    run = execution_id()
    put(document_store, task_run("a", run, error="boom"), task_run("b", run, error="boom", tenant="other"))

    assert found(document_store) == ["a"]
    assert found(document_store, q="boom") == ["a"]
    assert found(document_store, q="tenantId:other OR boom") == ["a"]


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({}, ["a", "b", "c"]),
        ({"namespace": "company"}, ["a", "b"]),
        ({"namespace": "company.team"}, ["a"]),
        ({"namespace": "comp"}, []),
        ({"flow_id": "etl"}, ["a", "b"]),
        ({"task_id": "clean"}, ["c"]),
        ({"task_run_id": "b"}, ["b"]),
        ({"states": ("FAILED",)}, ["b"]),
        ({"states": ("FAILED", "RUNNING")}, ["b", "c"]),
        ({"labels": (("team", "core"),)}, ["a", "b"]),
        ({"labels": (("team", "core"), ("system.id", "x:y"))}, ["b"]),
        ({"labels": (("team", "cor"),)}, []),
        ({"started_from": START + DAY}, ["b", "c"]),
        ({"started_to": START + DAY}, ["a", "b"]),
        ({"started_from": START + 1, "started_to": START + DAY}, ["b"]),
        ({"trigger_execution_id": "parent"}, ["c"]),
        ({"child_filter": "CHILD"}, ["c"]),
        ({"child_filter": "MAIN"}, ["a", "b"]),
        ({"include_superseded": True}, ["a", "b", "c", "gone"]),
        ({"states": ("FAILED",), "flow_id": "other"}, []),
    ],
)
def test_filters_of_task_runs(document_store: Store, filters: dict[str, Any], expected: list[str]) -> None:
    """Each filter leaves what it says; several must all hold."""
    run = execution_id()
    put(
        document_store,
        task_run("a", run, labels={"team": "core"}),
        task_run(
            "b",
            run,
            at=START + DAY,
            namespace="company.other",
            state="FAILED",
            labels={"team": "core", "system.id": "x:y"},
            trigger={"id": "daily", "type": "Schedule"},
        ),
        task_run(
            "c",
            run,
            at=START + 2 * DAY,
            namespace="companywide",
            flowId="wide",
            taskId="clean",
            state="RUNNING",
            trigger={"id": "caller", "type": "Subflow", "executionId": "parent"},
        ),
        task_run("gone", run, superseded=True),
    )

    assert found(document_store, **filters) == expected


def test_execution_ids_filter_every_kind(document_store: Store) -> None:
    """An execution is found by its own id, what belongs to it by its execution's."""
    first, second = execution_id(0), execution_id(1)
    put(
        document_store,
        execution(first),
        execution(second),
        task_run("a", first),
        task_run("b", second),
        log_line("l", second),
    )

    assert found(document_store, Kind.EXECUTION, execution_ids=(first,)) == [first]
    assert found(document_store, execution_ids=(second,)) == ["b"]
    assert found(document_store, execution_ids=(first, second)) == ["a", "b"]
    assert found(document_store, Kind.LOG, execution_ids=(second,)) == ["l"]


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({"min_level": "TRACE"}, ["d", "e", "i", "w"]),
        ({"min_level": "WARN"}, ["e", "w"]),
        ({"min_level": "ERROR"}, ["e"]),
        ({"attempt": 1}, ["e"]),
        ({"task_run_id": "other"}, ["w"]),
        ({"started_from": START + 5}, ["w"]),
        ({"q": "message:rows AND level:INFO"}, ["i"]),
    ],
)
def test_filters_of_log_lines(document_store: Store, filters: dict[str, Any], expected: list[str]) -> None:
    """Levels are ordered; attempts, task runs, dates and words filter lines too."""
    run = execution_id()
    put(
        document_store,
        log_line("d", run, level="DEBUG"),
        log_line("i", run, level="INFO"),
        log_line("w", run, level="WARN", taskRunId="other", at=START + 5),
        log_line("e", run, level="ERROR", attemptNumber=1),
    )

    assert found(document_store, Kind.LOG, **filters) == expected


@pytest.mark.parametrize("filters", [{"min_level": "LOUD"}, {"child_filter": "PARENT"}])
def test_unknown_filter_value_is_refused(document_store: Store, filters: dict[str, str]) -> None:
    """A level or child filter that does not exist is the asker's mistake."""
    with pytest.raises(QueryError, match="LOUD|PARENT"):
        found(document_store, Kind.LOG if "min_level" in filters else Kind.TASK_RUN, **filters)


# ------------------------------------------------------------------ q


@pytest.mark.parametrize(
    ("q", "expected"),
    [
        ("", ["a", "b", "c", "d"]),
        ("*", ["a", "b", "c", "d"]),
        # keywords: as a whole, as written
        ("taskId:load", ["a", "c"]),
        ("taskId:Load", []),
        ("taskId:loa", []),
        ("taskId:loa*", ["a", "c"]),
        ("taskId:*oad", ["a", "c"]),
        ("taskId:l?ad", ["a", "c"]),
        ("taskId:l?d", []),
        ('taskId:"load"', ["a", "c"]),
        ("taskId:a[b]*", None),
        ('value:"a[b]*c"', ["d"]),
        ("value:a\\[b\\]\\*c", ["d"]),
        ("value:a\\[b\\]*", ["d"]),
        ("namespace:company.*", ["a", "c", "d"]),
        ("state:FAILED", ["b"]),
        ("state.current:(FAILED OR RUNNING)", ["b", "c"]),
        # labels
        ("labels.team:core", ["a"]),
        ("labels.team:co*", ["a"]),
        ("labels.team:*", ["a", "b"]),
        ("labels:core", ["a"]),
        ("NOT labels.team:core", ["b", "c", "d"]),
        # words
        ("error:timeout", ["b"]),
        ("error:TIMEOUT", ["b"]),
        ("error:time", []),
        ("error:time*", ["b"]),
        ('error:"connection timeout"', ["b"]),
        ('error:"timeout connection"', []),
        ("error:db_main", ["b"]),
        ("error:main", ["b"]),
        ("outputs:rows", ["a"]),
        ("outputs:*", ["a"]),
        ("value.text:größe", ["c"]),
        # free text
        ("timeout", ["b"]),
        ("load", ["a", "c"]),
        ("GRÖSSE", []),
        ("größe", ["c"]),
        ("load größe", ["c"]),
        ("load OR timeout", ["a", "b", "c"]),
        ('"connection timeout"', ["b"]),
        # operators
        ("load AND NOT größe", ["a"]),
        ("+load -größe", ["a"]),
        ("NOT taskId:load", ["b", "d"]),
        ("state:FAILED OR (taskId:load AND labels.team:core)", ["a", "b"]),
        ("taskId:(load OR clean) AND NOT state:RUNNING", ["a", "b"]),
        # numbers, dates, booleans
        ("duration:>=2", ["b"]),
        ("duration:<2", ["a", "d"]),
        ("duration:[1 TO 2.5]", ["a", "b", "d"]),
        ("duration:{1 TO 2.5}", []),
        ("NOT duration:*", ["c"]),
        ("attemptsCount:3", ["b"]),
        ("startDate:2026-11-20", ["a", "d"]),
        ("startDate:>2026-11-20", ["b", "c"]),
        ("startDate:[2026-11-21 TO 2026-11-21]", ["b"]),
        ("startDate:[* TO 2026-11-21}", ["a", "d"]),
        ('startDate:"2026-11-20T11:00:00+01:00"', ["a", "d"]),
        ("startDate:2026", ["a", "b", "c", "d"]),
        ("startDate:[now+9000d TO *]", []),
        ("seq:>0 AND superseded:true", []),
        ("namespace:[company.o TO company.u]", ["a", "c", "d"]),
    ],
)
def test_q_of_task_runs(document_store: Store, q: str, expected: list[str] | None) -> None:
    """`q` is Lucene syntax over the fields of the kind; None: it is refused."""
    run = execution_id()
    put(
        document_store,
        task_run("a", run, labels={"team": "core", "x": "y"}, outputs='{"rows":3}'),
        task_run(
            "b",
            run,
            at=START + DAY,
            seconds=2.5,
            namespace="other",
            taskId="clean",
            state="FAILED",
            error="Connection timeout to db_main.",
            labels={"team": "data"},
            attemptsCount=3,
        ),
        task_run("c", run, at=START + 2 * DAY, seconds=None, state="RUNNING", value="Die Größe"),
        task_run("d", run, taskId="x", value="a[b]*c"),
    )

    if expected is None:
        with pytest.raises(QueryError):
            found(document_store, q=q)
    else:
        assert found(document_store, q=q) == expected


@pytest.mark.parametrize(
    ("q", "message"),
    [
        ("taskid:x", "no field 'taskid'.*taskId"),
        ("load~", "position 1.*fuzzy"),
        ("flowId:x AND /re/", "position 14.*regular expression"),
        ("a^2", "boost"),
        ("a && b", "position 3: &&.*AND"),
        ("(a", "not a Lucene query, position 3: .*supported are"),
        ("a ) b", r"not a Lucene query, position 3: unexpected '\)'; supported are"),
        ('"a b"~0.5', "number after ~"),
        ("value:\ud83d", "position 7.*half of a character"),
        ("seq:99999999999999999999", "position 5.*'99999999999999999999'.*64 bits"),
        ("attemptsCount:>1e30", "'1e30'.*64 bits"),
        ("duration:-9223372036854775808", "64 bits"),
        ("error:*a", "position 7.*wildcard"),
        ("id:*a", "leading wildcard"),
        ("startDate:yesterday", "yesterday.*2026"),
        ("duration:long", "'long'.*number"),
        ("error:[a TO b]", "range of error"),
        ("x" * 5000, "5000 characters"),
    ],
)
def test_q_that_is_refused(document_store: Store, q: str, message: str) -> None:
    """What is not supported is refused with the place and what is supported."""
    with pytest.raises(QueryError, match=message):
        found(document_store, q=q)


def test_q_of_executions(document_store: Store) -> None:
    """Executions have inputs and no task id."""
    first, second = execution_id(0), execution_id(1)
    put(document_store, execution(first, inputs='{"city":"Oslo"}'), execution(second, state="FAILED"))

    assert found(document_store, Kind.EXECUTION, q="oslo") == [first]
    assert found(document_store, Kind.EXECUTION, q=f"id:{second}") == [second]
    assert found(document_store, Kind.EXECUTION, q="deleted:false AND state:FAILED") == [second]
    assert found(document_store, Kind.EXECUTION, q=f"originalCreatedDate:>={iso(START)[:10]}") == [first, second]
    with pytest.raises(QueryError, match="no field 'taskId'"):
        found(document_store, Kind.EXECUTION, q="taskId:x")


def test_metrics_are_found_by_name_and_tag(document_store: Store) -> None:
    """A metric's tags are searched like labels, its value as a number."""
    put(document_store, metric("m", execution_id()))

    assert found(document_store, Kind.METRIC, q="name:rows AND tags.table:orders AND value:[2 TO 4]") == ["m"]
    assert found(document_store, Kind.METRIC, q="tags.table:other") == []


# ------------------------------------------------------------------ histogram


def test_histogram_counts_states_in_equal_intervals(document_store: Store) -> None:
    """Every document is in the interval of its start; empty intervals are there too."""
    run = execution_id()
    put(
        document_store,
        task_run("a", run, at=START),
        task_run("b", run, at=START + 10, state="FAILED"),
        task_run("c", run, at=START + 10),
        task_run("d", run, at=START + 99),
        task_run("e", run, at=START + 99, superseded=True),
    )

    bars = document_store.histogram(Query(TENANT), 4)

    assert [(bar.start - START, dict(bar.counts)) for bar in bars] == [
        (0, {"SUCCESS": 2, "FAILED": 1}),
        (25, {}),
        (50, {}),
        (75, {"SUCCESS": 1}),
    ]


def test_histogram_over_the_dates_of_the_query(document_store: Store) -> None:
    """Where the query has both dates, these are what the intervals cover."""
    run = execution_id()
    put(document_store, task_run("a", run, at=START + 15), task_run("b", run, at=START + 500))

    bars = document_store.histogram(Query(TENANT, started_from=START, started_to=START + 19), 2)

    assert [(bar.start - START, dict(bar.counts)) for bar in bars] == [(0, {}), (10, {"SUCCESS": 1})]


def test_histogram_of_nothing(document_store: Store) -> None:
    """No documents, no bars."""
    assert list(document_store.histogram(Query(TENANT), 10)) == []
