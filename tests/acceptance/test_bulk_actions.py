"""Bulk actions and purge as a user meets them, by API and command line."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from shared.model.identifier import new_id
from tests.acceptance.servers import PATIENCE, Server

NAMESPACE = "company.bulk"

FAILING = """\
id: {id}
namespace: company.bulk
tasks:
  - {{id: load, type: io.kestra.plugin.core.log.Log, message: loaded}}
  - {{id: send, type: io.kestra.plugin.core.execution.Fail}}
"""
GOOD = """\
id: {id}
namespace: company.bulk
inputs:
  - {{id: file, type: FILE, required: false}}
tasks:
  - {{id: load, type: io.kestra.plugin.core.log.Log, message: loaded}}
"""


def eventually(found: Callable[[], Any]) -> Any:
    """What is found, once it is."""
    until = time.monotonic() + PATIENCE
    while not (value := found()):
        assert time.monotonic() < until
        time.sleep(0.1)
    return value


def flow_of(server: Server, source: str) -> str:
    """A flow of its own for a test, stored; its id."""
    flow_id = f"f{new_id().lower()}"
    assert server.put_flow(source.format(id=flow_id)).is_success
    return flow_id


def executed(server: Server, flow_id: str, count: int) -> list[str]:
    """Ended executions, once the search finds them."""
    ids = sorted(server.execute(flow_id, namespace=NAMESPACE)["id"] for _ in range(count))
    eventually(lambda: total(server, flow_id) == count)
    return ids


def total(server: Server, flow_id: str, path: str = "executions") -> int:
    return server.http.get(f"/{path}/search", params={"flowId": flow_id}).json()["total"]


def ended(server: Server, job_id: str) -> dict[str, Any]:
    """A job as it ended."""

    def look() -> Any:
        job = server.http.get(f"/bulk-actions/{job_id}").raise_for_status().json()
        return job if "endedAt" in job else None

    return eventually(look)


def test_executions_whose_task_failed_are_restarted(server: Server) -> None:
    """The command counts them first, then shows what became of them; each ran once more."""
    flow_id = flow_of(server, FAILING)
    ids = executed(server, flow_id, 3)
    eventually(lambda: total(server, flow_id, "taskruns") == 6)
    filters = ("--on", "taskruns", "--task", "send", "--state", "FAILED", "--since", "1h", "--flow", flow_id)

    counted = server.run("bulk", "restart", *filters, "--dry-run")
    restarted = server.run("bulk", "restart", *filters, "--yes")

    assert counted.returncode == 0, counted.stderr
    assert "restart: 3 executions" in counted.stdout
    assert all(execution_id in counted.stdout for execution_id in ids)
    assert restarted.returncode == 0, restarted.stdout + restarted.stderr
    assert "SUCCESS: 3 accepted, 0 refused, 0 unknown" in restarted.stdout
    for execution_id in ids:
        states = [h["state"] for h in server.http.get(f"/executions/{execution_id}").json()["state"]["histories"]]
        assert states.count("RESTARTED") == 1


def test_refusals_are_listed_with_their_reasons(server: Server) -> None:
    """The command ends with status 1, the API filters by result, and `show` tells it again."""
    flow_id = flow_of(server, GOOD)
    (execution_id,) = executed(server, flow_id, 1)

    result = server.run("bulk", "resume", "--flow", flow_id, "--yes")

    assert result.returncode == 1
    assert "WARNING: 0 accepted, 1 refused" in result.stdout
    job_id = re.search(r"bulk action (\w+)", result.stdout).group(1)  # type: ignore[union-attr]
    items = server.http.get(f"/bulk-actions/{job_id}/items", params={"result": "refused"}).json()
    assert [item["executionId"] for item in items["results"]] == [execution_id]
    assert items["results"][0]["reason"]
    shown = server.run("bulk", "show", job_id)
    assert items["results"][0]["reason"].split()[0] in shown.stdout
    assert job_id in server.run("bulk", "list").stdout
    assert server.http.post(f"/bulk-actions/{job_id}/abort").status_code == 409


def test_a_replay_goes_on_from_the_found_task_run(server: Server) -> None:
    """A new execution each, in which the task runs before it are as they were."""
    flow_id = flow_of(server, FAILING)
    (original,) = executed(server, flow_id, 1)
    eventually(lambda: total(server, flow_id, "taskruns") == 2)

    result = server.run("bulk", "replay", "--on", "taskruns", "--task", "send", "--flow", flow_id, "--yes")

    assert result.returncode == 0, result.stdout + result.stderr
    eventually(lambda: total(server, flow_id) == 2)
    found = server.http.get("/executions/search", params={"flowId": flow_id}).json()["results"]
    (new,) = [execution for execution in found if execution["id"] != original]
    assert new["parentId"] == original
    eventually(lambda: "endDate" in server.http.get(f"/executions/{new['id']}").json()["state"])
    assert server.logs(original, 1)
    assert [line["taskId"] for line in server.http.get(f"/logs/{new['id']}").json() if line["taskId"] == "load"] == []


def test_a_purge_takes_everything_of_its_executions_and_nothing_else(server: Server, tmp_path: Path) -> None:
    """Documents, log lines and files go; those of another flow stay; what runs is not found."""
    gone, kept = flow_of(server, GOOD), flow_of(server, GOOD)
    uris = {}
    for flow_id in (gone, kept):
        answer = server.http.post(
            f"/executions/{NAMESPACE}/{flow_id}", files={"file": ("a.txt", b"content")}, params={"wait": "true"}
        ).json()
        uris[flow_id] = answer["id"], answer["inputs"]["file"]
        server.logs(answer["id"], 1)
        eventually(lambda flow_id=flow_id: total(server, flow_id, "taskruns") == 1)
        eventually(lambda flow_id=flow_id: total(server, flow_id) == 1)

    dry = server.run("purge", "--older-than", "0s", "--flow", gone, "--dry-run")
    purged = server.run("purge", "--older-than", "0s", "--flow", gone, "--yes")

    assert "delete: 1 execution\n" in dry.stdout
    assert purged.returncode == 0, purged.stdout + purged.stderr
    execution_id, uri = uris[gone]
    assert server.http.get(f"/executions/{execution_id}").status_code == 404
    assert server.http.get(f"/logs/{execution_id}").json() == []
    eventually(lambda: total(server, gone) == total(server, gone, "taskruns") == 0)
    execution_id, uri = uris[kept]
    assert server.http.get(f"/executions/{execution_id}/file", params={"path": uri}).text == "content"
    assert len(server.http.get(f"/logs/{execution_id}").json()) == 1
    assert total(server, kept) == total(server, kept, "taskruns") == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["purge"], "one of --before and --older-than"),
        (["purge", "--older-than", "soon"], "--older-than: 'soon'"),
        (["purge", "--before", "soon"], "--before: 'soon'"),
        (["bulk", "restart"], "filters: at least one"),
        (["bulk", "restart", "--flow", "a", "--state", "BROKEN"], "Invalid state: BROKEN"),
        (["bulk", "restart", "--flow", "a", "--since", "soon"], "--since: 'soon'"),
        (["bulk", "restart", "--flow", "a", "--on", "flows"], "on: expected one of executions, taskruns"),
        (["bulk", "restart", "--flow", "a", "--task", "t"], "filters.taskId: no such filter"),
        (["bulk", "kill", "--flow", "a", "-o", "cascade"], "--option cascade: expected name=value"),
        (["bulk", "kill", "--flow", "a", "-o", "cascade=often"], "options.cascade: expected true or false"),
        (["bulk", "show", "nothing"], "bulk action nothing"),
    ],
)
def test_wrong_arguments_are_named(embedded: Server, arguments: list[str], words: str) -> None:
    """Each gives exit status 1 and a message that names it."""
    result = embedded.run(*arguments)

    assert result.returncode == 1
    assert words in result.stderr
    assert "Traceback" not in result.stderr
