"""Tracked bulk actions: asking for them, seeing them, stopping them. The runner has tests of its own."""

from __future__ import annotations

from typing import Any

import pytest

from shared.bulk_actions import BulkActionEnded, BulkActionListed, BulkItemsListed, Item, Result
from shared.ports import Topic
from tests.unit.api.conftest import Api

ROOT = "/api/v1/main/bulk-actions"


def ask(api: Api, **asked: Any) -> dict[str, Any]:
    """A job that must be accepted."""
    answer = api.post(ROOT, json={"action": "restart", "filters": {"flowId": "hello"}, **asked})
    assert answer.status_code == 202, answer.text
    return answer.json()


def test_a_job_is_answered_202_and_can_be_read(api: Api) -> None:
    """It is durable: by id and in the list, under both forms of the path."""
    job = ask(api, filters={"flowId": "hello", "state": ["FAILED", "KILLED"], "labels": "a:b"})

    assert (job["state"], job["action"], job["on"], job["origin"]) == ("LISTING", "restart", "executions", "api")
    assert job["filters"] == {"flowId": "hello", "state": ["FAILED", "KILLED"], "labels": "a:b"}
    assert api.get(f"{ROOT}/{job['id']}").json() == job
    assert api.get("/api/v1/bulk-actions").json() == {"results": [job], "total": 1}
    assert len(api.log.topics[Topic.BULK_ACTIONS]) == 1


def test_a_dry_run_counts_and_does_nothing(api: Api) -> None:
    """It shows the executions; on task runs it counts executions, not task runs."""
    api.save()
    ids = sorted(api.run(params={"wait": "true"})["id"] for _ in range(3))
    asked = {"action": "kill", "filters": {"flowId": "hello"}, "dryRun": True}

    for on in ("executions", "taskruns"):
        answer = api.post(ROOT, json={**asked, "on": on})
        assert answer.status_code == 200
        body = answer.json()
        assert (body["found"], body["count"]) == (3, 3)
        assert [item["executionId"] for item in body["examples"]] == ids
    assert api.log.topics[Topic.BULK_ACTIONS] == []


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"action": "explode"}, "action: expected one of restart, replay"),
        ({"on": "flows"}, "on: expected one of executions, taskruns"),
        ({"filters": {}}, "filters: at least one"),
        ({"filters": {"colour": "blue"}}, "filters.colour: no such filter"),
        ({"filters": {"taskId": "t"}}, "filters.taskId: no such filter"),
        ({"filters": {"flowId": 7}}, "filters.flowId: expected a text"),
        ({"filters": {"state": [7]}}, "filters.state: expected a text or a list of texts"),
        ({"filters": {"state": "BROKEN"}}, "filters: Invalid state: BROKEN"),
        ({"filters": {"timeRange": "soon"}}, "filters: Invalid timeRange"),
        ({"filters": {"endedBefore": "soon"}}, "filters: Invalid endedBefore"),
        ({"filters": {"q": "a:["}}, "Illegal query"),
        ({"options": {"speed": 1}}, "options.speed: restart has no such option; expected one of revision"),
        ({"options": {"revision": True}}, "options.revision: expected a number"),
        ({"action": "pause", "options": {"x": 1}}, "options.x: pause has no such option; it has none"),
        ({"action": "replay", "options": {"from": "end"}}, "options.from: expected start or taskRun"),
        ({"action": "change-state", "options": {"state": "FAILED"}}, "on: change-state acts on task runs"),
        ({"action": "change-state", "on": "taskruns"}, "options.state: is missing"),
        ({"action": "change-status", "options": {"status": "RUNNING"}}, "options: Invalid status: RUNNING"),
        ({"action": "set-labels", "options": {"labels": []}}, "options.labels: is missing"),
        ({"action": "set-labels", "options": {"labels": ["a:b"]}}, "options.labels: expected a list of {key, value}"),
        ({"unknown": 1}, "unknown"),
    ],
)
def test_what_is_wrong_is_named(api: Api, asked: dict[str, Any], words: str) -> None:
    """422 with the property; nothing is written."""
    answer = api.post(ROOT, json={"action": "restart", "filters": {"flowId": "hello"}, **asked})

    assert answer.status_code == 422, answer.text
    assert words in answer.json()["message"]
    assert api.log.topics[Topic.BULK_ACTIONS] == []


def test_items_are_filtered_by_result_and_paged(api: Api) -> None:
    """While the job is open, its pages are known without reading the log again."""
    job = ask(api)
    results = [Result.ACCEPTED, Result.REFUSED, Result.REFUSED, Result.PENDING]
    items = [
        Item(f"e{number}", "company.team", "hello", ("r",), result, "no" if result is Result.REFUSED else "")
        for number, result in enumerate(results)
    ]
    api.log.publish(
        [
            BulkItemsListed(job["id"], 0, [item.to_list() for item in items[:3]], done=True).outbound(),
            BulkItemsListed(job["id"], 1, [item.to_list() for item in items[3:]]).outbound(),
            BulkActionListed(job["id"], 2, 4).outbound(),
        ]
    )

    body = api.get(f"{ROOT}/{job['id']}").json()
    assert {name: body[name] for name in ("state", "total", "done", "accepted", "refused", "unknown")} == {
        "state": "RUNNING", "total": 4, "done": 3, "accepted": 1, "refused": 2, "unknown": 0,
    }  # fmt: skip
    path = f"{ROOT}/{job['id']}/items"
    assert api.get(path).json()["total"] == 4
    refused = api.get(path, params={"result": "refused", "page": 2, "size": 1}).json()
    assert refused == {
        "results": [
            {
                "executionId": "e2",
                "namespace": "company.team",
                "flowId": "hello",
                "result": "refused",
                "taskRunIds": ["r"],
                "reason": "no",
            }
        ],
        "total": 2,
    }
    assert api.get(path, params={"result": "lost"}).status_code == 422


def test_abort_is_shown_until_the_job_has_ended_and_409_afterwards(api: Api) -> None:
    """An ended job cannot be stopped."""
    job = ask(api)

    stopping = api.post(f"{ROOT}/{job['id']}/abort")
    assert (stopping.status_code, stopping.json()["aborting"]) == (200, True)
    api.log.publish([BulkActionEnded(job["id"], "ABORTED", 1_790_000_000_000).outbound()])
    assert "aborting" not in api.get(f"{ROOT}/{job['id']}").json()
    again = api.post(f"{ROOT}/{job['id']}/abort")
    assert (again.status_code, "ABORTED" in again.json()["message"]) == (409, True)


def test_jobs_of_another_tenant_are_not_there(api: Api) -> None:
    """404 at every path with an id, an empty list, and a dry run that finds nothing."""
    api.save()
    api.run(params={"wait": "true"})
    job = ask(api)
    written = len(api.log.topics[Topic.BULK_ACTIONS])
    other = "/api/v1/other/bulk-actions"

    assert api.get(other).json() == {"results": [], "total": 0}
    assert api.get(f"{other}/{job['id']}").status_code == 404
    assert api.get(f"{other}/{job['id']}/items").status_code == 404
    assert api.post(f"{other}/{job['id']}/abort").status_code == 404
    counted = api.post(other, json={"action": "kill", "filters": {"flowId": "hello"}, "dryRun": True}).json()
    assert counted == {"found": 0, "count": 0, "examples": []}
    assert len(api.log.topics[Topic.BULK_ACTIONS]) == written
