"""Actions on executions: each is a command, answered with what became of it."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest

from indexer.api import cold, snapshots
from shared.messages import (
    DeleteExecution,
    EventRecord,
    ForceRunExecution,
    KillExecution,
    RecallExecution,
    ReplayExecution,
    RestartExecution,
    SetLabels,
    UnqueueExecution,
)
from shared.model.document import Kind
from shared.ports import Versioned
from shared.settings import BlobSettings, Settings
from tests.unit.api.conftest import FLOW, Api

ROOT = "/api/v1/main/executions"

FOR_EACH_ITEM = """\
id: hello
namespace: company.team
tasks:
  - id: each
    type: io.kestra.plugin.core.flow.ForEachItem
    items: "{{ inputs.file }}"
    batch: {rows: 1}
    namespace: company.team
    flowId: other
"""


def held(api: Api) -> str:
    """An execution that runs until a test ends it."""
    if "main/company.team/hello" not in api.executor.flows:
        api.save()
    api.executor.hold = True
    execution_id = api.run()["id"]
    assert api.get(f"{ROOT}/{execution_id}").json()["state"]["current"] in ("CREATED", "RUNNING")
    return execution_id


def ended(api: Api) -> str:
    """An execution that has succeeded."""
    if "main/company.team/hello" not in api.executor.flows:
        api.save()
    api.executor.hold = False
    return api.run(params={"wait": "true"})["id"]


def failed(api: Api) -> str:
    """An execution that has failed."""
    execution_id = held(api)
    api.executor.fail(execution_id)
    return execution_id


def test_kill_is_202_and_409_for_an_ended_execution(api: Api) -> None:
    """The execution is KILLED; its kill again is refused with the executor's reason."""
    execution_id = held(api)

    assert api.call("DELETE", f"{ROOT}/{execution_id}/kill").status_code == 202
    assert api.ended(execution_id)["state"]["current"] == "KILLED"
    again = api.call("DELETE", f"{ROOT}/{execution_id}/kill")
    assert again.status_code == 409
    assert "KILLED" in again.json()["message"]
    assert [c.cascade for c in api.executor.commands if isinstance(c, KillExecution)] == [True, True]


@pytest.mark.parametrize("prefix", ["", "actions/"])
def test_pause_shows_the_paused_execution_and_resume_is_204(api: Api, prefix: str) -> None:
    """Under the old paths and today's; a resume of what isn't paused is 409."""
    execution_id = held(api)

    paused = api.post(f"{ROOT}/{execution_id}/{prefix}pause")
    assert (paused.status_code, paused.json()["state"]["current"]) == (200, "PAUSED")
    resumed = api.post(f"{ROOT}/{execution_id}/{prefix}resume")
    assert (resumed.status_code, resumed.content) == (204, b"")
    assert api.post(f"{ROOT}/{execution_id}/{prefix}resume").status_code == 409


def test_a_restart_is_answered_in_restarted_although_it_ran_on_at_once(api: Api) -> None:
    """The answer shows the execution as the command left it; a read afterwards shows how it went on."""
    execution_id = failed(api)

    answer = api.post(f"{ROOT}/{execution_id}/restart")

    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert body["id"] == execution_id
    assert [h["state"] for h in body["state"]["histories"]] == ["CREATED", "RUNNING", "FAILED", "RESTARTED"]
    assert [run["state"]["current"] for run in body["taskRunList"]] == ["RESTARTED"]
    assert api.get(f"{ROOT}/{execution_id}").json()["state"]["current"] == "SUCCESS"


def test_a_replay_is_answered_with_the_new_execution(api: Api) -> None:
    """Its id is another one, its parent the replayed execution."""
    execution_id = ended(api)

    body = api.post(f"{ROOT}/{execution_id}/replay", params={"taskRunId": "tr"}).json()

    assert body["id"] != execution_id
    assert body["state"]["current"] == "RESTARTED"
    assert body["parentId"] == execution_id
    command = next(c for c in api.executor.commands if isinstance(c, ReplayExecution))
    assert (command.task_run_id, command.new_execution_id) == ("tr", body["id"])


def test_a_refused_action_is_422_with_the_reason(api: Api) -> None:
    """Restart of a success, pause and force-run of what has ended."""
    execution_id = ended(api)
    for action in ("restart", "pause", "force-run", "unqueue"):
        answer = api.post(f"{ROOT}/{execution_id}/{action}")
        assert answer.status_code == 422, action
        assert "SUCCESS" in answer.json()["message"]
    assert any(isinstance(command, ForceRunExecution) for command in api.executor.commands)
    assert any(isinstance(command, UnqueueExecution) for command in api.executor.commands)


