"""Dispatcher: sends what waits to the worker session with most free slots, and takes back what is lost or declined."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from executor.engine import batches
from executor.engine.decide import AttemptLost, Unplaceable
from executor.engine.effects import Enqueue
from executor.engine.entries import header_key, task_run_key
from executor.engine.item_tasks import MERGE
from executor.engine.plan import Plan
from executor.engine.variables import variables
from executor.fleet import Fleet, Session
from executor.leases import Leases
from executor.partition import Partition
from executor.queues import Queues, Waiting, key_of
from executor.skips import Skips
from shared.messages import AttemptDeclined, AttemptEvent, RunTaskRun, StopTaskRun, WorkerCommand
from shared.model.execution import Execution
from shared.model.flow import Fallback, Task
from shared.model.moment import Millis
from shared.model.state import StateType
from shared.model.task_run import Lease, TaskRun, Work
from shared.ports import Outbound, Topic

PATIENCE: Final = 2.0
"""Seconds that a group may be without workers before its fallback is taken: twice the heartbeat's period, so that
an executor that has just started hears of everyone first."""

LOOK_EVERY: Final = 1.0
"""Seconds between two looks through all that waits for a group without workers: 100,000 task runs take about one."""

_HISTORY: Final = {"errorLogs": "errorLogs", "tasksWithState": "tasks"}
"""Functions of expressions that read the execution's history, and the variable that they read."""

_HELD_BACK: Final = frozenset({StateType.PAUSED, StateType.KILLING})
"""Execution states in which nothing is sent."""

logger = logging.getLogger(__name__)

PlanOf = Callable[[Execution], Plan | None]


