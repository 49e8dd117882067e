"""Bulk actions: an action on many executions as a tracked job, as its records on the log say it.

A job is what its records add up to (`indexer/bulk/jobs.py`). Each has a key of its own, so that compaction keeps the
last one of each: what was asked, the pages of executions found, that the list is complete, that it shall stop, how it
ended. Only one process writes each key, but for `abort`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any, Final

from shared.messages import Message, message
from shared.model.document import Kind
from shared.model.moment import Millis
from shared.model.query import Query
from shared.ports import Outbound, Topic

PARTITION: Final = 0
"""All records of all jobs lie in one partition, in the order in which they were written."""


RETENTION: Final = "retention"
"""Origin of the jobs that the retention setting makes."""


class JobState(StrEnum):
    """How far a job is."""

    LISTING = "LISTING"  #: its executions are being listed; nothing is done to them yet
    RUNNING = "RUNNING"
    SUCCESS = "SUCCESS"
    WARNING = "WARNING"  #: it went through, and some executions refused
    ABORTED = "ABORTED"  #: stopped on request: what was done stays done
    FAILED = "FAILED"  #: it could not go on; the reason says why

    @property
    def ended(self) -> bool:
        return self not in (JobState.LISTING, JobState.RUNNING)


class Result(StrEnum):
    """What became of one execution of a job."""

    PENDING = "pending"
    ACCEPTED = "accepted"
    REFUSED = "refused"
    UNKNOWN = "unknown"  #: the command is durable, but no executor has answered


@dataclass(frozen=True, slots=True)
class Item:
    """An execution of a job, the task runs that were found in it, and what became of the command."""

    execution_id: str
    namespace: str
    flow_id: str
    task_runs: tuple[str, ...] = ()
    result: Result = Result.PENDING
    reason: str = ""

    def to_list(self) -> list[Any]:
        """As a page holds it: names would be most of it."""
        return [self.execution_id, self.namespace, self.flow_id, list(self.task_runs), self.result.value, self.reason]

    @classmethod
    def from_list(cls, values: list[Any]) -> Item:
        execution_id, namespace, flow_id, task_runs, result, reason = values[:6]
        return cls(execution_id, namespace, flow_id, tuple(task_runs), Result(result), reason)


@dataclass(frozen=True, slots=True)
class BulkRecord(Message):
    """A record of the job `id`."""

    id: str

    @property
    def key(self) -> str:
        """The record's key on the log."""
        return self.id

    def outbound(self) -> Outbound:
        """As it is published."""
        return Outbound(Topic.BULK_ACTIONS, self.key, self.to_bytes(), PARTITION)


@message
@dataclass(frozen=True, slots=True)
class BulkActionRequested(BulkRecord):
    """Do `action` to every execution that `query` finds, or in which it finds a task run.

    The query's times are fixed when it is asked, so that what starts later is not in it. `filters` is as it was asked.
    """

    tenant: str
    action: str
    at: Millis
    query: dict[str, Any]
    filters: dict[str, Any] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)
    origin: str = "api"  #: or RETENTION

    @property
    def on(self) -> Kind:
        """What is searched."""
        return Kind(self.query["kind"])


@message
@dataclass(frozen=True, slots=True)
class BulkItemsListed(BulkRecord):
    """A page of the job's executions; written again with the results when it has been carried out."""

    number: int
    items: list[list[Any]]
    done: bool = False

    @property
    def key(self) -> str:
        return page_key(self.id, self.number)


@message
@dataclass(frozen=True, slots=True)
class BulkActionListed(BulkRecord):
    """The list is complete: so many pages, so many items."""

    pages: int
    total: int

    @property
    def key(self) -> str:
        return f"{self.id}/listed"


@message
@dataclass(frozen=True, slots=True)
class BulkActionAborted(BulkRecord):
    """The job shall stop before its next page."""

    at: Millis

    @property
    def key(self) -> str:
        return f"{self.id}/abort"


@message
@dataclass(frozen=True, slots=True)
class BulkActionEnded(BulkRecord):
    """Nothing more happens."""

    state: str
    at: Millis
    reason: str | None = None

    @property
    def key(self) -> str:
        return f"{self.id}/ended"


def page_key(job_id: str, number: int) -> str:
    """The key of a page."""
    return f"{job_id}/{number}"


def tombstones(job_id: str, pages: int) -> list[Outbound]:
    """What takes a job's records away; its own key comes last, for it is what makes the job."""
    keys = [page_key(job_id, number) for number in range(pages)]
    keys += [f"{job_id}/{name}" for name in ("listed", "abort", "ended")]
    return [Outbound(Topic.BULK_ACTIONS, key, None, PARTITION) for key in (*keys, job_id)]


def query_data(query: Query) -> dict[str, Any]:
    """A query as JSON, without what it does not ask for."""
    return {name: value for name, value in asdict(query).items() if value not in (None, (), False)}


def query_of(data: Mapping[str, Any]) -> Query:
    """The inverse of `query_data`. Raises TypeError for a field that this version does not know."""
    known: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in data.items()}
    if "labels" in known:
        known["labels"] = tuple((key, value) for key, value in known["labels"])
    known["kind"] = Kind(data["kind"])
    return Query(**known)
