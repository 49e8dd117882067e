"""Logs, files, key values, webhooks, evaluation, health and metrics through REST."""

from __future__ import annotations

import pytest

from indexer.api.outside import ServerOutside
from shared.expressions.outside import OutsideError, Place
from shared.key_values import KeyValues
from shared.messages import CreateExecution
from shared.model.document import Kind
from shared.ports import Versioned
from shared.settings import Settings
from tests.unit.api.conftest import FLOW, Api
from tests.unit.api.fakes import MemoryBlobs

ROOT = "/api/v1/main"


def log_lines(api: Api, execution_id: str) -> None:
    """Three lines of two tasks."""
    for number, (level, task) in enumerate((("DEBUG", "t"), ("INFO", "t"), ("ERROR", "u"))):
        line = {
            "id": f"l{number}", "tenantId": "main", "namespace": "company.team", "flowId": "hello",
            "executionId": execution_id, "taskId": task, "taskRunId": f"run-{task}", "attemptNumber": number,
            "level": level, "message": f"m{number}", "timestamp": f"2026-11-23T10:00:0{number}.000Z", "index": 0,
            "thread": "w",
        }  # fmt: skip
        api.store.write([Versioned(Kind.LOG, line["id"], 1, line, execution_id)])


def test_an_execution_s_log_lines_are_listed_in_kestra_s_shape(api: Api) -> None:
    """By time, filtered by level, task, task run and attempt."""
    log_lines(api, "e1")

    def texts(**params: object) -> list[str]:
        return [line["message"] for line in api.get(f"{ROOT}/logs/e1", params=params).json()]

    assert texts() == ["m0", "m1", "m2"]
    assert texts(minLevel="INFO") == ["m1", "m2"]
    assert texts(taskId="u") == ["m2"]
    assert texts(taskRunId="run-t") == ["m0", "m1"]
    assert texts(attempt=1) == ["m1"]
    assert api.get(f"{ROOT}/logs/e1").json()[1] == {
        "namespace": "company.team", "flowId": "hello", "taskId": "t", "executionId": "e1", "taskRunId": "run-t",
        "attemptNumber": 1, "timestamp": "2026-11-23T10:00:01.000Z", "level": "INFO", "thread": "w", "message": "m1",
        "deleted": False,
    }  # fmt: skip
    assert api.get(f"{ROOT}/logs/e1", params={"minLevel": "LOUD"}).status_code == 422


def test_log_lines_are_searched_and_downloaded(api: Api) -> None:
    """Search pages; the download is text of all lines of an existing execution."""
    api.save()
    execution_id = api.run(params={"wait": "true"})["id"]
    log_lines(api, execution_id)

    found = api.get(f"{ROOT}/logs/search", params={"minLevel": "ERROR", "namespace": "company"}).json()
    assert (found["total"], found["results"][0]["message"]) == (1, "m2")
    text = api.get(f"{ROOT}/logs/{execution_id}/download", params={"minLevel": "INFO"}).text
    assert text == "2026-11-23T10:00:01.000Z INFO m1\n2026-11-23T10:00:02.000Z ERROR m2\n"


def test_a_file_is_downloaded_measured_and_previewed(api: Api) -> None:
    """By the URI that the execution shows, with or without the tenant in it."""
    api.save()
    body = api.run(params={"wait": "true"}, files={"data": ("a.txt", b"one\ntwo\nthree\n")})
    uri = body["inputs"]["data"]
    path = f"{ROOT}/executions/{body['id']}/file"

    assert api.get(path, params={"path": uri}).content == b"one\ntwo\nthree\n"
    assert api.get(path, params={"path": uri.replace(":///", ":///main/")}).content == b"one\ntwo\nthree\n"
    assert api.get(f"{path}/metas", params={"path": uri}).json() == {"size": 14}
    preview = api.get(f"{path}/preview", params={"path": uri, "maxRows": 2}).json()
    assert (preview["content"], preview["truncated"], preview["extension"]) == ("one\ntwo", True, "txt")
    assert api.get(path, params={"path": "kestra:///none"}).status_code == 404