class Dispatcher:
    """Queues, leases and the fleet of one executor."""

    def __init__(
        self,
        fleet: Fleet,
        plans: PlanOf,
        lease: float,
        partition_of: Callable[[str], int],
        clock: Callable[[], float] = time.monotonic,
        limit: int | None = None,
        skips: Skips = Skips(),  # noqa: B008 -- frozen
    ) -> None:
        """`lease` in seconds; `partition_of` tells which held work is of whose executions.

        `limit`: bytes of a command at most; a task run that needs more fails. What `skips` names is not sent.
        """
        self._skips = skips
        self.fleet = fleet
        self.queues = Queues()
        self.leases = Leases(lease, clock)
        self._plans = plans
        self._partition_of = partition_of
        self._clock = clock
        self._limit = limit
        self._empty_since: dict[str, float] = {}
        self._looked_through: dict[str, float] = {}

    def load(self, partition: Partition) -> None:
        self.queues.load(partition)
        self.leases.load(partition)

    def unload(self, number: int) -> None:
        self.queues.unload(number)
        self.leases.unload(number)

    # -------------------------------------------------------------- what the engine asks

    def enqueue(self, partition: Partition, execution_id: str, effect: Enqueue, now: Millis) -> None:
        """Let a task run wait for a worker; one that waits or is sent already stays as it is."""
        lease = self.leases.get(effect.task_run_id)
        if lease is not None and lease.work.attempt == effect.attempt:
            return
        known = partition.batch.get(key_of(effect.task_run_id))
        if known is not None and known[4] == effect.attempt:
            self.queues.put_back(Waiting.from_data(known, partition.number))
            return
        self.queues.add(
            partition,
            Waiting(
                rank=-effect.priority,
                since=now,
                task_run_id=effect.task_run_id,
                execution_id=execution_id,
                attempt=effect.attempt,
                dispatch=0,
                group=effect.group,
                fallback=effect.fallback.value,
                partition=partition.number,
            ),
        )

    def withdraw(self, partition: Partition, task_run_id: str, reason: str) -> Iterator[Outbound]:
        """Leave the queue; stop the worker that holds it."""
        self.queues.remove(partition, task_run_id)
        lease = self.leases.end(partition, task_run_id)
        if lease is not None:
            yield _to_worker(lease, reason)

    def interrupt(self, task_run_id: str) -> Iterator[Outbound]:
        """Ask the worker to stop; the lease stays until it answers."""
        lease = self.leases.get(task_run_id)
        if lease is not None:
            yield _to_worker(lease, "kill")

    # -------------------------------------------------------------- what workers say

    def accepts(self, message: AttemptEvent) -> bool:
        """Whether the message is about the work that is leased now: the same attempt, dispatch and session.

        The session counts, too: a task run that was killed and restarted has the same numbers again.
        """
        lease = self.leases.get(message.task_run_id)
        return lease is not None and lease.work == message.work and lease.session == message.session

    def ended(self, partition: Partition, message: AttemptEvent) -> None:
        """The work is done."""
        self.leases.end(partition, message.task_run_id)
        self.fleet.forget(message.work)

    def declined(self, partition: Partition, message: AttemptDeclined, now: Millis) -> None:
        """Send it elsewhere: same attempt, next dispatch."""
        lease = self.leases.end(partition, message.task_run_id)
        self.fleet.forget(message.work)
        assert lease is not None, "only accepted messages come here"
        self.queues.add(
            partition,
            Waiting(
                rank=0,
                since=now,
                task_run_id=message.task_run_id,
                execution_id=message.execution_id,
                attempt=message.attempt,
                dispatch=message.dispatch + 1,
                group=lease.group,
                fallback=lease.fallback,
                partition=partition.number,
            ),
        )

    # -------------------------------------------------------------- sending

    def free_slots(self, session: Session, owned: Mapping[int, Partition]) -> int:
        """Slots less what the session holds: by our leases for our executions, by its heartbeat for others'."""
        others = sum(1 for work in session.held if self._partition_of(work.execution_id) not in owned)
        return session.slots - others - len(self.leases.of_session(session.name))

    def send(
        self, owned: dict[int, Partition], now: Millis, limit: int
    ) -> tuple[list[Outbound], list[tuple[Partition, Unplaceable]]]:
        """Commands for workers, at most `limit`, and task runs whose group has no worker and whose fallback says so."""
        outputs: list[Outbound] = []
        unplaceable: list[tuple[Partition, Unplaceable]] = []
        for group in self.queues.groups():
            sessions = {s.name: s for s in self.fleet.of_group(group)}
            if not sessions:
                unplaceable.extend(self._without_workers(group, owned))
                continue
            self._empty_since.pop(group, None)
            self._looked_through.pop(group, None)
            free = {name: self.free_slots(session, owned) for name, session in sessions.items()}
            free = {name: slots for name, slots in free.items() if slots > 0}
            while free and len(outputs) < limit:
                waiting = self.queues.pop(group, owned)
                if waiting is None:
                    break
                name = max(free, key=free.__getitem__)
                partition = owned[waiting.partition]
                try:
                    output = self._dispatch(partition, waiting, sessions[name], now)
                except Exception as error:
                    logger.exception("Task run %s can't be sent", waiting.task_run_id)
                    self.queues.remove(partition, waiting.task_run_id)
                    unplaceable.append((partition, _unsendable(waiting, error)))
                    continue
                if output is None:
                    continue
                outputs.append(output)
                slots = free.pop(name) - 1
                if slots > 0:
                    free[name] = slots  # re-inserted last: ties go round robin
        return outputs, unplaceable

    def _without_workers(self, group: str, owned: dict[int, Partition]) -> Iterator[tuple[Partition, Unplaceable]]:
        since = self._empty_since.setdefault(group, self._clock())
        now = self._clock()
        if now - since < PATIENCE or not self.fleet.caught_up:
            return
        if now - self._looked_through.get(group, -LOOK_EVERY) < LOOK_EVERY:
            return
        self._looked_through[group] = now
        kept: list[Waiting] = []
        while (waiting := self.queues.pop(group, owned)) is not None:
            partition = owned[waiting.partition]
            if self._skips.why(partition.batch, waiting) is not None:
                continue
            fallback = Fallback(waiting.fallback)
            if fallback in (Fallback.FAIL, Fallback.CANCEL):
                self.queues.remove(partition, waiting.task_run_id)
                state = StateType.FAILED if fallback is Fallback.FAIL else StateType.CANCELLED
                yield partition, Unplaceable(waiting.execution_id, waiting.task_run_id, state, group)
            else:
                kept.append(waiting)
        for waiting in kept:
            self.queues.put_back(waiting)

    def _dispatch(self, partition: Partition, waiting: Waiting, session: Session, now: Millis) -> Outbound | None:
        """The command for one task run; None when it is no longer wanted, or is held back by a pause or a setting."""
        if self._skips.why(partition.batch, waiting) is not None:
            return None  # its entry stays, for an executor without the setting
        execution: Execution | None = partition.batch.get(header_key(waiting.execution_id))
        task_run: TaskRun | None = partition.batch.get(task_run_key(waiting.execution_id, waiting.task_run_id))
        if execution is None or task_run is None or task_run.state.terminated:
            self.queues.remove(partition, waiting.task_run_id)
            return None
        if execution.state.current in _HELD_BACK:
            return None  # its entry stays; the resume asks again, the kill takes it away
        plan = self._plans(execution)
        if plan is None:
            self.queues.remove(partition, waiting.task_run_id)
            return None
        task = plan.tasks[task_run.task_id]
        work = Work(execution.id, task_run.id, waiting.attempt, waiting.dispatch)
        value = _command(partition, plan, task, execution, task_run, work, session).to_bytes()
        if self._limit is not None and len(value) + len(session.name) > self._limit:
            raise ValueError(f"Message of size {len(value)} has exceeded the configured limit of {self._limit}")
        self.queues.remove(partition, task_run.id)
        lease = Lease(work, session.name, session.inbox, None, now, waiting.group, waiting.fallback)
        self.leases.grant(partition, lease)
        return Outbound(Topic.TASK_RUN_COMMANDS, session.name, value, session.inbox)

    # -------------------------------------------------------------- losing

    def lost(self, gone: list[Session]) -> list[tuple[int, AttemptLost]]:
        """Work of sessions that said goodbye, and leases that no heartbeat holds any more."""
        result: list[tuple[int, AttemptLost]] = []
        over = self.leases.over(self.fleet)
        if over and not self.fleet.up_to_date():
            over = []  # a heartbeat that holds them may be written and not read yet
        names = {session.name for session in gone}
        for partition, lease in over:
            result.append((partition, _lost(lease)))
        for name in names:
            for task_run_id in self.leases.of_session(name):
                lease_now = self.leases.get(task_run_id)
                if lease_now is not None and all(task_run_id != item.task_run_id for _, item in result):
                    result.append((self._partition_of(lease_now.work.execution_id), _lost(lease_now)))
        return result


