"""Listing: the executions that a job is about, found once and written down before anything is done to them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Final

from indexer.api.tenancy import Tenant
from shared.bulk_actions import Item
from shared.model.document import Kind
from shared.model.query import Page, Query

PAGE: Final = 200
"""Items of a page: commands that are sent and awaited together, which an executor answers well within one wait."""

PAGE_TASK_RUNS: Final = 2_000
"""Task runs named by a page: it stays a record of some ten kilobytes, and its commands stay few."""

MOST: Final = 1_000_000
"""Documents that a job may find: its pages are kept in memory until it has ended, some hundred bytes for each."""

_READ: Final = 1_000
"""Documents of one search."""

Document = Mapping[str, Any]


def found(tenant: Tenant, query: Query) -> Iterator[Document]:
    """Every document that a query finds, those of an execution together. Blocks. Raises QueryError."""
    by = "id" if query.kind is Kind.EXECUTION else "executionId"
    cursor = None
    while True:
        page = tenant.search(query, Page(1, _READ, ((by, True),), cursor))
        yield from page.documents
        cursor = page.cursor
        if cursor is None or not page.documents:
            return


def items(tenant: Tenant, query: Query, *, task_runs: bool = False) -> Iterator[Item]:
    """The executions; with `task_runs` all that were found of each are named, else only the first one.

    One with very many found task runs is several items in a row.
    """
    current: Item | None = None
    for document in found(tenant, query):
        if query.kind is Kind.EXECUTION:
            yield Item(document["id"], document["namespace"], document["flowId"])
            continue
        execution_id = document["executionId"]
        if current is not None and current.execution_id == execution_id:
            if not task_runs:
                continue
            if len(current.task_runs) < PAGE_TASK_RUNS:
                current = replace(current, task_runs=(*current.task_runs, document["id"]))
                continue
        if current is not None:
            yield current
        current = Item(execution_id, document["namespace"], document["flowId"], (document["id"],))
    if current is not None:
        yield current


def pages(listed: Iterator[Item]) -> Iterator[list[Item]]:
    """Items in pages."""
    page: list[Item] = []
    named = 0
    for item in listed:
        if page and (len(page) >= PAGE or named + len(item.task_runs) > PAGE_TASK_RUNS):
            yield page
            page, named = [], 0
        page.append(item)
        named += len(item.task_runs)
    if page:
        yield page
