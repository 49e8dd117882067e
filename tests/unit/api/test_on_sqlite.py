"""The API on the embedded adapters: searches, sorts, pages and files as a user has them on a laptop."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from indexer.api.app import create_app
from indexer.bulk.jobs import Jobs
from indexer.pages.pages import COLUMNS
from indexer.recent import Recent
from shared.adapters.files import DirectoryBlobStore
from shared.adapters.sqlite import SqliteDatabase, SqliteDocumentStore, SqliteEventLog
from shared.flow_directory import FlowDirectory
from shared.model.document import Kind
from shared.ports import Topic, Versioned
from shared.settings import Settings
from tests.unit.api.conftest import FLOW, Api
from tests.unit.api.fakes import SmallExecutor


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    """An API over SQLite and a directory of files."""
    database = SqliteDatabase(tmp_path / "runyard.db")
    log, store, blobs = SqliteEventLog(database), SqliteDocumentStore(database), DirectoryBlobStore(tmp_path / "blobs")
    flows = FlowDirectory(log.tail([Topic.FLOWS]))
    recent = Recent(log, flows, 100)
    executor: Any = SmallExecutor(log, store).start()  # type: ignore[arg-type]
    recent.start()
    try:
        app = create_app(log, store, blobs, flows, recent, Jobs(log), Settings())
        yield Api(app, log, store, blobs, recent, executor)  # type: ignore[arg-type]
    finally:
        executor.close()
        recent.close()
        flows.close()
        log.close()
        store.close()
        database.close()


def found(api: Api, kind: str = "taskruns", **params: object) -> list[str]:
    """Ids of a search's results."""
    answer = api.get(f"/api/v1/main/{kind}/search", params=params)
    assert answer.status_code == 200, answer.text
    return [result["id"] for result in answer.json()["results"]]


def test_executions_and_task_runs_are_found_by_every_filter(api: Api) -> None:
    """Text, namespace, flow, state, labels, dates, sort and page."""
    api.save()
    api.save(FLOW.replace("company.team", "other.team"))
    ours = [api.run(params=[("wait", "true"), ("labels", f"n:{n}")]) for n in range(3)]
    theirs = api.run("other.team/hello", params={"wait": "true"})
    ids = [execution["id"] for execution in ours]
    run_ids = [execution["taskRunList"][0]["id"] for execution in ours]

    assert found(api, "executions", namespace="company", sort="state.startDate:asc") == ids
    assert found(api, "executions", namespace="company", sort="state.startDate:desc", size=2, page=2) == ids[:1]
    assert found(api, "executions", labels="n:1") == ids[1:2]
    assert found(api, namespace="company.team", sort="state.startDate:asc") == run_ids
    assert found(api, q=f"executionId:{ids[0]} AND taskId:t") == run_ids[:1]
    assert found(api, state="SUCCESS", flowId="hello", namespace="other") == [theirs["taskRunList"][0]["id"]]
    assert found(api, timeRange="PT1H", executionId=ids[2]) == run_ids[2:]
    assert found(api, startDate="2100-01-01T00:00:00Z") == []
    assert found(api, childFilter="CHILD") == []
    assert api.get("/api/v1/main/taskruns/search", params={"q": "taskId:("}).status_code == 422


def test_a_search_goes_on_by_its_cursor(api: Api) -> None:
    """Every task run once, in order."""
    api.save()
    for _ in range(5):
        api.run(params={"wait": "true"})
    whole = found(api, sort="state.startDate:desc", size=10)
    seen: list[str] = []
    cursor = None
    while True:
        params = {"sort": "state.startDate:desc", "size": 2, **({"cursor": cursor} if cursor else {})}
        answer = api.get("/api/v1/main/taskruns/search", params=params).json()
        seen.extend(run["id"] for run in answer["results"])
        cursor = answer.get("cursor")
        if cursor is None or not answer["results"]:
            break
    assert seen == whole
    assert len(seen) == 5


@pytest.mark.parametrize("field", [field for _, field in COLUMNS])
@pytest.mark.parametrize("direction", ["asc", "desc"])
def test_the_task_runs_page_sorts_by_each_of_its_columns(api: Api, field: str, direction: str) -> None:
    """And draws the histogram of what it shows."""
    api.save()
    api.run(params={"wait": "true"})
    answer = api.get("/ui/main/taskruns", params={"sort": f"{field}:{direction}", "labels": "team:blue"})
    assert answer.status_code == 200, answer.text
    assert "Page 1 of 1" in answer.text
    assert '<rect class="SUCCESS"' in answer.text


def test_an_execution_is_read_by_id_with_or_without_the_tail(api: Api) -> None:
    """Both have the same task runs."""
    api.save()
    body = api.run(params={"wait": "true"}, files={"data": ("a.txt", b"content")})
    path = f"/api/v1/main/executions/{body['id']}"
    recent = api.get(path).json()
    api.recent._kept._entries.clear()
    stored = api.get(path).json()
    assert stored == recent
    assert api.get(f"{path}/file", params={"path": body["inputs"]["data"]}).content == b"content"
    assert api.get(f"/ui/main/executions/{body['id']}").status_code == 200


def test_log_lines_are_filtered_and_deleted_with_their_execution(api: Api) -> None:
    """By level and task; the download has all lines."""
    api.save()
    execution_id = api.run(params={"wait": "true"})["id"]
    for number, level in enumerate(("DEBUG", "INFO", "ERROR")):
        line = {
            "id": f"l{number}", "tenantId": "main", "namespace": "company.team", "flowId": "hello",
            "executionId": execution_id, "taskId": "t", "level": level, "message": f"m{number}",
            "timestamp": f"2026-11-23T10:00:00.00{number}Z", "index": number,
        }  # fmt: skip
        api.store.write([Versioned(Kind.LOG, line["id"], 1, line, execution_id)])

    root = f"/api/v1/main/logs/{execution_id}"
    assert [line["message"] for line in api.get(root).json()] == ["m0", "m1", "m2"]
    assert [line["message"] for line in api.get(root, params={"minLevel": "INFO"}).json()] == ["m1", "m2"]
    assert api.get(f"{root}/download").text.count("\n") == 3
    assert api.get("/api/v1/main/logs/search", params={"q": "m1"}).json()["total"] == 1


def test_key_values_and_namespace_files_are_kept_in_the_directory(api: Api) -> None:
    """As the workers find them."""
    root = "/api/v1/main/namespaces/company.team"
    assert api.call("PUT", f"{root}/kv/a.b", json={"x": 1}).status_code == 200
    assert api.get(f"{root}/kv/a.b").json()["value"] == {"x": 1}
    assert [entry["key"] for entry in api.get(f"{root}/kv").json()] == ["a.b"]
    api.post(f"{root}/files", params={"path": "/d/x"}, files={"fileContent": ("x", b"1")})
    assert api.get(f"{root}/files", params={"path": "/d/x"}).content == b"1"
    assert api.call("DELETE", f"{root}/kv/a.b").json() is True
    assert api.get(f"{root}/kv").json() == []
