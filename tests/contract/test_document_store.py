"""The contract of `DocumentStore`."""

from typing import Any

import pytest

from indexer.bulk.retention import Rule
from shared.model.document import Kind
from shared.model.identifier import new_id
from shared.model.moment import iso
from shared.model.query import Page, Query, QueryError
from shared.ports import DocumentStore, Verdict, Versioned
from tests.contract.documents import (
    START,
    TENANT,
    execution,
    execution_id,
    found,
    ids,
    log_line,
    metric,
    put,
    task_run,
)

Store = DocumentStore

DAY = 86_400_000


def verdicts(outcomes: Any) -> list[Verdict]:
    return [outcome.verdict for outcome in outcomes]


# ------------------------------------------------------------------ writing and getting


def test_prepared_store_is_ready(document_store: Store) -> None:
    """After `prepare`, also a second one, nothing is missing."""
    document_store.prepare()

    assert document_store.ready() is None


def test_get_returns_what_was_written_at_once(document_store: Store) -> None:
    """A document is read by id right after its write, whole, with its version."""
    run = task_run("a", execution_id(), version=7, outputs='{"rows":3}', labels={"team": "core"})

    outcomes = document_store.write([run])

    assert verdicts(outcomes) == [Verdict.STORED]
    assert document_store.get(Kind.TASK_RUN, "a", run.routing) == run


def test_unknown_id_is_none(document_store: Store) -> None:
    """What was never written is not there, nor is it under another kind."""
    run = task_run("a", execution_id())
    document_store.write([run])

    assert document_store.get(Kind.TASK_RUN, "b", run.routing) is None
    assert document_store.get(Kind.EXECUTION, "a", run.routing) is None


def test_same_or_older_version_is_stale(document_store: Store) -> None:
    """Writes may arrive in any order: the highest version stays, the others succeed as stale."""
    run = execution_id()
    document_store.write([task_run("a", run, version=5, state="SUCCESS")])

    outcomes = document_store.write([task_run("a", run, version=v, state="RUNNING") for v in (4, 5)])
    stored = document_store.get(Kind.TASK_RUN, "a", run)

    assert verdicts(outcomes) == [Verdict.STALE, Verdict.STALE]
    assert stored is not None
    assert (stored.version, stored.document["state"]["current"]) == (5, "SUCCESS")


def test_newer_version_replaces_the_whole_document(document_store: Store) -> None:
    """Nothing of the old version remains, in `get` or in searches."""
    run = execution_id()
    put(document_store, task_run("a", run, version=1, error="disk exploded", value="x"))
    put(document_store, task_run("a", run, version=2, error="net vanished"))

    stored = document_store.get(Kind.TASK_RUN, "a", run)

    assert stored is not None
    assert "value" not in stored.document
    assert found(document_store, q="error:exploded") == []
    assert found(document_store, q="error:vanished") == ["a"]


def test_one_write_with_several_versions_of_a_document(document_store: Store) -> None:
    """Each gets its verdict; the highest version stays."""
    run = execution_id()

    outcomes = put(document_store, *[task_run("a", run, version=v, value=str(v)) for v in (1, 3, 2)])

    assert verdicts(outcomes) == [Verdict.STORED, Verdict.STORED, Verdict.STALE]
    assert found(document_store, q="value:3") == ["a"]


def test_deletion_is_remembered_with_its_version(document_store: Store) -> None:
    """A deleted document is gone, and an older version that arrives late does not bring it back."""
    run = execution_id()
    put(document_store, task_run("a", run, version=3))

    deleted = put(document_store, Versioned(Kind.TASK_RUN, "a", 5, None, run))
    late = put(document_store, task_run("a", run, version=4))

    assert (verdicts(deleted), verdicts(late)) == ([Verdict.STORED], [Verdict.STALE])
    assert document_store.get(Kind.TASK_RUN, "a", run) is None
    assert found(document_store) == []


def test_deleted_document_can_come_back_newer(document_store: Store) -> None:
    """A version above the deletion's is stored."""
    run = execution_id()
    document_store.write([Versioned(Kind.TASK_RUN, "a", 5, None, run)])

    outcomes = put(document_store, task_run("a", run, version=6, error="again"))

    assert verdicts(outcomes) == [Verdict.STORED]
    assert found(document_store, q="again") == ["a"]