def test_a_restart_with_an_unknown_revision_is_refused_before_it_is_sent(api: Api) -> None:
    """422 names the revision."""
    execution_id = failed(api)
    answer = api.post(f"{ROOT}/{execution_id}/restart", params={"revision": 7})
    assert answer.status_code == 422
    assert "revision 7" in answer.json()["message"]
    assert not any(isinstance(command, RestartExecution) for command in api.executor.commands)


def test_labels_are_replaced_and_system_labels_stay(api: Api) -> None:
    """The correlation id is kept, another system label refused."""
    execution_id = ended(api)

    changed = api.post(f"{ROOT}/{execution_id}/labels", json=[{"key": "a", "value": "1"}])
    refused = api.post(f"{ROOT}/{execution_id}/labels", json=[{"key": "system.x", "value": "1"}])

    assert changed.json()["labels"] == [
        {"key": "system.correlationId", "value": execution_id},
        {"key": "a", "value": "1"},
    ]
    assert refused.status_code == 422
    assert "system.x=1" in refused.json()["message"]
    assert sum(isinstance(command, SetLabels) for command in api.executor.commands) == 1


def test_a_status_is_changed_by_hand(api: Api) -> None:
    """Only to a terminal one."""
    execution_id = ended(api)
    changed = api.post(f"{ROOT}/{execution_id}/change-status", params={"status": "FAILED"})
    assert changed.json()["state"]["current"] == "FAILED"
    assert api.post(f"{ROOT}/{execution_id}/change-status", params={"status": "RUNNING"}).status_code == 422
    assert api.post(f"{ROOT}/{execution_id}/change-status", params={"status": "DONE"}).status_code == 422


def test_a_deleted_execution_is_gone_with_its_logs_and_files(api: Api) -> None:
    """204, then 404; what was told to be kept is kept."""
    api.save()
    kept, gone = ended(api), ended(api)
    for execution_id in (kept, gone):
        document = {"tenantId": "main", "executionId": execution_id, "namespace": "company.team", "flowId": "hello"}
        line = {
            **document,
            "id": f"l-{execution_id}",
            "level": "INFO",
            "message": "m",
            "timestamp": "2026-01-01T00:00:00Z",
        }
        api.store.write([Versioned(Kind.LOG, line["id"], 1, line, execution_id)])
        api.blobs.files[f"main/company/team/hello/executions/{execution_id}/inputs/a"] = b"1"

    keeping = {"deleteLogs": "false", "deleteMetrics": "false", "deleteStorage": "false"}
    assert api.call("DELETE", f"{ROOT}/{kept}", params=keeping).status_code == 204
    assert api.call("DELETE", f"{ROOT}/{gone}").status_code == 204

    assert api.get(f"{ROOT}/{gone}").status_code == 404
    assert len(api.get(f"/api/v1/main/logs/{kept}").json()) == 1
    assert api.get(f"/api/v1/main/logs/{gone}").json() == []
    assert list(api.blobs.files) == [f"main/company/team/hello/executions/{kept}/inputs/a"]
    assert sum(isinstance(command, DeleteExecution) for command in api.executor.commands) == 2
    assert api.call("DELETE", f"{ROOT}/{gone}", params={"deleteLogs": "false"}).status_code == 422


def test_a_command_that_is_not_answered_in_time_is_202(api: Api) -> None:
    """The answer names the command; it is durable and will be carried out."""
    execution_id = held(api)
    api.app.state.services.commands._within = 0.05
    api.executor.silent = True
    answer = api.post(f"{ROOT}/{execution_id}/pause")
    assert answer.status_code == 202
    assert answer.json()["executionId"] == execution_id
    assert answer.json()["commandId"]


def test_unknown_executions_are_404_for_every_action(api: Api) -> None:
    """Nothing is published."""
    for action in ("restart", "replay", "pause", "resume", "force-run", "unqueue"):
        assert api.post(f"{ROOT}/none/{action}").status_code == 404, action
    assert api.call("DELETE", f"{ROOT}/none/kill").status_code == 404
    assert api.call("DELETE", f"{ROOT}/none").status_code == 404
    assert api.post(f"{ROOT}/none/state", json={"taskRunId": "t", "state": "SUCCESS"}).status_code == 404
    assert api.executor.commands == []


def gone(api: Api) -> str:
    """An execution that has ended and left the executor and the tail."""
    execution_id = ended(api)
    api.executor.leave(execution_id)
    api.recent._kept._entries.clear()
    api.executor.commands.clear()
    return execution_id


