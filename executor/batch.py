"""Batch: what a step makes of its messages.

Each is decided, its changes lie in the overlays of the partitions, and the records that it brings wait here, until the
step's commit writes everything or nothing.
"""

from __future__ import annotations

import logging
from dataclasses import replace

from executor import gates, history
from executor.counts import Counts
from executor.departures import Departures
from executor.dispatcher import Dispatcher
from executor.engine import effects as f
from executor.engine.decide import AttemptLost, Decision, Incoming, decide, fail_execution, refuse
from executor.engine.draft import Environment
from executor.engine.entries import header_key, task_run_key
from executor.engine.events import CommandRejected, CommandRepeated, ExecutionDeleted
from executor.metrics import Metrics
from executor.partition import Partition
from executor.skips import Skips
from executor.timers import Timers
from executor.triggers import FlowTriggers
from shared import messages as m
from shared.dead_letters import buried, dead_letter
from shared.model.execution import Execution
from shared.model.identifier import derive_id
from shared.model.moment import Millis
from shared.model.state import StateType
from shared.ports import Inbound, JournalError, Outbound, Topic

logger = logging.getLogger(__name__)


class Batch:
    """The messages of one step after another. An exception costs the execution that it is about, not the others."""

    def __init__(
        self,
        env: Environment,
        dispatcher: Dispatcher,
        timers: Timers,
        departures: Departures,
        counts: Counts,
        metrics: Metrics,
        *,
        triggers: FlowTriggers | None = None,
        skips: Skips = Skips(),  # noqa: B008 -- frozen
    ) -> None:
        """`triggers`: without them no flow trigger acts."""
        self.env = env
        self._dispatcher = dispatcher
        self._timers = timers
        self._departures = departures
        self._counts = counts
        self._metrics = metrics
        self._triggers = triggers
        self.skips = skips
        self.refused: dict[str, str] = {}  #: executions whose records are too large for this step, and why
        self.outputs: list[Outbound] = []  #: records to write
        self.touched: set[int] = set()  #: partitions that the step rests on

    def begin(self) -> None:
        """Nothing is decided yet."""
        self.outputs, self.touched = [], set()

    # -------------------------------------------------------------- one message

    def take(self, partition: Partition, record: Inbound, now: Millis) -> None:
        """Decide on a record; one that is not for executors, or is passed over, becomes a dead letter."""
        try:
            message = m.decode(record.value or b"")
        except m.UnknownMessage as error:
            self.dead_letter(record, str(error), now, "unreadable")
            return
        name = type(message).__name__
        self._metrics.messages.labels(name).inc()
        if isinstance(message, m.FlowCommand):
            self._at_gate(partition, message, record, now)
        elif not isinstance(message, m.AttemptEvent | m.ExecutionCommand):
            self.dead_letter(record, f"{name} is not for executors", now, "unreadable")
        elif (reason := self.skips.why(partition.batch, message)) is not None:
            self._metrics.skipped.labels(name).inc()
            self.dead_letter(record, reason, now, "skipped")
        elif isinstance(message, m.AttemptEvent):
            self._from_worker(partition, message, record, now)
        else:
            self.decide(partition, message, now)

    def _at_gate(self, partition: Partition, command: m.FlowCommand, record: Inbound, now: Millis) -> None:
        try:
            answer = self._answer(partition, command)
        except Exception as error:
            logger.exception("Flow command %s of %s failed", type(command).__name__, gates.uid(command))
            self._metrics.errors.labels(type(command).__name__).inc()
            self.dead_letter(record, f"{type(error).__name__}: {error}", now, "failed")
            return
        for reply in answer.commands:
            self.outputs.append(Outbound(Topic.EXECUTION_COMMANDS, reply.execution_id, reply.to_bytes()))
        self.outputs.extend(answer.records)

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
            self._metrics.rejected.labels(type(message).__name__).inc()
            if partition.batch.get(header_key(message.execution_id)) is None:
                reason = f"{type(message).__name__} of an execution that is not known: it has left, or never was"
                self.dead_letter(record, reason, now, "unknown execution")
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
        self.decide(partition, message, now)

    def _declined(self, partition: Partition, message: m.AttemptDeclined, now: Millis) -> None:
        """Not started: elsewhere. Started and handed back by a draining worker: lost, as far as the engine knows."""
        task_run = partition.batch.get(task_run_key(message.execution_id, message.task_run_id))
        running = task_run is not None and task_run.attempts and not task_run.attempts[-1].state.terminated
        if running:
            self._dispatcher.ended(partition, message)
            lost = AttemptLost(message.execution_id, message.task_run_id, message.attempt, message.session)
            self.decide(partition, lost, now)
        else:
            self._dispatcher.declined(partition, message, now)

    def decide(self, partition: Partition, message: Incoming, now: Millis) -> None:
        """Decide on a message about an execution; what raises an exception fails it."""
        self.touched.add(partition.number)
        try:
            if message.execution_id in self.refused:
                decision = refuse(partition.batch, message, now, self.env, self.refused[message.execution_id])
            else:
                decision = decide(partition.batch, message, now, self.env)
        except JournalError:
            raise  # flows can't be read now, which is nobody's fault: the step is repeated
        except Exception as error:
            name = type(message).__name__
            logger.exception("%s of execution %s failed", name, message.execution_id)
            self._metrics.errors.labels(name).inc()
            decision = self._fail(partition, message, now, f"{type(error).__name__}: {error}")
        if decision.rejection is not None:
            self._metrics.rejected.labels(type(message).__name__).inc()
            logger.debug(
                "%s of execution %s is rejected: %s", type(message).__name__, message.execution_id, decision.rejection
            )
            self._tell_caller(partition, message, decision.rejection, now)
        self.carry_out(partition, message.execution_id, decision, now)

    def _fail(self, partition: Partition, message: Incoming, now: Millis, error: str) -> Decision:
        try:
            return fail_execution(partition.batch, message.execution_id, now, self.env, error)
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
        self.outputs.append(Outbound(Topic.EXECUTION_COMMANDS, end.execution_id, end.to_bytes()))

    def fail(self, partition: Partition, message: m.Message | None, error: str, now: Millis) -> None:
        """Fail the execution of a message that could not be handled."""
        self.touched.add(partition.number)
        if isinstance(message, m.ExecutionCommand | m.AttemptEvent):
            decision = fail_execution(partition.batch, message.execution_id, now, self.env, error)
            command_id = getattr(message, "command_id", None)
            self.carry_out(partition, message.execution_id, replace(decision, command_id=command_id), now)
            self._tell_caller(partition, message, error, now)

    # -------------------------------------------------------------- what a decision brings

    def carry_out(self, partition: Partition, execution_id: str, decision: Decision, now: Millis) -> None:
        """Keep what was decided: changes, history, effects."""
        before = len(self.outputs)
        partition.batch.merge(decision.changes)
        execution: Execution | None = partition.batch.get(header_key(execution_id))
        plan = None
        if execution is not None:
            plan = self.env.flows(execution.tenant, execution.namespace, execution.flow_id, execution.flow_revision)
        self.outputs.extend(
            history.records(decision.events, partition.batch, plan, decision.command_id, partition.number)
        )
        for number, effect in enumerate(decision.effects):
            self._effect(partition, execution_id, execution, effect, now, number)
        if self._triggers is not None:
            self.outputs.extend(self._triggers.heard(decision.events, partition.batch))
        if execution is None:
            for item in decision.events:
                if isinstance(item.event, ExecutionDeleted):
                    self._departures.deleted(partition, execution_id, now, rest=item.event.rest)
            return
        shown = max((item.event.seq for item in decision.events if item.event.changes_execution), default=0)
        changed = any(not isinstance(item.event, CommandRejected | CommandRepeated) for item in decision.events)
        if execution.state.terminated and changed and shown < execution.seq:
            # What ended may leave: its document always shows all of it.
            self.outputs.append(history.refreshed(execution, partition.batch, now, partition.number))
            shown = execution.seq
        if shown:
            self._counts.shown(execution, now)
        elif len(self.outputs) > before:
            self._counts.changed(execution_id, partition.number)
        if execution.state.terminated and changed:
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
                self.outputs.extend(self._dispatcher.withdraw(partition, task_run_id, "kill"))
            case f.Interrupt(task_run_id):
                self.outputs.extend(self._dispatcher.interrupt(task_run_id))
            case f.SetTimer(due, wake):
                self._timers.set(partition, due, wake)
                if wake.timer == "replay":
                    self._departures.retry_awaited(partition, execution_id, due)
            case f.Send(command):
                key = gates.uid(command) if isinstance(command, m.FlowCommand) else command.execution_id
                self.outputs.append(Outbound(Topic.EXECUTION_COMMANDS, key, command.to_bytes()))
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
                self.outputs.append(Outbound(Topic.LOGS, execution_id, line.to_bytes()))

    def dead_letter(self, record: Inbound, reason: str, now: Millis, why: str, *, keep: bool = True) -> None:
        """A record that cannot be handled, kept with its origin. `why`: the metric's label."""
        letter = dead_letter(record, reason, "executor", now, keep=keep)
        logger.log(
            logging.DEBUG if why == "skipped" else logging.ERROR,  # that one is passed over is said once for each
            "Dead letter %s: %s (execution %s, task run %s)",
            letter.origin,
            reason,
            letter.execution_id,
            letter.task_run_id,
        )
        self._metrics.dead_letters.labels(why).inc()
        self.outputs.append(buried(letter))
