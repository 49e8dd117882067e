"""Departures: how ended executions leave the executor, and what is left of deleted ones.

An ended execution stays for a while, for that is when most commands about it come; then until the search store has all
of it, from where it comes back for a later command (`RecallExecution`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from typing import Any, Final

from executor import history
from executor.engine.entries import deleted_key, header_key
from executor.engine.entries import prefix as execution_prefix
from executor.fleet import Fleet
from executor.partition import Partition
from executor.timers import Timers
from shared.messages import WakeTimer
from shared.model.execution import Execution
from shared.model.moment import Millis
from shared.ports import Outbound, Topic

STEP: Final = 5000
"""Entries and timers that one step removes of executions that leave, whether of one or of hundreds: a transaction that
removes millions would outlive its timeout, and be tried again for ever."""
AGAIN: Final = 60_000
"""Milliseconds at least until an ended execution that is not in the search store yet is looked at again; the longer it
has waited, the longer: all that have ended while the indexers were away should not keep the executor busy."""

_EXPIRE: Final = "expire"
_ERASE: Final = "erase"
_FORGET: Final = "forget"


class Departures:
    """The timers of ended and deleted executions."""

    def __init__(self, timers: Timers, fleet: Fleet, keep_ended: Millis) -> None:
        """`fleet`: knows how far the indexers are. `keep_ended`: ms that an ended execution stays at least."""
        self._timers, self._fleet, self._keep = timers, fleet, keep_ended
        self._room = STEP

    def begin(self) -> None:
        """A new step."""
        self._room = STEP

    def ended(self, partition: Partition, execution: Execution, now: Millis) -> None:
        """It has ended, or something happened to it after its end: only the last time counts."""
        self._wake(partition, _EXPIRE, execution.id, now + self._keep, {"seq": execution.seq})

    def deleted(self, partition: Partition, execution_id: str, now: Millis, *, rest: bool) -> None:
        """Its deletion is in the log now. What it still waited for would only lie there until it is due.

        `rest`: all entries but its header are still here, and go in steps.
        """
        if rest:
            self._wake(partition, _ERASE, execution_id, now)
            return
        self._timers.cancel(partition, execution_id)
        self._wake(partition, _FORGET, execution_id, now + self._keep)

    @staticmethod
    def retry_awaited(partition: Partition, execution_id: str, due: Millis) -> None:
        """A new execution is to repeat this one then, which has to be here for it."""
        partition.batch.put(_retry_key(execution_id), due)

    def due(self, partition: Partition, wake: WakeTimer, now: Millis) -> Sequence[Outbound] | None:
        """Carry out a timer of this module's, with the records to write; None for another one."""
        if wake.timer == _EXPIRE:
            self._expire(partition, wake, now)
            return ()
        if wake.timer == _ERASE:
            return self._erase(partition, wake, now)
        return self._forget(partition, wake, now) if wake.timer == _FORGET else None

    def _wake(
        self, partition: Partition, timer: str, execution_id: str, due: Millis, data: dict[str, Any] | None = None
    ) -> None:
        wake = WakeTimer(execution_id=execution_id, command_id=timer, at=due, timer=timer, data=data)
        self._timers.set(partition, due, wake)

    def _expire(self, partition: Partition, wake: WakeTimer, now: Millis) -> None:
        execution: Execution | None = partition.batch.get(header_key(wake.execution_id))
        known = wake.data or {}
        if known.get("leaving"):
            if execution is None:  # else it came back meanwhile, with all its entries
                self._leave(partition, wake, now)
            return
        if execution is None or not execution.state.terminated or execution.seq != known.get("seq"):
            return  # it was restarted since, or its end is not the last thing that happened
        awaited: Millis = partition.batch.get(_retry_key(execution.id)) or 0
        busy = execution.scope.open > 0 or execution.labels_due  # tasks after the end still run, or labels are shown
        if busy or awaited > now:  # or its retry is still to come
            self.ended(partition, execution, max(now, awaited))
        elif self._room <= 0:
            self._timers.set(partition, now, wake)  # with the next step
        elif not self._awaits_index(partition, wake, now):
            partition.batch.put(header_key(execution.id), None)
            self._room -= 1
            self._leave(partition, wake, now)

    def _leave(self, partition: Partition, wake: WakeTimer, now: Millis) -> None:
        """Drop the entries of an execution whose header is gone, and its timers: no command finds half of one."""
        _, more = self._remove(partition, wake.execution_id)
        if more:
            self._timers.set(partition, now, replace(wake, data={"leaving": True}))

    def _erase(self, partition: Partition, wake: WakeTimer, now: Millis) -> Sequence[Outbound]:
        """As `_leave`, for an execution that was deleted: its documents go, too."""
        removed, more = self._remove(partition, wake.execution_id)
        if more:
            self._timers.set(partition, now, wake)
        else:
            self._wake(partition, _FORGET, wake.execution_id, now + self._keep)
        names = [name for name in map(history.document_name, removed) if name is not None]
        return [Outbound(Topic.EXECUTION_EVENTS, name, None, partition.number) for name in names]

    def _remove(self, partition: Partition, execution_id: str) -> tuple[list[str], bool]:
        """Remove what still fits this step of an execution's timers and entries; these, and whether there are more."""
        waiting = len(self._timers)
        more = self._timers.cancel(partition, execution_id, self._room)
        self._room -= waiting - len(self._timers)
        mark = deleted_key(execution_id)  # which stays
        found = (key for key, _ in partition.batch.scan(execution_prefix(execution_id)) if key != mark)
        keys = list(islice(found, self._room))
        for key in keys:
            partition.batch.put(key, None)
        self._room -= len(keys)
        return keys, more or self._room <= 0

    def _forget(self, partition: Partition, wake: WakeTimer, now: Millis) -> Sequence[Outbound]:
        """The record of a deletion goes, too, once the indexers have seen it: nothing of the execution is left."""
        if self._awaits_index(partition, wake, now):
            return ()
        partition.batch.put(deleted_key(wake.execution_id), None)
        if partition.batch.get(header_key(wake.execution_id)) is not None:
            return ()
        return (Outbound(Topic.EXECUTION_EVENTS, wake.execution_id, None, partition.number),)

    def _awaits_index(self, partition: Partition, wake: WakeTimer, now: Millis) -> bool:
        """Whether the search store lacks what happened when the timer was set; then it is set again."""
        projected = self._fleet.projected.get(partition.number)
        if projected is not None and projected >= wake.at - self._keep:
            return False
        overdue = now - wake.at if projected is not None else 0  # an executor that has just begun hears of it soon
        self._timers.set(partition, now + min(self._keep, max(AGAIN, overdue)), wake)
        return True


def _retry_key(execution_id: str) -> str:
    return f"{execution_prefix(execution_id)}w"
