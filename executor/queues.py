"""Queues: task runs that wait for a worker, by group, highest priority and oldest first.

What waits is an entry of its partition's state (`q/…`): it can be withdrawn, counted and ordered anew for nothing.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from typing import Any, Final, Self

from executor.partition import Partition
from shared.model.moment import Millis

_PREFIX: Final = "q/"


@dataclass(frozen=True, slots=True, order=True)
class Waiting:
    """One task run in a queue; ordered as it will be sent."""

    rank: int  #: minus the priority
    since: Millis
    task_run_id: str
    execution_id: str
    attempt: int
    dispatch: int
    group: str
    fallback: str
    partition: int

    def to_data(self) -> list[Any]:
        return [
            self.rank,
            self.since,
            self.task_run_id,
            self.execution_id,
            self.attempt,
            self.dispatch,
            self.group,
            self.fallback,
        ]

    @classmethod
    def from_data(cls, data: list[Any], partition: int) -> Self:
        rank, since, task_run_id, execution_id, attempt, dispatch, group, fallback = data
        return cls(rank, since, task_run_id, execution_id, attempt, dispatch, group, fallback, partition)


def key_of(task_run_id: str) -> str:
    return f"{_PREFIX}{task_run_id}"


class Queues:
    """The queues of the owned partitions. An entry that has left the state is skipped when its turn comes."""

    def __init__(self) -> None:
        """Nothing waits."""
        self._heaps: dict[str, list[Waiting]] = {}

    def load(self, partition: Partition) -> None:
        """Take over what waits in a partition."""
        self.unload(partition.number)
        for _, data in partition.entries.scan(_PREFIX):
            self._push(Waiting.from_data(data, partition.number))

    def unload(self, number: int) -> None:
        for group, heap in list(self._heaps.items()):
            kept = [waiting for waiting in heap if waiting.partition != number]
            heapq.heapify(kept)
            self._heaps[group] = kept

    def _push(self, waiting: Waiting) -> None:
        heapq.heappush(self._heaps.setdefault(waiting.group, []), waiting)

    def add(self, partition: Partition, waiting: Waiting) -> None:
        """Wait for a worker. The entry is the task run's only one: a second call replaces it."""
        partition.batch.put(key_of(waiting.task_run_id), waiting.to_data())
        self._push(waiting)

    def remove(self, partition: Partition, task_run_id: str) -> None:
        """It is dispatched, or no longer wanted."""
        key = key_of(task_run_id)
        if partition.batch.get(key) is not None:
            partition.batch.put(key, None)

    def groups(self) -> list[str]:
        """Groups in which something may wait."""
        return [group for group, heap in self._heaps.items() if heap]

    def pop(self, group: str, owned: dict[int, Partition]) -> Waiting | None:
        """The next that waits in a group; its state entry stays until `remove`."""
        heap = self._heaps.get(group)
        while heap:
            waiting = heapq.heappop(heap)
            partition = owned.get(waiting.partition)
            if partition is not None and partition.batch.get(key_of(waiting.task_run_id)) == waiting.to_data():
                return waiting
        return None

    def put_back(self, waiting: Waiting) -> None:
        """It could not be sent now."""
        self._push(waiting)

    def __len__(self) -> int:
        return sum(len(heap) for heap in self._heaps.values())
