"""Processor: the loop around the engine. Consume, decide, apply and produce in one transaction.

Changes lie in an overlay that later messages of the batch see and an abort drops. Each message is decided in its own
`try`: an exception costs that execution, not the batch.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Final

from prometheus_client import CollectorRegistry

from executor import gates, history
from executor.departures import Departures
from executor.dispatcher import Dispatcher, stop_lost
from executor.engine import effects as f
from executor.engine.decide import AttemptLost, Decision, Incoming, decide, fail_execution, refuse
from executor.engine.draft import Environment
from executor.engine.entries import header_key, task_run_key
from executor.engine.events import CommandRejected, CommandRepeated, ExecutionDeleted
from executor.fleet import Session
from executor.metrics import Metrics
from executor.partition import Partition
from executor.skips import Skips
from executor.timers import Timers
from executor.triggers import FlowTriggers
from shared import messages as m
from shared.dead_letters import buried, dead_letter, origin_of
from shared.model.execution import Execution
from shared.model.identifier import derive_id
from shared.model.moment import Millis
from shared.model.state import StateType
from shared.ports import (
    Aborted,
    Fenced,
    Inbound,
    Journal,
    JournalError,
    Outbound,
    PartitionState,
    RecordTooLarge,
    Step,
    Topic,
)

logger = logging.getLogger(__name__)

COUNT_EVERY: Final = 1000
"""Milliseconds between two documents of a running execution whose counts alone changed."""
KEPT_BYTES: Final = 1_000_000
"""Bytes of a message at most that its dead letter repeats when its execution fails in the same step: the message may
be large because of what made the step fail."""
IDLE: Final = 0.5
"""Seconds of the longest poll: an idle executor looks at leases this often."""
WAITING: Final = 0.02
"""Seconds of a poll while task runs wait for a slot, which a heartbeat may free."""


class Processor:
    """One executor's loop. Also the owner of its partitions towards the journal."""

    def __init__(
        self,
        journal: Journal,
        dispatcher: Dispatcher,
        env: Environment,
        *,
        triggers: FlowTriggers | None = None,
        batch: int = 500,
        keep_ended: Millis = 3_600_000,
        lease_check: float = 0.5,
        skips: Skips = Skips(),  # noqa: B008 -- frozen
        registry: CollectorRegistry | None = None,
        now: Callable[[], Millis] = lambda: time.time_ns() // 1_000_000,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`batch`: records of one transaction at most; `keep_ended`: ms an ended execution stays.

        `triggers`: without them no flow trigger acts.
        """
        self._journal = journal
        self._dispatcher = dispatcher
        self._env = env
        self._triggers = triggers
        self._batch = batch
        self._lease_check = lease_check
        self._skips = skips
        self._now = now
        self._clock = clock
        self._timers = Timers()
        self._departures = Departures(self._timers, dispatcher.fleet, keep_ended)
        self._owned: dict[int, Partition] = {}
        self._checked_leases = 0.0
        self._counted: dict[str, Millis] = {}
        self._uncounted: dict[str, int] = {}
        self._recounted: dict[str, int] = {}
        self._gone: list[tuple[float, Session]] = []
        self._again: list[Inbound] = []  #: what a step that failed leaves to the next one
        self.metrics = Metrics(registry or CollectorRegistry())
        self.last_step = clock()  #: a step that the journal did not take is none: a full disk must show in the health
        self._stored = True
        self._refused: dict[str, str] = {}
        self._outputs: list[Outbound] = []
        self._touched: set[int] = set()

    # -------------------------------------------------------------- ownership

    def assigned(self, partition: int, state: PartitionState) -> None:
        self._again = [record for record in self._again if record.partition != partition]
        taken = Partition(partition, state)
        self._owned[partition] = taken
        self._timers.load(taken)
        self._dispatcher.load(taken)
        logger.info("Partition %d is ours", partition)

    def revoked(self, partition: int, *, lost: bool) -> None:
        self._owned.pop(partition, None)
        self._again = [record for record in self._again if record.partition != partition]
        for execution_id in [known for known in self._counted if self._journal.partition_of(known) == partition]:
            del self._counted[execution_id]
        self._timers.unload(partition)
        self._dispatcher.unload(partition)
        logger.info("Partition %d is %s", partition, "lost" if lost else "handed over")

    @property
    def owned(self) -> frozenset[int]:
        """Numbers of the partitions that are this executor's now."""
        return frozenset(self._owned)

    # -------------------------------------------------------------- the loop

    def step(self, timeout: float | None = None) -> int:
        """One batch: what waits, what is due, what can be sent. Returns how many messages were decided."""
        room = max(0, self._batch - len(self._again))
        wait = 0.0 if self._again else self._patience() if timeout is None else timeout
        polled = self._journal.poll(self, room, wait)  # this may change what is owned, and `_again` with it
        records = [*self._again, *polled]
        self._again = []
        self.metrics.batch.observe(len(records))
        self._refused.clear()
        self._stored = True
        decided: int | None = None
        try:
            while (decided := self._decide_batch(records)) is None:
                pass  # a record was too large: its execution has failed, and the others are decided again
        except JournalError:  # the log is away: flows or heartbeats can't be read
            self._drop(self._owned.values())
            self._again = records
            raise
        except Exception:  # whatever it is: neither the batch nor the executor may be lost for it
            logger.exception("A step of %d messages failed: each is now decided in a step of its own", len(records))
            self._drop(self._owned.values())
            decided = self._one_by_one(records)
        if self._stored:
            self.last_step = self._clock()
        self._show()
        return decided

    def _decide_batch(self, records: Sequence[Inbound]) -> int | None:
        """Decide and commit; None where the batch has to be decided once more, without what is refused."""
        now = self._now()
        self._outputs, self._touched = [], set()
        positions: dict[tuple[Topic, int], int] = {}
        decided = 0
        for record in records:
            partition = self._owned.get(record.partition)
            if partition is None:
                continue
            positions[record.topic, record.partition] = record.offset + 1
            self._touched.add(record.partition)
            self._take(partition, record, now)
            decided += 1
        decided += self._fire(now)
        decided += self._look_after_workers(now, caught_up=len(records) < self._batch)
        decided += self._send(now)
        if positions or self._outputs or any(p.batch.changes for p in self._owned.values()):
            self._count_executions(now)
            if not self._commit(positions):
                return None
        return decided

    # -------------------------------------------------------------- after a step that failed

    def _one_by_one(self, records: Sequence[Inbound]) -> int:
        """The messages of a failed step, then the due timers, each in a transaction of its own."""
        now, decided = self._now(), 0
        for number, record in enumerate(records):
            if record.partition not in self._owned:
                continue
            try:
                stored = self._alone(record, now)
            except JournalError:
                self._drop(self._owned.values())
                self._again = list(records[number:])
                raise
            if not stored:
                return decided  # what is not committed comes again
            decided += 1
        while decided < self._batch and self._alone(None, now):
            decided += 1
        return decided

    def _alone(self, record: Inbound | None, now: Millis) -> bool:
        """One message, or the next due timer (None). False: there is none, or nothing could be stored.

        Whatever goes wrong with it fails its execution; where that is impossible too, it is a dead letter only.
        """
        error: Exception | None = None
        for handle in (self._handle, self._give_up, self._pass_over):
            self._outputs, self._touched = [], set()
            try:
                positions = handle(record, now, error)
                return positions is not None and self._store(positions)
            except JournalError:
                raise
            except Exception as problem:
                logger.exception("%s cannot be handled", "A timer" if record is None else origin_of(record))
                self._drop(self._owned.values())
                error = problem
        assert error is not None
        raise error

    def _next_timer(self, now: Millis) -> tuple[Partition, m.WakeTimer] | None:
        due = self._timers.due(now, self._owned, 1, self._spared)
        return due[0] if due else None

    def _handle(self, record: Inbound | None, now: Millis, _: Exception | None) -> dict[tuple[Topic, int], int] | None:
        if record is None:
            return {} if self._fire(now, 1) else None
        partition = self._owned[record.partition]
        self._touched.add(partition.number)
        self._take(partition, record, now)
        return {(record.topic, record.partition): record.offset + 1}

    def _give_up(
        self, record: Inbound | None, now: Millis, error: Exception | None
    ) -> dict[tuple[Topic, int], int] | None:
        """Fail the execution of what could not be handled."""
        message: m.Message | None = None
        if record is None:
            found = self._next_timer(now)
            if found is None:
                return None
            partition, message = found
        else:
            partition = self._owned[record.partition]
            try:
                message = m.decode(record.value or b"")
            except m.UnknownMessage:
                logger.debug("%s is no message", origin_of(record))
            self._dead_letter(record, str(error), now, "failed", keep=len(record.value or b"") <= KEPT_BYTES)
        self._touched.add(partition.number)
        if isinstance(message, m.ExecutionCommand | m.AttemptEvent):
            decision = fail_execution(partition.batch, message.execution_id, now, self._env, str(error))
            command_id = getattr(message, "command_id", None)
            self._carry_out(partition, message.execution_id, replace(decision, command_id=command_id), now)
            self._tell_caller(partition, message, str(error), now)
        return {} if record is None else {(record.topic, record.partition): record.offset + 1}

    def _pass_over(
        self, record: Inbound | None, now: Millis, error: Exception | None
    ) -> dict[tuple[Topic, int], int] | None:
        """The last resort: the message is named in the dead letters, and nothing else is done about it."""
        if record is None:
            found = self._next_timer(now)
            if found is None:
                return None
            self._touched.add(found[0].number)
            logger.error("Timer %s of execution %s is dropped: %s", found[1].timer, found[1].execution_id, error)
            return {}
        self._touched.add(record.partition)
        self._dead_letter(record, str(error), now, "failed", keep=False)
        return {(record.topic, record.partition): record.offset + 1}

    def _patience(self) -> float:
        """Seconds that a poll may wait."""
        timeout = WAITING if len(self._dispatcher.queues) else IDLE
        due = self._timers.next_due()
        if due is not None:
            timeout = min(timeout, max(0.0, (due - self._now()) / 1000))
        return timeout

    def _take(self, partition: Partition, record: Inbound, now: Millis) -> None:
        try:
            message = m.decode(record.value or b"")
        except m.UnknownMessage as error:
            self._dead_letter(record, str(error), now, "unreadable")
            return
        name = type(message).__name__
        self.metrics.messages.labels(name).inc()
        if isinstance(message, m.FlowCommand):
            self._at_gate(partition, message, record, now)
        elif not isinstance(message, m.AttemptEvent | m.ExecutionCommand):
            self._dead_letter(record, f"{name} is not for executors", now, "unreadable")
        elif (reason := self._skips.why(partition.batch, message)) is not None:
            self.metrics.skipped.labels(name).inc()
            self._dead_letter(record, reason, now, "skipped")
        elif isinstance(message, m.AttemptEvent):
            self._from_worker(partition, message, record, now)
        else:
            self._decide(partition, message, now)

    def _at_gate(self, partition: Partition, command: m.FlowCommand, record: Inbound, now: Millis) -> None:
        try:
            answer = self._answer(partition, command)
        except Exception as error:
            logger.exception("Flow command %s of %s failed", type(command).__name__, gates.uid(command))
            self.metrics.errors.labels(type(command).__name__).inc()
            self._dead_letter(record, f"{type(error).__name__}: {error}", now, "failed")
            return
        for reply in answer.commands:
            self._outputs.append(Outbound(Topic.EXECUTION_COMMANDS, reply.execution_id, reply.to_bytes()))
        self._outputs.extend(answer.records)

    def _answer(self, partition: Partition, command: m.FlowCommand) -> gates.GateAnswer:
        if not isinstance(command, m.ConsiderTrigger):
            return gates.answer(partition.batch, command)
        created = self._triggers.consider(partition.batch, command) if self._triggers is not None else None
        return gates.GateAnswer([created] if created is not None else [])

    def _from_worker(self, partition: Partition, message: m.AttemptEvent, record: Inbound, now: Millis) -> None:
        """Results of another attempt or dispatch than the leased one are rejected.

        One for an execution that is not here may be all that is left of work that was done: it is a dead letter, too.
        """
        if not self._dispatcher.accepts(message):
            self.metrics.rejected.labels(type(message).__name__).inc()
            if partition.batch.get(header_key(message.execution_id)) is None:
                reason = f"{type(message).__name__} of an execution that is not known: it has left, or never was"
                self._dead_letter(record, reason, now, "unknown execution")
                return
            logger.info(
                "%s of execution %s task run %s attempt %d dispatch %d is rejected: it is not the leased work",
                type(message).__name__,
                message.execution_id,
                message.task_run_id,
                message.attempt,
                message.dispatch,
            )
            return
        if isinstance(message, m.AttemptDeclined):
            self._declined(partition, message, now)
            return
        if isinstance(message, m.AttemptEnded):
            self._dispatcher.ended(partition, message)
        self._decide(partition, message, now)

    def _declined(self, partition: Partition, message: m.AttemptDeclined, now: Millis) -> None:
        """Not started: elsewhere. Started and handed back by a draining worker: lost, as far as the engine knows."""
        task_run = partition.batch.get(task_run_key(message.execution_id, message.task_run_id))
        running = task_run is not None and task_run.attempts and not task_run.attempts[-1].state.terminated
        if running:
            self._dispatcher.ended(partition, message)
            lost = AttemptLost(message.execution_id, message.task_run_id, message.attempt, message.session)
            self._decide(partition, lost, now)
        else:
            self._dispatcher.declined(partition, message, now)

    def _decide(self, partition: Partition, message: Incoming, now: Millis) -> None:
        self._touched.add(partition.number)
        try:
            if message.execution_id in self._refused:
                decision = refuse(partition.batch, message, now, self._env, self._refused[message.execution_id])
            else:
                decision = decide(partition.batch, message, now, self._env)
        except JournalError:
            raise  # flows can't be read now, which is nobody's fault: the step is repeated
        except Exception as error:
            name = type(message).__name__
            logger.exception("%s of execution %s failed", name, message.execution_id)
            self.metrics.errors.labels(name).inc()
            decision = self._fail(partition, message, now, f"{type(error).__name__}: {error}")
        if decision.rejection is not None:
            self.metrics.rejected.labels(type(message).__name__).inc()
            logger.debug(
                "%s of execution %s is rejected: %s", type(message).__name__, message.execution_id, decision.rejection
            )
            self._tell_caller(partition, message, decision.rejection, now)
        self._carry_out(partition, message.execution_id, decision, now)

    def _fail(self, partition: Partition, message: Incoming, now: Millis, error: str) -> Decision:
        try:
            return fail_execution(partition.batch, message.execution_id, now, self._env, error)
        except Exception:
            logger.exception("Execution %s could not even be failed", message.execution_id)
            return Decision((), (), type(partition.batch)(partition.batch), None, error)

    def _tell_caller(self, partition: Partition, message: m.Message | Incoming, reason: str, now: Millis) -> None:
        """A subflow that can't begin (again) ends for the task run that waits for it, which else waits for ever."""
        if not isinstance(message, m.CreateExecution | m.RestartExecution) or message.caller is None:
            return
        if partition.batch.get(header_key(message.execution_id)) is not None:
            return  # it has begun: it was asked for twice, and tells of its end itself
        if isinstance(message, m.RestartExecution):
            reason = f"{reason}; restart {message.execution_id} by itself first"
        end = m.EndSubflow(
            execution_id=message.caller["execution_id"],
            command_id=f"end-{message.execution_id}-refused",
            at=now,
            task_run_id=message.caller["task_run_id"],
            attempt=message.caller["attempt"],
            iteration=message.caller.get("iteration"),
            child_id=message.execution_id,
            state=StateType.FAILED.value,
            error=reason,
        )
        self._outputs.append(Outbound(Topic.EXECUTION_COMMANDS, end.execution_id, end.to_bytes()))

    # -------------------------------------------------------------- what a decision brings

    def _carry_out(self, partition: Partition, execution_id: str, decision: Decision, now: Millis) -> None:
        before = len(self._outputs)
        partition.batch.merge(decision.changes)
        execution: Execution | None = partition.batch.get(header_key(execution_id))
        plan = None
        if execution is not None:
            plan = self._env.flows(execution.tenant, execution.namespace, execution.flow_id, execution.flow_revision)
        self._outputs.extend(
            history.records(decision.events, partition.batch, plan, decision.command_id, partition.number)
        )
        for number, effect in enumerate(decision.effects):
            self._effect(partition, execution_id, execution, effect, now, number)
        if self._triggers is not None:
            self._outputs.extend(self._triggers.heard(decision.events, partition.batch))
        if execution is None:
            if any(isinstance(item.event, ExecutionDeleted) for item in decision.events):
                self._departures.deleted(partition, execution_id, now)
            return
        if len(self._outputs) > before:
            self._uncounted[execution_id] = partition.number
        shown = max((item.event.seq for item in decision.events if item.event.changes_execution), default=0)
        changed = any(not isinstance(item.event, CommandRejected | CommandRepeated) for item in decision.events)
        if execution.state.terminated and changed and shown < execution.seq:
            # What ended may leave: its document always shows all of it.
            self._outputs.append(history.refreshed(execution, partition.batch, now, partition.number))
            shown = execution.seq
        if shown:
            self._counted[execution_id] = now
            self._uncounted.pop(execution_id, None)
        if execution.state.terminated and changed:
            self._counted.pop(execution_id, None)
            self._departures.ended(partition, execution, now)

    def _effect(
        self,
        partition: Partition,
        execution_id: str,
        execution: Execution | None,
        effect: f.Effect,
        now: Millis,
        number: int,
    ) -> None:
        match effect:
            case f.Enqueue():
                self._dispatcher.enqueue(partition, execution_id, effect, now)
            case f.Withdraw(task_run_id):
                self._outputs.extend(self._dispatcher.withdraw(partition, task_run_id, "kill"))
            case f.Interrupt(task_run_id):
                self._outputs.extend(self._dispatcher.interrupt(task_run_id))
            case f.SetTimer(due, wake):
                self._timers.set(partition, due, wake)
                if wake.timer == "replay":
                    self._departures.retry_awaited(partition, execution_id, due)
            case f.Send(command):
                key = gates.uid(command) if isinstance(command, m.FlowCommand) else command.execution_id
                self._outputs.append(Outbound(Topic.EXECUTION_COMMANDS, key, command.to_bytes()))
            case f.Log(level, text, task_run_id, task_id):
                assert execution is not None
                line = m.LogLine(
                    id=derive_id(now, execution_id, execution.seq, number, text),
                    tenant=execution.tenant,
                    namespace=execution.namespace,
                    flow_id=execution.flow_id,
                    execution_id=execution_id,
                    level=level,
                    text=text,
                    at=now,
                    task_id=task_id,
                    task_run_id=task_run_id,
                    attempt=0 if task_run_id is not None else None,
                    thread="executor",
                    index=number,
                )
                self._outputs.append(Outbound(Topic.LOGS, execution_id, line.to_bytes()))

    def _count_executions(self, now: Millis) -> None:
        """Emit the documents of running executions whose counts changed, at most once a second each."""
        for execution_id, number in list(self._uncounted.items()):
            partition = self._owned.get(number)
            if partition is None:
                del self._uncounted[execution_id]
                continue
            if now - self._counted.get(execution_id, 0) < COUNT_EVERY:
                continue
            self._recounted[execution_id] = self._uncounted.pop(execution_id)  # once more where the step is not stored
            execution: Execution | None = partition.batch.get(header_key(execution_id))
            if execution is None:
                continue
            if not execution.state.terminated:
                self._counted[execution_id] = now
            self._touched.add(number)
            self._outputs.append(history.refreshed(execution, partition.batch, now, number))

    # -------------------------------------------------------------- time and workers

    def _fire(self, now: Millis, limit: int | None = None) -> int:
        due = self._timers.due(now, self._owned, self._batch if limit is None else limit, self._spared)
        for partition, wake in due:
            self._touched.add(partition.number)
            records = self._departures.due(partition, wake, now)
            if records is None:
                self._decide(partition, wake, now)
            else:
                self._outputs.extend(records)
        return len(due)

    def _spared(self, partition: Partition, wake: m.WakeTimer) -> bool:
        """A timer of what is passed over stays, for an executor without the setting."""
        if self._skips.why(partition.batch, wake) is None:
            return False
        self.metrics.skipped.labels(type(wake).__name__).inc()
        return True

    def _look_after_workers(self, now: Millis, *, caught_up: bool) -> int:
        """Hear the heartbeats; take back what is lost, unless answers of workers may still wait to be read."""
        # Its last results are in the log before a session's goodbye, but may not have been polled before it was heard.
        clock = self._clock()
        self._gone += [(clock + self._lease_check, session) for session in self._dispatcher.fleet.poll()[1]]
        if not caught_up or clock - self._checked_leases < self._lease_check:
            return 0
        self._checked_leases = clock
        gone = [session for due, session in self._gone if due <= clock]
        self._gone = [(due, session) for due, session in self._gone if due > clock]
        lost = self._dispatcher.lost(gone)
        for number, message in lost:
            partition = self._owned.get(number)
            if partition is None:
                continue
            if self._skips.why(partition.batch, message) is not None:
                self._dispatcher.leases.set_aside(message.task_run_id)
                continue
            lease = self._dispatcher.leases.end(partition, message.task_run_id)
            if lease is None:
                continue
            logger.warning(
                "Execution %s task run %s attempt %d: the lease of session %s is over",
                message.execution_id,
                message.task_run_id,
                message.attempt,
                message.session,
            )
            self.metrics.lost.inc()
            self._outputs.append(stop_lost(lease))
            self._decide(partition, message, now)
        return len(lost)

    def _send(self, now: Millis) -> int:
        outputs, unplaceable = self._dispatcher.send(self._owned, now, self._batch)
        self._outputs.extend(outputs)
        for partition, message in unplaceable:
            self._decide(partition, message, now)
        return len(unplaceable)

    # -------------------------------------------------------------- committing

    def _commit(self, positions: dict[tuple[Topic, int], int]) -> bool:
        """Write the batch; False where a record was too large and the batch should be decided once more."""
        try:
            self._store(positions)
        except RecordTooLarge as error:
            self.metrics.commits.labels("too_large").inc()
            logger.exception("A record is too large: the step is dropped and its execution failed")
            self._drop(self._owned.values())
            self._too_large(error)
            return False
        return True

    def _store(self, positions: dict[tuple[Topic, int], int]) -> bool:
        """Write the batch; False where the journal did not take it: its messages come again.

        Raises RecordTooLarge, or whatever a value that cannot be stored raises, before anything is written.
        """
        changed = [partition for partition in self._owned.values() if partition.batch.changes]
        writes = {partition.number: partition.writes() for partition in changed}
        touched = frozenset(self._touched | {number for number, write in writes.items() if write})
        step = Step(positions, {number: write for number, write in writes.items() if write}, self._outputs, touched)
        try:
            with self.metrics.commit_seconds.time():
                self._journal.commit(step)
        except (Fenced, Aborted, JournalError) as error:
            self.metrics.commits.labels(type(error).__name__).inc()
            logger.warning("A step was not committed: %s: %s", type(error).__name__, error)
            self._drop(self._owned.values())
            self._stored = False
            return False
        self.metrics.commits.labels("ok").inc()
        for partition in changed:
            partition.committed()
        self._recounted.clear()
        return True

    def _drop(self, partitions: Iterable[Partition]) -> None:
        """Nothing of the batch was stored: what is in memory follows the state again."""
        dropped = list(partitions)
        for partition in dropped:
            partition.dropped()
            self._dispatcher.load(partition)
        self._timers.load(*dropped)
        self._uncounted.update(self._recounted)  # their documents were to be written with the batch
        self._recounted.clear()

    def _too_large(self, error: RecordTooLarge) -> None:
        """Fail the execution whose record is above the hard limit, and refuse what else the batch has for it."""
        execution_id = execution_of(error.record)
        if execution_id is None or execution_id in self._refused:
            raise error
        self._refused[execution_id] = str(error)
        partition = self._owned.get(self._journal.partition_of(execution_id))
        if partition is None:
            raise error
        self._outputs, self._touched = [], {partition.number}
        decision = fail_execution(partition.batch, execution_id, self._now(), self._env, str(error))
        self._carry_out(partition, execution_id, decision, self._now())
        changes = partition.writes()
        try:
            self._journal.commit(
                Step({}, {partition.number: changes} if changes else {}, self._outputs, frozenset(self._touched))
            )
        except (JournalError, RecordTooLarge):
            logger.exception("Execution %s could not be failed", execution_id)
            self._drop([partition])
        else:
            partition.committed()

    def _dead_letter(self, record: Inbound, reason: str, now: Millis, why: str, *, keep: bool = True) -> None:
        letter = dead_letter(record, reason, "executor", now, keep=keep)
        logger.log(
            logging.DEBUG if why == "skipped" else logging.ERROR,  # that one is passed over is said once for each
            "Dead letter %s: %s (execution %s, task run %s)",
            letter.origin,
            reason,
            letter.execution_id,
            letter.task_run_id,
        )
        self.metrics.dead_letters.labels(why).inc()
        self._outputs.append(buried(letter))

    def _show(self) -> None:
        metrics = self.metrics
        metrics.waiting.set(len(self._dispatcher.queues))
        metrics.leases.set(len(self._dispatcher.leases))
        metrics.partitions.set(len(self._owned))
        metrics.timers.set(len(self._timers))


def execution_of(record: Outbound) -> str | None:
    """The execution that a record is about."""
    if record.topic is Topic.EXECUTOR_STATE:
        kind, _, rest = record.key.partition("/")
        return rest.split("/", 1)[0] if kind == "x" else None
    if record.topic is Topic.DEAD_LETTERS:
        return None  # it names the execution of a record that was refused, and is none of its doing
    try:
        message = m.decode(record.value or b"")
    except m.UnknownMessage:
        return None
    return getattr(message, "execution_id", None)