# ------------------------------------------------------------------ namespaces


@pytest.mark.parametrize(
    ("content", "kind", "value"),
    [
        ('"text"', "STRING", "text"),
        ("plain text", "STRING", "plain text"),
        ("12.5", "NUMBER", 12.5),
        ("true", "BOOLEAN", True),
        ('{"a": [1]}', "JSON", {"a": [1]}),
        ('"2026-01-31"', "DATE", "2026-01-31"),
        ('"2026-01-31T10:00:00Z"', "DATETIME", "2026-01-31T10:00:00Z"),
        ('"PT5M"', "DURATION", "PT5M"),
        ('"Potato"', "STRING", "Potato"),
    ],
)
def test_a_key_value_is_kept_with_its_type(api: Api, content: str, kind: str, value: object) -> None:
    """JSON, or text as it is."""
    path = f"{ROOT}/namespaces/company.team/kv/my.key"
    assert api.call("PUT", path, content=content).status_code == 200
    shown = api.get(path).json()
    assert (shown["type"], shown["value"]) == (kind, value)


def test_keys_are_listed_deleted_and_expire(api: Api) -> None:
    """A value whose time is over isn't there; a bad key or ttl is 422."""
    root = f"{ROOT}/namespaces/company.team/kv"
    for key in ("a", "b", "c"):
        api.call("PUT", f"{root}/{key}", content="1")
    api.call("PUT", f"{root}/gone", content="1", headers={"ttl": "PT0S"})

    assert [entry["key"] for entry in api.get(root).json()] == ["a", "b", "c"]
    assert api.call("DELETE", f"{root}/a").json() is True
    assert api.call("DELETE", f"{root}/a").json() is False
    assert api.call("DELETE", root, json={"keys": ["b", "none"]}).json() == {"keys": ["b"]}
    assert api.get(f"{root}/gone").status_code == 404
    assert api.call("PUT", f"{root}/x", content="1", headers={"ttl": "soon"}).status_code == 422
    assert api.call("PUT", f"{root}/-x", content="1").status_code == 422
    assert api.get(f"{ROOT}/namespaces/company.other/kv").json() == []


def test_namespace_files_are_kept(api: Api) -> None:
    """Stored where the workers find them, listed by folder, searched, deleted."""
    root = f"{ROOT}/namespaces/company.team/files"
    part = {"fileContent": ("x.py", b"print()")}
    assert api.post(root, params={"path": "/src/x.py"}, files=part).status_code == 200
    assert api.post(root, params={"path": "README"}, files=part).status_code == 200

    assert api.blobs.files["main/company/team/_files/src/x.py"] == b"print()"
    assert api.get(root, params={"path": "src/x.py"}).content == b"print()"
    assert api.get(f"{root}/search", params={"q": "x"}).json() == ["/src/x.py"]
    assert api.get(f"{root}/directory").json() == [
        {"fileName": "README", "type": "File"},
        {"fileName": "src", "type": "Directory"},
    ]
    assert api.call("DELETE", root, params={"path": "src"}).status_code == 200
    assert api.get(root, params={"path": "src/x.py"}).status_code == 404
    assert api.post(root, params={"path": "../../x"}, files=part).status_code == 422


# ------------------------------------------------------------------ webhooks and evaluation


def hook(key: str, more: str = "") -> str:
    """A flow with a webhook."""
    return f"{FLOW}triggers:\n  - id: hook\n    type: io.kestra.plugin.core.trigger.Webhook\n    key: {key}\n{more}"