def test_an_execution_that_left_comes_back_for_a_command(api: Api) -> None:
    """The command is refused as unknown, the execution is sent with its documents, and the same command is sent again."""
    execution_id = gone(api)

    answer = api.post(f"{ROOT}/{execution_id}/replay")

    assert answer.status_code == 200
    assert answer.json()["parentId"] == execution_id
    first, recall, second = api.executor.commands
    assert isinstance(recall, RecallExecution)
    assert first == second
    assert recall.snapshot["execution"]["id"] == execution_id
    assert [run["taskId"] for run in recall.snapshot["task_runs"]] == ["t"]


def test_a_large_execution_comes_back_by_a_file(api: Api) -> None:
    """A snapshot above the soft limit travels as a reference."""
    api.app.state.services = replace(api.app.state.services, settings=Settings(blobs=BlobSettings(soft_limit=10)))
    execution_id = gone(api)

    assert api.post(f"{ROOT}/{execution_id}/replay").status_code == 200

    recall = api.executor.commands[1]
    assert isinstance(recall, RecallExecution)
    uri, size = recall.snapshot["$blob"], recall.snapshot["size"]
    assert uri.startswith(f"kestra:///company/team/hello/executions/{execution_id}/recall-")
    assert size > 100
    assert list(api.blobs.list("main/")) == []  # it has been read


