"""Kept: the latest documents of recent executions, as the events on the log bring them, bounded in number and bytes."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from shared.messages import EventRecord
from shared.model.document import JSON_OPTIONS, Kind

CACHE_BYTES: Final = 256 * 1024 * 1024
"""Bound of the documents kept (as JSON text): beside 20,000 small executions there is room for some large ones."""

TASK_RUNS_KEPT: Final = 1_000
"""Task runs kept of one execution: as many as an execution's answer lists (beyond, that is truncated)."""

_ENTRY_BYTES: Final = 500
"""Rough cost of an entry's own objects, counted so that many tiny executions stay bounded too."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Documents of one execution as of one event. Task runs are in the order of their creation."""

    execution_id: str
    seq: int  #: of the last event
    whole: bool  #: every event from the first one was seen and nothing was left out
    execution: Mapping[str, Any] | None
    task_runs: tuple[Mapping[str, Any], ...]
    deleted: bool = False


@dataclass(slots=True)
class _Entry:
    """What is kept of one execution: documents as bytes, parsed when they are asked for."""

    whole: bool
    seq: int = 0
    execution: bytes | None = None
    execution_seq: int = 0
    tenant: str = ""
    task_runs: dict[str, tuple[int, bytes]] = field(default_factory=dict)
    size: int = _ENTRY_BYTES
    deleted: bool = False


class Kept:
    """Documents by execution, the longest untouched first. Not thread-safe: `Recent` has a lock around it."""

    def __init__(self, executions: int, size: int) -> None:
        """`executions`, `size`: how many executions, and bytes of documents, are kept at most."""
        self._bound, self._size_bound = executions, size
        self._entries: OrderedDict[str, _Entry] = OrderedDict()
        self._execution_of: dict[str, str] = {}  #: of each kept task run
        self.size = 0  #: bytes

    def __len__(self) -> int:
        return len(self._entries)

    def take(self, event: EventRecord) -> None:
        """Keep the event's document, unless a newer one is here."""
        entry = self._entries.get(event.execution_id)
        if entry is None:
            entry = _Entry(whole=event.seq <= 1)
            self._entries[event.execution_id] = entry
            self.size += entry.size
        else:
            self._entries.move_to_end(event.execution_id)
        entry.seq = max(entry.seq, event.seq)
        if event.event == "ExecutionDeleted":
            entry.deleted = True
        if event.document is None or event.id is None:
            return
        body = orjson.dumps(event.document, option=JSON_OPTIONS)
        if event.kind == Kind.EXECUTION:
            if event.seq >= entry.execution_seq:
                self._grow(entry, len(body) - len(entry.execution or b""))
                entry.execution, entry.execution_seq = body, event.seq
                entry.tenant = event.document["tenantId"]
        elif event.kind == Kind.TASK_RUN:
            known = entry.task_runs.get(event.id)
            if known is None and len(entry.task_runs) >= TASK_RUNS_KEPT:
                entry.whole = False
            elif known is None or event.seq >= known[0]:
                self._grow(entry, len(body) - (0 if known is None else len(known[1])))
                entry.task_runs[event.id] = (event.seq, body)
                self._execution_of[event.id] = event.execution_id

    def _grow(self, entry: _Entry, by: int) -> None:
        entry.size += by
        self.size += by

    def evict(self) -> None:
        """Let the longest untouched executions go, down to the bounds."""
        while self._entries and (len(self._entries) > self._bound or self.size > self._size_bound):
            _, entry = self._entries.popitem(last=False)
            self.size -= entry.size
            for task_run_id in entry.task_runs:
                self._execution_of.pop(task_run_id, None)

    def mark_deleted(self, execution_id: str) -> None:
        """The execution was deleted; what is kept of it is told as such."""
        entry = self._entries.get(execution_id)
        if entry is not None:
            entry.deleted = True

    def snapshot(self, execution_id: str) -> Snapshot | None:
        """All that is kept of an execution."""
        entry = self._entries.get(execution_id)
        if entry is None:
            return None
        return Snapshot(
            execution_id,
            entry.seq,
            entry.whole,
            None if entry.execution is None else orjson.loads(entry.execution),
            tuple(orjson.loads(body) for _, body in entry.task_runs.values()),
            entry.deleted,
        )

    def execution(self, tenant: str, execution_id: str) -> tuple[int, bytes] | None:
        """An execution's document with its sequence number."""
        entry = self._entries.get(execution_id)
        if entry is None or entry.execution is None or entry.tenant != tenant:
            return None
        return entry.execution_seq, entry.execution

    def task_run(self, task_run_id: str) -> tuple[int, bytes] | None:
        """A task run's document with its sequence number."""
        entry = self._entries.get(self._execution_of.get(task_run_id, ""))
        if entry is None or entry.deleted:
            return None
        return entry.task_runs[task_run_id]
