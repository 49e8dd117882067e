"""Flows through REST: stored by the executor, validated before, read from the topic."""

from __future__ import annotations

import pytest

from shared.messages import PutFlow
from tests.unit.api.conftest import FLOW, Api

YAML = {"content-type": "application/x-yaml"}


@pytest.mark.parametrize("root", ["/api/v1/main", "/api/v1"])
def test_a_created_flow_is_answered_with_its_revision_and_properties(api: Api, root: str) -> None:
    """POST /flows gives id, namespace, revision, tasks and inputs, with and without a tenant in the path."""
    answer = api.post(f"{root}/flows", content=FLOW, headers=YAML)

    assert answer.status_code == 200
    body = answer.json()
    assert (body["id"], body["namespace"], body["revision"], body["tenantId"]) == ("hello", "company.team", 1, "main")
    assert [task["id"] for task in body["tasks"]] == ["t"]
    assert [item["id"] for item in body["inputs"]] == ["name", "age", "data"]
    assert body["labels"] == [{"key": "team", "value": "blue"}]
    assert body["source"] == FLOW


def test_a_flow_that_exists_is_refused_by_post_and_updated_by_put(api: Api) -> None:
    """A second POST is 422 with "already exist"; PUT stores revision 2."""
    api.save()

    again = api.post("/api/v1/main/flows", content=FLOW, headers=YAML)
    changed = FLOW + "description: changed\n"
    update = api.call("PUT", "/api/v1/main/flows/company.team/hello", content=changed, headers=YAML)

    assert again.status_code == 422
    assert "already exist" in again.json()["message"]
    assert update.status_code == 200
    assert update.json()["revision"] == 2
    assert api.get("/api/v1/main/flows/company.team/hello").json()["description"] == "changed"
    revisions = api.get("/api/v1/main/flows/company.team/hello/revisions").json()
    assert [(flow["revision"], flow["source"]) for flow in revisions] == [(1, FLOW), (2, changed)]
    assert api.get("/api/v1/main/flows/company.team/hello", params={"revision": 1}).json()["revision"] == 1


def test_an_update_of_an_unknown_flow_is_404_and_of_another_path_422(api: Api) -> None:
    """PUT asks for an existing flow whose namespace and id are those of the path."""
    unknown = api.call("PUT", "/api/v1/main/flows/company.team/hello", content=FLOW, headers=YAML)
    api.save()
    other = api.call("PUT", "/api/v1/main/flows/company.other/hello", content=FLOW, headers=YAML)

    assert unknown.status_code == 404
    assert other.status_code == 422
    assert "namespace" in other.json()["message"]


def test_an_invalid_flow_is_answered_with_every_problem_and_its_line(api: Api) -> None:
    """422 names each problem; nothing is published."""
    source = "id: bad\nnamespace: company.team\ntasks:\n  - id: a\n    type: no.such.Type\n  - id: a\n    type: no.such.Other\n"
    answer = api.post("/api/v1/main/flows", content=source, headers=YAML)

    assert answer.status_code == 422
    body = answer.json()
    assert "no.such.Type" in body["message"]
    assert "no.such.Other" in body["message"]
    assert "(line 5)" in body["message"]
    assert len(body["_embedded"]["errors"]) >= 2
    assert not any(isinstance(command, PutFlow) for command in api.executor.commands)


def test_validate_tells_constraints_for_invalid_documents_only(api: Api) -> None:
    """Each document of a text has its own entry."""
    source = FLOW + "\n---\nid: bad\nnamespace: company.team\ntasks: []\n"
    answer = api.post("/api/v1/main/flows/validate", content=source, headers=YAML)

    assert answer.status_code == 200
    good, bad = answer.json()
    assert (good["index"], good["flow"], good["namespace"]) == (0, "hello", "company.team")
    assert "constraints" not in good
    assert (bad["index"], bad["flow"]) == (1, "bad")
    assert "must not be empty" in bad["constraints"]


def test_a_flow_is_accepted_as_json_too(api: Api) -> None:
    """The answer of a GET can be sent back."""
    shown = api.save()
    body = {**shown, "description": "as JSON"}
    answer = api.call("PUT", "/api/v1/main/flows/company.team/hello", json=body)

    assert answer.status_code == 200
    assert answer.json()["revision"] == 2
    assert answer.json()["description"] == "as JSON"


def test_flows_are_searched_by_text_namespace_and_labels(api: Api) -> None:
    """Search pages over the latest revisions."""
    api.save()
    api.save(FLOW.replace("id: hello", "id: other").replace("team: blue", "team: red"))
    api.save(FLOW.replace("company.team", "company.teamwork"))

    def found(**params: object) -> list[tuple[str, str]]:
        answer = api.get("/api/v1/main/flows/search", params=params).json()
        return [(flow["namespace"], flow["id"]) for flow in answer["results"]]

    assert found(namespace="company.team") == [("company.team", "hello"), ("company.team", "other")]
    assert found(q="HELLO") == [("company.team", "hello"), ("company.teamwork", "hello")]
    assert found(labels="team:red") == [("company.team", "other")]
    assert found(sort="id:desc", size=1) == [("company.team", "other")]
    assert api.get("/api/v1/main/flows/search", params={"size": 1}).json()["total"] == 3
    assert api.get("/api/v1/main/flows/distinct-namespaces").json() == ["company.team", "company.teamwork"]
    assert [flow["id"] for flow in api.get("/api/v1/main/flows/company.team").json()] == ["hello", "other"]
    source = api.get("/api/v1/main/flows/source", params={"q": "team: red"}).json()
    assert [(r["model"]["id"], r["fragments"]) for r in source["results"]] == [("other", ["  team: red"])]


def test_a_deleted_flow_is_gone_and_its_executions_are_refused(api: Api) -> None:
    """DELETE is 204; then the flow is 404, except where deleted ones are asked for."""
    api.save()
    assert api.call("DELETE", "/api/v1/main/flows/company.team/hello").status_code == 204

    assert api.get("/api/v1/main/flows/company.team/hello").status_code == 404
    shown = api.get("/api/v1/main/flows/company.team/hello", params={"allowDeleted": True})
    assert shown.json()["deleted"] is True
    assert api.post("/api/v1/main/executions/company.team/hello").status_code == 404
    assert api.get("/api/v1/main/flows/search").json()["total"] == 0
    assert api.call("DELETE", "/api/v1/main/flows/company.team/hello").status_code == 404


def test_a_task_of_a_flow_is_shown(api: Api) -> None:
    """By its id; an unknown one is 404."""
    api.save()
    assert api.get("/api/v1/main/flows/company.team/hello/tasks/t").json()["format"] == "{{ inputs.name }}"
    assert api.get("/api/v1/main/flows/company.team/hello/tasks/none").status_code == 404
