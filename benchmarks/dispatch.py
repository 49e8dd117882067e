"""Dispatch: how fast ready task runs reach workers, and how long they wait, on real servers.

`python -m benchmarks.dispatch [rate|steady|long|sessions]…` (all by default), with real servers in the environment
(`python -m tests.servers python -m benchmarks.dispatch`). The wait of a task run is from its CREATED, which is when the
executor took up the batch that created it, to the moment at which its worker began, as the worker's own event says:
two processes' clocks, so all must run on one host. A state's date in the history is later than the worker's: it is
when the executor heard of it. That figure is shown beside the wait, as `known`.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import FrameType
from typing import Any

import httpx

from benchmarks.stack import Stack
from runyard.backends import ServerBackends
from shared.messages import AttemptEnded, decode
from shared.ports import Topic
from shared.settings import load
from worker.catalog import TaskCatalog
from worker.worker import Worker

LONG = float(os.environ.get("RUNYARD_BENCH_LONG", "20"))
"""Seconds of the task that occupies a slot of each worker."""

ONE = """
id: one
namespace: company.bench
tasks:
  - {id: only, type: io.kestra.plugin.core.debug.Return, format: "{{ task.id }}"}
"""
WIDE = """
id: wide
namespace: company.bench
tasks:
  - id: each
    type: io.kestra.plugin.core.flow.ForEach
    values: "{{ range(1, 1000) }}"
    concurrencyLimit: 0
    tasks:
      - {id: only, type: io.kestra.plugin.core.debug.Return, format: "{{ taskrun.value }}"}
"""
SLEEPER = f"""
id: sleeper
namespace: company.bench
tasks:
  - {{id: sleep, type: io.kestra.plugin.core.flow.Sleep, duration: PT{LONG:g}S}}
"""
SECONDS = """
id: seconds
namespace: company.bench
tasks:
  - id: each
    type: io.kestra.plugin.core.flow.ForEach
    values: "{{ range(1, 64) }}"
    concurrencyLimit: 0
    tasks:
      - {id: sleep, type: io.kestra.plugin.core.flow.Sleep, duration: PT1S}
