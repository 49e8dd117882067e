"""Executions through REST: created from the command, read no older than answered, searched."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import httpx
import orjson
import pytest

from shared.messages import CreateExecution, EventRecord
from shared.model.document import Kind, task_run_document
from shared.model.identifier import new_id
from shared.model.state import State
from shared.ports import Outbound, Topic
from tests.unit.api.conftest import FLOW, Api


def test_a_created_execution_is_answered_in_created_with_typed_inputs_and_labels(api: Api) -> None:
    """The answer is built of the command: CREATED, the inputs typed, the flow's labels first, then the given ones."""
    api.save()
    form = {"name": (None, "Ada"), "age": (None, "36")}
    body = api.run(files=form, params=[("labels", "a:1"), ("labels", "url:https://x.org")])

    assert body["state"]["current"] == "CREATED"
    assert [history["state"] for history in body["state"]["histories"]] == ["CREATED"]
    assert (body["inputs"]["name"], body["inputs"]["age"]) == ("Ada", 36)
    assert body["labels"] == [
        {"key": "team", "value": "blue"},
        {"key": "a", "value": "1"},
        {"key": "url", "value": "https://x.org"},
        {"key": "system.correlationId", "value": body["id"]},
    ]
    assert body["flowRevision"] == 1
    assert "taskRunList" not in body


def test_an_empty_form_is_accepted(api: Api) -> None:
    """A multipart body that is only its closing boundary gives no inputs, so that defaults count."""
    api.save()
    headers = {"content-type": "multipart/form-data; boundary=none"}
    body = api.run(content=b"--none--\r\n", headers=headers)
    assert body["inputs"]["name"] == "you"


@pytest.mark.parametrize(
    ("part", "name"), [(("files", ("data", b"content")), "data.upl"), (("data", ("a.txt", b"content")), "a.txt")]
)
def test_a_file_is_taken_by_both_conventions(api: Api, part: tuple, name: str) -> None:
    """A part named `files` whose filename is the input, or a part named after the input: both are stored."""
    api.save()
    body = api.run(files=[part])

    uri = body["inputs"]["data"]
    assert uri == f"kestra:///company/team/hello/executions/{body['id']}/inputs/data/{name}"
    assert api.blobs.files[f"main/{uri.removeprefix('kestra:///')}"] == b"content"


def test_bad_inputs_are_refused_with_every_error(api: Api) -> None:
    """422 in Kestra's words; nothing is published."""
    api.save()
    answer = api.post("/api/v1/main/executions/company.team/hello", files={"age": (None, "old")})

    assert answer.status_code == 422
    assert "Invalid entity" in answer.json()["message"]
    assert "Invalid input for `age`" in answer.json()["message"]
    assert not any(isinstance(command, CreateExecution) for command in api.executor.commands)


def test_system_labels_are_refused_except_the_correlation_id(api: Api) -> None:
    """A given correlation id is kept; any other `system.` label is 422."""
    api.save()
    refused = api.post("/api/v1/main/executions/company.team/hello", params={"labels": "system.x:1"})
    kept = api.run(params={"labels": "system.correlationId:abc"})

    assert refused.status_code == 422
    assert "system.x=1" in refused.json()["message"]
    assert {"key": "system.correlationId", "value": "abc"} in kept["labels"]


def test_unknown_and_disabled_flows_are_refused(api: Api) -> None:
    """404 for a flow that isn't there, 409 for one that is disabled."""
    api.save(FLOW + "disabled: true\n")
    assert api.post("/api/v1/main/executions/company.team/none").status_code == 404
    disabled = api.post("/api/v1/main/executions/company.team/hello")
    assert disabled.status_code == 409
    assert "disabled" in disabled.json()["message"]


def test_a_schedule_date_is_part_of_the_command_and_the_answer(api: Api) -> None:
    """`scheduleDate` is shown as it was given."""
    api.save()
    body = api.run(params={"scheduleDate": "2030-01-02T03:04:05.006Z"})
    assert body["scheduleDate"] == "2030-01-02T03:04:05.006Z"


def test_waiting_answers_with_the_ended_execution_and_its_task_runs(api: Api) -> None:
    """`wait=true` gives the terminal state."""
    api.save()
    body = api.run(params={"wait": "true"})
    assert body["state"]["current"] == "SUCCESS"
    assert [(run["taskId"], run["state"]["current"]) for run in body["taskRunList"]] == [("t", "SUCCESS")]


def test_an_execution_is_read_from_the_log_before_the_store_has_it(api: Api) -> None:
    """What this process has seen is enough, with the whole task run list."""
    api.executor.indexing = False
    api.save()
    body = api.run(params={"wait": "true"})

    assert not api.store.documents
    shown = api.get(f"/api/v1/main/executions/{body['id']}")
    assert shown.json()["state"]["current"] == "SUCCESS"
    assert len(shown.json()["taskRunList"]) == 1
    run = api.get(f"/api/v1/main/taskruns/{shown.json()['taskRunList'][0]['id']}")
    assert run.json()["state"]["current"] == "SUCCESS"


