"""A stand for the processor: an executor on a SQLite journal, with workers and time in the test's hands."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from executor.dispatcher import Dispatcher
from executor.engine.draft import Environment
from executor.engine.plan import Plan
from executor.fleet import Fleet
from executor.processor import Processor
from executor.skips import Skips
from shared import messages as m
from shared.adapters.sqlite import SqliteDatabase, SqliteEventLog, SqliteInbox, SqliteJournal
from shared.expressions import Renderer
from shared.flows.parser import parse_flow
from shared.model.execution import Execution
from shared.model.identifier import derive_id
from shared.model.task_run import TaskRun
from shared.ports import Inbound, Outbound, Topic

START = 1_790_000_000_000
LEASE = 6.0
"""Seconds, of the stand's own clock."""


class FakeWorker:
    """A worker session that does what the test says."""

    def __init__(self, stand: Stand, session: str, group: str = "", slots: int = 10) -> None:
        self.stand, self.session, self.group, self.slots = stand, session, group, slots
        self._inbox = SqliteInbox(stand.database)
        self._address = self._inbox.open(session)
        self.held: dict[str, m.RunTaskRun] = {}
        self.stops: list[m.StopTaskRun] = []
        self.beat()

    def beat(self, state: str = "RUNNING") -> None:
        """Tell that the session is alive and what it holds."""
        held = [[c.execution_id, c.task_run_id, c.attempt, c.dispatch] for c in self.held.values()]
        beat = m.Heartbeat(
            session=self.session,
            service="worker",
            at=self.stand.now,
            state=state,
            group=self.group,
            slots=self.slots,
            free=self.slots - len(held),
            inbox=self._address.partition,
            position=self._inbox.position,
            held=held,
        )
        self.stand.log.publish([Outbound(Topic.HEARTBEATS, self.session, beat.to_bytes())])

    def take(self) -> list[m.RunTaskRun]:
        """New commands to run; stop signals are kept in `stops`."""
        taken: list[m.RunTaskRun] = []
        for command in self._inbox.take(1000, 0):
            if isinstance(command, m.RunTaskRun):
                self.held[command.task_run_id] = command
                taken.append(command)
            elif isinstance(command, m.StopTaskRun):
                self.stops.append(command)
        return taken

    def _say(self, kind: Callable[..., m.AttemptEvent], command: m.RunTaskRun, **more: Any) -> None:
        event = kind(
            execution_id=command.execution_id,
            task_run_id=command.task_run_id,
            attempt=command.attempt,
            dispatch=command.dispatch,
            session=self.session,
            at=self.stand.now,
            **more,
        )
        self.stand.log.publish([Outbound(Topic.TASK_RUN_EVENTS, command.execution_id, event.to_bytes())])

    def begin(self, command: m.RunTaskRun) -> None:
        self._say(m.AttemptStarted, command)

    def end(self, command: m.RunTaskRun, state: str = "SUCCESS", outputs: dict[str, Any] | None = None) -> None:
        self.held.pop(command.task_run_id, None)
        self._say(m.AttemptEnded, command, state=state, started_at=self.stand.now, outputs=outputs)

    def decline(self, command: m.RunTaskRun) -> None:
        self.held.pop(command.task_run_id, None)
        self._say(m.AttemptDeclined, command)

    def work(self) -> int:
        """Take everything, and do it at once."""
        commands = self.take()
        for command in commands:
            self.begin(command)
            self.end(command)
        return len(commands)


