"""Timers under kill -9: executors die while retries and pauses wait, and when they are due; each acts once."""

from __future__ import annotations

import time
from typing import Any

import httpx
import pytest

from benchmarks.stack import Stack

pytestmark = [pytest.mark.real, pytest.mark.timeout(600)]

EXECUTIONS = 40
KILLS = 6
FLOWS = (
    """\
id: paused
namespace: company.timers
tasks:
  - id: wait
    type: io.kestra.plugin.core.flow.Pause
    pauseDuration: PT8S
""",
    """\
id: retried
namespace: company.timers
tasks:
  - id: fail
    type: io.kestra.plugin.core.execution.Fail
    retry: {type: constant, interval: PT4S, maxAttempt: 4}
""",
)


def ended(http: httpx.Client, execution_id: str, until: float) -> dict[str, Any]:
    """An execution once it has ended."""
    while True:
        answer = http.get(f"/executions/{execution_id}")
        if answer.is_success and (found := answer.json())["state"]["current"] in ("SUCCESS", "FAILED"):
            return found
        assert time.monotonic() < until, f"{execution_id}: {answer.text[:500]}"
        time.sleep(0.5)


def test_no_timer_is_lost_or_acts_twice(kafka: str, elasticsearch: str) -> None:
    """Two executors are killed in turn; each pause ends once, each retry makes one attempt."""
    settings = {"RUNYARD_KAFKA__BOOTSTRAP_SERVERS": kafka, "RUNYARD_ELASTICSEARCH__HOSTS": elasticsearch}
    with Stack(executors=2, workers=1, settings=settings) as stack:
        with httpx.Client(base_url=f"{stack.url}/api/v1/main", timeout=60) as http:
            for flow in FLOWS:
                http.post("/flows", content=flow, headers={"Content-Type": "application/x-yaml"}).raise_for_status()
            ids: dict[str, list[str]] = {"paused": [], "retried": []}
            for _ in range(EXECUTIONS):
                for name, made in ids.items():
                    files = [("", (None, ""))]
                    made.append(
                        http.post(f"/executions/company.timers/{name}", files=files).raise_for_status().json()["id"]
                    )
            executors = stack.of("executor")
            for number in range(KILLS):
                victim = executors[number % len(executors)]
                victim.kill()
                time.sleep(1.0)
                victim.start()
                time.sleep(2.5)

            until = time.monotonic() + 180
            paused = [ended(http, each, until) for each in ids["paused"]]
            retried = [ended(http, each, until) for each in ids["retried"]]

        assert {execution["state"]["current"] for execution in paused} == {"SUCCESS"}
        assert {execution["state"]["current"] for execution in retried} == {"FAILED"}
        for execution in paused:
            (run,) = execution["taskRunList"]
            states = [each["state"] for each in run["state"]["histories"]]
            assert states == ["CREATED", "RUNNING", "PAUSED", "RUNNING", "SUCCESS"]
        for execution in retried:
            (run,) = execution["taskRunList"]
            assert [attempt["state"]["current"] for attempt in run["attempts"]] == ["FAILED"] * 4
        verified = stack.run("verify-index")
        assert verified.returncode == 0, verified.stdout[-3000:] + verified.stderr[-2000:]
        assert stack.run("dead-letters", "list").stdout.strip().endswith("0 of 0")
