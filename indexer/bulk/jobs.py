"""Jobs: the bulk actions that the log knows, as of its end.

Every API process reads the topic and can tell of any job. Of an open job it keeps the pages, of an ended one only the
counts: its pages are read from the log when somebody asks for them.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from indexer.log_end import LogEnd
from shared.bulk_actions import (
    BulkActionAborted,
    BulkActionEnded,
    BulkActionListed,
    BulkActionRequested,
    BulkItemsListed,
    BulkRecord,
    Item,
    JobState,
    Result,
)
from shared.messages import UnknownMessage, decode
from shared.model.document import Kind
from shared.model.moment import Millis, iso
from shared.ports import EventLog, Inbound, JournalError, Topic

KEPT: Final = 200
"""Ended jobs of a tenant that are remembered, each with all its items: some days of them, some megabytes of log."""

_BATCH: Final = 500

_ON: Final = {Kind.EXECUTION: "executions", Kind.TASK_RUN: "taskruns"}


@dataclass(frozen=True, slots=True)
class Counts:
    """Items by what became of them."""

    accepted: int = 0
    refused: int = 0
    unknown: int = 0

    @property
    def done(self) -> int:
        return self.accepted + self.refused + self.unknown

    def __add__(self, other: Counts) -> Counts:
        return Counts(self.accepted + other.accepted, self.refused + other.refused, self.unknown + other.unknown)


@dataclass(frozen=True, slots=True)
class Job:
    """A bulk action as it is now."""

    request: BulkActionRequested
    state: JobState
    total: int  #: items found so far; all of them once it is RUNNING
    counts: Counts
    aborting: bool  #: it was told to stop
    pages: int | None  #: how many; None while they are being listed
    done_pages: frozenset[int]
    ended_at: Millis | None = None
    reason: str | None = None

    @property
    def id(self) -> str:
        return self.request.id

    @property
    def next_page(self) -> int | None:
        """The first page that has not been carried out; None when there is none, or not all are listed."""
        return next((n for n in range(self.pages or 0) if n not in self.done_pages), None)

    def json(self) -> dict[str, Any]:
        """As the API shows it."""
        request, counts = self.request, self.counts
        answer: dict[str, Any] = {
            "id": request.id,
            "tenantId": request.tenant,
            "action": request.action,
            "on": _ON[request.on],
            "filters": request.filters,
            "options": request.options,
            "origin": request.origin,
            "state": self.state.value,
            "requestedAt": iso(request.at),
            "total": self.total,
            "done": counts.done,
            "accepted": counts.accepted,
            "refused": counts.refused,
            "unknown": counts.unknown,
        }
        if self.aborting and not self.state.ended:
            answer["aborting"] = True
        if self.ended_at is not None:
            answer["endedAt"] = iso(self.ended_at)
        if self.reason:
            answer["reason"] = self.reason
        return answer


@dataclass(slots=True)
class _Entry:
    """What the records of a job add up to.

    Compaction keeps the last record of a key: where a job was asked for twice, its pages may come before its request.
    """

    request: BulkActionRequested | None = None
    listed: BulkActionListed | None = None
    aborted: bool = False
    ended: BulkActionEnded | None = None
    sizes: dict[int, int] = field(default_factory=dict)
    counts: dict[int, Counts] = field(default_factory=dict)  #: of the pages that have been carried out
    pages: dict[int, list[list[Any]]] = field(default_factory=dict)  #: of an open job

    def take(self, record: BulkRecord) -> None:
        if isinstance(record, BulkActionRequested):
            self.request = self.request or record  # asked for twice, it is one job
        elif isinstance(record, BulkItemsListed):
            self._page(record)
        elif isinstance(record, BulkActionListed):
            self.listed = record
            # An earlier listing, which was interrupted, may have written more.
            for number in [number for number in self.sizes if number >= record.pages]:
                del self.sizes[number]
                self.pages.pop(number, None)
        elif isinstance(record, BulkActionAborted):
            self.aborted = True
        elif isinstance(record, BulkActionEnded):
            self.ended = record
            self.pages.clear()

    def _page(self, page: BulkItemsListed) -> None:
        if page.number in self.counts and not page.done:
            return  # the page of a runner that did not know yet: what was done stays done
        self.sizes[page.number] = len(page.items)
        if self.ended is None:
            self.pages[page.number] = page.items
        if page.done:
            results = [Item.from_list(values).result for values in page.items]
            self.counts[page.number] = Counts(
                *(results.count(result) for result in (Result.ACCEPTED, Result.REFUSED, Result.UNKNOWN))
            )

    def job(self) -> Job | None:
        if self.request is None:
            return None
        state = JobState.LISTING if self.listed is None else JobState.RUNNING
        return Job(
            self.request,
            state if self.ended is None else JobState(self.ended.state),
            sum(self.sizes.values()) if self.listed is None else self.listed.total,
            sum(self.counts.values(), Counts()),
            self.aborted,
            None if self.listed is None else self.listed.pages,
            frozenset(self.counts),
            None if self.ended is None else self.ended.at,
            None if self.ended is None else self.ended.reason,
        )


class Jobs:
    """The jobs of all tenants. Thread-safe; whoever asks has it read to the log's end first (`catch_up`)."""

    def __init__(self, log: EventLog) -> None:
        """Raises JournalError when the log can't be read."""
        self._log = log
        self._tail = log.tail([Topic.BULK_ACTIONS])
        self._reading = threading.Lock()
        self._lock = threading.Lock()  #: over the entries
        self._entries: dict[str, _Entry] = {}

    def publish(self, record: BulkRecord) -> None:
        """Write a record. Durable on return. Raises JournalError or RecordTooLarge."""
        self._log.publish([record.outbound()])

    def catch_up(self, timeout: float = 10.0) -> None:
        """Take in everything that was written before this call. Raises JournalError, also when it takes too long."""
        deadline = time.monotonic() + timeout
        with self._reading:
            while not self._tail.caught_up():
                self.take(self._tail.poll(_BATCH, 0.02))
                if time.monotonic() > deadline:
                    raise JournalError(f"the bulk actions were not read within {timeout:.0f} s")

    def take(self, records: Iterable[Inbound]) -> None:
        """Take in records of the topic, in their order."""
        with self._lock:
            for record in records:
                if record.value is None:
                    self._entries.pop(record.key, None)
                    continue
                try:
                    message = decode(record.value)
                except UnknownMessage:
                    continue  # a newer version's record
                if isinstance(message, BulkRecord):
                    self._entries.setdefault(message.id, _Entry()).take(message)

    # ------------------------------------------------------------------ asking

    def get(self, job_id: str) -> Job | None:
        """A job as of what has been read."""
        with self._lock:
            entry = self._entries.get(job_id)
            return None if entry is None else entry.job()

    def of_tenant(self, tenant: str) -> list[Job]:
        """A tenant's jobs, the latest first."""
        with self._lock:
            jobs = [entry.job() for entry in self._entries.values()]
        found = [job for job in jobs if job is not None and job.request.tenant == tenant]
        return sorted(found, key=lambda job: (job.request.at, job.id), reverse=True)

    def surplus(self, tenant: str) -> list[Job]:
        """Ended jobs beyond those that are remembered."""
        return [job for job in self.of_tenant(tenant) if job.state.ended][KEPT:]

    def listed_pages(self, job_id: str) -> int:
        """How many pages have been written so far."""
        with self._lock:
            entry = self._entries.get(job_id)
            return 0 if entry is None else max(entry.sizes, default=-1) + 1

    def page(self, job_id: str, number: int) -> list[Item]:
        """The items of a page of an open job."""
        with self._lock:
            return [Item.from_list(values) for values in self._entries[job_id].pages[number]]

    def items(self, job: Job) -> list[Item]:
        """All items of a job; of an ended one they are read from the log. Blocks. Raises JournalError."""
        with self._lock:
            entry = self._entries.get(job.id)
            pages = {} if entry is None else dict(entry.pages)
            ended = entry is None or entry.ended is not None
        if ended:
            pages = self._read_pages(job)
        return [Item.from_list(values) for number in sorted(pages) for values in pages[number]]

    def _read_pages(self, job: Job) -> dict[int, list[list[Any]]]:
        tail = self._log.tail([Topic.BULK_ACTIONS], since=job.request.at)
        entry = _Entry(job.request)
        try:
            end = LogEnd(tail)
            ended = False
            while not ended:
                records: Sequence[Inbound] = tail.poll(_BATCH, 0.1)
                ended = end.reached(records)
                for record in records:
                    if record.value is None or record.key.partition("/")[0] != job.id:
                        continue
                    message = decode(record.value)
                    if isinstance(message, BulkActionEnded):
                        return entry.pages
                    if isinstance(message, BulkRecord):
                        entry.take(message)
        finally:
            tail.close()
        return entry.pages

    def close(self) -> None:
        """Stop reading."""
        with self._reading:
            self._tail.close()
