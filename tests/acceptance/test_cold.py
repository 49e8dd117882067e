"""Commands about executions that have left the executor: they come back from the search store, and go on."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from benchmarks.stack import Stack
from tests.acceptance.servers import PATIENCE, Server, Standalone

SETTINGS = {"RUNYARD_EXECUTOR__KEEP_ENDED": "1"}
LONG_ENOUGH = 20.0
"""Seconds after which an execution has surely left: a second, the ten of an open transaction, a measurement of the lag."""

FLOW = """
id: cold
namespace: company.cold
tasks:
  - id: each
    type: io.kestra.plugin.core.flow.ForEach
    values: ["a", "b", "c"]
    tasks:
      - id: ok
        type: io.kestra.plugin.core.debug.Return
        format: "{{ taskrun.value }}"
      - id: maybe
        type: io.kestra.plugin.core.execution.Fail
        condition: "{{ taskrun.value == 'b' and kv('go', errorOnMissing=false) != 'yes' }}"
  - id: last
    type: io.kestra.plugin.core.debug.Return
    format: "{{ outputs.ok }}"
errors:
  - id: told
    type: io.kestra.plugin.core.debug.Return
    format: "{{ errorLogs() | length }}"
"""
OUTPUT = '{"a":{"value":"a"},"b":{"value":"b"},"c":{"value":"c"}}'


@pytest.fixture(scope="module")
def standalone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    running = Standalone(tmp_path_factory.mktemp("cold") / "data", SETTINGS)
    running.start()
    server = Server(running.url)
    yield server
    server.close()
    running.stop()


@pytest.fixture(scope="module")
def services(kafka: str, elasticsearch: str) -> Iterator[Server]:
    addresses = {"RUNYARD_KAFKA__BOOTSTRAP_SERVERS": kafka, "RUNYARD_ELASTICSEARCH__HOSTS": elasticsearch}
    with Stack(settings={**SETTINGS, **addresses}) as stack:
        server = Server(stack.url)
        yield server
        server.close()


@pytest.fixture(params=["standalone", pytest.param("services", marks=pytest.mark.real)])
def forgetful(request: pytest.FixtureRequest, tmp_path: Path) -> Server:
    """A Runyard whose ended executions leave the executor at once."""
    server: Server = request.getfixturevalue(request.param)
    return server


def recalls(server: Server) -> int:
    text = httpx.get(f"{server.url}/metrics").text
    found = re.search(r"^runyard_api_recalls_total (\S+)", text, re.MULTILINE)
    return int(float(found[1])) if found else 0


def ended(server: Server, execution_id: str) -> dict[str, object]:
    until = time.monotonic() + PATIENCE
    while True:
        execution = server.http.get(f"/executions/{execution_id}").raise_for_status().json()
        if execution["state"]["current"] in ("SUCCESS", "FAILED", "WARNING"):
            return execution
        assert time.monotonic() < until, execution["state"]
        time.sleep(0.1)


def test_operators_act_on_executions_that_have_left(forgetful: Server) -> None:
    """Restart, replay, labels, status and delete of executions that are in the search store only give true answers."""
    server = forgetful
    assert server.put_flow(FLOW).is_success
    restarted, replayed, labelled, changed, deleted, killed = (
        server.execute("cold", namespace="company.cold")["id"] for _ in range(6)
    )
    server.http.put("/namespaces/company.cold/kv/go", json="yes").raise_for_status()
    time.sleep(LONG_ENOUGH)

    assert server.http.post(f"/executions/{restarted}/restart").raise_for_status().json()["id"] == restarted
    execution = ended(server, restarted)
    assert execution["state"]["current"] == "SUCCESS"  # type: ignore[index]
    runs = execution["taskRunList"]
    assert [run["taskId"] for run in runs] == ["each", *["ok", "maybe"] * 3, "last"]  # type: ignore[attr-defined]
    assert runs[-1]["outputs"] == {"value": OUTPUT}  # type: ignore[index]
    assert len(next(run for run in runs if run["taskId"] == "maybe" and run["value"] == "b")["attempts"]) == 2  # type: ignore[attr-defined]

    target = next(
        run["id"]
        for run in server.http.get(f"/executions/{replayed}").json()["taskRunList"]
        if run["taskId"] == "maybe" and run["value"] == "b"
    )
    answer = server.http.post(f"/executions/{replayed}/replay", params={"taskRunId": target}).raise_for_status().json()
    assert answer["parentId"] == replayed
    again = ended(server, answer["id"])
    assert again["state"]["current"] == "SUCCESS"  # type: ignore[index]
    assert again["taskRunList"][-1]["outputs"] == {"value": OUTPUT}  # type: ignore[index]

    labels = [{"key": "team", "value": "blue"}]
    shown = server.http.post(f"/executions/{labelled}/labels", json=labels).raise_for_status().json()
    assert {"key": "team", "value": "blue"} in shown["labels"]
    shown = server.http.post(f"/executions/{changed}/change-status", params={"status": "SUCCESS"}).raise_for_status()
    assert shown.json()["state"]["current"] == "SUCCESS"

    refused = server.http.delete(f"/executions/{killed}/kill")
    assert (refused.status_code, refused.json()["message"]) == (409, "the execution is FAILED")
    before = recalls(server)
    assert server.http.delete(f"/executions/{deleted}").status_code == 204
    assert server.http.get(f"/executions/{deleted}").status_code == 404
    assert recalls(server) == before >= 4