def test_writing_nothing(document_store: Store) -> None:
    """An empty write has no outcomes."""
    assert list(document_store.write([])) == []


def test_many_documents_in_one_write(document_store: Store) -> None:
    """Every document of a large write has its verdict and is found."""
    run = execution_id()

    outcomes = put(document_store, *[task_run(f"{n:04}", run) for n in range(700)])

    assert verdicts(outcomes) == [Verdict.STORED] * 700
    assert document_store.search(Query(TENANT), Page(size=1)).total == 700


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({"unheard": 1}, "unheard"),
        ({"state": {"current": "SUCCESS", "startDate": iso(START), "histories": [], "mood": "good"}}, "mood"),
    ],
    ids=["field", "field of an object"],
)
def test_field_that_the_mapping_lacks_is_refused(document_store: Store, fields: dict[str, Any], name: str) -> None:
    """An unknown field is told with its name, and the documents around it are stored."""
    run = execution_id()
    odd = Versioned(Kind.TASK_RUN, "b", 1, {**task_run("b", run).document, **fields}, run)  # type: ignore[dict-item]

    outcomes = put(document_store, task_run("a", run), odd, task_run("c", run))

    assert verdicts(outcomes) == [Verdict.STORED, Verdict.REFUSED, Verdict.STORED]
    assert name in outcomes[1].reason
    assert found(document_store) == ["a", "c"]


def test_one_malformed_document_does_not_refuse_the_others(document_store: Store) -> None:
    """A version below 0, which would make Elasticsearch refuse a whole bulk, is refused alone."""
    run = execution_id()
    documents = [task_run(f"r{n}", run) for n in range(5)]
    documents[3] = Versioned(Kind.TASK_RUN, "r3", -1, documents[3].document, run)

    outcomes = put(document_store, *documents)

    assert verdicts(outcomes) == [Verdict.STORED] * 3 + [Verdict.REFUSED] + [Verdict.STORED]
    assert "version" in outcomes[3].reason


def test_large_texts_and_odd_ids_are_stored(document_store: Store) -> None:
    """Long values, long words, line breaks and any characters in ids and labels never lose a document."""
    run = "an id/with spaces?and#marks"
    long = "x" * 100_000
    labels = {"system.correlationId": run, "key with * and .dots.": "é\n", "long": "y" * 40_000}
    document = task_run("a/b c", run, value=long, outputs=f'{{"a": "{long}"}}\n', error="line\nline", labels=labels)

    outcomes = put(document_store, document)

    assert verdicts(outcomes) == [Verdict.STORED]
    stored = document_store.get(Kind.TASK_RUN, "a/b c", run)
    assert stored is not None
    assert stored.document == document.document
    assert found(document_store, execution_ids=(run,), labels=(("key with * and .dots.", "é\n"),)) == ["a/b c"]
    assert found(document_store, q="error:line") == ["a/b c"]


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


# ------------------------------------------------------------------ sorting and paging


@pytest.mark.parametrize(
    ("sort", "expected"),
    [
        ((), ["a", "b", "c", "d"]),
        ((("id", False),), ["d", "c", "b", "a"]),
        ((("state.startDate", True),), ["a", "d", "b", "c"]),
        ((("state.startDate", False),), ["c", "b", "a", "d"]),
        ((("state.duration", True),), ["b", "a", "d", "c"]),
        ((("state.duration", False),), ["a", "d", "b", "c"]),
        ((("state.endDate", True),), ["a", "d", "b", "c"]),
        ((("taskId", True), ("state.startDate", False)), ["c", "a", "d", "b"]),
        ((("namespace", False),), ["b", "a", "c", "d"]),
        ((("value", True),), ["b", "a", "c", "d"]),
        ((("value", False),), ["b", "a", "c", "d"]),
        ((("attemptsCount", False), ("id", False)), ["b", "d", "c", "a"]),
    ],
)
def test_sorting(document_store: Store, sort: Any, expected: list[str]) -> None:
    """By any field but text; missing values come last in both directions, ids break ties; by id without a sort."""
    four_runs(document_store)

    assert ids(document_store.search(Query(TENANT), Page(size=10, sort=sort)).documents) == expected


