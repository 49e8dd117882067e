"""History: an execution's events as records of the log, each with the complete document after it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from executor.engine.draft import Recorded
from executor.engine.entries import (
    Entries,
    batch_key,
    flow_outputs_key,
    inputs_key,
    outputs_key,
    prefix,
    values_key,
    variables_key,
)
from executor.engine.events import (
    BatchesRecorded,
    CommandRejected,
    CommandRepeated,
    Event,
    ExecutionDeleted,
    TaskRunImported,
    ValuesRecorded,
)
from executor.engine.plan import Plan
from shared.messages import EventRecord
from shared.model.document import Kind, entry_document, execution_document, task_run_document
from shared.model.execution import Execution
from shared.model.task_run import TaskRun
from shared.ports import Outbound, Topic

ANSWER: Final = "answer"
"""Key of what only answers a command: nobody reads it later, so compaction keeps one of them, and none for each id."""


def records(
    recorded: tuple[Recorded, ...], entries: Entries, plan: Plan | None, command_id: str | None, partition: int
) -> Iterator[Outbound]:
    """The records of one decision, in order. Bookkeeping events have none: they change no document.

    `entries` is the state after the decision; `command_id` marks the first record as the command's answer.
    """
    for item in recorded:
        event, subject = item.event, item.subject
        if isinstance(event, CommandRejected | CommandRepeated):
            if command_id is not None:
                yield _answer(event, item, command_id, partition)
            continue
        yield from _entries(event, item.execution, partition)
        if isinstance(subject, TaskRun):
            assert item.execution is not None
            task = plan.tasks.get(subject.task_id) if plan is not None else None
            outputs: Mapping[str, Any] | None = None
            if subject.has_outputs:
                outputs = entries.get(outputs_key(subject.execution_id, subject.task_id, subject.values))
            document = task_run_document(item.execution, subject, task.type if task is not None else "", outputs)
            kind, name = Kind.TASK_RUN, subject.id
        elif isinstance(subject, Execution):
            document = document_of(subject, entries)
            kind, name = Kind.EXECUTION, subject.id
        elif isinstance(event, ExecutionDeleted):
            yield from _removals(event, command_id, partition)
            command_id = None
            continue
        else:
            continue
        record = EventRecord(
            event=event.name,
            execution_id=event.execution_id,
            seq=event.seq,
            at=event.at,
            kind=kind,
            id=name,
            document=document,
            command_id=command_id,
        )
        command_id = None
        yield Outbound(Topic.EXECUTION_EVENTS, name, record.to_bytes(), partition)


def _entries(event: Event, execution: Execution | None, partition: int) -> Iterator[Outbound]:
    """The entries that an execution's return needs and no other document shows."""
    if execution is None:
        return
    at = len(prefix(execution.id))
    for key, value in _kept(event):
        document = entry_document(execution, key[at:], value, event.at, event.seq)
        record = EventRecord(
            event=event.name,
            execution_id=execution.id,
            seq=event.seq,
            at=event.at,
            kind=Kind.ENTRY,
            id=document["id"],
            document=document,
        )
        yield Outbound(Topic.EXECUTION_EVENTS, document["id"], record.to_bytes(), partition)


def _kept(event: Event) -> Iterator[tuple[str, Any]]:
    if isinstance(event, ValuesRecorded | TaskRunImported):
        for number, chunk in enumerate(event.chunks):
            yield values_key(event.execution_id, event.task_run_id, number), list(chunk)
    elif isinstance(event, BatchesRecorded):
        for number, batch in event.batches:
            yield batch_key(event.execution_id, event.owner, number), dict(batch)


def _removals(event: ExecutionDeleted, command_id: str | None, partition: int) -> Iterator[Outbound]:
    """The deletion under the execution's key, and a tombstone for each other document's: compaction forgets them."""
    record = EventRecord(
        event=event.name,
        execution_id=event.execution_id,
        seq=event.seq,
        at=event.at,
        # Whose documents go: the execution's own, which says it, may never have got into the store.
        document=None if event.tenant is None else {"tenantId": event.tenant},
        command_id=command_id,
    )
    yield Outbound(Topic.EXECUTION_EVENTS, event.execution_id, record.to_bytes(), partition)
    for name in (*event.task_runs, *event.entries):
        yield Outbound(Topic.EXECUTION_EVENTS, name, None, partition)


def document_name(key: str) -> str | None:
    """The id of the document that shows an entry of its own; None where another one's does."""
    kind = key.split("/", 3)[2]
    if kind == "r":
        return key.rsplit("/", 1)[1]
    return key[2:] if kind in ("v", "b") else None


def document_of(execution: Execution, entries: Entries) -> dict[str, Any]:
    """The execution's document as of now."""
    inputs = entries.get(inputs_key(execution.id)) if execution.has_inputs else None
    outputs = entries.get(flow_outputs_key(execution.id)) if execution.has_outputs else None
    changed = entries.get(variables_key(execution.id)) if execution.has_variables else None
    return execution_document(execution, inputs, outputs, changed)


def refreshed(execution: Execution, entries: Entries, at: int, partition: int) -> Outbound:
    """The execution's document again, with the counts of now."""
    record = EventRecord(
        event="ExecutionCounted",
        execution_id=execution.id,
        seq=execution.seq,
        at=at,
        kind=Kind.EXECUTION,
        id=execution.id,
        document=document_of(execution, entries),
    )
    return Outbound(Topic.EXECUTION_EVENTS, execution.id, record.to_bytes(), partition)


def _answer(event: CommandRejected | CommandRepeated, item: Recorded, command_id: str, partition: int) -> Outbound:
    """What became of a command that changed nothing."""
    record = EventRecord(
        event=event.name,
        execution_id=event.execution_id,
        seq=item.execution.seq if item.execution is not None else 0,
        at=event.at,
        command_id=command_id,
        reason=event.reason if isinstance(event, CommandRejected) else None,
    )
    return Outbound(Topic.EXECUTION_EVENTS, ANSWER, record.to_bytes(), partition)
