"""Fakes: the ports in memory, and a small executor that answers commands as the real one promises to."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, BinaryIO

from shared.messages import (
    HERE,
    NOT_HERE,
    ChangeExecutionState,
    CreateExecution,
    DeleteExecution,
    DeleteFlow,
    EventRecord,
    ExecutionCommand,
    FlowCommand,
    FlowRejected,
    FlowStored,
    KillExecution,
    PauseExecution,
    PutFlow,
    RecallExecution,
    ReplayExecution,
    RestartExecution,
    ResumeExecution,
    SetLabels,
    decode,
)
from shared.model.document import Kind, execution_document, task_run_document
from shared.model.execution import Execution, Trigger
from shared.model.identifier import derive_id
from shared.model.moment import iso
from shared.model.query import Bucket, Found, Page, Query, QueryError
from shared.model.state import State, StateType
from shared.model.task_run import Attempt, TaskRun
from shared.ports import Inbound, Outbound, Outcome, RecordTooLarge, Subscription, Topic, Verdict, Versioned


class MemoryTail:
    """A tail over the lists of a MemoryLog."""

    def __init__(self, log: MemoryLog, topics: Sequence[Topic], since: int | None) -> None:
        self._log, self._topics = log, topics
        self._next = {topic: 0 if since is None else len(log.topics[topic]) for topic in topics}

    def poll(self, limit: int, timeout: float) -> Sequence[Inbound]:
        with self._log.changed:
            self._log.changed.wait_for(lambda: not self.caught_up(), timeout)
            found: list[Inbound] = []
            for topic in self._topics:
                records = self._log.topics[topic][self._next[topic] : self._next[topic] + limit]
                self._next[topic] += len(records)
                found.extend(records)
            return found

    def caught_up(self) -> bool:
        return all(self._next[topic] >= len(self._log.topics[topic]) for topic in self._topics)

    def close(self) -> None:
        pass


class MemoryLog:
    """Topics as lists."""

    def __init__(self, limit: int = 1_000_000) -> None:
        self.topics: dict[Topic, list[Inbound]] = {topic: [] for topic in Topic}
        self.changed = threading.Condition()
        self.limit = limit
        self.batches: list[int] = []

    def publish(self, records: Sequence[Outbound]) -> None:
        for record in records:
            if record.value is not None and len(record.value) > self.limit:
                raise RecordTooLarge(record, len(record.value), self.limit)
        with self.changed:
            self.batches.append(len(records))
            for record in records:
                topic = self.topics[record.topic]
                topic.append(Inbound(record.topic, 0, len(topic), record.key, record.value, 0))
            self.changed.notify_all()

    def subscribe(self, topics: Sequence[Topic], group: str) -> Subscription:
        raise NotImplementedError

    def tail(self, topics: Sequence[Topic], since: int | None = None) -> MemoryTail:
        return MemoryTail(self, topics, since)

    def close(self) -> None:
        pass


class MemoryStore:
    """Documents in a dictionary; `hidden` ones are found by `get` but not by `search`, as in an index that lags."""

    def __init__(self) -> None:
        self.documents: dict[tuple[Kind, str], Versioned] = {}
        self.hidden: set[str] = set()
        self.refreshed: list[str] = []
        self.missing: str | None = None

    def prepare(self) -> None:
        pass

    def ready(self) -> str | None:
        return self.missing

    def write(self, documents: Sequence[Versioned]) -> Sequence[Outcome]:
        for document in documents:
            known = self.documents.get((document.kind, document.id))
            if known is None or known.version < document.version:
                self.documents[document.kind, document.id] = document
        return [Outcome(Verdict.STORED) for _ in documents]

    def get(self, kind: Kind, id: str, routing: str) -> Versioned | None:  # noqa: A002
        found = self.documents.get((kind, id))
        return None if found is None or found.document is None else found

    def search(self, query: Query, page: Page) -> Found:
        if self.missing is not None:
            raise ConnectionError(self.missing)
        if query.q is not None and "[" in query.q:
            raise QueryError(f"no closing bracket in {query.q}")
        found = [
            versioned.document
            for (kind, id_), versioned in self.documents.items()
            if kind is query.kind
            and versioned.document is not None
            and id_ not in self.hidden
            and _matches(query, versioned.document)
        ]
        for name, ascending in reversed((*page.sort, ("id", True))):
            found.sort(key=lambda d, n=name: str(_dig(d, n)), reverse=not ascending)
        start = int(page.cursor) if page.cursor else (page.number - 1) * page.size
        end = start + page.size
        return Found(tuple(found[start:end]), len(found), str(end) if end < len(found) else None)

    def histogram(self, query: Query, buckets: int) -> Sequence[Bucket]:
        counts: dict[str, int] = {}
        for document in self.search(query, Page(1, 10_000)).documents:
            state = _dig(document, "state.current")
            counts[state] = counts.get(state, 0) + 1
        return [Bucket(1_700_000_000_000, counts)] if counts else []

    def refresh(self, kind: Kind, execution_id: str) -> None:
        self.refreshed.append(execution_id)
        self.hidden.clear()

    def scan(self, kind: Kind) -> Iterator[Versioned]:
        return iter([v for (k, _), v in self.documents.items() if k is kind])

    def delete_by_executions(self, tenant: str, execution_ids: Sequence[str]) -> int:
        keys = [
            key
            for key, versioned in self.documents.items()
            if key[0] in (Kind.LOG, Kind.METRIC)
            and versioned.document is not None
            and versioned.document["tenantId"] == tenant
            and versioned.document["executionId"] in execution_ids
        ]
        for key in keys:
            del self.documents[key]
        return len(keys)

    def close(self) -> None:
        pass


LEVELS = ("TRACE", "DEBUG", "INFO", "WARN", "ERROR")


def _dig(document: Mapping[str, Any], path: str) -> Any:
    value: Any = document
    for part in path.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def _matches(query: Query, document: Mapping[str, Any]) -> bool:
    execution_id = document["id"] if query.kind is Kind.EXECUTION else document.get("executionId")
    checks = [
        document["tenantId"] == query.tenant,
        not query.q or query.q in str(document),
        not query.namespace or f"{document['namespace']}.".startswith(f"{query.namespace}."),
        not query.flow_id or document["flowId"] == query.flow_id,
        not query.execution_ids or execution_id in query.execution_ids,
        not query.task_id or document.get("taskId") == query.task_id,
        not query.task_run_id or query.task_run_id in (document["id"], document.get("taskRunId")),
        query.ended_to is None or str(_dig(document, "state.endDate") or "~") <= iso(query.ended_to),
        not query.states or _dig(document, "state.current") in query.states,
        all(document.get("labels", {}).get(key) == value for key, value in query.labels),
        query.attempt is None or document.get("attemptNumber") == query.attempt,
        query.min_level is None or LEVELS.index(document["level"]) >= LEVELS.index(query.min_level),
        query.include_superseded or not document.get("superseded"),
        query.child_filter is None or (query.child_filter == "CHILD") == ("executionId" in document.get("trigger", {})),
        query.trigger_execution_id is None
        or document.get("trigger", {}).get("executionId") == query.trigger_execution_id,
    ]
    return all(checks)


class MemoryBlobs:
    """Files in a dictionary."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}

    def put(self, path: str, content: BinaryIO) -> str:
        self.files[path] = content.read()
        return f"kestra:///{path}"

    def open(self, uri: str) -> BinaryIO:
        return io.BytesIO(self._content(uri))

    def size(self, uri: str) -> int:
        return len(self._content(uri))

    def _content(self, uri: str) -> bytes:
        try:
            return self.files[uri.removeprefix("kestra:///")]
        except KeyError:
            raise FileNotFoundError(uri) from None

    def delete(self, prefix: str) -> int:
        keys = [key for key in self.files if key == prefix or key.startswith(prefix.rstrip("/") + "/")]
        for key in keys:
            del self.files[key]
        return len(keys)

    def list(self, prefix: str) -> Iterator[str]:
        return iter([f"kestra:///{key}" for key in sorted(self.files) if key.startswith(prefix)])


