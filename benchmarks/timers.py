"""What waiting timers cost: CPU of an idle executor with and without them, and the time to take their partitions over.

    python -m benchmarks.timers [timers] [seconds]

An executor's loop on the embedded journal, without workers. Both executors are measured by turns, so that other work on
the machine meets both alike.
"""

from __future__ import annotations

import resource
import statistics
import sys
import tempfile
import time
import tracemalloc
from pathlib import Path
from typing import Final

from executor.dispatcher import Dispatcher
from executor.engine.draft import Environment
from executor.fleet import Fleet
from executor.partition import Partition
from executor.processor import Processor
from executor.timers import Timers
from shared.adapters.sqlite import SqliteDatabase, SqliteEventLog, SqliteJournal
from shared.expressions import Renderer
from shared.messages import WakeTimer
from shared.model.identifier import derive_id
from shared.ports import Step, Topic

MONTH: Final = 30 * 24 * 3_600_000
ROUNDS: Final = 5


class Idle:
    """One executor without work, on a database of its own."""

    def __init__(self, directory: Path, timers: int) -> None:
        directory.mkdir()
        self.database = SqliteDatabase(directory / "timers.db", "OFF")
        self.timers = timers
        if timers:
            self._set()
        self.log = SqliteEventLog(self.database)
        self.journal = SqliteJournal(self.database)
        fleet = Fleet(self.log.tail([Topic.HEARTBEATS]), 10.0)
        dispatcher = Dispatcher(fleet, lambda _: None, 10.0, self.journal.partition_of)
        env = Environment(flows=lambda *_: None, renderer=Renderer())
        self.processor = Processor(self.journal, dispatcher, env)
        begun = time.perf_counter()
        self.processor.step(0)
        self.taken_over = time.perf_counter() - begun

    def _set(self) -> None:
        """Timers of as many executions, due within the month after tomorrow, written as the processor writes them."""
        journal = SqliteJournal(self.database)

        class Owner:
            """Takes every partition, to be able to write into it."""

            def assigned(self, partition: int, state: object) -> None: ...
            def revoked(self, partition: int, *, lost: bool) -> None: ...

        journal.poll(Owner(), 1, 0)
        now = time.time_ns() // 1_000_000
        partitions = [Partition(number, self.database.entries(number)) for number in range(journal.partitions)]
        waiting = Timers()
        waiting.load(*partitions)
        for number in range(self.timers):
            due = now + 24 * 3_600_000 + number * (MONTH // self.timers)
            execution_id = derive_id(now, "timer", number)
            wake = WakeTimer(execution_id, f"sla-{execution_id}-quick", due, "sla-quick", data={"sla": "quick"})
            waiting.set(partitions[journal.partition_of(execution_id)], due, wake)
        writes = {partition.number: partition.writes() for partition in partitions}
        journal.commit(Step({}, writes, (), frozenset(writes)))
        journal.close()

    def burn(self, seconds: float) -> float:
        """CPU milliseconds of this process while the loop idles."""
        before = resource.getrusage(resource.RUSAGE_SELF)
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self.processor.step()
        after = resource.getrusage(resource.RUSAGE_SELF)
        return 1000 * (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)

    def memory(self) -> int:
        """Bytes that the loop's own index of its timers takes."""
        index = Timers()
        owned = [Partition(number, self.database.entries(number)) for number in self.processor.owned]
        tracemalloc.start()
        index.load(*owned)
        size, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return size

    def close(self) -> None:
        self.journal.close()
        self.log.close()
        self.database.close()


def main() -> None:
    timers = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    seconds = float(sys.argv[2]) if len(sys.argv) > 2 else 10.0
    with tempfile.TemporaryDirectory(prefix="runyard-timers-") as folder:
        without, full = Idle(Path(folder) / "0", 0), Idle(Path(folder) / "1", timers)
        rounds = [(without.burn(seconds), full.burn(seconds)) for _ in range(ROUNDS)]
        for none, many in rounds:
            print(f"{seconds:.0f} s idle: {none:.0f} ms of CPU without timers, {many:.0f} ms with {timers:,}")
        bare, loaded = (statistics.median(each) for each in zip(*rounds, strict=True))
        print(f"median of {ROUNDS}: {bare:.0f} ms and {loaded:.0f} ms, ratio {loaded / bare:.2f}")
        print(f"taking 4 partitions over: {1000 * without.taken_over:.0f} ms and {1000 * full.taken_over:.0f} ms")
        print(f"the loop's index of the timers: {full.memory() / timers:.0f} bytes each")
        without.close()
        full.close()


if __name__ == "__main__":
    main()
