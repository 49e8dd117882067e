"""Tenants: what belongs to one is not there for another, at every endpoint."""

from __future__ import annotations

from typing import Any

import pytest

from indexer.api import reading
from shared.model.document import Kind
from shared.ports import Topic, Versioned
from tests.unit.api.conftest import FLOW, Api

WEBHOOK = "triggers:\n  - id: hook\n    type: io.kestra.plugin.core.trigger.Webhook\n    key: knock\n"


@pytest.fixture(autouse=True)
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    """Unknown young ids are not waited for as long as in production."""
    monkeypatch.setattr(reading, "AWAITED", 0.01)


def requests_for(ids: dict[str, str]) -> list[tuple[str, str, dict[str, Any]]]:
    """Every route with a path that names something of tenant `main`."""
    json_bodies: dict[str, Any] = {
        "state": {"taskRunId": ids["task_run_id"], "state": "SUCCESS"},
        "change-state": {"taskRunId": ids["task_run_id"], "state": "SUCCESS"},
        "labels": [{"key": "a", "value": "b"}],
    }
    found = []
    for path in ids.pop("paths").split("\n"):
        method, _, route = path.partition(" ")
        url = route
        for name, value in ids.items():
            url = url.replace("{" + name + "}", value)
        options: dict[str, Any] = {"params": {"path": ids["uri"], "status": "FAILED", "state": "RUNNING"}}
        last = url.rsplit("/", 1)[-1]
        if last in json_bodies:
            options["json"] = json_bodies[last]
        elif "/eval/" in url:
            options["content"] = b"{{ 1 }}"
        found.append((method, url, options))
    return found


def test_every_path_with_an_id_of_another_tenant_is_as_if_it_were_not_there(api: Api) -> None:
    """404 (or an empty list) everywhere, and no command is sent."""
    api.save(FLOW + WEBHOOK)
    body = api.run(params={"wait": "true"}, files={"data": ("a.txt", b"secret")})
    line = {
        "id": "l", "tenantId": "main", "namespace": "company.team", "flowId": "hello", "executionId": body["id"],
        "level": "INFO", "message": "secret", "timestamp": "2026-11-23T10:00:00.000Z", "index": 0,
    }  # fmt: skip
    api.store.write([Versioned(Kind.LOG, "l", 1, line, body["id"])])
    api.call("PUT", "/api/v1/main/namespaces/company.team/kv/k", json="secret")
    asked = {"action": "kill", "filters": {"flowId": "hello"}}
    job = api.post("/api/v1/main/bulk-actions", json=asked).json()
    sent = len(api.executor.commands)
    names = {
        "execution_id": body["id"],
        "task_run_id": body["taskRunList"][0]["id"],
        "namespace": "company.team",
        "flow_id": "hello",
        "task_id": "t",
        "key": "k",
        "job_id": job["id"],
        "uri": body["inputs"]["data"],
        "tenant": "other",
    }
    schema = api.get("/openapi.json").json()
    named = ("{execution_id}", "{task_run_id}", "{flow_id}", "{key}", "{job_id}")
    paths = [
        f"{method.upper()} {path}"
        for path, methods in schema["paths"].items()
        for method in methods
        if any(name in path for name in named) and "/webhook/" not in path
    ]
    assert len(paths) > 45

    lists, scalars = ("/logs/{execution_id}", "/metrics/{execution_id}"), "/kv/{key}"
    for (method, url, options), path in zip(requests_for({**names, "paths": "\n".join(paths)}), paths, strict=True):
        if method in ("PUT", "POST") and (path.endswith("/flows/{namespace}/{flow_id}") or scalars in path):
            continue  # these make something of the caller's own
        answer = api.call(method, url, **options)
        if path.endswith(lists):
            assert answer.json() in ([], {"results": [], "total": 0}), path
        elif scalars in path and method == "DELETE":
            assert answer.json() is False
        else:
            assert answer.status_code == 404, (path, answer.status_code, answer.text)
        assert "secret" not in answer.text
    assert len(api.executor.commands) == sent
    assert len(api.log.topics[Topic.BULK_ACTIONS]) == 1
    assert api.post("/api/v1/other/executions/webhook/company.team/hello/knock").status_code == 404
    assert api.get("/api/v1/main/namespaces/company.team/kv/k").json()["value"] == "secret"


def test_searches_of_another_tenant_find_nothing(api: Api) -> None:
    """Flows, executions, task runs, logs, namespaces, and actions by query and by ids."""
    api.save()
    body = api.run(params={"wait": "true"})
    root = "/api/v1/other"
    for path in ("flows", "executions", "taskruns", "logs"):
        assert api.get(f"{root}/{path}/search").json() == {"results": [], "total": 0}, path
    assert api.get(f"{root}/flows/source").json()["total"] == 0
    assert api.get(f"{root}/flows/distinct-namespaces").json() == []
    assert api.get(f"{root}/executions/namespaces").json() == []
    assert api.get(f"{root}/namespaces/company.team/kv").json() == []
    assert api.call("DELETE", f"{root}/executions/by-query").json() == {"count": 0}
    assert api.post(f"{root}/executions/replay/by-query").json() == {"count": 0}
    refused = api.post(f"{root}/executions/restart/by-ids", json=[body["id"]])
    assert refused.status_code == 422
    assert refused.json()["invalids"][0]["message"] == "execution not found"


def test_tenants_have_flows_of_the_same_name(api: Api) -> None:
    """Each has its own revisions and executions."""
    api.save()
    api.save(FLOW + "description: theirs\n", "/api/v1/other")
    theirs = api.run(root="/api/v1/other", params={"wait": "true"})

    assert api.get("/api/v1/flows/company.team/hello").json().get("description") is None
    assert api.get("/api/v1/other/flows/company.team/hello").json()["description"] == "theirs"
    assert api.get("/api/v1/executions/search").json()["total"] == 0
    assert api.get("/api/v1/other/executions/search").json()["results"][0]["id"] == theirs["id"]


@pytest.mark.parametrize("path", ["../other/x", "a/../../other/x", "/other/x", "./x"])
def test_a_file_s_uri_cannot_leave_the_tenant(api: Api, path: str) -> None:
    """Neither by dots nor by another tenant's name; the latter is a folder of the caller's own."""
    api.save()
    body = api.run(params={"wait": "true"})
    api.blobs.files["other/x"] = b"theirs"
    answer = api.get(f"/api/v1/main/executions/{body['id']}/file", params={"path": f"kestra:///{path}"})
    assert answer.status_code == 404
    assert "theirs" not in answer.text


def test_names_that_cannot_be_tenants_are_404(api: Api) -> None:
    """Upper case, and the words that Kestra's paths begin with."""
    assert api.get("/api/v1/Main/flows/search").status_code == 404
    assert api.get("/api/v1/flows/flows/search").status_code == 404
