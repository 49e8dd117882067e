"""Filters: the query parameters of searches as a `Query`, and of paging as a `Page`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Final

from fastapi import Depends
from fastapi import Query as Parameter

from indexer.api.errors import refused
from indexer.api.reading import now
from indexer.api.tenancy import Tenant
from shared.model.document import Kind
from shared.model.moment import Millis, from_iso, parse_duration
from shared.model.query import Page, Query
from shared.model.state import StateType

LEVELS: Final = ("TRACE", "DEBUG", "INFO", "WARN", "ERROR")
"""Log levels, lowest first."""

_SORT_DIRECTIONS: Final = {"asc": True, "desc": False}


class Filters:
    """What executions and task runs are searched by: the same parameters everywhere."""

    def __init__(
        self,
        q: Annotated[str | None, Parameter(description="Lucene syntax over the fields")] = None,
        namespace: Annotated[str | None, Parameter(description="this namespace and those below it")] = None,
        flow_id: Annotated[str | None, Parameter(alias="flowId")] = None,
        start_date: Annotated[str | None, Parameter(alias="startDate", description="ISO 8601, of the start")] = None,
        end_date: Annotated[str | None, Parameter(alias="endDate", description="ISO 8601, of the start")] = None,
        ended_before: Annotated[
            str | None, Parameter(alias="endedBefore", description="ISO 8601: ended then or earlier")
        ] = None,
        time_range: Annotated[
            str | None, Parameter(alias="timeRange", description="ISO 8601 duration before now")
        ] = None,
        state: Annotated[list[str] | None, Parameter(description="repeated: any of them")] = None,
        labels: Annotated[list[str] | None, Parameter(description="key:value, repeated: all of them")] = None,
        trigger_execution_id: Annotated[str | None, Parameter(alias="triggerExecutionId")] = None,
        child_filter: Annotated[str | None, Parameter(alias="childFilter", description="CHILD or MAIN")] = None,
    ) -> None:
        """Raises ApiError for what can't be understood."""
        if time_range and start_date:
            raise refused("timeRange and startDate exclude each other")
        if child_filter not in (None, "", "CHILD", "MAIN"):
            raise refused(f"childFilter must be CHILD or MAIN, not {child_filter}")
        started_from = parse_moment("startDate", start_date)
        if time_range:
            started_from = now() - _duration("timeRange", time_range)
        self.fields: dict[str, Any] = {
            "q": q or None,
            "namespace": namespace or None,
            "flow_id": flow_id or None,
            "started_from": started_from,
            "started_to": parse_moment("endDate", end_date),
            "ended_to": parse_moment("endedBefore", ended_before),
            "states": _states(state or ()),
            "labels": parse_labels(labels or ()),
            "trigger_execution_id": trigger_execution_id or None,
            "child_filter": child_filter or None,
        }

    def query(self, tenant: Tenant, kind: Kind, **more: Any) -> Query:
        """The query among the tenant's documents."""
        return tenant.query(kind, **{**self.fields, **more})

    @property
    def given(self) -> bool:
        """Whether anything is asked for at all."""
        return any(value not in (None, ()) for value in self.fields.values())


async def paging(
    page: Annotated[int, Parameter(ge=1)] = 1,
    size: Annotated[int, Parameter(ge=1, le=10_000)] = 10,
    sort: Annotated[list[str] | None, Parameter(description="field:asc or field:desc, repeated")] = None,
    cursor: Annotated[str | None, Parameter(description="of the previous page's answer; instead of `page`")] = None,
) -> Page:
    """Which page, in which order."""
    return Page(page, size, parse_sort(sort or ()), cursor or None)


def parse_sort(texts: Sequence[str]) -> tuple[tuple[str, bool], ...]:
    """`state.startDate:desc` as (field, ascending); the direction defaults to ascending."""
    sort = []
    for text in texts:
        for part in filter(None, text.split(",")):
            field, _, direction = part.partition(":")
            if direction.lower() not in ("", *_SORT_DIRECTIONS):
                raise refused(f"Invalid sort: {part}; expected a field and asc or desc, such as state.startDate:desc")
            sort.append((field.strip(), _SORT_DIRECTIONS.get(direction.lower(), True)))
    return tuple(sort)


def parse_labels(texts: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """`key:value` texts; a value may hold colons. Raises ApiError."""
    labels = []
    for text in texts:
        key, colon, value = text.partition(":")
        if not colon or not key or not value:
            raise refused(f"Invalid label: {text}; expected key:value")
        labels.append((key, value))
    return tuple(labels)


def parse_moment(name: str, text: str | None) -> Millis | None:
    """A date-time parameter as epoch milliseconds. Raises ApiError."""
    if not text:
        return None
    try:
        return from_iso(text.replace(" ", "+") if "T" in text else text)  # a `+` that was not encoded
    except ValueError as error:
        raise refused(f"Invalid {name}: {text}; expected an ISO 8601 date and time") from error


def _duration(name: str, text: str) -> Millis:
    try:
        return parse_duration(text)
    except ValueError as error:
        raise refused(f"Invalid {name}: {error}") from error


def _states(names: Sequence[str]) -> tuple[str, ...]:
    states = tuple(part for name in names for part in name.split(",") if part)
    for name in states:
        if name not in StateType.__members__:
            raise refused(f"Invalid state: {name}; expected one of {', '.join(StateType.__members__)}")
    return states


def parse_level(text: str | None) -> str | None:
    """A log level. Raises ApiError."""
    if text and text not in LEVELS:
        raise refused(f"Invalid minLevel: {text}; expected one of {', '.join(LEVELS)}")
    return text or None


OfFilters = Annotated[Filters, Depends()]
OfPage = Annotated[Page, Depends(paging)]
