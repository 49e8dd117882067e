"""Query: what is searched for among documents of one kind. It cannot be built without a tenant."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from shared.model.document import Kind
from shared.model.moment import Millis


@dataclass(frozen=True, slots=True)
class Query:
    """Filters that all must hold; None and empty mean "any". Times are epoch milliseconds, bounds inclusive."""

    tenant: str
    kind: Kind = Kind.TASK_RUN
    q: str | None = None  #: Lucene syntax over the fields of the kind
    namespace: str | None = None  #: this namespace and those below it
    flow_id: str | None = None
    execution_ids: tuple[str, ...] = ()
    task_id: str | None = None
    task_run_id: str | None = None
    states: tuple[str, ...] = ()
    labels: tuple[tuple[str, str], ...] = ()  #: each must be there
    started_from: Millis | None = None  #: of state.startDate (logs: timestamp)
    started_to: Millis | None = None
    ended_to: Millis | None = None  #: of state.endDate, which only what has ended has; executions and task runs only
    trigger_execution_id: str | None = None
    child_filter: str | None = None  #: CHILD: started by another execution; MAIN: not
    min_level: str | None = None  #: logs only
    attempt: int | None = None  #: logs only
    include_superseded: bool = False

    def __post_init__(self) -> None:
        if not self.tenant:
            msg = "a query needs a tenant"
            raise ValueError(msg)


@dataclass(frozen=True, slots=True)
class Page:
    """Which of the found documents: by number (from 1) and size, or those after a cursor of the previous page."""

    number: int = 1
    size: int = 10
    sort: tuple[tuple[str, bool], ...] = ()  #: (field, ascending); ties are broken by id
    cursor: str | None = None


@dataclass(frozen=True, slots=True)
class Found:
    """One page of documents, how many there are in all, and the cursor of the next page."""

    documents: tuple[Mapping[str, Any], ...]
    total: int
    cursor: str | None = None


class QueryError(ValueError):
    """A query that can't be answered, with what is wrong and where; an API answers 422."""


@dataclass(frozen=True, slots=True)
class Bucket:
    """One bar of a state histogram."""

    start: Millis
    counts: Mapping[str, int]
