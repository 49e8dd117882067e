"""Timers: what is due when, as state keys that order by time. No thread sleeps for one."""

from __future__ import annotations

import heapq
from typing import Any, Final

from executor.partition import Partition
from shared.messages import WakeTimer
from shared.model.moment import Millis

_PREFIX: Final = "t/"


class Timers:
    """The timers of the owned partitions: the earliest in a heap, all of them in the partitions' state."""

    def __init__(self) -> None:
        """No partition is owned."""
        self._heap: list[tuple[Millis, int, str]] = []

    def load(self, partition: Partition) -> None:
        """Take a partition's timers over from its state."""
        self.unload(partition.number)
        for key, _ in partition.entries.scan(_PREFIX):
            self._heap.append((_due(key), partition.number, key))
        heapq.heapify(self._heap)

    def unload(self, number: int) -> None:
        """The partition is another's, or is loaded anew."""
        self._heap = [entry for entry in self._heap if entry[1] != number]
        heapq.heapify(self._heap)

    def set(self, partition: Partition, due: Millis, wake: WakeTimer) -> None:
        """Remember to wake an execution. The same command id at the same time is the same timer."""
        key = f"{_PREFIX}{due:014d}/{wake.execution_id}/{wake.command_id}"
        data: dict[str, Any] = {
            "execution_id": wake.execution_id,
            "command_id": wake.command_id,
            "at": wake.at,
            "timer": wake.timer,
            "task_run_id": wake.task_run_id,
            "attempt": wake.attempt,
            "data": wake.data,
        }
        partition.batch.put(key, data)
        heapq.heappush(self._heap, (due, partition.number, key))

    def due(self, now: Millis, owned: dict[int, Partition], limit: int) -> list[tuple[Partition, WakeTimer]]:
        """Take at most `limit` due timers out, in the order of their times."""
        result: list[tuple[Partition, WakeTimer]] = []
        while self._heap and self._heap[0][0] <= now and len(result) < limit:
            _, number, key = heapq.heappop(self._heap)
            partition = owned.get(number)
            if partition is None:
                continue
            data = partition.batch.get(key)
            if data is not None:
                partition.batch.put(key, None)
                result.append((partition, WakeTimer(**data)))
        return result

    def next_due(self) -> Millis | None:
        """When the earliest timer is due."""
        return self._heap[0][0] if self._heap else None

    def __len__(self) -> int:
        return len(self._heap)


def _due(key: str) -> Millis:
    return int(key[len(_PREFIX) : len(_PREFIX) + 14])