@pytest.mark.parametrize(
    "sort",
    [
        (),
        (("id", False),),
        (("state.startDate", True),),
        (("state.startDate", False),),
        (("state.duration", True),),
        (("state.duration", False),),
        (("value", True),),
        (("value", False), ("taskId", False), ("state.endDate", True)),
    ],
)
def test_cursors_lead_through_everything_once(document_store: Store, sort: Any) -> None:
    """Pages by cursor are the pages of the whole order, also across missing values and ties."""
    four_runs(document_store)
    whole = ids(document_store.search(Query(TENANT), Page(size=10, sort=sort)).documents)
    pages = []
    cursor = None

    while True:
        page = document_store.search(Query(TENANT), Page(size=1, sort=sort, cursor=cursor))
        pages += ids(page.documents)
        assert page.total == 4
        cursor = page.cursor
        if cursor is None:
            break

    assert pages == whole


def four_runs(store: DocumentStore) -> None:
    run = execution_id()
    put(
        store,
        task_run("a", run, seconds=2.0),
        task_run("b", run, at=START + DAY, seconds=1.0, namespace="other", taskId="z", value="v", attemptsCount=2),
        task_run("c", run, at=START + 2 * DAY, seconds=None),
        task_run("d", run, seconds=2.0),
    )


def test_documents_that_come_meanwhile_disturb_no_cursor(document_store: Store) -> None:
    """A page after a cursor shows neither a document twice nor leaves out one that was there."""
    run = execution_id()
    put(document_store, *[task_run(str(n), run, at=START + n) for n in range(2, 6)])
    sort = (("state.startDate", False),)
    first = document_store.search(Query(TENANT), Page(size=2, sort=sort))

    put(document_store, task_run("9", run, at=START + 9), task_run("1", run, at=START + 1))
    second = document_store.search(Query(TENANT), Page(size=2, sort=sort, cursor=first.cursor))

    assert (ids(first.documents), ids(second.documents)) == (["5", "4"], ["3", "2"])


def test_pages_by_number(document_store: Store) -> None:
    """Pages follow each other; the one after the last is empty; the last has no cursor; all know the total."""
    run = execution_id()
    put(document_store, *[task_run(str(n), run) for n in range(5)])

    pages = [document_store.search(Query(TENANT), Page(number, 2)) for number in (1, 2, 3, 4)]

    assert [ids(page.documents) for page in pages] == [["0", "1"], ["2", "3"], ["4"], []]
    assert [page.total for page in pages] == [5] * 4
    assert [page.cursor is not None for page in pages] == [True, True, False, False]


def test_page_by_number_and_then_by_cursor(document_store: Store) -> None:
    """The cursor of any page leads to what follows it."""
    run = execution_id()
    put(document_store, *[task_run(str(n), run) for n in range(5)])

    second = document_store.search(Query(TENANT), Page(2, 2))
    third = document_store.search(Query(TENANT), Page(size=2, cursor=second.cursor))

    assert (ids(third.documents), third.cursor) == (["4"], None)


def test_pages_far_away(document_store: Store) -> None:
    """Beyond 10,000 documents an order by date is answered, any other is refused and names the cursor."""
    put(document_store, task_run("a", execution_id()))

    for number in (101, 10**30):
        by_date = document_store.search(Query(TENANT), Page(number, 100, (("state.startDate", False),)))

        assert (by_date.documents, by_date.total) == ((), 1)
    with pytest.raises(QueryError, match="cursor"):
        document_store.search(Query(TENANT), Page(101, 100, (("taskId", True),)))


@pytest.mark.parametrize("field", ["error", "labels", "nothing", "state"])
def test_sort_that_is_refused(document_store: Store, field: str) -> None:
    """Texts, labels and unknown names can't be sorted by; the message names what can."""
    with pytest.raises(QueryError, match=rf"{field}.*state\.startDate"):
        document_store.search(Query(TENANT), Page(sort=((field, True),)))


