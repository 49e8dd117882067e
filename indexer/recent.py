"""Recent: what this process has seen of recent executions, and the answers to commands, from the tail of the log.

It makes reads by id no older than any answer given here, tells waiting requests what became of their command, and feeds
follow streams. It is bounded; what fell out is read from the search store.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson
from prometheus_client import Counter

from indexer.kept import CACHE_BYTES, Kept, Snapshot
from shared.flow_directory import FlowAnswer, FlowDirectory
from shared.messages import EventRecord, FlowRejected, UnknownMessage, decode
from shared.model.document import Kind
from shared.ports import EventLog, Inbound, JournalError, Tail, Topic

REJECTED: Final = "CommandRejected"
"""Name of the event that refuses a command."""

REPEATED: Final = "CommandRepeated"
"""Name of the event that says of a command that it was carried out before."""

_BATCH: Final = 5_000
"""Records of one poll: large enough that the events of one decision come in one batch."""

PASSED_OVER: Final = Counter("runyard_api_tail_passed_over", "Events whose document could not be taken in")

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Accepted:
    """A command was carried out; `snapshot`: the target execution as the command left it, where it changed one."""

    seq: int
    snapshot: Snapshot | None = None


@dataclass(frozen=True, slots=True)
class Rejected:
    """A command was refused, and why."""

    reason: str


Answer = Accepted | Rejected | FlowAnswer


@dataclass(slots=True)
class _Pending:
    """A command whose answer is awaited.

    The log marks the first event of a command only; the others of the same decision follow it in the same transaction.
    So the answer shows the target as it is at the end of what was read at once, or, for a command with `until`, as it
    is when it leaves the state that the command puts it in (RESTARTED, before it runs on).
    """

    deliver: Callable[[Answer], None]
    target: str | None
    until: frozenset[str]
    fresh: bool  #: the command creates the target: any event of it is an answer
    accepted: int | None = None
    open: bool = False  #: events on the target have come
    reached: str | None = None  #: the state of `until` that the target is in


class Recent:
    """The tail of the log, kept. Thread-safe."""

    def __init__(self, log: EventLog, flows: FlowDirectory, executions: int, size: int = CACHE_BYTES) -> None:
        """`executions`, `size`: how many executions, and bytes of documents, are kept at most."""
        self._tail: Tail = log.tail([Topic.EXECUTION_EVENTS], since=time.time_ns() // 1_000_000)
        self._flows = flows
        self._lock = threading.RLock()
        self._kept = Kept(executions, size)
        self._pending: dict[str, _Pending] = {}
        self._by_target: dict[str, set[str]] = {}
        self._open: set[str] = set()
        self._watchers: dict[str, list[Callable[[], None]]] = {}
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []
        self._failures: dict[str, str] = {}
        flows.listen(self._flow_answered)

    # ------------------------------------------------------------------ life

    def start(self) -> None:
        """Read on threads of its own until `close`."""
        for name, read in (("recent-events", self.poll), ("recent-flows", self._flows.poll)):
            thread = threading.Thread(target=self._run, args=(name, read), name=name, daemon=True)
            self._threads.append(thread)
            thread.start()

    def close(self) -> None:
        """Stop reading. The directory of flows stays open: it is its owner's."""
        self._stop.set()
        for thread in self._threads:
            thread.join(5)
        self._tail.close()

    def _run(self, name: str, read: Callable[[float], int]) -> None:
        try:
            while not self._stop.is_set():
                try:
                    read(0.25)
                    self._failures.pop(name, None)
                except JournalError as error:  # the tail goes on where it was: nothing is lost, only late
                    self._failures[name] = f"{name}: {error}"
                    _log.warning("the log can't be read, trying again: %s", error)
                    self._stop.wait(1.0)
        except Exception as error:  # noqa: BLE001 (the thread's last words: health says so)
            if not self._stop.is_set():
                self._failures[name] = f"{name}: {error}"
                _log.exception("reading the log ended")

    @property
    def failure(self) -> str | None:
        """Why the log is not read now: what is kept here may be behind. None while it is read."""
        return next(iter(self._failures.values()), None)

    def poll(self, timeout: float = 0.0) -> int:
        """Take in what is there, waiting at most `timeout` seconds for the first record; returns how many records."""
        records = self._tail.poll(_BATCH, timeout)
        if records:
            self.take(records)
        return len(records)

    # ------------------------------------------------------------------ taking in

    def take(self, records: Sequence[Inbound]) -> None:
        """Take in records of execution-events."""
        deliveries: list[tuple[Callable[[Answer], None], Answer]] = []
        changed: set[str] = set()
        with self._lock:
            for record in records:
                if record.value is None:
                    self._tombstone(record.key)
                    changed.add(record.key)
                    continue
                try:
                    message = decode(record.value)
                except UnknownMessage:
                    continue  # the indexer, which reads the same records, dead-letters them
                if isinstance(message, EventRecord):
                    try:
                        self._apply(message, deliveries)
                    except (KeyError, TypeError) as error:  # its document has another shape: no reader can show it
                        PASSED_OVER.inc()
                        _log.error("an event of execution %s can't be taken in: %r", message.execution_id, error)
                        continue
                    changed.add(message.execution_id)
            for command_id in tuple(self._open):
                self._resolve(command_id, deliveries)
            self._kept.evict()
            watchers = [watcher for execution_id in changed for watcher in self._watchers.get(execution_id, ())]
        for deliver, answer in deliveries:
            deliver(answer)
        for watcher in watchers:
            watcher()

    def _apply(self, event: EventRecord, deliveries: list[tuple[Callable[[Answer], None], Answer]]) -> None:
        pending = self._pending.get(event.command_id) if event.command_id is not None else None
        if event.event == REJECTED:
            if pending is not None and event.command_id is not None:
                self._drop(event.command_id)
                deliveries.append((pending.deliver, Rejected(event.reason or "the command was refused")))
            return
        if event.event == REPEATED:
            if pending is not None and event.command_id is not None:
                self._drop(event.command_id)
                target = pending.target or event.execution_id
                deliveries.append((pending.deliver, Accepted(event.seq, self._kept.snapshot(target))))
            return
        if event.kind == Kind.EXECUTION and event.document is not None:
            self._leave(event.execution_id, event.document["state"]["current"], deliveries)
        self._kept.take(event)
        if pending is not None and event.command_id is not None:
            pending.accepted = event.seq
            if pending.target is None:
                self._drop(event.command_id)
                deliveries.append((pending.deliver, Accepted(event.seq)))
        for command_id in self._by_target.get(event.execution_id, ()):
            self._advance(command_id, event)

    def _leave(self, execution_id: str, state: str, deliveries: list[tuple[Callable[[Answer], None], Answer]]) -> None:
        """Answer the commands whose target is about to leave the state that they put it in."""
        for command_id in tuple(self._by_target.get(execution_id, ())):
            reached = self._pending[command_id].reached
            if reached is not None and reached != state:
                self._resolve(command_id, deliveries)

    def _advance(self, command_id: str, event: EventRecord) -> None:
        pending = self._pending[command_id]
        if pending.accepted is None and pending.fresh:
            pending.accepted = event.seq
        if pending.accepted is None:
            return
        if not pending.open:
            pending.open = True
            self._open.add(command_id)
        if event.kind == Kind.EXECUTION and event.document is not None:
            state = event.document["state"]["current"]
            if state in pending.until:
                pending.reached = state

    def _tombstone(self, key: str) -> None:
        """A document's last record: of an execution, it says that it was deleted."""
        self._kept.mark_deleted(key)
        for command_id in self._by_target.get(key, ()):
            pending = self._pending[command_id]
            if pending.accepted is not None:  # else it was another command that took the execution away
                pending.open = True
                self._open.add(command_id)

    def _resolve(self, command_id: str, deliveries: list[tuple[Callable[[Answer], None], Answer]]) -> None:
        pending = self._drop(command_id)
        assert pending is not None
        assert pending.target is not None
        assert pending.accepted is not None
        deliveries.append((pending.deliver, Accepted(pending.accepted, self._kept.snapshot(pending.target))))

    def _flow_answered(self, answer: FlowAnswer) -> None:
        if answer.command_id is None:
            return
        with self._lock:
            pending = self._drop(answer.command_id)
        if pending is not None:
            pending.deliver(Rejected(answer.reason) if isinstance(answer, FlowRejected) else answer)

    # ------------------------------------------------------------------ asking

    def snapshot(self, tenant: str, execution_id: str) -> Snapshot | None:
        """What is kept of an execution of the tenant."""
        with self._lock:
            found = self._kept.snapshot(execution_id)
        if found is None:
            return None
        owners = [found.execution] if found.execution is not None else found.task_runs[:1]
        if any(document is not None and document["tenantId"] != tenant for document in owners):
            return None
        return found

    def execution(self, tenant: str, execution_id: str) -> tuple[int, Mapping[str, Any]] | None:
        """An execution's latest document with its sequence number, cheaper than a snapshot."""
        with self._lock:
            found = self._kept.execution(tenant, execution_id)
        return None if found is None else (found[0], orjson.loads(found[1]))

    def task_run(self, tenant: str, task_run_id: str) -> tuple[int, Mapping[str, Any]] | None:
        """A task run's latest document with its sequence number."""
        with self._lock:
            found = self._kept.task_run(task_run_id)
        if found is None:
            return None
        document = orjson.loads(found[1])
        return (found[0], document) if document["tenantId"] == tenant else None

    def expect(
        self,
        command_id: str,
        deliver: Callable[[Answer], None],
        target: str | None = None,
        until: frozenset[str] = frozenset(),
        *,
        fresh: bool = False,
    ) -> None:
        """Call `deliver` once, with the answer to the command; to be called before the command is published.

        `target`: the execution that the answer's snapshot shows, `fresh` where the command creates it. `until`: the
        states that the command puts it in. `deliver` is called on a reading thread and must neither raise nor block.
        """
        with self._lock:
            self._pending[command_id] = _Pending(deliver, target, until, fresh)
            if target is not None:
                self._by_target.setdefault(target, set()).add(command_id)

    def forget(self, command_id: str) -> None:
        """The answer is no longer awaited."""
        with self._lock:
            self._drop(command_id)

    def _drop(self, command_id: str) -> _Pending | None:
        pending = self._pending.pop(command_id, None)
        self._open.discard(command_id)
        if pending is not None and pending.target is not None:
            commands = self._by_target[pending.target]
            commands.discard(command_id)
            if not commands:
                del self._by_target[pending.target]
        return pending

    def watch(self, execution_id: str, watcher: Callable[[], None]) -> Callable[[], None]:
        """Call `watcher` after each change of an execution until the returned function is called.

        `watcher` is called on a reading thread and must neither raise nor block.
        """
        with self._lock:
            self._watchers.setdefault(execution_id, []).append(watcher)

        def unwatch() -> None:
            with self._lock:
                watchers = self._watchers.get(execution_id, [])
                if watcher in watchers:
                    watchers.remove(watcher)
                if not watchers:
                    self._watchers.pop(execution_id, None)

        return unwatch

    def gauges(self) -> dict[str, int]:
        """Sizes, for /metrics."""
        with self._lock:
            return {
                "recent_executions": len(self._kept),
                "recent_bytes": self._kept.size,
                "commands_awaiting_answer": len(self._pending),
                "followers": sum(len(watchers) for watchers in self._watchers.values()),
            }
