"""Bulk actions under kill -9, and what is left of purged executions: in the search store, in the log, and after late writes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from benchmarks.stack import Stack
from runyard.backends import Backends, EmbeddedBackends, ServerBackends
from shared.model.document import Kind
from shared.model.query import Page, Query
from shared.ports import DocumentStore, EventLog, Topic, Verdict, Versioned
from shared.settings import load
from tests.acceptance.servers import Server, Standalone, command
from tests.acceptance.test_bulk_actions import FAILING, GOOD, NAMESPACE, ended, eventually, flow_of, total

KEPT = {"RUNYARD_EXECUTOR__KEEP_ENDED": "1"}
"""Ended executions leave the executor soon: the purge is about what it no longer has, and deletions are forgotten."""


def started(server: Server, flow_id: str, count: int) -> list[str]:
    """Executions that have ended, once the search finds them so."""
    path = f"/executions/{NAMESPACE}/{flow_id}"
    ids = sorted(server.http.post(path, files=[("", (None, b""))]).json()["id"] for _ in range(count))

    def found() -> bool:
        params = {"flowId": flow_id, "size": 1_000}
        documents = server.http.get("/executions/search", params=params).json()["results"]
        return len(documents) == count and all("endDate" in document["state"] for document in documents)

    eventually(found)
    return ids


def restart_all(server: Server, flow_id: str) -> str:
    """A job, once it has begun; its id."""
    asked = {"action": "restart", "filters": {"flowId": flow_id, "state": "FAILED"}}
    job = server.http.post("/bulk-actions", json=asked).raise_for_status().json()
    eventually(lambda: server.http.get(f"/bulk-actions/{job['id']}").json()["done"] > 0)
    return str(job["id"])


def check_restarted(server: Server, flow_id: str, job_id: str, ids: list[str]) -> None:
    """Every item has one result, and every execution was restarted once."""
    finished = ended(server, job_id)
    assert (finished["state"], finished["accepted"]) == ("SUCCESS", len(ids)), finished
    items = server.http.get(f"/bulk-actions/{job_id}/items", params={"size": 1_000}).json()["results"]
    assert sorted(item["executionId"] for item in items) == ids
    assert {item["result"] for item in items} == {"accepted"}

    def restarted() -> bool:
        found = server.http.get("/executions/search", params={"flowId": flow_id, "size": 1_000}).json()["results"]
        states = [[history["state"] for history in execution["state"]["histories"]] for execution in found]
        return all(each.count("RESTARTED") == 1 and each[-1] == "FAILED" for each in states)

    eventually(restarted)


def documents_of(store: DocumentStore, execution_ids: list[str]) -> list[Versioned]:
    """Every document of executions, of every kind, as the store has it."""
    found = []
    for kind in Kind:
        query = Query("main", kind, execution_ids=tuple(execution_ids), include_superseded=True)
        for document in store.search(query, Page(1, 1_000)).documents:
            execution_id = str(document["id"] if kind is Kind.EXECUTION else document["executionId"])
            stored = store.get(kind, str(document["id"]), execution_id)
            # A search may show what has gone a moment ago: it is found all the same.
            found.append(stored or Versioned(kind, str(document["id"]), 0, document, execution_id))
    return found


def left_in(log: EventLog, execution_ids: list[str]) -> list[str]:
    """Keys whose last record in execution-events still names one of the executions: what compaction keeps."""
    last: dict[tuple[int, str], bytes | None] = {}
    tail = log.tail([Topic.EXECUTION_EVENTS])
    while not tail.caught_up():
        for record in tail.poll(1_000, 0.2):
            last[record.partition, record.key] = record.value
    tail.close()
    return [
        key
        for (_, key), value in last.items()
        if value is not None and any(execution_id.encode() in value for execution_id in execution_ids)
    ]


def check_purged(backends: Backends, before: list[Versioned], gone: list[str], kept: list[str]) -> None:
    """Nothing of the purged is found, nor comes back by writes of old versions; the others are whole."""
    log, store = backends.event_log(), backends.documents()
    assert documents_of(store, gone) == []
    assert len(documents_of(store, kept)) == len(before) // 2

    late = [
        document for document in before if document.routing in gone and document.kind not in (Kind.LOG, Kind.METRIC)
    ]
    outcomes = store.write(late)
    for document in late:
        store.refresh(document.kind, document.routing)

    assert {outcome.verdict for outcome in outcomes} == {Verdict.STALE}
    assert documents_of(store, gone) == []
    assert left_in(log, gone) == []
    assert left_in(log, kept) != []
    log.close()
    store.close()


def test_a_job_survives_kill_9_embedded(tmp_path: Path) -> None:
    """Killed while the job runs, a standalone goes on with it."""
    standalone = Standalone(tmp_path / "data")
    standalone.start()
    server = Server(standalone.url)
    flow_id = flow_of(server, FAILING)
    ids = started(server, flow_id, 450)
    job_id = restart_all(server, flow_id)
    standalone.kill()
    standalone.start()

    check_restarted(Server(standalone.url), flow_id, job_id, ids)

    standalone.stop()
    assert "0 differences" in command("verify-index", "--data", str(standalone.data)).stdout


def test_nothing_is_left_of_purged_executions_embedded(tmp_path: Path) -> None:
    """Of those that the executor still has, and of those that have left it."""
    standalone = Standalone(tmp_path / "data", KEPT)
    standalone.start()
    server = Server(standalone.url)
    gone_flow, kept_flow = flow_of(server, GOOD), flow_of(server, GOOD)
    gone, kept = started(server, gone_flow, 3), started(server, kept_flow, 3)
    for execution_id in (*gone, *kept):
        server.logs(execution_id, 1)
    standalone.stop()
    backends = EmbeddedBackends(standalone.data)
    before = documents_of(backends.documents(), [*gone, *kept])
    backends.close()
    standalone.start()
    server = Server(standalone.url)

    purged = server.run("purge", "--older-than", "0s", "--flow", gone_flow, "--yes")
    assert purged.returncode == 0, purged.stdout + purged.stderr
    eventually(lambda: total(server, gone_flow) == total(server, gone_flow, "taskruns") == 0)
    eventually(lambda: not _remembered(server, gone))
    standalone.stop()

    assert "0 differences" in command("verify-index", "--data", str(standalone.data)).stdout
    backends = EmbeddedBackends(standalone.data)
    check_purged(backends, before, gone, kept)
    backends.close()


def _remembered(server: Server, ids: list[str]) -> bool:
    """Whether the executor has still to forget deletions: it does so once the indexers have seen them."""
    return any(
        "executor_timers" in line and not line.startswith("#") and float(line.split()[-1]) > 0
        for line in httpx.get(f"{server.url}/metrics").text.splitlines()
    )


@pytest.fixture
def stack(kafka: str, elasticsearch: str) -> Iterator[Stack]:
    settings = {
        **KEPT,
        "RUNYARD_KAFKA__BOOTSTRAP_SERVERS": kafka,
        "RUNYARD_ELASTICSEARCH__HOSTS": elasticsearch,
    }
    with Stack(executors=1, workers=1, indexers=2, settings=settings) as stack:
        yield stack


@pytest.mark.real
@pytest.mark.timeout(600)
def test_a_job_survives_kill_9_of_all_indexers(stack: Stack) -> None:
    """In the middle of a job about executions that have left the executor; it goes on when they are back."""
    server = Server(stack.url)
    flow_id = flow_of(server, FAILING)
    ids = started(server, flow_id, 420)
    job_id = restart_all(server, flow_id)
    for indexer in stack.of("indexer"):
        indexer.kill()
    for indexer in stack.of("indexer"):
        indexer.start()
    for indexer in stack.of("indexer"):
        indexer.await_health()

    check_restarted(server, flow_id, job_id, ids)

    verified = stack.run("verify-index")
    assert "0 differences" in verified.stdout, verified.stdout


@pytest.mark.real
@pytest.mark.timeout(600)
def test_nothing_is_left_of_purged_executions(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    """On Kafka and Elasticsearch."""
    server = Server(stack.url)
    gone_flow, kept_flow = flow_of(server, GOOD), flow_of(server, GOOD)
    gone, kept = started(server, gone_flow, 3), started(server, kept_flow, 3)
    for execution_id in (*gone, *kept):
        server.logs(execution_id, 1)
    for name in [name for name in os.environ if name.startswith("RUNYARD_")]:
        monkeypatch.delenv(name)
    for name, value in stack.environment.items():
        if name.startswith("RUNYARD_"):
            monkeypatch.setenv(name, value)
    backends = ServerBackends(load())
    store: Any = backends.documents()
    before = documents_of(store, [*gone, *kept])

    purged = server.run("purge", "--older-than", "0s", "--flow", gone_flow, "--yes")
    assert purged.returncode == 0, purged.stdout + purged.stderr
    eventually(lambda: documents_of(store, gone) == [])
    log = backends.event_log()
    eventually(lambda: left_in(log, gone) == [])
    log.close()
    store.close()

    verified = stack.run("verify-index")
    assert "0 differences" in verified.stdout, verified.stdout
    check_purged(backends, before, gone, kept)
