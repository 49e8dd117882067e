"""The worker's ports held in memory: enough of them for one process, with faults that a test can ask for."""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Self

from shared.adapters.files import DirectoryBlobStore
from shared.messages import (
    AttemptEnded,
    AttemptEvent,
    Heartbeat,
    LogLine,
    Message,
    Metric,
    RunTaskRun,
    WorkerCommand,
    decode,
)
from shared.model.identifier import new_id
from shared.model.moment import Millis
from shared.ports import (
    Inbound,
    InboxAddress,
    JournalError,
    Outbound,
    RecordTooLarge,
    Subscription,
    Tail,
    Topic,
    UnreadableCommand,
)
from shared.settings import Settings
from worker.catalog import TaskCatalog
from worker.tasks import core_tasks
from worker.worker import Worker

PATIENCE = 20.0
"""Seconds after which a test gives up waiting for what must come."""


def until(found: Callable[[], Any], what: str) -> Any:
    """Wait until something is true, and give it."""
    latest = time.monotonic() + PATIENCE
    while not (result := found()):
        assert time.monotonic() < latest, f"waited in vain for {what}"
        time.sleep(0.005)
    return result


class MemoryLog:
    """An event log: one list of records. `away` makes publishing fail, `limit` bounds a record."""

    def __init__(self, limit: int = 8 * 1024 * 1024) -> None:
        self.records: list[Outbound] = []
        self.batches: list[int] = []
        self.refused = 0
        self.limit = limit
        self.away = threading.Event()
        self.held = threading.Event()  #: while set, publishing of task-run events hangs
        self._lock = threading.Lock()

    def publish(self, records: Sequence[Outbound]) -> None:
        while self.held.is_set() and any(record.topic is not Topic.HEARTBEATS for record in records):
            time.sleep(0.005)
        for record in records:
            if record.value is not None and len(record.value) > self.limit:
                raise RecordTooLarge(record, len(record.value), self.limit)
        if self.away.is_set():
            self.refused += 1
            raise JournalError("the log is away")
        with self._lock:
            self.batches.append(len(records))
            self.records.extend(records)

    def subscribe(self, topics: Sequence[Topic], group: str) -> Subscription:
        raise NotImplementedError

    def tail(self, topics: Sequence[Topic], since: Millis | None = None) -> Tail:
        return _MemoryTail(self, frozenset(topics))

    def close(self) -> None:
        return None

    def messages(self, topic: Topic) -> list[Message]:
        """What was published on a topic."""
        return [decode(r.value) for r in list(self.records) if r.topic is topic and r.value is not None]

    def events(self, kind: type[Message] | None = None, task_run_id: str | None = None) -> list[Any]:
        """Task-run events, of a kind, of a task run."""
        return [
            event
            for event in self.messages(Topic.TASK_RUN_EVENTS)
            if (kind is None or isinstance(event, kind))
            and isinstance(event, AttemptEvent)
            and (task_run_id is None or event.task_run_id == task_run_id)
        ]

    def lines(self) -> list[LogLine]:
        return [line for line in self.messages(Topic.LOGS) if isinstance(line, LogLine)]

    def metrics(self) -> list[Metric]:
        return [metric for metric in self.messages(Topic.METRICS) if isinstance(metric, Metric)]

    def heartbeats(self) -> list[Heartbeat]:
        return [beat for beat in self.messages(Topic.HEARTBEATS) if isinstance(beat, Heartbeat)]


class _MemoryTail:
    def __init__(self, log: MemoryLog, topics: frozenset[Topic]) -> None:
        self._log, self._topics, self._next = log, topics, 0

    def poll(self, limit: int, timeout: float) -> Sequence[Inbound]:
        del timeout
        records = self._log.records[self._next : self._next + limit]
        first, self._next = self._next, self._next + len(records)
        return [
            Inbound(r.topic, 0, first + number, r.key, r.value, 0)
            for number, r in enumerate(records)
            if r.topic in self._topics
        ]

    def caught_up(self) -> bool:
        return self._next >= len(self._log.records)

    def close(self) -> None:
        return None


