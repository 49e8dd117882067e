"""Processor: the loop around the engine. Consume, decide, apply and produce in one transaction.

Changes lie in an overlay that later messages of the batch see and an abort drops. Each message is decided in its own
`try`: an exception costs that execution, not the batch.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from prometheus_client import CollectorRegistry

from executor.batch import Batch
from executor.counts import Counts
from executor.departures import Departures
from executor.dispatcher import Dispatcher, stop_lost
from executor.engine.decide import fail_execution
from executor.engine.draft import Environment
from executor.fleet import Session
from executor.metrics import Metrics
from executor.partition import Partition
from executor.skips import Skips
from executor.timers import Timers
from executor.triggers import FlowTriggers
from shared import messages as m
from shared.dead_letters import origin_of
from shared.model.moment import Millis
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
        self._size = batch
        self._room = batch  #: of the next step: a transaction that was too much at once is tried in smaller ones
        self._lease_check = lease_check
        self._now = now
        self._clock = clock
        self._timers = Timers()
        self._departures = Departures(self._timers, dispatcher.fleet, keep_ended)
        self._counts = Counts()
        self.metrics = Metrics(registry or CollectorRegistry())
        self._batch = Batch(
            env,
            dispatcher,
            self._timers,
            self._departures,
            self._counts,
            self.metrics,
            triggers=triggers,
            skips=skips,
        )
        self._owned: dict[int, Partition] = {}
        self._checked_leases = 0.0
        self._gone: list[tuple[float, Session]] = []
        self._again: list[Inbound] = []  #: what a step that failed leaves to the next one
        self.last_step = clock()  #: a step that the journal did not take is none: a full disk must show in the health
        self._stored = True

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
        self._counts.forget(lambda execution_id: self._journal.partition_of(execution_id) == partition)
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
        room = max(0, self._room - len(self._again))
        wait = 0.0 if self._again else self._patience() if timeout is None else timeout
        polled = self._journal.poll(self, room, wait)  # this may change what is owned, and `_again` with it
        records = [*self._again, *polled]
        self._again = []
        self.metrics.batch.observe(len(records))
        self._batch.refused.clear()
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
        self._room = min(self._size, self._room * 2) if self._stored else max(1, self._room // 2)
        self._show()
        return decided

    def _decide_batch(self, records: Sequence[Inbound]) -> int | None:
        """Decide and commit; None where the batch has to be decided once more, without what is refused."""
        now = self._now()
        self._batch.begin()
        positions: dict[tuple[Topic, int], int] = {}
        decided = 0
        for record in records:
            partition = self._owned.get(record.partition)
            if partition is None:
                continue
            positions[record.topic, record.partition] = record.offset + 1
            self._batch.touched.add(record.partition)
            self._batch.take(partition, record, now)
            decided += 1
        decided += self._fire(now)
        decided += self._look_after_workers(now, caught_up=len(records) < self._room)
        decided += self._send(now)
        if positions or self._batch.outputs or any(p.batch.changes for p in self._owned.values()):
            for number, document in self._counts.due(self._owned, now):
                self._batch.touched.add(number)
                self._batch.outputs.append(document)
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
        while decided < self._size and self._alone(None, now):
            decided += 1
        return decided

    def _alone(self, record: Inbound | None, now: Millis) -> bool:
        """One message, or the next due timer (None). False: there is none, or nothing could be stored.

        Whatever goes wrong with it fails its execution; where that is impossible too, it is a dead letter only.
        """
        error: Exception | None = None
        for handle in (self._handle, self._give_up, self._pass_over):
            self._batch.begin()
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
        self._batch.touched.add(partition.number)
        self._batch.take(partition, record, now)
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
            self._batch.dead_letter(record, str(error), now, "failed", keep=len(record.value or b"") <= KEPT_BYTES)
        self._batch.fail(partition, message, str(error), now)
        return {} if record is None else {(record.topic, record.partition): record.offset + 1}

    def _pass_over(
        self, record: Inbound | None, now: Millis, error: Exception | None
    ) -> dict[tuple[Topic, int], int] | None:
        """The last resort: the message is named in the dead letters, and nothing else is done about it."""
        if record is None:
            found = self._next_timer(now)
            if found is None:
                return None
            self._batch.touched.add(found[0].number)
            logger.error("Timer %s of execution %s is dropped: %s", found[1].timer, found[1].execution_id, error)
            return {}
        self._batch.touched.add(record.partition)
        self._batch.dead_letter(record, str(error), now, "failed", keep=False)
        return {(record.topic, record.partition): record.offset + 1}

    def _patience(self) -> float:
        """Seconds that a poll may wait."""
        timeout = WAITING if len(self._dispatcher.queues) else IDLE
        due = self._timers.next_due()
        if due is not None:
            timeout = min(timeout, max(0.0, (due - self._now()) / 1000))
        return timeout

    # -------------------------------------------------------------- time and workers

    def _fire(self, now: Millis, limit: int | None = None) -> int:
        due = self._timers.due(now, self._owned, self._room if limit is None else limit, self._spared)
        self._departures.begin()
        for partition, wake in due:
            self._batch.touched.add(partition.number)
            records = self._departures.due(partition, wake, now)
            if records is None:
                self._batch.decide(partition, wake, now)
            else:
                self._batch.outputs.extend(records)
        return len(due)

    def _spared(self, partition: Partition, wake: m.WakeTimer) -> bool:
        """A timer of what is passed over stays, for an executor without the setting."""
        if self._batch.skips.why(partition.batch, wake) is None:
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
            if self._batch.skips.why(partition.batch, message) is not None:
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
            self._batch.outputs.append(stop_lost(lease))
            self._batch.decide(partition, message, now)
        return len(lost)

    def _send(self, now: Millis) -> int:
        outputs, unplaceable = self._dispatcher.send(self._owned, now, self._room)
        self._batch.outputs.extend(outputs)
        for partition, message in unplaceable:
            self._batch.decide(partition, message, now)
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
        written = {number: write for number, write in writes.items() if write}
        step = Step(positions, written, self._batch.outputs, frozenset(self._batch.touched | written.keys()))
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
        self._counts.stored()
        return True

    def _drop(self, partitions: Iterable[Partition]) -> None:
        """Nothing of the batch was stored: what is in memory follows the state again."""
        dropped = list(partitions)
        for partition in dropped:
            partition.dropped()
            self._dispatcher.load(partition)
        self._timers.load(*dropped)
        self._counts.dropped()

    def _too_large(self, error: RecordTooLarge) -> None:
        """Fail the execution whose record is above the hard limit, and refuse what else the batch has for it."""
        execution_id = execution_of(error.record)
        if execution_id is None or execution_id in self._batch.refused:
            raise error
        self._batch.refused[execution_id] = str(error)
        partition = self._owned.get(self._journal.partition_of(execution_id))
        if partition is None:
            raise error
        batch, now = self._batch, self._now()
        batch.begin()
        batch.touched.add(partition.number)
        decision = fail_execution(partition.batch, execution_id, now, batch.env, str(error))
        batch.carry_out(partition, execution_id, decision, now)
        changes = partition.writes()
        written = {partition.number: changes} if changes else {}
        try:
            self._journal.commit(Step({}, written, batch.outputs, frozenset(batch.touched)))
        except (JournalError, RecordTooLarge):
            logger.exception("Execution %s could not be failed", execution_id)
            self._drop([partition])
        else:
            partition.committed()

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
