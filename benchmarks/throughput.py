"""Throughput: N executions of 5 Return tasks, from the first POST to the last task run searchable.

`python benchmarks/throughput.py [executions] [executors] [workers]`, with real servers in the environment
(`python -m tests.servers python benchmarks/throughput.py`). In the same run the raw limit: the same number of
messages and documents, of the same size, with no logic between.
"""

from __future__ import annotations

import asyncio
import sys
import threading
import time

import httpx

from benchmarks.stack import Stack, java_cpu
from runyard.backends import ServerBackends
from shared.messages import decode
from shared.model.document import Kind
from shared.model.query import Page, Query
from shared.ports import Outbound, Step, Topic, Versioned
from shared.settings import load

FLOW = "\n".join(
    [
        "id: five",
        "namespace: company.bench",
        "tasks:",
        *(
            f"  - id: t{number}\n    type: io.kestra.plugin.core.debug.Return\n    format: '{{{{ task.id }}}}'"
            for number in range(5)
        ),
    ]
)
BUDGET = {"executor": 0.7, "worker": 0.4, "indexer": 0.3, "broker": 0.35, "search node": 0.25}
"""Milliseconds of CPU per task run, design.md §1."""


async def post(url: str, executions: int, parallel: int = 16) -> None:
    """Create the executions over a few connections."""
    limits = httpx.Limits(max_connections=parallel)
    async with httpx.AsyncClient(base_url=url, limits=limits, timeout=60) as client:
        waiting = iter(range(executions))

        async def some() -> None:
            for _ in waiting:
                answer = await client.post("/api/v1/main/executions/company.bench/five", files=[("x", (None, b""))])
                answer.raise_for_status()

        await asyncio.gather(*(some() for _ in range(parallel)))


def count(url: str) -> int:
    found = httpx.get(f"{url}/api/v1/main/taskruns/search?flowId=five&state=SUCCESS&size=1", timeout=30)
    return int(found.json()["total"])


def main() -> None:
    executions = int(sys.argv[1]) if len(sys.argv) > 1 else 500
    executors = int(sys.argv[2]) if len(sys.argv) > 2 else 1
    workers = int(sys.argv[3]) if len(sys.argv) > 3 else 1
    task_runs = executions * 5
    with Stack(executors=executors, workers=workers, concurrency=64) as stack:
        httpx.post(
            f"{stack.url}/api/v1/main/flows", content=FLOW, headers={"Content-Type": "application/x-yaml"}, timeout=30
        ).raise_for_status()
        asyncio.run(post(stack.url, 20))
        while count(stack.url) < 100:
            time.sleep(0.1)
        before, java_before = stack.cpu(), java_cpu()
        begun = time.monotonic()
        poster = threading.Thread(target=lambda: asyncio.run(post(stack.url, executions)))
        poster.start()
        poster.join()
        posted = time.monotonic() - begun
        while count(stack.url) < task_runs + 100:
            time.sleep(0.05)
            if time.monotonic() - begun > 300:
                raise SystemExit(f"only {count(stack.url)} of {task_runs + 100} task runs are searchable")
        took = time.monotonic() - begun
        spent = {role: value - before[role] for role, value in stack.cpu().items()}
        spent |= {name: value - java_before.get(name, 0) for name, value in java_cpu().items()}
        print(f"{executions} executions, {task_runs} task runs, {executors} executors, {workers} workers")
        print(f"posted in {posted:.2f} s, all searchable after {took:.2f} s: {task_runs / took:.0f} task runs/s")
        for role, seconds in spent.items():
            each = seconds * 1000 / task_runs
            print(f"  {role:12} {each:6.3f} ms CPU per task run (budget {BUDGET.get(role, 0)})")
        raw = raw_limit(stack)
        print(f"raw limit, same messages and documents without logic: {raw:.0f} task runs/s")
        print(f"ratio {task_runs / took / raw:.2f}")


def raw_limit(stack: Stack) -> float:
    """Task runs per second when their messages and documents are only copied: one transactional writer, one bulk."""
    settings = load().model_copy(
        update={
            "topics": load().topics.model_copy(
                update={"prefix": stack.environment["RUNYARD_TOPICS__PREFIX"], "partitions": 8, "inbox_partitions": 8}
            ),
            "elasticsearch": load().elasticsearch.model_copy(update={"prefix": stack.index_prefix}),
        }
    )
    backends = ServerBackends(settings)
    log, store = backends.event_log(), backends.documents()
    tail = log.tail([Topic.EXECUTION_EVENTS, Topic.TASK_RUN_EVENTS, Topic.TASK_RUN_COMMANDS])
    outputs: list[Outbound] = []
    documents: list[Versioned] = []
    while not tail.caught_up():
        for record in tail.poll(5000, 0.5):
            if record.value is None:
                continue
            outputs.append(Outbound(Topic.LOGS, record.key, record.value))
            if record.topic is Topic.EXECUTION_EVENTS:
                message = decode(record.value)
                if getattr(message, "kind", None) == Kind.TASK_RUN:
                    documents.append(
                        Versioned(
                            Kind.TASK_RUN, f"raw-{message.id}", message.seq, message.document, message.execution_id
                        )
                    )
    tail.close()
    latest = {document.id: document for document in documents}
    for process in stack.processes:
        process.stop()
    journal = backends.journal()

    class Owner:
        def assigned(self, partition: int, state: object) -> None: ...
        def revoked(self, partition: int, *, lost: bool) -> None: ...

    for _ in range(10):
        journal.poll(Owner(), 1, 0.5)
    begun = time.monotonic()
    for start in range(0, len(outputs), 2000):
        journal.commit(Step({}, {}, outputs[start : start + 2000], frozenset({0})))
    ordered = list(latest.values())
    for start in range(0, len(ordered), 1000):
        store.write(ordered[start : start + 1000])
    took = time.monotonic() - begun
    journal.close()
    log.close()
    store.search(Query("main", q="x"), Page(size=1))
    store.close()
    return len(latest) / took


if __name__ == "__main__":
    main()
