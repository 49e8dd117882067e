"""Stall: how long work stands still after a kill -9 of one of two executors in the middle of a transaction.

`python -m benchmarks.stall [kills] [restart|alone]` (3 of each kind by default), with real servers in the environment
(`python -m tests.servers python -m benchmarks.stall`). Executions come all the time; the longest gap between two that
end, or between the kill and the first end after it, is shown for the survivor's partitions and for the killed one's;
with a restart of the killed executor under its name, and without.
The kill falls into an open transaction: the executor is stopped (SIGSTOP) until a last stable offset stays behind the
end of a partition, then killed; otherwise it goes on and is stopped again.
"""

from __future__ import annotations

import asyncio
import re
import signal
import sys
import threading
import time
from itertools import pairwise

from benchmarks.dispatch import ONE, await_runs, create, register, warmed
from benchmarks.stack import Process, Stack
from runyard.backends import ServerBackends
from shared.adapters.kafka import client, positions
from shared.messages import EventRecord, decode
from shared.ports import EventLog, Topic
from shared.settings import Settings, load

PARTITIONS = 8
BEFORE, AFTER = 4, 20
"""Seconds of load before a kill and after it: a group takes 6 s to notice, a transaction 10 s to time out."""
RATE = 40
"""Executions a second: a partition of eight has an end every 0.2 s."""
TRIES = 200
"""Stops until one falls into a transaction."""


def settings_of(stack: Stack) -> Settings:
    topics = load().topics.model_copy(update={"prefix": stack.environment["RUNYARD_TOPICS__PREFIX"]})
    return load().model_copy(update={"topics": topics})


class Broker:
    """Ends of partitions, as readers of committed and of all records see them."""

    def __init__(self, settings: Settings) -> None:
        names = client.Names(settings)
        topics = (Topic.EXECUTION_EVENTS, Topic.EXECUTOR_STATE)
        self._places = [(names.full[topic], partition) for topic in topics for partition in range(PARTITIONS)]
        self._committed = client.consumer(settings, None)
        self._all = client.consumer(settings, None, committed=False)

    def held_back(self) -> dict[positions.Place, int]:
        """Last stable offsets that lie before the end."""
        stable = positions.ends(self._committed, self._places)
        ends = positions.ends(self._all, self._places)
        return {place: offset for place, offset in stable.items() if offset < ends[place]}

    def close(self) -> None:
        self._committed.close()
        self._all.close()


def kill_in_transaction(process: Process, broker: Broker) -> float:
    """Kill the executor while a transaction of its is open; the epoch second. Raises SystemExit when none is met."""
    for _ in range(TRIES):
        process.send(signal.SIGSTOP)
        before = broker.held_back()
        time.sleep(0.1)
        if before and before.items() & broker.held_back().items():  # the survivor's would have moved on
            at = time.time()
            process.kill()
            return at
        process.send(signal.SIGCONT)
        time.sleep(0.037)
    raise SystemExit(f"no stop of {process.name} fell into a transaction")


def owned(process: Process) -> set[int]:
    """Partitions that an executor's log says are its own now."""
    mine: set[int] = set()
    for found in re.finditer(r"Partition (\d+) is (ours|handed over|lost)", process.log.read_text()):
        (mine.add if found[2] == "ours" else mine.discard)(int(found[1]))
    return mine


def ends(settings: Settings) -> list[tuple[int, float]]:
    """Partition and moment of each execution's end: when its record was produced; only committed ones count."""
    log: EventLog = ServerBackends(settings).event_log()
    tail = log.tail([Topic.EXECUTION_EVENTS])
    found: list[tuple[int, float]] = []
    while not tail.caught_up():
        for record in tail.poll(5000, 0.2):
            message = decode(record.value) if record.value is not None else None
            if isinstance(message, EventRecord) and message.event == "ExecutionSucceeded":
                found.append((record.partition, record.at / 1000))
    tail.close()
    log.close()
    return found


def longest(found: list[tuple[int, float]], partitions: set[int], begin: float, end: float) -> float:
    """The longest time without an end on one of the partitions, in seconds."""
    gaps = []
    for partition in partitions:
        moments = sorted([begin, end, *(at for number, at in found if number == partition and begin <= at <= end)])
        gaps += [after - before for before, after in pairwise(moments)]
    return max(gaps)


def one_kill(*, restart: bool) -> str:
    """One stack, one kill; the figures as text."""
    with Stack(executors=2, workers=2) as stack:
        warmed(stack)
        register(stack, ONE)
        settings = settings_of(stack)
        broker = Broker(settings)
        victim, survivor = stack.of("executor")
        count = (BEFORE + AFTER) * RATE
        load_ = threading.Thread(target=lambda: asyncio.run(create(stack.url, "one", count, RATE)))
        begun = time.time()
        load_.start()
        time.sleep(BEFORE)
        theirs, others = owned(victim), owned(survivor)
        stopped = time.time()
        at = kill_in_transaction(victim, broker)
        if restart:
            victim.start()
        load_.join()
        await_runs(stack, "one", "only", count)
        broker.close()
        found = ends(settings)
        last = begun + BEFORE + AFTER - 1
        calm = longest(found, theirs | others, begun + 1, stopped)
        return (
            f"killed's {sorted(theirs)}: {longest(found, theirs, at, last):5.2f} s, "
            f"survivor's {sorted(others)}: {longest(found, others, at, last):5.2f} s (before the kill {calm:.2f} s)"
        )


def main() -> None:
    kills = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    kinds = {"restart": (True,), "alone": (False,)}.get(sys.argv[2] if len(sys.argv) > 2 else "", (True, False))
    for restart in kinds:
        for _ in range(kills):
            print(f"{'with' if restart else 'without'} restart: {one_kill(restart=restart)}", flush=True)


if __name__ == "__main__":
    main()
