"""Documents for the contract tests of the document store, small but with every field that the tests search by."""

from collections.abc import Iterable
from typing import Any

from shared.model.document import Kind
from shared.model.identifier import new_id
from shared.model.moment import Millis, iso
from shared.model.query import Page, Query
from shared.ports import DocumentStore, Outcome, Versioned

START: Millis = 1_795_168_800_000
"""2026-11-20T10:00:00Z: when the documents' executions start."""

DAY: Millis = 86_400_000

TENANT = "main"


def execution_id(number: int = 0) -> str:
    """A fresh execution's id."""
    return new_id(START + number)


def task_run(
    identifier: str, execution: str, *, at: Millis = START, seconds: float | None = 1.0, **fields: Any
) -> Versioned:
    """A task run that began at `at`; it ended `seconds` later, or still runs (None). `fields` over the document's own.

    `version`, `state` (its name) and `tenant` are arguments as well.
    """
    version, state, tenant = fields.pop("version", 1), fields.pop("state", "SUCCESS"), fields.pop("tenant", TENANT)
    document = {
        "tenantId": tenant,
        "namespace": "company.team",
        "flowId": "etl",
        "flowRevision": 1,
        "executionId": execution,
        "id": identifier,
        "taskId": "load",
        "taskType": "io.kestra.plugin.core.log.Log",
        "state": {
            "current": state,
            "startDate": iso(at),
            "histories": [{"state": "CREATED", "date": iso(at)}],
            **({} if seconds is None else {"endDate": iso(at + round(seconds * 1000)), "duration": seconds}),
        },
        "attemptsCount": 1,
        "labels": {},
        "seq": version,
        **fields,
    }
    return Versioned(Kind.TASK_RUN, identifier, version, document, execution)


def execution(identifier: str, *, at: Millis = START, **fields: Any) -> Versioned:
    version, state = fields.pop("version", 1), fields.pop("state", "SUCCESS")
    duration = fields.pop("duration", None)
    end = {} if duration is None else {"endDate": iso(at + duration), "duration": duration / 1000}
    document = {
        "tenantId": TENANT,
        "namespace": "company.team",
        "flowId": "etl",
        "flowRevision": 1,
        "id": identifier,
        "state": {"current": state, "startDate": iso(at), **end, "histories": [{"state": "CREATED", "date": iso(at)}]},
        "labels": {},
        "originalId": identifier,
        "attemptNumber": 1,
        "originalCreatedDate": iso(at),
        "taskRunCount": 0,
        "deleted": False,
        "seq": version,
        **fields,
    }
    return Versioned(Kind.EXECUTION, identifier, version, document, identifier)


def log_line(identifier: str, execution: str, *, at: Millis = START, **fields: Any) -> Versioned:
    document = {
        "id": identifier,
        "tenantId": fields.pop("tenant", TENANT),
        "namespace": "company.team",
        "flowId": "etl",
        "executionId": execution,
        "taskId": "load",
        "taskRunId": "tr",
        "attemptNumber": 0,
        "level": "INFO",
        "message": "Loaded 3 rows",
        "timestamp": iso(at),
        "thread": "worker",
        "index": 0,
        **fields,
    }
    return Versioned(Kind.LOG, identifier, 1, document, execution)


def metric(identifier: str, execution: str, *, at: Millis = START) -> Versioned:
    document = {
        "id": identifier,
        "tenantId": TENANT,
        "namespace": "company.team",
        "flowId": "etl",
        "executionId": execution,
        "taskId": "load",
        "taskRunId": "tr",
        "name": "rows",
        "type": "counter",
        "value": 3.0,
        "timestamp": iso(at),
        "tags": {"table": "orders"},
    }
    return Versioned(Kind.METRIC, identifier, 1, document, execution)


def put(store: DocumentStore, *documents: Versioned) -> list[Outcome]:
    """Write, and make it visible to searches."""
    outcomes = list(store.write(documents))
    for kind, routing in {(d.kind, d.routing) for d in documents}:
        store.refresh(kind, routing)
    return outcomes


def found(store: DocumentStore, kind: Kind = Kind.TASK_RUN, **filters: Any) -> list[str]:
    """Ids of what a query finds, in the order of ids."""
    return ids(store.search(Query(TENANT, kind, **filters), Page(size=100)).documents)


def ids(documents: Iterable[Any]) -> list[str]:
    return [document["id"] for document in documents]