def _unsendable(waiting: Waiting, error: Exception) -> Unplaceable:
    text = str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
    return Unplaceable(
        waiting.execution_id,
        waiting.task_run_id,
        StateType.FAILED,
        waiting.group,
        f"The command for the worker can't be written: {text}",
    )


def _lost(lease: Lease) -> AttemptLost:
    work = lease.work
    return AttemptLost(work.execution_id, work.task_run_id, work.attempt, lease.session)


def _to_worker(lease: Lease, reason: str) -> Outbound:
    work = lease.work
    command: WorkerCommand = StopTaskRun(
        session=lease.session,
        execution_id=work.execution_id,
        task_run_id=work.task_run_id,
        attempt=work.attempt,
        dispatch=work.dispatch,
        reason=reason,
    )
    return Outbound(Topic.TASK_RUN_COMMANDS, lease.session, command.to_bytes(), lease.inbox)


def stop_lost(lease: Lease) -> Outbound:
    """Tell a session that its lease is over: it stops the work and keeps the result to itself."""
    return _to_worker(lease, "lost")


def _command(
    partition: Partition,
    plan: Plan,
    task: Task,
    execution: Execution,
    task_run: TaskRun,
    work: Work,
    session: Session,
) -> RunTaskRun:
    """The command with all that the task's templates can reach, and no more."""
    reach = plan.reach(task)
    shown = variables(partition.batch, plan, execution, task, task_run)
    pruned = reach.prune(shown)
    for function, name in _HISTORY.items():
        if plan.names(task, function):
            pruned[name] = shown[name]
    pruned["taskrun"] = shown["taskrun"]  # state tasks and the like read its value without a template
    data = task_data(task)
    folder = plan.shared_folder(task)
    if folder is not None:
        parent: TaskRun | None = partition.batch.get(task_run_key(execution.id, task_run.parent_id or ""))
        begun = 0 if parent is None else sum(state is StateType.RESTARTED for state, _ in parent.state.histories)
        data["$workingDirectory"] = {"id": f"{task_run.parent_id}-{begun}", **folder}  # a restart begins with none
    if task.type == MERGE:
        data["outputs"] = list(batches.given(partition.batch, execution.id, task_run.parent_id or ""))
    return RunTaskRun(
        session=session.name,
        execution_id=work.execution_id,
        task_run_id=work.task_run_id,
        attempt=work.attempt,
        dispatch=work.dispatch,
        tenant=execution.tenant,
        namespace=execution.namespace,
        flow_id=execution.flow_id,
        flow_revision=execution.flow_revision,
        task=data,
        variables=pruned,
        timeout=task.timeout,
        log_level=task.log_level,
    )


def task_data(task: Task) -> dict[str, Any]:
    """A task as workers get it: merged properties with their raw templates, child tasks in their branches."""
    data: dict[str, Any] = {**task.properties, "id": task.id, "type": task.type}
    for branch, children in task.branches.items():
        data[branch] = [task_data(child) for child in children]
    return data
