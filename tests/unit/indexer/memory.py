"""A document store in memory, whose writes can be made to fail as a search store's do, and documents for tests."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pytest

from indexer.projector import Projector
from shared.messages import EventRecord, LogLine
from shared.model.document import Kind
from shared.model.identifier import new_id
from shared.model.query import Bucket, Found, Page, Query
from shared.ports import DocumentStore, EventLog, Outbound, Outcome, Topic, Verdict, Versioned
from shared.settings import IndexerSettings, Settings

STORED, STALE, RETRY = Outcome(Verdict.STORED), Outcome(Verdict.STALE), Outcome(Verdict.RETRY, "busy")


class MemoryStore:
    """A DocumentStore with versions. Searching knows tenant and executions only."""

    def __init__(self) -> None:
        self.documents: dict[tuple[Kind, str], Versioned] = {}
        self.bulks: list[list[Versioned]] = []  #: as they were written
        self.busy = 0  #: how many bulks are turned away from now on
        self.busy_with: dict[str, int] = {}  #: how many times each of these ids is turned away
        self.broken: set[str] = set()  #: ids that are refused
        self.room: int | None = None  #: documents that fit into a bulk
        self.unreachable = False  #: reading raises

    def prepare(self) -> None: ...
    def ready(self) -> str | None:
        return None

    def write(self, documents: Sequence[Versioned]) -> Sequence[Outcome]:
        self.bulks.append(list(documents))
        if self.busy:
            self.busy -= 1
            return [RETRY] * len(documents)
        if self.room is not None and len(documents) > self.room:
            return [Outcome(Verdict.TOO_LARGE, "too large")] * len(documents)
        return [self._put(document) for document in documents]

    def _put(self, document: Versioned) -> Outcome:
        if self.busy_with.get(document.id):
            self.busy_with[document.id] -= 1
            return RETRY
        if document.id in self.broken:
            return Outcome(Verdict.REFUSED, "400 mapper_parsing_exception: no")
        key = document.kind, document.id
        if key in self.documents and self.documents[key].version >= document.version:
            return STALE
        self.documents[key] = document
        return STORED

    def get(self, kind: Kind, id: str, routing: str) -> Versioned | None:  # noqa: A002
        if self.unreachable:
            raise ConnectionError("unreachable")
        found = self.documents.get((kind, id))
        return found if found is not None and found.document is not None and found.routing == routing else None

    def search(self, query: Query, page: Page) -> Found:
        found = [
            stored.document
            for stored in self.scan(query.kind)
            if stored.document is not None
            and stored.document["tenantId"] == query.tenant
            and (not query.execution_ids or stored.routing in query.execution_ids)
        ]
        return Found(tuple(found), len(found))

    def histogram(self, query: Query, buckets: int) -> Sequence[Bucket]:
        raise NotImplementedError

    def refresh(self, kind: Kind, execution_id: str) -> None:
        if self.unreachable:
            raise ConnectionError("unreachable")

    def scan(self, kind: Kind) -> Iterator[Versioned]:
        for (of, _), stored in list(self.documents.items()):
            if of is kind and stored.document is not None:
                yield stored

    def delete_by_executions(self, tenant: str, execution_ids: Sequence[str]) -> int:
        gone = [
            key
            for key, stored in self.documents.items()
            if key[0] in (Kind.LOG, Kind.METRIC) and stored.routing in execution_ids
        ]
        for key in gone:
            del self.documents[key]
        return len(gone)

    def close(self) -> None: ...

    def contents(self, kind: Kind = Kind.TASK_RUN) -> dict[str, tuple[int, Mapping[str, Any]]]:
        """Version and content of what a kind holds, by id."""
        return {stored.id: (stored.version, dict(stored.document or {})) for stored in self.scan(kind)}


def task_run(execution_id: str, task_run_id: str, seq: int, **more: Any) -> dict[str, Any]:
    """A task run's document, as small as it can be."""
    moment = "2026-11-23T12:00:00.000Z"
    return {
        "tenantId": "main",
        "namespace": "company.team",
        "flowId": "flow",
        "flowRevision": 1,
        "executionId": execution_id,
        "id": task_run_id,
        "taskId": "task",
        "taskType": "io.kestra.plugin.core.log.Log",
        "state": {"current": "RUNNING", "startDate": moment, "histories": [{"state": "CREATED", "date": moment}]},
        "attemptsCount": 0,
        "labels": {},
        "seq": seq,
        **more,
    }


def execution(execution_id: str, seq: int, **more: Any) -> dict[str, Any]:
    """An execution's document, as small as it can be."""
    moment = "2026-11-23T12:00:00.000Z"
    return {
        "tenantId": "main",
        "namespace": "company.team",
        "flowId": "flow",
        "flowRevision": 1,
        "id": execution_id,
        "state": {"current": "RUNNING", "startDate": moment, "histories": [{"state": "CREATED", "date": moment}]},
        "labels": {},
        "originalId": execution_id,
        "attemptNumber": 1,
        "originalCreatedDate": moment,
        "taskRunCount": 1,
        "deleted": False,
        "seq": seq,
        **more,
    }


def event(
    document: dict[str, Any] | None,
    *,
    execution_id: str,
    seq: int,
    kind: Kind | None = Kind.TASK_RUN,
    name: str = "TaskRunStarted",
) -> Outbound:
    """A record of execution-events."""
    key = str(document["id"]) if document is not None else f"rejected/{execution_id}"
    record = EventRecord(
        event=name,
        execution_id=execution_id,
        seq=seq,
        at=1_795_000_000_000,
        kind=kind if document is not None else None,
        id=key if document is not None else None,
        document=document,
    )
    return Outbound(Topic.EXECUTION_EVENTS, key, record.to_bytes(), partition=0)


def run_event(execution_id: str, task_run_id: str, seq: int, **more: Any) -> Outbound:
    """A record that puts a task run."""
    return event(task_run(execution_id, task_run_id, seq, **more), execution_id=execution_id, seq=seq)


def log_line(execution_id: str, text: str, **more: Any) -> Outbound:
    """A record of logs."""
    line = LogLine(
        id=new_id(),
        tenant="main",
        namespace="company.team",
        flow_id="flow",
        execution_id=execution_id,
        level="INFO",
        text=text,
        at=1_795_000_000_123,
        **more,
    )
    return Outbound(Topic.LOGS, execution_id, line.to_bytes())


PATIENCE = 90.0
"""Seconds for a group to begin on topics that were made a moment ago: librdkafka may look for them again after 30."""


def projector_of(log: EventLog, store: DocumentStore, **settings: object) -> Projector:
    """A projector that does not wait for company."""
    return Projector(log, store, Settings(indexer=IndexerSettings(**{"bulk_delay": 0.0, **settings})))


def project(projector: Projector, records: int) -> None:
    """Step until so many records are done with."""
    done = 0
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        done += projector.step(0.05)
        if done >= records:
            return
    pytest.fail(f"{done} of {records} records")
