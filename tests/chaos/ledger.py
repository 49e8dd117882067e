"""Ledger: what really ran, beside what the API says, and the judgement of one against the other."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from benchmarks.stack import Stack

PLUGIN = Path(__file__).resolve().parent.parent / "plugins" / "ledger"
FLOWS = {
    "five": "id: five\nnamespace: company.chaos\ntasks:\n"
    + "".join(f"  - {{id: t{number}, type: test.Ledger}}\n" for number in range(5)),
    "loop": """
id: loop
namespace: company.chaos
tasks:
  - id: each
    type: io.kestra.plugin.core.flow.ForEach
    values: [1, 2, 3, 4]
    concurrencyLimit: 0
    tasks:
      - {id: sleep, type: test.Ledger, seconds: 0.3}
""",
}
EXPECTED = {"five": 5, "loop": 4}
"""Leaf task runs of each flow."""


@dataclass
class Load:
    """Executions of both flows on a stack."""

    stack: Stack
    ledger: Path
    executions: dict[str, str] = field(default_factory=dict)  #: id → flow

    def register(self) -> None:
        with httpx.Client(base_url=self.stack.url, timeout=60) as client:
            for source in FLOWS.values():
                client.post(
                    "/api/v1/main/flows", content=source, headers={"Content-Type": "application/x-yaml"}
                ).raise_for_status()

    def create(self, flow: str) -> None:
        """One execution; again on another API where one is down."""
        until = time.monotonic() + 120
        while True:
            for url in self.stack.urls:
                try:
                    answer = httpx.post(
                        f"{url}/api/v1/main/executions/company.chaos/{flow}", files=[("x", (None, b""))], timeout=30
                    )
                    answer.raise_for_status()
                except httpx.HTTPError:
                    continue
                self.executions[answer.json()["id"]] = flow
                return
            if time.monotonic() > until:
                raise AssertionError("no API takes an execution")
            time.sleep(0.2)

    def count(self, state: str | None = None) -> int:
        """Executions in the index, in one state."""
        parameters: dict[str, Any] = {"namespace": "company.chaos", "size": 1}
        if state is not None:
            parameters["state"] = state
        try:
            found = httpx.get(f"{self.stack.url}/api/v1/main/executions/search", params=parameters, timeout=30)
            return int(found.raise_for_status().json()["total"])
        except httpx.HTTPError:
            return -1

    def await_end(self, timeout: float) -> None:
        """Until every acknowledged execution has ended well, as each API read by id says."""
        until = time.monotonic() + timeout
        open_ = set(self.executions)
        last: dict[str, str] = {}
        while open_:
            for execution_id in list(open_):
                try:
                    answer = httpx.get(f"{self.stack.url}/api/v1/main/executions/{execution_id}", timeout=30)
                except httpx.HTTPError:
                    continue
                if answer.status_code != 200:
                    last[execution_id] = str(answer.status_code)
                    continue
                last[execution_id] = answer.json()["state"]["current"]
                if last[execution_id] == "SUCCESS":
                    open_.discard(execution_id)
            if open_ and time.monotonic() > until:
                raise AssertionError(
                    f"{len(open_)} have not ended well: {[(e, last.get(e)) for e in list(open_)[:10]]}"
                )
            if open_:
                time.sleep(0.5)

    def task_runs(self) -> list[dict[str, Any]]:
        """Every leaf task run, by the search API's cursor."""
        results: list[dict[str, Any]] = []
        parameters: dict[str, Any] = {"namespace": "company.chaos", "size": 1000, "q": "taskType:test.Ledger"}
        with httpx.Client(base_url=self.stack.url, timeout=60) as client:
            page = 1
            while True:
                found = client.get("/api/v1/main/taskruns/search", params={**parameters, "page": page})
                found.raise_for_status()
                batch = found.json()["results"]
                results.extend(batch)
                if len(batch) < 1000:
                    return results
                page += 1


def judge(load: Load, killed_sessions: set[str]) -> dict[str, int]:
    """Hold the ledger against the task runs; returns counts for the record.

    Each attempt stands in the ledger at most once for each of its dispatches, and once in all where it succeeded;
    every attempt beyond the first is explained by a killed or stopped worker.
    """
    lines = [tuple(line.split()) for line in load.ledger.read_text().splitlines()]
    per_dispatch = Counter(line[:3] for line in lines)
    assert all(count == 1 for count in per_dispatch.values()), "a dispatch ran twice"
    per_attempt: defaultdict[tuple[str, int], int] = defaultdict(int)
    for run, attempt, _, _ in lines:
        per_attempt[run, int(attempt)] += 1
    runs = load.task_runs()
    by_execution = Counter(run["executionId"] for run in runs)
    for execution_id, flow in load.executions.items():
        assert by_execution[execution_id] == EXPECTED[flow], (
            f"{execution_id} has {by_execution[execution_id]} task runs"
        )
    extra = 0
    for run in runs:
        assert run["state"]["current"] == "SUCCESS", run
        attempts = run["attempts"]
        states = [attempt["state"]["current"] for attempt in attempts]
        assert states[-1] == "SUCCESS", states
        assert set(states[:-1]) <= {"RESUBMITTED"}, states
        assert per_attempt[run["id"], len(states) - 1] == 1, f"{run['id']}: the accepted attempt ran other than once"
        for attempt in attempts[:-1]:
            extra += 1
            assert attempt["workerId"] in killed_sessions, f"no kill explains attempt of session {attempt['workerId']}"
    workers = {line[3] for line in lines}
    return {
        "task runs": len(runs),
        "ledger lines": len(lines),
        "extra attempts": extra,
        "worker processes": len(workers),
    }