"""


@dataclass(frozen=True, slots=True)
class Run:
    """One leaf task run; times in epoch seconds. `started`, `ended`: of the last attempt, by its worker's clock."""

    created: float
    started: float
    ended: float
    known: float  #: RUNNING in the history: when the executor heard of the start
    sessions: tuple[str, ...]

    @property
    def wait(self) -> float:
        """Seconds from creation to start."""
        return self.started - self.created


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least `share` of all do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, max(0, -int(-share * len(ordered) // 1) - 1))]


def register(stack: Stack, *sources: str) -> None:
    for source in sources:
        httpx.post(
            f"{stack.url}/api/v1/main/flows",
            content=source,
            headers={"Content-Type": "application/x-yaml"},
            timeout=30,
        ).raise_for_status()


async def create(url: str, flow: str, count: int, rate: float | None = None) -> None:
    """Executions at a steady rate per second, or as fast as 16 connections go. A late one is not made up for."""
    async with httpx.AsyncClient(base_url=url, limits=httpx.Limits(max_connections=16), timeout=60) as client:

        async def one() -> None:
            answer = await client.post(f"/api/v1/main/executions/company.bench/{flow}", files=[("x", (None, b""))])
            answer.raise_for_status()

        begun = time.monotonic()
        tasks = []
        for number in range(count):
            if rate is not None:
                await asyncio.sleep(max(0.0, begun + number / rate - time.monotonic()))
            tasks.append(asyncio.create_task(one()))
        await asyncio.gather(*tasks)


def ended(stack: Stack, flow: str, task: str) -> list[Run]:
    """Every ended run of a task."""
    documents: list[dict[str, Any]] = []
    with httpx.Client(base_url=stack.url, timeout=60) as client:
        for page in range(1, 11):
            found = client.get(
                "/api/v1/main/taskruns/search",
                params={"flowId": flow, "taskId": task, "state": "SUCCESS", "size": 1000, "page": page},
            )
            batch = found.raise_for_status().json()["results"]
            documents.extend(batch)
            if len(batch) < 1000:
                break
    if not documents:
        return []
    lives = worked(stack)
    return [_run(document, lives[document["id"]]) for document in documents]


def _run(document: dict[str, Any], life: tuple[float, float]) -> Run:
    at: dict[str, float] = {}
    for entry in document["state"]["histories"]:
        at.setdefault(entry["state"], datetime.fromisoformat(entry["date"]).timestamp())
    sessions = tuple(attempt.get("workerId") or "" for attempt in document["attempts"])
    return Run(at["CREATED"], *life, at["RUNNING"], sessions)


def worked(stack: Stack) -> dict[str, tuple[float, float]]:
    """When workers began and ended each task run, by their own clocks, from their events."""
    settings = load().model_copy(
        update={
            "topics": load().topics.model_copy(update={"prefix": stack.environment["RUNYARD_TOPICS__PREFIX"]}),
        }
    )
    log = ServerBackends(settings).event_log()
    tail = log.tail([Topic.TASK_RUN_EVENTS])
    found: dict[str, tuple[float, float]] = {}
    try:
        while not tail.caught_up():
            for record in tail.poll(5000, 0.2):
                message = decode(record.value or b"")
                if isinstance(message, AttemptEnded):
                    found[message.task_run_id] = message.started_at / 1000, message.at / 1000
    finally:
        tail.close()
        log.close()
    return found


def count_ended(stack: Stack, flow: str, task: str) -> int:
    """How many runs of a task have ended."""
    parameters: dict[str, Any] = {"flowId": flow, "taskId": task, "state": "SUCCESS", "size": 1}
    found = httpx.get(f"{stack.url}/api/v1/main/taskruns/search", params=parameters, timeout=30)
    return int(found.raise_for_status().json()["total"])


def await_runs(stack: Stack, flow: str, task: str, count: int, within: float = 60.0) -> list[Run]:
    """The task's runs once there are `count`. Raises SystemExit when they don't come."""
    until = time.monotonic() + within
    while (total := count_ended(stack, flow, task)) < count:
        if time.monotonic() > until:
            raise SystemExit(f"only {total} of {count} runs of {flow}.{task} have ended after {within:.0f} s")
        time.sleep(0.5)
    runs = ended(stack, flow, task)
    if len(runs) != count:
        raise SystemExit(f"{len(runs)} runs of {flow}.{task}, but {count} were asked for")
    return runs


def waits(title: str, runs: Sequence[Run]) -> None:
    values = [run.wait * 1000 for run in runs]
    known = [(run.known - run.created) * 1000 for run in runs]
    print(
        f"  {title}: {len(runs)} task runs, wait p50 {percentile(values, 0.5):.0f} ms, "
        f"p90 {percentile(values, 0.9):.0f} ms, p99 {percentile(values, 0.99):.0f} ms, longest {max(values):.0f} ms; "
        f"known p50 {percentile(known, 0.5):.0f} ms, p99 {percentile(known, 0.99):.0f} ms"
    )


def warmed(stack: Stack) -> None:
    """The first executions pay for connections and caches."""
    register(stack, ONE.replace("id: one", "id: warm"))
    asyncio.run(create(stack.url, "warm", 20))
    await_runs(stack, "warm", "only", 20)


def rate() -> None:
    """Four ForEach of 1,000 Return at once: task runs started per second."""
    with Stack(executors=2, workers=2, concurrency=64) as stack:
        warmed(stack)
        register(stack, WIDE)
        asyncio.run(create(stack.url, "wide", 4))
        runs = await_runs(stack, "wide", "only", 4000, 90)
        took = max(run.started for run in runs) - min(run.created for run in runs)
        print("rate: 2 executors, 2 workers of 64 slots, 4 ForEach of 1,000 Return")
        print(f"  {len(runs)} task runs started in {took:.2f} s: {len(runs) / took:.0f}/s; {declines(stack)} declined")


def steady() -> None:
    """One-task executions at 100/s."""
    with Stack(executors=2, workers=2, concurrency=16) as stack:
        warmed(stack)
        register(stack, ONE)
        begun = time.monotonic()
        asyncio.run(create(stack.url, "one", 1500, 100))
        took = time.monotonic() - begun
        print(f"steady: 2 executors, 2 workers of 16 slots, one-task executions at {1500 / took:.0f}/s")
        waits("one", await_runs(stack, "one", "only", 1500))


def long() -> None:
    """Short tasks while a slot of each worker is busy for long."""
    with Stack(executors=2, workers=2, concurrency=2) as stack:
        warmed(stack)
        register(stack, ONE, SLEEPER)
        asyncio.run(create(stack.url, "sleeper", 2))
        time.sleep(1.5)
        begun = time.time()
        asyncio.run(create(stack.url, "one", int((LONG - 6) * 20), 20))
        runs = await_runs(stack, "one", "only", int((LONG - 6) * 20))
        sleepers = await_runs(stack, "sleeper", "sleep", 2)
        during = [run for run in runs if run.created < min(sleeper.ended for sleeper in sleepers)]
        workers = {session for run in sleepers for session in run.sessions}
        print(
            f"long: 2 executors, 2 workers of 2 slots; {LONG:g} s tasks on {len(workers)} workers, short ones at 20/s"
        )
        waits(f"short, in the {max(run.ended for run in runs) - begun:.0f} s beside the long ones", during)
        print(f"  {declines(stack)} declined")


def sessions(count: int = 64, processes: int = 2, slots: int = 2) -> None:
    """Many worker sessions that share 8 inbox partitions."""
    with Stack(executors=2, workers=0) as stack:
        environment = {**stack.environment, "RUNYARD_WORKER__CONCURRENCY": str(slots)}
        command = [sys.executable, "-m", "benchmarks.dispatch", "serve", str(count // processes)]
        children: list[subprocess.Popen[bytes]] = []
        try:
            for number in range(processes):
                log = Path(stack.directory / f"sessions-{number}.log")
                with log.open("wb") as out:
                    children.append(subprocess.Popen(command, env=environment, stdout=out, stderr=out))
            time.sleep(8)
            warmed(stack)
            register(stack, ONE, SECONDS)
            asyncio.run(create(stack.url, "one", 500, 50))
            ones = await_runs(stack, "one", "only", 500)
            asyncio.run(create(stack.url, "seconds", 8))
            runs = await_runs(stack, "seconds", "sleep", 512)
            print(f"sessions: 2 executors, {count} worker sessions of {slots} slots, 8 inbox partitions")
            waits("one-task executions at 50/s", ones)
            took = max(run.ended for run in runs) - min(run.created for run in runs)
            used = {session for run in runs for session in run.sessions}
            print(
                f"  {len(runs)} of Sleep 1 s on {count * slots} slots: {took:.2f} s "
                f"(ideal {len(runs) / count / slots:.0f} s), "
                f"{len(used)} sessions used, at most {simultaneous(runs)} at once"
            )
            again = sum(len(run.sessions) > 1 for run in runs + ones)
            print(f"  {declines(stack)} declined, {again} with a second attempt")
        finally:
            for child in children:
                child.terminate()
            for child in children:
                child.wait(30)


def simultaneous(runs: Sequence[Run]) -> int:
    """The most that ran at the same time."""
    changes = sorted([(run.started, 1) for run in runs] + [(run.ended, -1) for run in runs])
    most = now = 0
    for _, change in changes:
        now += change
        most = max(most, now)
    return most


def declines(stack: Stack) -> int:
    """Commands that workers sent back, as the executors count them."""
    total = 0.0
    for process in stack.of("executor"):
        text = httpx.get(f"http://127.0.0.1:{process.port}/metrics", timeout=10).text
        for line in text.splitlines():
            if line.startswith('runyard_executor_messages_total{type="AttemptDeclined"}'):
                total += float(line.rsplit(" ", 1)[1])
    return int(total)


def serve(count: int) -> None:
    """`count` workers on threads of this process, until SIGTERM."""
    settings = load()
    backends = ServerBackends(settings)
    log, blobs, tasks = backends.event_log(), backends.blobs(), TaskCatalog.installed()
    workers = [Worker(backends.inbox(), log, blobs, settings, tasks, name=f"w{number}") for number in range(count)]
    threads = [threading.Thread(target=worker.run) for worker in workers]

    def drain(number: int, frame: FrameType | None) -> None:
        del number, frame
        for worker in workers:
            worker.stop()

    signal.signal(signal.SIGTERM, drain)
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    log.close()


SCENARIOS: dict[str, Callable[[], None]] = {"rate": rate, "steady": steady, "long": long, "sessions": sessions}


def main() -> None:
    names = sys.argv[1:]
    if names[:1] == ["serve"]:
        serve(int(names[1]))
        return
    for name in names or SCENARIOS:
        SCENARIOS[name]()


if __name__ == "__main__":
    main()