@pytest.mark.parametrize(
    ("key", "call"),
    [("a-key", "a-key"), ('"{{ flow.id }}"', "hello"), ("\"{{ secret('WEBHOOK_KEY') }}\"", "secretKey")],
)
@pytest.mark.parametrize("method", ["GET", "POST", "PUT"])
def test_a_webhook_starts_its_flow_when_the_key_is_right(api: Api, key: str, call: str, method: str) -> None:
    """Keys may be templates and secrets; a wrong key is 404."""
    api.save(hook(key))
    answer = api.call(method, f"{ROOT}/executions/webhook/company.team/hello/{call}")
    assert answer.status_code == 200, answer.text
    assert answer.json()["trigger"]["id"] == "hook"
    assert api.call(method, f"{ROOT}/executions/webhook/company.team/hello/wrong").status_code == 404


def test_a_webhook_s_body_headers_and_parameters_are_the_trigger_s_variables(api: Api) -> None:
    """JSON is parsed, other text stays; parameters are lists; no body is null; credentials stay out."""
    api.save(hook("k"))
    path = f"{ROOT}/executions/webhook/company.team/hello/k"

    body = api.post(
        f"{path}?name=john&age=12&age=13", json={"a": 1}, headers={"authorization": "Bearer x", "x-y": "z"}
    ).json()
    variables = body["trigger"]["variables"]
    assert variables["body"] == {"a": 1}
    assert variables["parameters"] == {"name": ["john"], "age": ["12", "13"]}
    assert variables["headers"]["x-y"] == ["z"]
    assert "authorization" not in variables["headers"]
    assert body["labels"][0] == {"key": "team", "value": "blue"}
    text = api.post(path, content="bla", headers={"content-type": "application/json"}).json()
    assert text["trigger"]["variables"]["body"] == "bla"
    assert api.get(path).json()["trigger"]["variables"]["body"] is None


def test_a_webhook_s_condition_and_inputs_are_rendered(api: Api) -> None:
    """204 and nothing sent where the condition is false; inputs are typed."""
    condition = (
        "    conditions:\n      - type: io.kestra.plugin.core.condition.ExpressionCondition\n"
        "        expression: \"{{ trigger.body.hello == 'world' }}\"\n"
        '    inputs:\n      name: "{{ trigger.body.hello }}"\n      age: "41"\n'
    )
    api.save(hook("k", condition))
    path = f"{ROOT}/executions/webhook/company.team/hello/k"

    assert api.post(path, json={"hello": "webhook"}).status_code == 204
    assert not any(isinstance(command, CreateExecution) for command in api.executor.commands)
    started = api.post(path, json={"hello": "world"}).json()
    assert (started["inputs"]["name"], started["inputs"]["age"]) == ("world", 41)


def test_an_expression_is_evaluated_as_a_task_run_sees_it(api: Api) -> None:
    """Outputs, inputs and the task run itself; errors are told; secrets are masked."""
    api.save()
    body = api.run(params={"wait": "true"}, files={"name": (None, "Ada")})
    run_id = body["taskRunList"][0]["id"]

    def evaluated(template: str) -> dict[str, str]:
        answer = api.post(f"{ROOT}/executions/{body['id']}/eval/{run_id}", content=template)
        assert answer.status_code == 200
        return answer.json()

    assert evaluated("{{ inputs.name }} {{ outputs.t.value }} {{ taskrun.id }}") == {"result": f"Ada <b>1</b> {run_id}"}
    assert evaluated("{{ secret('WEBHOOK_KEY') }}") == {"result": "********"}
    assert "nothing" in evaluated("{{ nothing }}")["error"]
    assert api.post(f"{ROOT}/executions/{body['id']}/eval/none", content="x").status_code == 404


# ------------------------------------------------------------------ operations


def test_health_says_what_is_missing(api: Api) -> None:
    """503 when the store is not ready or reading the log ended."""
    assert api.get("/health").json() == {"status": "UP", "problem": None}
    api.store.missing = "no template"
    assert api.get("/health").status_code == 503
    assert api.get("/health").json()["problem"] == "no template"
    api.store.missing = None
    api.recent._failures["another thread"] = "recent-events: gone"
    assert api.get("/health").status_code == 503


