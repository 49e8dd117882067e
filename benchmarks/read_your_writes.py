"""Read your writes: create an execution on one API process, read it on another, and look for anything older.

`python -m benchmarks.read_your_writes [rounds]` (1,000 by default), with real servers in the environment
(`python -m tests.servers python -m benchmarks.read_your_writes`). Requests alternate between two API processes, as
behind a round-robin balancer. Counted: 404s, states older than the answer to the creation, and states older than what
the other process had answered to a read before. Task runs are read as the execution's `taskRunList`; by their own ids
and by search they are not asked for here.
"""

from __future__ import annotations

import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import httpx

from benchmarks.dispatch import percentile
from benchmarks.stack import Stack

FLOW = """
id: read
namespace: company.bench
tasks:
  - {id: first, type: io.kestra.plugin.core.debug.Return, format: "{{ task.id }}"}
  - {id: second, type: io.kestra.plugin.core.debug.Return, format: "{{ outputs.first.value }}"}
"""
CLIENTS = 4
"""Clients at the same time: two cores have no room for more without queues in front of everything."""


@dataclass(slots=True)
class Tally:
    """What the clients found. Each list is only appended to."""

    faults: Counter[str] = field(default_factory=Counter)
    examples: list[str] = field(default_factory=list)
    seconds: dict[str, list[float]] = field(default_factory=dict)

    def fault(self, kind: str, example: str) -> None:
        self.faults[kind] += 1
        self.examples.append(f"{kind}: {example}")


class RoundRobin:
    """One client's requests, each to the next API process."""

    def __init__(self, urls: list[str], tally: Tally, first: int) -> None:
        self._clients = [httpx.Client(base_url=f"{url}/api/v1/main", timeout=60) for url in urls]
        self._turns = count(first)
        self._tally = tally

    def ask(self, what: str, method: str, path: str, **request: Any) -> httpx.Response:
        client = self._clients[next(self._turns) % len(self._clients)]
        begun = time.monotonic()
        answer = client.request(method, path, **request)
        self._tally.seconds.setdefault(what, []).append(time.monotonic() - begun)
        return answer

    def skip(self) -> None:
        """Let the other process come first in the next round."""
        next(self._turns)


def history(document: dict[str, Any]) -> list[tuple[str, str]]:
    """An execution's or task run's states with their moments."""
    return [(entry["state"], entry["date"]) for entry in document["state"]["histories"]]


def older(before: list[tuple[str, str]], after: list[tuple[str, str]]) -> bool:
    """Whether `after` has not all that `before` has."""
    return [state for state, _ in after[: len(before)]] != [state for state, _ in before]


def round_trip(api: RoundRobin, tally: Tally) -> None:
    """Create, read the execution, read its task runs, read the execution again."""
    created = api.ask("create", "POST", "/executions/company.bench/read", files=[("x", (None, b""))])
    created.raise_for_status()
    execution_id = created.json()["id"]
    written = known = history(created.json())
    runs: dict[str, list[tuple[str, str]]] = {}
    for what, path in (
        ("execution", f"/executions/{execution_id}"),
        ("task runs", f"/executions/{execution_id}"),
        ("execution again", f"/executions/{execution_id}"),
    ):
        answer = api.ask(what, "GET", path)
        if answer.status_code != 200:
            tally.fault(str(answer.status_code), f"{what} of {execution_id}")
            continue
        document = answer.json()
        if older(written, history(document)):
            tally.fault("older than the creation's answer", f"{what} of {execution_id}: {history(document)}")
        if older(known, history(document)):
            tally.fault(
                "execution older than another read", f"{what} of {execution_id}: {known} then {history(document)}"
            )
        known = history(document)
        found = {run["id"]: history(run) for run in document.get("taskRunList") or ()}
        for run_id, states in runs.items():
            if run_id not in found:
                tally.fault("task run missing after another read", f"{run_id} of {execution_id}")
            elif older(states, found[run_id]):
                tally.fault("task run older than another read", f"{run_id}: {states} then {found[run_id]}")
        runs = found
        if known[-1][0] == "SUCCESS" and len(runs) != 2:
            tally.fault("task run missing at the end", f"{execution_id} has ended with {len(runs)} of 2")


def clients(stack: Stack, rounds: int, tally: Tally) -> None:
    """All rounds, shared by the clients."""
    turns = iter(range(rounds))
    lock = threading.Lock()

    def work(number: int) -> None:
        api = RoundRobin(stack.urls, tally, number)
        while True:
            with lock:
                turn = next(turns, None)
            if turn is None:
                return
            try:
                round_trip(api, tally)
            except (httpx.HTTPError, KeyError) as error:
                tally.fault("error", repr(error))
            if turn % 2:
                api.skip()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    tally = Tally()
    with Stack(executors=2, workers=2, indexers=2) as stack:
        httpx.post(
            f"{stack.url}/api/v1/main/flows", content=FLOW, headers={"Content-Type": "application/x-yaml"}, timeout=30
        ).raise_for_status()
        begun = time.monotonic()
        clients(stack, rounds, tally)
        took = time.monotonic() - begun
    print(f"{rounds} rounds by {CLIENTS} clients over 2 API processes in {took:.1f} s; faults: {dict(tally.faults)}")
    for what, seconds in tally.seconds.items():
        values = [value * 1000 for value in seconds]
        print(
            f"  {what:16} {len(values)} requests, p50 {percentile(values, 0.5):.0f} ms, "
            f"p99 {percentile(values, 0.99):.0f} ms, longest {max(values):.0f} ms"
        )
    for example in tally.examples[:10]:
        print(f"  {example}")
    if tally.faults:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