class Stand:
    """One database, and executors on it; the newest is `processor`."""

    def __init__(self, directory: Path, *, record_limit: int = 1_000_000, resubmissions: int = 5) -> None:
        self.database = SqliteDatabase(directory / "stand.db", "OFF", record_limit=record_limit)
        self.log = SqliteEventLog(self.database)
        self.now = START
        self.clock = 1000.0
        self.plans: dict[str, Plan] = {}
        self.resubmissions = resubmissions
        self.skips = Skips()
        self.journal: SqliteJournal
        self.processor: Processor
        self.dispatcher: Dispatcher
        self._count = 0
        self._history = self.log.tail([Topic.EXECUTION_EVENTS, Topic.DEAD_LETTERS])
        self.records: list[Inbound] = []
        self.executor()

    def executor(self) -> Processor:
        """A new executor, as after a crash of the one before: what that had in memory is gone."""
        if hasattr(self, "journal"):
            self.journal.close()
        self.journal = SqliteJournal(self.database)
        fleet = Fleet(self.log.tail([Topic.HEARTBEATS]), LEASE, lambda: self.clock)
        self.dispatcher = Dispatcher(
            fleet,
            lambda execution: self.plans.get(execution.flow_id),
            LEASE,
            self.journal.partition_of,
            lambda: self.clock,
            skips=self.skips,
        )
        env = Environment(
            flows=lambda tenant, namespace, flow_id, revision: self.plans.get(flow_id),
            renderer=Renderer(),
            resubmissions=self.resubmissions,
        )
        self.processor = Processor(
            self.journal,
            self.dispatcher,
            env,
            lease_check=0.0,
            skips=self.skips,
            now=lambda: self.now,
            clock=lambda: self.clock,
        )
        return self.processor

    # -------------------------------------------------------------- doing

    def add(self, source: str) -> None:
        flow = parse_flow(source)
        self.plans[flow.id] = Plan.of(flow)

    def create(self, flow_id: str = "f", **more: Any) -> str:
        self._count += 1
        execution_id = derive_id(self.now, "stand", self._count)
        flow = self.plans[flow_id].flow
        self.send(
            m.CreateExecution(
                execution_id=execution_id,
                command_id=f"create-{execution_id}",
                at=self.now,
                tenant=flow.tenant,
                namespace=flow.namespace,
                flow_id=flow.id,
                flow_revision=flow.revision,
                **more,
            )
        )
        return execution_id

    def send(self, command: m.ExecutionCommand) -> None:
        self.raw(command.execution_id, command.to_bytes())

    def raw(self, key: str, value: bytes) -> None:
        self.log.publish([Outbound(Topic.EXECUTION_COMMANDS, key, value)])

    def kill(self, execution_id: str) -> None:
        self.send(m.KillExecution(execution_id=execution_id, command_id="kill", at=self.now))

    def step(self, times: int = 4) -> None:
        """So many steps of the executor, without waiting."""
        for _ in range(times):
            self.now += 1
            self.processor.step(0)

    def settle(self, *workers: FakeWorker, most: int = 2000) -> None:
        """Steps of the executor and work of the workers, until neither has anything to do."""
        idle = 0
        for _ in range(most):
            self.now += 1
            done = self.processor.step(0) + sum(worker.work() for worker in workers)
            idle = 0 if done else idle + 1
            if idle == 3:
                return
        raise AssertionError("it does not settle")

    def pass_time(self, seconds: float, *, indexed: bool = True) -> None:
        """Let time pass; with `indexed`, an indexer says that the search store has everything until now."""
        self.now += int(seconds * 1000)
        self.clock += seconds
        if indexed:
            projected = [[number, self.now] for number in range(self.journal.partitions)]
            beat = m.Heartbeat(session="indexer", service="indexer", at=self.now, projected=projected)
            self.log.publish([Outbound(Topic.HEARTBEATS, "indexer", beat.to_bytes())])

    # -------------------------------------------------------------- reading

    def entry(self, execution_id: str, rest: str) -> Any:
        partition = self.processor._owned[self.journal.partition_of(execution_id)]
        return partition.entries.get(f"x/{execution_id}/{rest}")

    def execution(self, execution_id: str) -> Execution | None:
        found: Execution | None = self.entry(execution_id, "h")
        return found

    def state(self, execution_id: str) -> str | None:
        execution = self.execution(execution_id)
        return None if execution is None else execution.state.current.value

    def runs(self, execution_id: str) -> list[TaskRun]:
        partition = self.processor._owned[self.journal.partition_of(execution_id)]
        return sorted((run for _, run in partition.entries.scan(f"x/{execution_id}/r/")), key=lambda run: run.seq)

    def states(self, execution_id: str) -> list[tuple[str, str]]:
        return [(run.task_id, run.state.current.value) for run in self.runs(execution_id)]

    def history(self) -> list[m.EventRecord]:
        """Every event so far, of all executions."""
        self._read()
        decoded = [m.decode(r.value) for r in self.records if r.topic is Topic.EXECUTION_EVENTS and r.value is not None]
        return [record for record in decoded if isinstance(record, m.EventRecord)]

    def dead_letters(self) -> list[m.DeadLetter]:
        self._read()
        decoded = [m.decode(r.value or b"") for r in self.records if r.topic is Topic.DEAD_LETTERS]
        return [letter for letter in decoded if isinstance(letter, m.DeadLetter)]

    def _read(self) -> None:
        while records := self._history.poll(1000, 0):
            self.records.extend(records)

    def close(self) -> None:
        self.journal.close()
        self.log.close()
        self.database.close()
