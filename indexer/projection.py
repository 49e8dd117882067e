"""Projection: what a record of the log means for the search store. Projecting is "put the document", nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import orjson

from shared.messages import VERSION, EventRecord, LogLine, Message, Metric, UnknownMessage, decode
from shared.model.document import Kind
from shared.model.encoded import EncodedDocument, encode
from shared.model.moment import iso
from shared.ports import Inbound, Topic, Versioned

PROJECTED: Final = (Topic.EXECUTION_EVENTS, Topic.LOGS, Topic.METRICS)
"""The topics whose records become documents."""

DELETED: Final = "ExecutionDeleted"
"""Name of the event that takes an execution away with all its documents; tombstones follow for compaction."""

WRITTEN_ONCE: Final = 1
"""Version of log lines and metrics: they never change, so a second writing is stale."""

_HEAD: Final = b'{"v":%d,"type":"EventRecord",' % VERSION
_DOCUMENT: Final = b',"document":{'
_AFTER: Final = b',"command_id":'
_KINDS: Final = {kind.value: kind for kind in Kind}
_EXPECTED: Final[dict[Topic, type[Message]]] = {
    Topic.EXECUTION_EVENTS: EventRecord,
    Topic.LOGS: LogLine,
    Topic.METRICS: Metric,
}


@dataclass(frozen=True, slots=True)
class Removal:
    """An execution was deleted: every document of it up to this version goes."""

    execution_id: str
    version: int
    tenant: str | None


def project(record: Inbound) -> Versioned | Removal | None:
    """The document that a record puts, the execution that it removes, or None where it changes no document.

    Raises UnknownMessage for a record that can't be read.
    """
    value = record.value
    if value is None:
        return None  # a tombstone; the deletion's own event came before it
    if record.topic is Topic.EXECUTION_EVENTS and value.startswith(_HEAD):
        try:
            found = _cut_out(value)
        except (ValueError, KeyError):
            found = None  # `decode` says what is wrong with it
        if found is not None:
            return found
    message = decode(value)
    if isinstance(message, EventRecord) and record.topic is Topic.EXECUTION_EVENTS:
        return _of_event(message)
    if isinstance(message, LogLine) and record.topic is Topic.LOGS:
        return _once(Kind.LOG, message.id, message.execution_id, log_document(message))
    if isinstance(message, Metric) and record.topic is Topic.METRICS:
        return _once(Kind.METRIC, message.id, message.execution_id, metric_document(message))
    expected = _EXPECTED.get(record.topic)
    raise UnknownMessage(
        f"a {type(message).__name__} on {record.topic}, where {expected.__name__ if expected else 'nothing'} belongs"
    )


def _cut_out(value: bytes) -> Versioned | None:
    """The document cut out of an EventRecord as it was written, without parsing it; None for another layout.

    Exact: quotes within JSON strings are escaped, so neither mark can stand in a string. Before the document there
    are only strings and numbers, hence the first mark is the record's own; after it too, hence the last one.
    """
    begin, end = value.find(_DOCUMENT), value.rfind(_AFTER)
    if begin < 0 or end < begin:
        return None
    head = orjson.loads(value[:begin] + b"}")
    if head["event"] == DELETED:
        return None
    raw = value[begin + len(_DOCUMENT) - 1 : end]
    return Versioned(_KINDS[head["kind"]], head["id"], head["seq"], EncodedDocument(raw), head["execution_id"])


def _of_event(event: EventRecord) -> Versioned | Removal | None:
    if event.event == DELETED:
        tenant = (event.document or {}).get("tenantId")
        return Removal(event.execution_id, event.seq, tenant)
    if event.document is None:
        return None  # a rejection
    if event.kind not in _KINDS or event.id is None:
        raise UnknownMessage(f"a document of kind {event.kind!r} with id {event.id!r}")
    document = EncodedDocument(encode(event.document))
    return Versioned(_KINDS[event.kind], event.id, event.seq, document, event.execution_id)


def _once(kind: Kind, name: str, execution_id: str, document: dict[str, Any]) -> Versioned:
    return Versioned(kind, name, WRITTEN_ONCE, EncodedDocument(encode(document)), execution_id)


def log_document(line: LogLine) -> dict[str, Any]:
    """A log line as the search store holds it."""
    document: dict[str, Any] = {
        "id": line.id,
        "tenantId": line.tenant,
        "namespace": line.namespace,
        "flowId": line.flow_id,
        "executionId": line.execution_id,
        "level": line.level,
        "message": line.text,
        "timestamp": iso(line.at),
        "index": line.index,
    }
    if line.task_id is not None:
        document["taskId"] = line.task_id
    if line.task_run_id is not None:
        document["taskRunId"] = line.task_run_id
    if line.attempt is not None:
        document["attemptNumber"] = line.attempt
    if line.thread is not None:
        document["thread"] = line.thread
    return document


def metric_document(metric: Metric) -> dict[str, Any]:
    """A metric as the search store holds it."""
    return {
        "id": metric.id,
        "tenantId": metric.tenant,
        "namespace": metric.namespace,
        "flowId": metric.flow_id,
        "executionId": metric.execution_id,
        "taskId": metric.task_id,
        "taskRunId": metric.task_run_id,
        "name": metric.name,
        "type": metric.kind,
        "value": metric.value,
        "timestamp": iso(metric.at),
        "tags": metric.tags,
    }