def test_a_search_store_that_is_away_is_told(api: Api) -> None:
    """503 with what the store says, for every search."""
    api.store.missing = "Elasticsearch: connection refused"
    for path in ("taskruns/search", "executions/search", "logs/search"):
        answer = api.get(f"{ROOT}/{path}")
        assert answer.status_code == 503
        assert answer.json() == {"message": "Not possible now: Elasticsearch: connection refused"}


def test_metrics_are_prometheus_text(api: Api) -> None:
    """What is kept, and how many commands share a commit."""
    api.save()
    api.run(params={"wait": "true"})
    text = api.get("/metrics").text
    assert "runyard_api_recent_executions 1.0" in text
    assert "runyard_api_commands_total 2.0" in text


def test_openapi_describes_the_paths(api: Api) -> None:
    """With the tenant in them and a unique operation each."""
    paths = api.get("/openapi.json").json()["paths"]
    operations = [operation["operationId"] for methods in paths.values() for operation in methods.values()]
    assert len(operations) == len(set(operations)) > 80
    assert "/api/v1/{tenant}/taskruns/search" in paths
    names = {parameter["name"] for parameter in paths["/api/v1/{tenant}/taskruns/search"]["get"]["parameters"]}
    assert {
        "q", "namespace", "flowId", "startDate", "endDate", "timeRange", "state", "labels", "triggerExecutionId",
        "childFilter", "page", "size", "sort", "cursor",
    } <= names  # fmt: skip


def test_an_unknown_path_is_404_with_a_message(api: Api) -> None:
    """As every error."""
    answer = api.get("/api/v1/main/nothing")
    assert (answer.status_code, answer.json()) == (404, {"message": "Page Not Found: /api/v1/main/nothing"})
    assert api.call("PATCH", "/api/v1/main/flows/search").status_code == 405


# ------------------------------------------------------------------ what templates ask for


def test_templates_reach_secrets_key_values_and_files_of_their_own_tenant_only() -> None:
    """Another tenant's files are not there, and dots do not leave the tenant."""
    blobs = MemoryBlobs()
    outside = ServerOutside(blobs, Settings(secrets={"my_key": "s3"}))
    place = Place("main", "company.team", "hello", "e1")
    blobs.files |= {"main/company/team/_files/a.txt": b"mine", "main/x/y.txt": b"stored", "other/x/y.txt": b"theirs"}
    KeyValues(blobs, "main", "company.team").put("k", [1], 0)

    assert outside.secret(place, "MY_KEY") == "s3"
    assert outside.kv(place, "k", "company.team") == [1]
    assert outside.kv(Place("other", "company.team", None, None), "k", "company.team") is None
    assert outside.namespace_file(place, "/a.txt") == "mine"
    assert (
        outside.stored_file(place, "kestra:///main/x/y.txt")
        == outside.stored_file(place, "kestra:///x/y.txt")
        == "stored"
    )
    assert (outside.file_size(place, "kestra:///x/y.txt"), outside.file_exists(place, "kestra:///x/z")) == (6, False)
    for uri in ("kestra:///other/x/y.txt", "kestra:///../other/x/y.txt", "file:///etc/passwd"):
        assert not outside.file_exists(place, uri)
        with pytest.raises(OutsideError, match="not found"):
            outside.stored_file(place, uri)
    with pytest.raises(OutsideError, match="Cannot find secret"):
        outside.secret(place, "none")


def test_an_input_file_lies_where_read_allows_to_read(api: Api) -> None:
    """An expression of the same execution reads it, also for a flow whose id is written otherwise in paths."""
    source = FLOW.replace("id: hello", "id: Hello_You").replace("type: FILE\n    required: false", "type: FILE")
    api.save(source)
    body = api.run("company.team/Hello_You", files={"data": ("a.txt", b"content")})
    place = {
        "flow": {"id": "Hello_You", "namespace": "company.team", "tenantId": "main"},
        "execution": {"id": body["id"]},
    }
    renderer = api.app.state.services.renderer
    assert renderer.render("{{ read(inputs.data) }}", {**place, "inputs": body["inputs"]}) == "content"