def test_a_young_unknown_id_is_awaited(api: Api) -> None:
    """A GET that comes before the first event (created by another process) is answered when it comes."""
    api.save()
    execution_id = new_id()

    async def scene() -> httpx.Response:
        transport = httpx.ASGITransport(api.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            reading = asyncio.create_task(client.get(f"/api/v1/main/executions/{execution_id}"))
            await asyncio.sleep(0.05)
            assert not reading.done()
            at = int(asyncio.get_running_loop().time())
            command = CreateExecution(execution_id, "c", at, "main", "company.team", "hello", 1)
            await asyncio.to_thread(api.executor.carry_out, command)
            return await reading

    assert asyncio.run(scene()).json()["id"] == execution_id


def test_an_old_unknown_id_is_404_at_once(api: Api) -> None:
    """An id whose time is past, or that is not one of ours, is not waited for."""
    assert api.get(f"/api/v1/main/executions/{new_id(1_700_000_000_000)}").status_code == 404
    answer = api.get("/api/v1/main/executions/nonsense")
    assert answer.status_code == 404
    assert "nonsense" in answer.json()["message"]


def test_task_runs_that_search_does_not_show_yet_are_found_by_a_refresh(api: Api) -> None:
    """The execution's document counts its task runs; the index is refreshed once when the search shows fewer."""
    api.save()
    body = api.run(params={"wait": "true"})
    run_id = body["taskRunList"][0]["id"]
    api.recent._kept._entries.clear()
    api.store.hidden.add(run_id)

    shown = api.get(f"/api/v1/main/executions/{body['id']}").json()

    assert [run["id"] for run in shown["taskRunList"]] == [run_id]
    assert api.store.refreshed == [body["id"]]


def test_executions_are_searched_with_their_task_runs(api: Api) -> None:
    """Whole executions, newest first, with the total of all pages; filters narrow them."""
    api.save()
    ids = [api.run(params=[("wait", "true"), ("labels", f"n:{n}")])["id"] for n in range(3)]

    params = {"namespace": "company.team", "flowId": "hello", "sort": "state.startDate:desc", "size": 2}
    answer = api.get("/api/v1/main/executions/search", params=params).json()

    assert [execution["id"] for execution in answer["results"]] == [ids[2], ids[1]]
    assert all(len(execution["taskRunList"]) == 1 for execution in answer["results"])
    assert answer["total"] == 3
    labelled = api.get("/api/v1/main/executions/search", params={"labels": "n:1"}).json()
    assert [execution["id"] for execution in labelled["results"]] == [ids[1]]
    assert api.get("/api/v1/main/executions/search", params={"state": "FAILED"}).json() == {"results": [], "total": 0}
    listed = api.get("/api/v1/main/executions", params={"namespace": "company.team", "flowId": "hello"}).json()
    assert listed["total"] == 3


@pytest.mark.parametrize(
    "params",
    [
        {"state": "DONE"},
        {"labels": "novalue"},
        {"startDate": "yesterday"},
        {"timeRange": "1 day"},
        {"timeRange": "PT1H", "startDate": "2024-01-01T00:00:00Z"},
        {"sort": "state.startDate:down"},
        {"childFilter": "PARENT"},
        {"size": "0"},
        {"page": "none"},
        {"q": "["},
    ],
)
def test_a_search_that_cannot_be_understood_is_422_with_a_message(api: Api, params: dict[str, str]) -> None:
    """The message names the parameter or what is wrong with it."""
    for path in ("executions", "taskruns"):
        answer = api.get(f"/api/v1/main/{path}/search", params=params)
        assert answer.status_code == 422, answer.text
        assert answer.json()["message"]


def test_following_ends_with_the_last_state(api: Api) -> None:
    """The stream has the first state and the end, each as a whole execution."""
    api.executor.hold = True
    api.save()
    execution_id = api.run()["id"]

    async def scene() -> str:
        transport = httpx.ASGITransport(api.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            following = asyncio.create_task(client.get(f"/api/v1/main/executions/{execution_id}/follow"))
            await asyncio.sleep(0.3)
            await asyncio.to_thread(api.executor.succeed, execution_id)
            return (await following).text

    events = [part.split("\n") for part in asyncio.run(scene()).strip().split("\n\n") if not part.startswith(":")]
    assert events[0][0] == "id: start"
    assert events[-1][0] == "id: end"
    last = orjson.loads(events[-1][1].removeprefix("data: "))
    assert last["state"]["current"] == "SUCCESS"
    assert api.get("/api/v1/main/executions/nonsense/follow").status_code == 404


def test_validating_inputs_tells_each_value_and_error(api: Api) -> None:
    """Nothing is created; errors stand at their input."""
    api.save()
    answer = api.post("/api/v1/main/executions/company.team/hello/validate", files={"age": (None, "x")})

    assert answer.status_code == 200
    inputs = {entry["input"]["id"]: entry for entry in answer.json()["inputs"]}
    assert (inputs["name"]["value"], inputs["name"]["enabled"], inputs["name"]["errors"]) == ("you", True, [])
    assert "Invalid input for `age`" in inputs["age"]["errors"][0]["message"]
    assert not any(isinstance(command, CreateExecution) for command in api.executor.commands)


def test_a_secret_is_encrypted_before_it_is_published(api: Api) -> None:
    """The command has no plain text of a SECRET input."""
    api.save(FLOW.replace("id: age\n    type: INT", "id: age\n    type: SECRET"))
    body = api.run(files={"age": (None, "topsecret")})

    assert body["inputs"]["age"]["type"] == "io.kestra.datatype:aes_encrypted"
    assert "topsecret" not in str(body)
    records = api.log.topics[Topic.EXECUTION_COMMANDS]
    assert all(b"topsecret" not in (record.value or b"") for record in records)


def test_concurrent_posts_share_commits(api: Api) -> None:
    """Group commit: commands that come while one is written go together."""
    api.save()
    before = len(api.log.batches)

    async def scene() -> list[int]:
        transport = httpx.ASGITransport(api.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            calls = [client.post("/api/v1/main/executions/company.team/hello") for _ in range(50)]
            return [answer.status_code for answer in await asyncio.gather(*calls)]

    assert asyncio.run(scene()) == [200] * 50
    commands = api.app.state.services.commands
    assert commands.published >= 50
    assert commands.commits < commands.published
    assert len(api.log.batches) > before


def test_an_execution_too_large_for_the_log_is_413_and_others_are_not_touched(api: Api) -> None:
    """The limit is told; a command in the same commit is published."""
    api.save()
    api.log.limit = 5_000

    async def scene() -> list[httpx.Response]:
        transport = httpx.ASGITransport(api.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            path = "/api/v1/main/executions/company.team/hello"
            large = client.post(path, files={"name": (None, "x" * 6_000)})
            return list(await asyncio.gather(client.post(path), large, client.post(path)))

    answers = asyncio.run(scene())
    assert [answer.status_code for answer in answers] == [200, 413, 200]
    assert "limit" in answers[1].json()["message"]


def test_task_runs_are_searched(api: Api) -> None:
    """Kestra's shape, with what a search needs besides."""
    api.save()
    body = api.run(params={"wait": "true"})

    answer = api.get("/api/v1/main/taskruns/search", params={"namespace": "company", "state": "SUCCESS"}).json()

    assert answer["total"] == 1
    run = answer["results"][0]
    assert (run["executionId"], run["taskId"], run["attemptsCount"]) == (body["id"], "t", 1)
    assert run["labels"][0] == {"key": "team", "value": "blue"}
    assert api.get("/api/v1/main/taskruns/none").status_code == 404
    api.recent._kept._entries.clear()
    assert api.get(f"/api/v1/main/taskruns/{run['id']}").json()["id"] == run["id"]
    assert api.store.documents[Kind.TASK_RUN, run["id"]].version == 4


@pytest.mark.parametrize("name", ["pause", "replay", "restart", "state", "labels"])
def test_a_flow_may_be_called_like_an_action(api: Api, name: str) -> None:
    """A namespace is no execution's id: the flow is run."""
    api.save(FLOW.replace("id: hello", f"id: {name}"))
    assert api.run(f"company.team/{name}")["flowId"] == name


def test_task_runs_are_listed_by_their_creation(api: Api) -> None:
    """By start date, and within a millisecond as the log had them."""
    api.save()
    execution_id = api.run(params={"wait": "true"})["id"]
    run = api.executor.runs[execution_id]
    first = run.task_runs[0]
    late = [replace(first, id=f"z{n}", state=State.created(first.state.start + 1), seq=90 - n) for n in (2, 1)]
    early = replace(first, id="y", state=State.created(first.state.start - 1), seq=95)
    for task_run in (*late, early):
        document = task_run_document(run.execution, task_run, "x", None)
        event = EventRecord("TaskRunCreated", execution_id, task_run.seq, 0, Kind.TASK_RUN, task_run.id, document)
        api.log.publish([Outbound(Topic.EXECUTION_EVENTS, task_run.id, event.to_bytes())])
    api.recent.poll(0)

    listed = api.get(f"/api/v1/main/executions/{execution_id}").json()["taskRunList"]
    assert [task_run["id"] for task_run in listed] == ["y", first.id, "z2", "z1"]


def test_waiting_for_an_execution_that_the_executor_refuses_is_422(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """The reason is told instead of waiting for ever."""
    api.save()

    def refuse(command: CreateExecution) -> None:
        api.executor._reject(command, "flow company.team.hello is not known")

    monkeypatch.setattr(api.executor, "_create", refuse)
    answer = api.post("/api/v1/main/executions/company.team/hello", params={"wait": "true"})
    assert answer.status_code == 422
    assert answer.json()["message"] == "flow company.team.hello is not known"
