"""Kills: how long it takes from the request until the API shows KILLED, by what the execution does at that moment.

`python -m benchmarks.kills [kills]` (200 of each kind by default) on the embedded stack, a process of its own; with
`--servers`, on Kafka and Elasticsearch that the environment names (`python -m tests.servers python -m benchmarks.kills
--servers`). One client, one execution after the other: it is brought into its state, killed, and read by id until it is
KILLED; then its task runs, and its subflow's, must be KILLED too.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import httpx

from benchmarks.stack import RUNYARD, Stack

NAMESPACE: Final = "company.kills"
CORE: Final = "io.kestra.plugin.core"
SLEEPS: Final = f"{{id: t, type: {CORE}.flow.Sleep, duration: PT1H}}"
FLOWS: Final = {
    "created": f"tasks:\n  - {{id: t, type: {CORE}.log.Log, message: m,"
    " workerGroup: {key: nobody, fallback: WAIT}}\n",
    "queued": f"concurrency: {{limit: 1, behavior: QUEUE}}\ntasks:\n  - {SLEEPS}\n",
    "running": f"tasks:\n  - {SLEEPS}\n",
    "retrying": f"tasks:\n  - {{id: t, type: {CORE}.execution.Fail,"
    " retry: {type: constant, interval: PT1H, maxAttempt: 3}}\n",
    "paused": f"tasks:\n  - {{id: t, type: {CORE}.flow.Pause}}\n",
    "subflow": f"tasks:\n  - {{id: t, type: {CORE}.flow.Subflow, wait: true,"
    f" namespace: {NAMESPACE}, flowId: running}}\n",
}
REACHED: Final = {
    "created": ("RUNNING", "CREATED"),
    "queued": ("QUEUED", None),
    "running": ("RUNNING", "RUNNING"),
    "retrying": ("RETRYING", "RETRYING"),
    "paused": ("PAUSED", "PAUSED"),
    "subflow": ("RUNNING", "RUNNING"),
}
"""States of the execution and of its only task run from which it is killed."""
PATIENCE: Final = 60.0
"""Seconds after which a kill that shows no effect is a failure."""


@contextmanager
def embedded() -> Iterator[str]:
    """A standalone; its address."""
    with tempfile.TemporaryDirectory() as directory:
        process = subprocess.Popen(
            [*RUNYARD, "standalone", "--port", "0", "--data", directory],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        try:
            assert process.stdout is not None
            yield process.stdout.readline().rsplit(" ", 1)[-1].strip()
        finally:
            process.terminate()
            process.wait(30)


@contextmanager
def servers() -> Iterator[str]:
    """An executor, a worker and an indexer; the API's address."""
    with Stack(concurrency=16) as stack:
        yield stack.url


class Operator:
    """Brings executions into a state, and kills them."""

    def __init__(self, url: str) -> None:
        self._http = httpx.Client(base_url=f"{url}/api/v1/main", timeout=PATIENCE)

    def register(self) -> None:
        for name, source in FLOWS.items():
            text = f"id: {name}\nnamespace: {NAMESPACE}\n{source}"
            headers = {"Content-Type": "application/x-yaml"}
            self._http.post("/flows", content=text, headers=headers).raise_for_status()

    def begin(self, kind: str, *states: str) -> str:
        """A new execution in its state, or these; where it waits for a subflow, that runs by now."""
        answer = self._http.post(f"/executions/{NAMESPACE}/{kind}", files=[("", (None, b""))]).raise_for_status()
        execution_id: str = answer.json()["id"]
        execution = self._await(execution_id, *(states or REACHED[kind]))
        if kind == "subflow":
            self._await(_child(execution), *REACHED["running"])
        return execution_id

    def kill(self, execution_id: str) -> float:
        """Seconds from the request until it is shown as KILLED."""
        begun = time.perf_counter()
        self._http.delete(f"/executions/{execution_id}/kill").raise_for_status()
        while (execution := self._read(execution_id))["state"]["current"] != "KILLED":
            if time.perf_counter() - begun > PATIENCE:
                raise AssertionError(f"{execution_id} is {execution['state']}")
        taken = time.perf_counter() - begun
        for run in execution.get("taskRunList") or ():
            assert run["state"]["current"] == "KILLED", run
        if (child := _child(execution)) is not None:
            self._await(child, "KILLED", "KILLED")
        return taken

    def _read(self, execution_id: str) -> dict[str, Any]:
        found: dict[str, Any] = self._http.get(f"/executions/{execution_id}").raise_for_status().json()
        return found

    def _await(self, execution_id: str | None, state: str, of_task_run: str | None) -> dict[str, Any]:
        assert execution_id is not None
        until = time.monotonic() + PATIENCE
        while True:
            execution = self._read(execution_id)
            runs = execution.get("taskRunList") or [{"state": {"current": None}}]
            if (execution["state"]["current"], runs[0]["state"]["current"]) == (state, of_task_run):
                return execution
            if time.monotonic() > until:
                raise AssertionError(f"{execution_id} is {execution['state']}, not {state}")
            time.sleep(0.005)


def _child(execution: dict[str, Any]) -> str | None:
    for run in execution.get("taskRunList") or ():
        found: str | None = (run.get("outputs") or {}).get("executionId")
        return found
    return None


def measure(operator: Operator, kind: str, kills: int) -> list[float]:
    """Milliseconds of each kill, sorted."""
    holder = operator.begin(kind, *REACHED["running"]) if kind == "queued" else None  # it has the only slot
    taken = sorted(operator.kill(operator.begin(kind)) * 1000 for _ in range(kills))
    if holder is not None:
        operator.kill(holder)
    return taken


def main() -> None:
    given = [argument for argument in sys.argv[1:] if argument.isdigit()]
    kills = int(given[0]) if given else 200
    with (servers if "--servers" in sys.argv else embedded)() as url:
        operator = Operator(url)
        operator.register()
        print(f"load {os.getloadavg()[0]:.1f} at the beginning; {kills} kills of each kind")
        print("| state | p50 ms | p99 ms | longest |\n| --- | --- | --- | --- |")
        for kind in FLOWS:
            taken = measure(operator, kind, kills)
            p50, p99 = taken[len(taken) // 2], taken[min(len(taken) - 1, len(taken) * 99 // 100)]
            print(f"| {kind} | {p50:.0f} | {p99:.0f} | {taken[-1]:.0f} |", flush=True)
        print(f"load {os.getloadavg()[0]:.1f} at the end")


if __name__ == "__main__":
    main()