def test_large_executions_come_back_one_after_another(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """Executions come back together as far as their task runs fit one snapshot; one that is too large is refused."""
    assert cold.groups([3, 5, 8, 9], [1, snapshots.MOST - 1, 1, 0]) == [[3, 5], [8, 9]]
    assert [len(group) for group in cold.groups(range(50), [0] * 50)] == [20, 20, 10]
    ids = [gone(api) for _ in range(3)]
    monkeypatch.setattr(snapshots, "MOST", 1)

    assert api.post(f"{ROOT}/replay/by-ids", json=ids).json() == {"count": 3}
    monkeypatch.setattr(snapshots, "MOST", 0)
    refused = api.post(f"{ROOT}/{gone(api)}/replay")

    assert "its 1 task runs are more than the 0" in refused.json()["message"]


def test_batches_that_left_come_back_for_the_restart_of_one_that_did_not(api: Api) -> None:
    """A ForEachItem has ended just now, and a batch that failed has left: it comes back before the restart is sent."""
    api.save(FOR_EACH_ITEM)
    parent, left, fresh, good = failed(api), failed(api), failed(api), failed(api)
    for execution_id in (left, good):
        known = api.store.documents[Kind.EXECUTION, execution_id]
        state = {**known.document["state"], "endDate": "2020-01-01T00:00:00Z"}
        api.store.documents[Kind.EXECUTION, execution_id] = replace(known, document={**known.document, "state": state})
    for number, (child, state) in enumerate([(left, "FAILED"), (fresh, "FAILED"), (good, "SUCCESS")]):
        name = f"{parent}/b/items/{number:06d}"
        content = {"child": child, "state": state}
        document = {"tenantId": "main", "executionId": parent, "id": name, "content": content, "seq": 1}
        api.store.write([Versioned(Kind.ENTRY, name, 1, {**document, "timestamp": "2020-01-01T00:00:00Z"}, parent)])
    api.executor.leave(left)
    api.executor.commands.clear()

    assert api.post(f"{ROOT}/{parent}/restart").status_code == 200

    commands = [(type(command), command.execution_id) for command in api.executor.commands]
    assert commands == [(RecallExecution, left), (RestartExecution, parent)]


def test_what_the_search_store_lacks_refuses_a_command(api: Api) -> None:
    """An execution that left, with a task run that is in no index, is not brought back, and the answer says why."""
    execution_id = gone(api)
    (key,) = [key for key in api.store.documents if key[0] is Kind.TASK_RUN]
    del api.store.documents[key]

    refused = api.post(f"{ROOT}/{execution_id}/replay")

    assert refused.status_code == 422
    assert "has 0 of its 1 task runs" in refused.json()["message"]
    assert not any(isinstance(command, RecallExecution) for command in api.executor.commands)


def test_an_execution_that_left_is_not_brought_back_to_be_killed(api: Api) -> None:
    """It has ended: the answer says so, and nothing is sent after the first command."""
    execution_id = gone(api)

    refused = api.call("DELETE", f"{ROOT}/{execution_id}/kill")

    assert (refused.status_code, refused.json()["message"]) == (409, "the execution is SUCCESS")
    assert len(api.executor.commands) == 1


def test_an_execution_that_left_is_deleted_by_its_documents(api: Api) -> None:
    """It does not come back for that: its documents are named in the command."""
    execution_id = gone(api)

    assert api.call("DELETE", f"{ROOT}/{execution_id}").status_code == 204

    command = api.executor.commands[-1]
    assert isinstance(command, DeleteExecution)
    assert command.documents is not None
    assert len(command.documents["task_runs"]) == 1
    assert api.get(f"{ROOT}/{execution_id}").status_code == 404


# ------------------------------------------------------------------ many at once


def test_a_list_of_ids_is_acted_upon_and_counted(api: Api) -> None:
    """200 with the count when all were accepted."""
    ids = [held(api) for _ in range(3)]
    answer = api.call("DELETE", f"{ROOT}/kill/by-ids", json=ids)
    assert (answer.status_code, answer.json()) == (200, {"count": 3})
    assert {api.ended(execution_id)["state"]["current"] for execution_id in ids} == {"KILLED"}


def test_unknown_ids_refuse_the_whole_call_and_refusals_are_listed(api: Api) -> None:
    """422 names each id with its reason."""
    runs, done = held(api), ended(api)
    unknown = api.post(f"{ROOT}/pause/by-ids", json=[runs, "none"])
    assert unknown.status_code == 422
    assert unknown.json()["invalids"] == [{"message": "execution not found", "invalidValue": "none"}]
    assert api.get(f"{ROOT}/{runs}").json()["state"]["current"] == "RUNNING"

    some = api.post(f"{ROOT}/pause/by-ids", json=[runs, done])
    assert some.status_code == 422
    assert some.json()["count"] == 1
    assert [entry["invalidValue"] for entry in some.json()["invalids"]] == [done]
    assert api.get(f"{ROOT}/{runs}").json()["state"]["current"] == "PAUSED"


def test_what_a_search_finds_is_acted_upon(api: Api) -> None:
    """By namespace, state and labels, as searching does."""
    api.save(FLOW.replace("id: hello", "id: other"))
    done, runs = ended(api), held(api)
    answer = api.post(f"{ROOT}/labels/by-query", params={"state": "SUCCESS"}, json=[{"key": "k", "value": "v"}])
    assert answer.json() == {"count": 1}
    assert {"key": "k", "value": "v"} in api.get(f"{ROOT}/{done}").json()["labels"]
    assert {"key": "team", "value": "blue"} in api.get(f"{ROOT}/{done}").json()["labels"]
    assert {"key": "k", "value": "v"} not in api.get(f"{ROOT}/{runs}").json()["labels"]
    assert api.post(f"{ROOT}/labels/by-ids", json={"executionsId": [done], "executionLabels": []}).json() == {
        "count": 1
    }


def test_running_executions_are_deleted_only_when_asked_for(api: Api) -> None:
    """By ids the call is refused, by query they are passed over."""
    runs, done = held(api), ended(api)
    refused = api.call("DELETE", f"{ROOT}/by-ids", json=[runs, done])
    assert refused.status_code == 422
    assert refused.json()["invalids"][0]["invalidValue"] == runs
    assert api.call("DELETE", f"{ROOT}/by-query", params={"namespace": "company"}).json() == {"count": 1}
    assert api.get(f"{ROOT}/{done}").status_code == 404
    assert api.get(f"{ROOT}/{runs}").status_code == 200


def test_what_was_deleted_is_cleaned_up_though_others_are_refused(api: Api) -> None:
    """Files of an accepted deletion go, and those of a refused one stay."""
    first, second = gone(api), ended(api)
    for execution_id in (first, second):
        api.blobs.put(f"main/company/team/hello/executions/{execution_id}/f", io.BytesIO(b"x"))
    known = api.store.documents[Kind.EXECUTION, first]
    state = {**known.document["state"], "current": "RUNNING"}
    api.store.documents[Kind.EXECUTION, first] = replace(known, document={**known.document, "state": state})

    params = {"includeNonTerminated": "true"}
    refused = api.call("DELETE", f"{ROOT}/by-ids", params=params, json=[first, second])

    assert (refused.status_code, refused.json()["count"]) == (422, 1)
    assert [entry["invalidValue"] for entry in refused.json()["invalids"]] == [first]
    assert [first in path for path in api.blobs.list("main/")] == [True]


def test_an_answer_may_come_before_other_events_of_the_same_batch(api: Api) -> None:
    """A rejection says why, however many events of the execution surround it."""
    execution_id = ended(api)
    answers: list[object] = []
    api.recent.expect("c1", answers.append, execution_id)
    api.recent.take([])
    rejection = EventRecord("CommandRejected", execution_id, 0, 0, command_id="c1", reason="why not")
    from shared.ports import Outbound, Topic

    api.log.publish([Outbound(Topic.EXECUTION_EVENTS, execution_id, rejection.to_bytes())])
    api.get(f"{ROOT}/{execution_id}")
    for _ in range(100):
        if answers:
            break
        api.recent._stop.wait(0.01)
    assert [getattr(answer, "reason", None) for answer in answers] == ["why not"]