@dataclass
class Run:
    """What the small executor knows of an execution."""

    execution: Execution
    inputs: Mapping[str, Any] | None
    task_runs: list[TaskRun] = field(default_factory=list)


class SmallExecutor:
    """Answers commands: flows get revisions, executions start and end at once with one task run.

    `hold`: executions are created and started but not ended. Documents also go to the store, as the indexer does it.
    """

    def __init__(self, log: MemoryLog, store: MemoryStore, *, hold: bool = False) -> None:
        self.log, self.store, self.hold = log, store, hold
        self.flows: dict[str, list[FlowStored]] = {}
        self.runs: dict[str, Run] = {}
        self.gone: dict[str, Run] = {}
        self.commands: list[ExecutionCommand | FlowCommand] = []
        self.answers: dict[str, EventRecord] = {}  #: by command id: a repeated command is answered as the first time
        self.silent = False
        self.indexing = True
        self._tail = log.tail([Topic.EXECUTION_COMMANDS])
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._loop, daemon=True)

    def start(self) -> SmallExecutor:
        self._thread.start()
        return self

    def close(self) -> None:
        self._stop.set()
        self._thread.join(5)

    def _loop(self) -> None:
        while not self._stop.is_set():
            for record in self._tail.poll(100, 0.05):
                assert record.value is not None
                command = decode(record.value)
                assert isinstance(command, ExecutionCommand | FlowCommand)
                self.commands.append(command)
                if not self.silent:
                    self.carry_out(command)

    # ------------------------------------------------------------------ flows

    def carry_out(self, command: ExecutionCommand | FlowCommand) -> None:
        if isinstance(command, PutFlow):
            self._put_flow(command)
        elif isinstance(command, DeleteFlow):
            last = self.flows[_uid(command)][-1]
            self._store_flow(command, last.revision + 1, last.source, deleted=True)
        elif isinstance(command, CreateExecution):
            self._create(command)
        elif isinstance(command, ExecutionCommand):
            known = self.answers.get(command.command_id)
            if known is not None:
                self._emit([known])
            else:
                self._change(command)

    def _put_flow(self, command: PutFlow) -> None:
        revisions = self.flows.get(_uid(command), [])
        exists = bool(revisions) and not revisions[-1].deleted
        if command.must_exist is False and exists:
            self._reject_flow(command, "Flow id already exists")
        elif command.must_exist is True and not exists:
            self._reject_flow(command, "Flow id does not exist")
        else:
            self._store_flow(command, revisions[-1].revision + 1 if revisions else 1, command.source)

    def _store_flow(self, command: FlowCommand, revision: int, source: str, *, deleted: bool = False) -> None:
        stored = FlowStored(
            command.tenant,
            command.namespace,
            command.flow_id,
            revision,
            source,
            deleted,
            command.at,
            command.command_id,
        )
        self.flows.setdefault(_uid(command), []).append(stored)
        keys = (f"{_uid(command)}@{revision}", _uid(command))
        self.log.publish([Outbound(Topic.FLOWS, key, stored.to_bytes()) for key in keys])

    def _reject_flow(self, command: FlowCommand, reason: str) -> None:
        rejected = FlowRejected(
            command.tenant, command.namespace, command.flow_id, reason, command.at, command.command_id
        )
        self.log.publish([Outbound(Topic.FLOWS, f"rejected/{_uid(command)}", rejected.to_bytes())])

    # ------------------------------------------------------------------ executions

    def _create(self, command: CreateExecution) -> None:
        trigger = command.trigger
        execution = Execution(
            id=command.execution_id,
            tenant=command.tenant,
            namespace=command.namespace,
            flow_id=command.flow_id,
            flow_revision=command.flow_revision,
            state=State.created(command.at),
            original_id=command.execution_id,
            labels=tuple((k, v) for k, v in command.labels),
            trigger=None if trigger is None else Trigger(trigger["id"], trigger["type"], trigger["variables"]),
            original_created_at=command.at,
            seq=1,
        )
        run = self.runs[command.execution_id] = Run(execution, command.inputs)
        events = [self._event("ExecutionCreated", run, command)]
        events.append(self._move(run, StateType.RUNNING))
        task_run_id = derive_id(command.at, command.execution_id, "t")
        events.append(self._task_run(run, task_run_id, StateType.CREATED, StateType.RUNNING))
        if not self.hold:
            events.append(self._task_run(run, task_run_id, StateType.SUCCESS))
            events.append(self._move(run, StateType.SUCCESS))
        self._emit(events)

    def _change(self, command: ExecutionCommand) -> None:
        run = self.runs.get(command.execution_id)
        if isinstance(command, RecallExecution):
            self._recall(command)
            return
        if run is None and isinstance(command, DeleteExecution) and command.documents is not None:
            run = self.gone.pop(command.execution_id)
        if run is None:
            self._reject(command, NOT_HERE)
            del self.answers[command.command_id]  # only an execution that is here remembers
            return
        state = run.execution.state.current
        if isinstance(command, KillExecution) and not state.terminated:
            self._emit([self._move(run, StateType.KILLING, command), self._move(run, StateType.KILLED)])
        elif isinstance(command, PauseExecution) and state is StateType.RUNNING:
            self._emit([self._move(run, StateType.PAUSED, command)])
        elif isinstance(command, ResumeExecution) and state is StateType.PAUSED:
            self._emit([self._move(run, StateType.RUNNING, command)])
        elif isinstance(command, RestartExecution) and state is StateType.FAILED:
            self._restart(run, command)
        elif isinstance(command, ChangeExecutionState) and state.terminated:
            self._emit([self._move(run, StateType(command.state), command)])
        elif isinstance(command, SetLabels) and state.terminated:
            labels = {} if command.replace else dict(run.execution.labels)
            labels.update((k, v) for k, v in command.labels)
            run.execution = _replace(run.execution, labels=tuple(labels.items()))
            self._emit([self._event("LabelsChanged", run, command, bump=True)])
        elif isinstance(command, DeleteExecution):
            event = self._event("ExecutionDeleted", run, command, bump=True)
            self._emit([EventRecord(event.event, event.execution_id, event.seq, event.at, command_id=event.command_id)])
            self.store.documents.pop((Kind.EXECUTION, command.execution_id), None)
        elif isinstance(command, ReplayExecution):
            old = run.execution
            copy = _replace(
                old,
                id=command.new_execution_id,
                parent_id=old.id,
                state=old.state.to(StateType.RESTARTED, command.at),
                seq=0,
            )
            new = self.runs[command.new_execution_id] = Run(copy, run.inputs)
            self._emit([self._event("ExecutionReplayed", run, command, bump=True)])
            self._emit([self._event("ExecutionCreated", new, command, bump=True)])
            self._emit([self._move(new, StateType.RUNNING)])
        else:
            self._reject(command, f"an execution in {state} can't do that")

    def leave(self, execution_id: str) -> None:
        """The execution leaves the executor."""
        self.gone[execution_id] = self.runs.pop(execution_id)

    def _recall(self, command: RecallExecution) -> None:
        if command.execution_id in self.runs:
            self._reject(command, HERE)
            return
        run = self.runs[command.execution_id] = self.gone.pop(command.execution_id)
        self._emit([self._event("ExecutionRecalled", run, command, bump=True)])

    def _restart(self, run: Run, command: RestartExecution) -> None:
        task_run = run.task_runs[0]
        self._emit(
            [
                self._task_run(run, task_run.id, StateType.RESTARTED, command=command),
                self._move(run, StateType.RESTARTED, command),
                self._move(run, StateType.RUNNING),
                self._task_run(run, task_run.id, StateType.RUNNING, StateType.SUCCESS),
                self._move(run, StateType.SUCCESS),
            ]
        )

    def fail(self, execution_id: str) -> None:
        """The held execution ends FAILED."""
        run = self.runs[execution_id]
        self._emit([self._task_run(run, run.task_runs[0].id, StateType.FAILED), self._move(run, StateType.FAILED)])

    def succeed(self, execution_id: str) -> None:
        """The held execution ends SUCCESS."""
        run = self.runs[execution_id]
        self._emit([self._task_run(run, run.task_runs[0].id, StateType.SUCCESS), self._move(run, StateType.SUCCESS)])

    def _reject(self, command: ExecutionCommand, reason: str) -> None:
        self._emit(
            [
                EventRecord(
                    "CommandRejected", command.execution_id, 0, command.at, command_id=command.command_id, reason=reason
                )
            ]
        )

    def _move(self, run: Run, state: StateType, command: ExecutionCommand | None = None) -> EventRecord:
        at = run.execution.state.changed + 1
        run.execution = _replace(run.execution, state=run.execution.state.to(state, at))
        return self._event(f"Execution{state.value.title()}", run, command, bump=True)

    def _event(self, name: str, run: Run, command: ExecutionCommand | None, *, bump: bool = False) -> EventRecord:
        if bump:
            run.execution = _replace(run.execution, seq=run.execution.seq + 1)
        execution = run.execution
        document = execution_document(execution, run.inputs, None)
        command_id = None if command is None else command.command_id
        return EventRecord(
            name,
            execution.id,
            execution.seq,
            execution.state.changed,
            Kind.EXECUTION,
            execution.id,
            document,
            command_id,
        )

    def _task_run(
        self, run: Run, task_run_id: str, *states: StateType, command: ExecutionCommand | None = None
    ) -> EventRecord:
        seq = run.execution.seq + 1
        known = {task_run.id: task_run for task_run in run.task_runs}
        at = run.execution.state.changed
        if task_run_id not in known:
            state = State.created(at)
            run.task_runs.append(TaskRun(task_run_id, run.execution.id, "t", state))
            known[task_run_id] = run.task_runs[-1]
        before = known[task_run_id]
        state = before.state
        for next_state in states:
            state = state.to(next_state, at)
        after = _replace(before, state=state, attempts=(Attempt(state, "w1"),), seq=seq)
        run.task_runs[run.task_runs.index(before)] = after
        run.execution = _replace(run.execution, seq=seq, task_runs=len(run.task_runs))
        document = task_run_document(run.execution, after, "io.kestra.plugin.core.debug.Return", {"value": "<b>1</b>"})
        return EventRecord(
            f"TaskRun{states[-1].value.title()}",
            run.execution.id,
            seq,
            at,
            Kind.TASK_RUN,
            after.id,
            document,
            None if command is None else command.command_id,
        )

    def _emit(self, events: Sequence[EventRecord]) -> None:
        self.answers.update({event.command_id: event for event in events if event.command_id is not None})
        if self.indexing:
            self.store.write(
                [
                    Versioned(event.kind, event.id, event.seq, event.document, event.execution_id)
                    for event in events
                    if event.kind is not None and event.id is not None
                ]
            )
        self.log.publish([Outbound(Topic.EXECUTION_EVENTS, e.id or e.execution_id, e.to_bytes()) for e in events])


def _replace(value: Any, **changes: Any) -> Any:
    from dataclasses import replace

    return replace(value, **changes)


def _uid(command: FlowCommand) -> str:
    return f"{command.tenant}/{command.namespace}/{command.flow_id}"