class MemoryInbox:
    """An inbox: commands are put in by the test."""

    def __init__(self) -> None:
        self.sessions: list[str] = []
        self._commands: list[Any] = []
        self._position = 0
        self._changed = threading.Condition()

    def open(self, session: str) -> InboxAddress:
        with self._changed:
            self.sessions.append(session)
            self._position = len(self._commands)
            self._changed.notify_all()
        return InboxAddress(0, self._position)

    def send(self, *commands: WorkerCommand | UnreadableCommand) -> None:
        with self._changed:
            self._commands.extend(commands)
            self._changed.notify_all()

    def take(self, limit: int, timeout: float) -> Sequence[WorkerCommand]:
        with self._changed:
            self._changed.wait_for(lambda: self._position < len(self._commands), timeout)
            found = self._commands[self._position : self._position + limit]
            self._position += len(found)
        for command in found:
            if isinstance(command, UnreadableCommand):
                raise command
        return [command for command in found if command.session == self.sessions[-1]]

    @property
    def position(self) -> int:
        return self._position

    def close(self) -> None:
        return None


class Bench:
    """A worker on a bench: its ports in memory, its loop in a thread, ended with the `with` block."""

    def __init__(self, tasks: TaskCatalog | None = None, log: MemoryLog | None = None, **settings: Any) -> None:
        """`settings`: sections by name; of `worker` the heartbeat is quick unless told otherwise."""
        self.log = log or MemoryLog()
        self.inbox = MemoryInbox()
        self._folder = tempfile.TemporaryDirectory(prefix="runyard-test-")
        self.blobs = DirectoryBlobStore(Path(self._folder.name))
        worker = {"concurrency": 4, "heartbeat": 0.05, "grace": 10.0, "start_within": 5.0, **settings.pop("worker", {})}
        self.settings = Settings(worker=worker, **settings)
        self.tasks = tasks or TaskCatalog(core_tasks())
        self.worker = Worker(self.inbox, self.log, self.blobs, self.settings, self.tasks)
        self._thread = threading.Thread(target=self.worker.run, name="bench")

    def __enter__(self) -> Self:
        self._thread.start()
        until(lambda: self.inbox.sessions, "a session")
        return self

    def __exit__(self, *_: object) -> None:
        self.log.away.clear()
        self.log.held.clear()
        self.worker.stop()
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive(), "the worker did not end"
        self._folder.cleanup()

    @property
    def session(self) -> str:
        return self.inbox.sessions[-1]

    def command(self, type_: str, variables: dict[str, Any] | None = None, /, **rest: Any) -> RunTaskRun:
        """A command to run a task. `rest`: its properties, and fields of the command with a `_` before."""
        own = {name[1:]: rest.pop(name) for name in list(rest) if name.startswith("_")}
        task_run_id = own.pop("task_run_id", None) or new_id()
        execution_id = own.pop("execution_id", None) or new_id()
        return RunTaskRun(
            session=own.pop("session", self.session),
            execution_id=execution_id,
            task_run_id=task_run_id,
            attempt=own.pop("attempt", 0),
            dispatch=own.pop("dispatch", 0),
            tenant="main",
            namespace="company.team",
            flow_id="flow",
            flow_revision=1,
            task={"id": own.pop("task_id", "task"), "type": type_, **rest},
            variables={
                "taskrun": {"id": task_run_id},
                "flow": {"id": "flow", "namespace": "company.team"},
                "execution": {"id": execution_id},
                **(variables or {}),
            },
            **own,
        )

    def send(self, type_: str, variables: dict[str, Any] | None = None, /, **rest: Any) -> RunTaskRun:
        """Send a command to run a task."""
        command = self.command(type_, variables, **rest)
        self.inbox.send(command)
        return command

    def ended(self, command: WorkerCommand) -> Any:
        """The AttemptEnded of a command, once it is there."""
        return until(lambda: self.log.events(AttemptEnded, command.task_run_id), "the end of an attempt")[-1]

    def run(self, type_: str, variables: dict[str, Any] | None = None, /, **rest: Any) -> Any:
        """Send a command and give its AttemptEnded."""
        return self.ended(self.send(type_, variables, **rest))
