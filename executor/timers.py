"""Timers: what is due when, as state keys that order by time. No thread sleeps for one."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from itertools import islice
from typing import Any, Final

from executor.partition import Partition
from shared.messages import WakeTimer
from shared.model.moment import Millis

_PREFIX: Final = "t/"

_DEAD: Final = 1_000
"""Cancelled timers in the heap from which on it is built anew, once they are more than the others: each costs some
200 bytes until it is due, which may be in a month."""

Spared = Callable[[Partition, WakeTimer], bool]


class Timers:
    """The timers of the owned partitions: the earliest in a heap, all of them in the partitions' state."""

    def __init__(self) -> None:
        """No partition is owned."""
        self._heap: list[tuple[Millis, int, str]] = []
        self._waiting: dict[int, dict[str, set[str]]] = {}  #: by partition and execution the keys that wait
        self._count = 0

    def load(self, *partitions: Partition) -> None:
        """Take the timers of partitions over from their state."""
        self.unload(*(partition.number for partition in partitions))
        for partition in partitions:
            for key in partition.entries.keys(_PREFIX):
                self._note(partition.number, key)
                self._heap.append((_due(key), partition.number, key))
        heapq.heapify(self._heap)

    def unload(self, *numbers: int) -> None:
        """Partitions are another's, or are loaded anew."""
        for number in numbers:
            self._count -= sum(map(len, self._waiting.pop(number, {}).values()))
        self._heap = [entry for entry in self._heap if entry[1] not in numbers]
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
        if self._note(partition.number, key):
            heapq.heappush(self._heap, (due, partition.number, key))

    def due(
        self, now: Millis, owned: dict[int, Partition], limit: int, spared: Spared | None = None
    ) -> list[tuple[Partition, WakeTimer]]:
        """Take at most `limit` due timers out, in the order of their times.

        One that is `spared` is not taken out: it stays in the state, and waits for the partition's next `load`.
        """
        result: list[tuple[Partition, WakeTimer]] = []
        while self._heap and self._heap[0][0] <= now and len(result) < limit:
            _, number, key = heapq.heappop(self._heap)
            partition = owned.get(number)
            if not self._forget(number, key) or partition is None:
                continue
            data = partition.batch.get(key)
            if data is None:
                continue
            wake = WakeTimer(**data)
            if spared is not None and spared(partition, wake):
                continue
            partition.batch.put(key, None)
            result.append((partition, wake))
        return result

    def cancel(self, partition: Partition, execution_id: str, limit: int | None = None) -> bool:
        """An execution has left: what it still waited for would only lie there until it is due.

        At most `limit` timers go; returns whether there are more.
        """
        executions = self._waiting.get(partition.number, {})
        keys = executions.get(execution_id)
        if keys is None:
            return False
        going = list(keys if limit is None else islice(keys, limit))
        keys.difference_update(going)
        if not keys:
            del executions[execution_id]
        self._count -= len(going)
        for key in going:
            partition.batch.put(key, None)
        if len(self._heap) - self._count > max(_DEAD, self._count):
            self._heap = [
                (_due(key), number, key)
                for number, executions in self._waiting.items()
                for waiting in executions.values()
                for key in waiting
            ]
            heapq.heapify(self._heap)
        return bool(keys)

    def next_due(self) -> Millis | None:
        """When the earliest timer is due."""
        return self._heap[0][0] if self._heap else None

    def __len__(self) -> int:
        return self._count

    def _note(self, number: int, key: str) -> bool:
        """Whether the timer is new."""
        keys = self._waiting.setdefault(number, {}).setdefault(_execution(key), set())
        if key in keys:
            return False
        keys.add(key)
        self._count += 1
        return True

    def _forget(self, number: int, key: str) -> bool:
        """Whether the timer waited; it does no longer."""
        executions = self._waiting.get(number)
        keys = executions.get(_execution(key)) if executions is not None else None
        if executions is None or keys is None or key not in keys:
            return False
        keys.discard(key)
        self._count -= 1
        if not keys:
            del executions[_execution(key)]
        return True


def _due(key: str) -> Millis:
    return int(key[len(_PREFIX) : len(_PREFIX) + 14])


def _execution(key: str) -> str:
    return key.split("/", 3)[2]
