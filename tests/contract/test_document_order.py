"""The contract of `DocumentStore`: in which order and in which pages a search is answered."""

from typing import Any

import pytest

from shared.model.query import Page, Query, QueryError
from shared.ports import DocumentStore
from tests.contract.documents import (
    DAY,
    START,
    TENANT,
    execution_id,
    ids,
    put,
    task_run,
)

Store = DocumentStore


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