@pytest.mark.parametrize("cursor", ["", "rubbish", "bnVsbA", "e30", "WyJhIiwgWzFdXQ"])
def test_cursor_that_is_none(document_store: Store, cursor: str) -> None:
    """A text that no page gave is refused."""
    with pytest.raises(QueryError, match="cursor"):
        document_store.search(Query(TENANT), Page(cursor=cursor))


def test_cursor_of_another_order(document_store: Store) -> None:
    """A cursor is good for its own order only."""
    four_runs(document_store)
    page = document_store.search(Query(TENANT), Page(size=1, sort=(("taskId", True),)))

    with pytest.raises(QueryError, match="another order"):
        document_store.search(Query(TENANT), Page(size=1, sort=(("taskId", False),), cursor=page.cursor))


# ------------------------------------------------------------------ histogram, scan, deletion


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


def test_scan_gives_every_document_with_its_version(document_store: Store) -> None:
    """All tenants, superseded ones too; deleted ones not; other kinds not."""
    run = execution_id()
    kept = [
        task_run("a", run, version=3),
        task_run("b", run, tenant="other"),
        task_run("c", run, superseded=True),
    ]
    put(document_store, *kept, task_run("d", run), execution(run))
    put(document_store, Versioned(Kind.TASK_RUN, "d", 2, None, run))

    scanned = sorted(document_store.scan(Kind.TASK_RUN), key=lambda v: v.id)

    assert scanned == kept


def test_deletion_of_an_executions_lines_and_metrics(document_store: Store) -> None:
    """Its log lines and metrics go, of its tenant only, and nothing else."""
    first, second = execution_id(0), execution_id(1)
    put(
        document_store,
        log_line("l1", first, message="unmistakable"),
        log_line("l2", first),
        metric("m", first),
        log_line("l3", second),
        task_run("a", first),
    )

    foreign = document_store.delete_by_executions("other", [first])
    own = document_store.delete_by_executions(TENANT, [first])

    assert (foreign, own) == (0, 3)
    assert found(document_store, Kind.LOG) == ["l3"]
    assert found(document_store, Kind.LOG, q="unmistakable") == []
    assert found(document_store, Kind.METRIC) == []
    assert found(document_store) == ["a"]


def test_lines_of_many_executions_go_at_once(document_store: Store) -> None:
    """More than an address has room for; those of others stay."""
    ids = [execution_id(number) for number in range(120)]
    put(document_store, *(log_line(f"l{number}", each) for number, each in enumerate(ids)))

    gone = document_store.delete_by_executions(TENANT, ids[1:])

    assert gone == 119
    assert found(document_store, Kind.LOG) == ["l0"]
    assert document_store.delete_by_executions(TENANT, []) == 0


def test_what_has_ended_by_a_moment(document_store: Store) -> None:
    """The end is what counts, the bound included; what runs has none."""
    runs = [execution_id(number) for number in range(4)]
    put(
        document_store,
        execution(runs[0], at=START, duration=10),
        execution(runs[1], at=START, duration=20),
        execution(runs[2], at=START, duration=21),
        execution(runs[3], at=START, state="RUNNING"),
    )

    assert found(document_store, Kind.EXECUTION, ended_to=START + 20) == sorted(runs[:2])


def test_namespaces_with_a_retention_of_their_own_are_left_out(document_store: Store) -> None:
    """The query of a rule leaves the namespaces of nearer rules out, with those below them and no others."""
    names = ["company", "company.team-a", "company.team-a.x", "company.team-ab", "company.b"]
    runs = [execution_id(number) for number in range(len(names))]
    for run, namespace in zip(runs, names, strict=True):
        put(document_store, execution(run, at=START, duration=1, namespace=namespace))
    rule = Rule("company", 1_000, ("company.b", "company.team-a"))

    query = rule.query(TENANT, START + 2_000)

    documents = document_store.search(query, Page(1, 10)).documents
    assert sorted(str(document["namespace"]) for document in documents) == ["company", "company.team-ab"]


def test_ids_of_executions_made_elsewhere(document_store: Store) -> None:
    """An execution id that tells no time is stored and found as well."""
    put(document_store, task_run("a", "my-execution"), task_run("b", new_id(START)))

    stored = document_store.get(Kind.TASK_RUN, "a", "my-execution")

    assert stored is not None
    assert found(document_store, execution_ids=("my-execution",)) == ["a"]
