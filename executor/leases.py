"""Leases: which session works on which task run, from the dispatch on, and which of them are over."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from executor.fleet import Fleet
from executor.partition import Partition
from shared.model.task_run import Lease

_PREFIX: Final = "l/"


@dataclass(frozen=True, slots=True)
class Held:
    """A lease as this executor knows it; `since` is its monotonic clock at the dispatch or the take-over."""

    lease: Lease
    partition: int
    since: float


def key_of(task_run_id: str) -> str:
    return f"{_PREFIX}{task_run_id}"


class Leases:
    """The leases of the owned partitions, by task run and counted by session."""

    def __init__(self, duration: float, clock: Callable[[], float] = time.monotonic) -> None:
        """`duration` in seconds."""
        self._duration = duration
        self._clock = clock
        self._held: dict[str, Held] = {}
        self._by_session: defaultdict[str, set[str]] = defaultdict(set)

    def load(self, partition: Partition) -> None:
        """Take over a partition's leases; they age from now, the take-over, not from before it."""
        self.unload(partition.number)
        now = self._clock()
        for _, data in partition.entries.scan(_PREFIX):
            self._keep(Held(Lease.from_data(data), partition.number, now))

    def unload(self, number: int) -> None:
        for task_run_id, held in list(self._held.items()):
            if held.partition == number:
                self._drop(task_run_id)

    def _keep(self, held: Held) -> None:
        task_run_id = held.lease.work.task_run_id
        self._drop(task_run_id)
        self._held[task_run_id] = held
        self._by_session[held.lease.session].add(task_run_id)

    def _drop(self, task_run_id: str) -> Held | None:
        held = self._held.pop(task_run_id, None)
        if held is not None:
            sessions = self._by_session[held.lease.session]
            sessions.discard(task_run_id)
            if not sessions:
                del self._by_session[held.lease.session]
        return held

    def grant(self, partition: Partition, lease: Lease) -> None:
        """The work is sent."""
        partition.batch.put(key_of(lease.work.task_run_id), lease.to_data())
        self._keep(Held(lease, partition.number, self._clock()))

    def end(self, partition: Partition, task_run_id: str) -> Lease | None:
        """The work has ended, or is taken away."""
        held = self._drop(task_run_id)
        if held is None:
            return None
        partition.batch.put(key_of(task_run_id), None)
        return held.lease

    def set_aside(self, task_run_id: str) -> None:
        """Know nothing of it until the partition is loaded again: its entry stays, but it holds no slot."""
        self._drop(task_run_id)

    def get(self, task_run_id: str) -> Lease | None:
        held = self._held.get(task_run_id)
        return None if held is None else held.lease

    def of_session(self, session: str) -> frozenset[str]:
        """Task runs that a session holds by this executor's word."""
        return frozenset(self._by_session.get(session, ()))

    def over(self, fleet: Fleet) -> list[tuple[int, Lease]]:
        """Leases that no heartbeat has held for their duration, with their partitions."""
        now = self._clock()
        result: list[tuple[int, Lease]] = []
        for held in self._held.values():
            held_at = max(held.since, fleet.last_named(held.lease.work))
            if now - held_at > self._duration:
                result.append((held.partition, held.lease))
        return result

    def __len__(self) -> int:
        return len(self._held)
