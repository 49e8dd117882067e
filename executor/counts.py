"""Counts: documents of running executions whose counts of task runs changed are written now and then, not each time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from executor import history
from executor.engine.entries import header_key
from executor.partition import Partition
from shared.model.execution import Execution
from shared.model.moment import Millis
from shared.ports import Outbound

EVERY: Final = 1000
"""Milliseconds between two documents of a running execution whose counts alone changed."""


class Counts:
    """Which executions' documents show older counts than their entries. In memory: it is no loss if some stay older."""

    def __init__(self) -> None:
        """All documents are up to date."""
        self._shown: dict[str, Millis] = {}  #: when a running execution's document was last written
        self._behind: dict[str, int] = {}  #: executions with older documents, and their partitions
        self._written: dict[str, int] = {}  #: those of the step in hand

    def changed(self, execution_id: str, partition: int) -> None:
        """Something of the execution changed, and not its own document."""
        self._behind[execution_id] = partition

    def shown(self, execution: Execution, now: Millis) -> None:
        """Its document was written."""
        self._behind.pop(execution.id, None)
        if execution.state.terminated:
            self._shown.pop(execution.id, None)
        else:
            self._shown[execution.id] = now

    def due(self, owned: dict[int, Partition], now: Millis) -> Iterator[tuple[int, Outbound]]:
        """The documents whose time has come, each with its partition."""
        for execution_id, number in list(self._behind.items()):
            partition = owned.get(number)
            if partition is None:
                del self._behind[execution_id]
                continue
            if now - self._shown.get(execution_id, 0) < EVERY:
                continue
            self._written[execution_id] = self._behind.pop(execution_id)
            execution: Execution | None = partition.batch.get(header_key(execution_id))
            if execution is not None:
                self.shown(execution, now)
                yield number, history.refreshed(execution, partition.batch, now, number)

    def stored(self) -> None:
        """The step is committed."""
        self._written.clear()

    def dropped(self) -> None:
        """The step is not: its documents are to be written with the next one."""
        self._behind.update(self._written)
        self._written.clear()

    def forget(self, of: Callable[[str], bool]) -> None:
        """Executions that are another's now."""
        for execution_id in [known for known in self._shown if of(known)]:
            del self._shown[execution_id]

    def __len__(self) -> int:
        return len(self._shown)
