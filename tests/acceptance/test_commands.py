"""What an operator can do to executions, by the API and the command line: each answered with what happened, or why not."""

import time
from typing import Any

import pytest

from tests.acceptance.servers import PATIENCE, EmbeddedServer

HEAD = "namespace: company.commands\n"
SLEEP = "type: io.kestra.plugin.core.flow.Sleep, duration: PT1H"
FLOWS = {
    "sleeps": f"tasks:\n  - {{id: s, {SLEEP}}}\n",
    "asks": """\
tasks:
  - id: wait
    type: io.kestra.plugin.core.flow.Pause
    onResume: [{id: reason, type: STRING}]
  - {id: say, type: io.kestra.plugin.core.debug.Return, format: "{{ outputs.wait.onResume.reason }}"}
""",
    "fails": """\
inputs: [{id: good, type: STRING, defaults: 'no'}]
tasks:
  - {id: first, type: io.kestra.plugin.core.debug.Return, format: a}
  - {id: bad, type: io.kestra.plugin.core.execution.Fail, condition: "{{ inputs.good != 'yes' }}"}
""",
    "retries": """\
tasks:
  - id: bad
    type: io.kestra.plugin.core.execution.Fail
    retry: {type: constant, interval: PT1H, maxAttempt: 3}
""",
    "queued": f"concurrency: {{limit: 1, behavior: QUEUE}}\ntasks:\n  - {{id: s, {SLEEP}}}\n",
    "calls": """\
tasks:
  - {id: sub, type: io.kestra.plugin.core.flow.Subflow, namespace: company.commands, flowId: sleeps, wait: true}
""",
}


@pytest.fixture(scope="module")
def server(embedded: EmbeddedServer) -> EmbeddedServer:
    for name, source in FLOWS.items():
        embedded.put_flow(f"id: {name}\n{HEAD}{source}").raise_for_status()
    return embedded


def begun(server: EmbeddedServer, flow: str, *states: str, **inputs: str) -> str:
    """A new execution, once it is in one of the states; its only task run, too, where it is RUNNING."""
    files = [(name, (None, value)) for name, value in inputs.items()] or [("", (None, ""))]
    answer = server.http.post(f"/executions/company.commands/{flow}", files=files).raise_for_status()
    execution_id: str = answer.json()["id"]
    awaited(server, execution_id, *states)
    return execution_id


def awaited(server: EmbeddedServer, execution_id: str, *states: str) -> Any:
    until = time.monotonic() + PATIENCE
    while True:
        execution = server.http.get(f"/executions/{execution_id}").raise_for_status().json()
        runs = execution.get("taskRunList") or [{"state": {"current": "RUNNING"}}]
        settled = execution["state"]["current"] != "RUNNING" or runs[-1]["state"]["current"] == "RUNNING"
        if execution["state"]["current"] in states and settled:
            return execution
        assert time.monotonic() < until, f"{execution['state']} is none of {states}"
        time.sleep(0.05)


def told(result: Any) -> list[str]:
    """What a command printed for each execution, without the ids."""
    return [line.split(": ", 1)[1] for line in result.stdout.splitlines()]


@pytest.mark.parametrize(
    ("flow", "state"),
    [("sleeps", "RUNNING"), ("asks", "PAUSED"), ("retries", "RETRYING"), ("calls", "RUNNING")],
)
def test_a_kill_ends_whatever_an_execution_does(server: EmbeddedServer, flow: str, state: str) -> None:
    """Running, paused, waiting for a retry or for a subflow: it is KILLED with all its task runs, and only once."""
    execution_id = begun(server, flow, state)

    killed = server.run("kill", execution_id)

    assert killed.returncode == 0
    assert told(killed)[0] in ("KILLING", "KILLED")
    execution = awaited(server, execution_id, "KILLED")
    assert {run["state"]["current"] for run in execution["taskRunList"]} == {"KILLED"}
    again = server.run("kill", execution_id)
    assert (again.returncode, told(again)) == (1, ["refused: the execution is KILLED already"])
    if flow == "calls":
        awaited(server, execution["taskRunList"][0]["outputs"]["executionId"], "KILLED")


def test_several_executions_are_answered_one_by_one(server: EmbeddedServer) -> None:
    """What is refused, or unknown, does not keep the others from being done; the exit status is 1."""
    runs, ended = begun(server, "sleeps", "RUNNING"), begun(server, "fails", "FAILED")

    result = server.run("kill", ended, "0000000000000000000000", runs)

    assert result.returncode == 1
    assert told(result)[0] == "refused: the execution is FAILED already"
    assert "0000000000000000000000" in told(result)[1]
    awaited(server, runs, "KILLED")


def test_pause_and_resume(server: EmbeddedServer) -> None:
    """A paused execution lets what runs finish, and goes on when it is resumed; neither twice."""
    execution_id = begun(server, "sleeps", "RUNNING")

    assert told(server.run("pause", execution_id)) == ["PAUSED"]
    assert told(server.run("pause", execution_id)) == ["refused: the execution is PAUSED, not RUNNING"]
    assert told(server.run("resume", execution_id)) == ["RUNNING"]
    assert told(server.run("resume", execution_id)) == ["refused: the execution is RUNNING, not PAUSED"]
    server.run("kill", execution_id)


def test_resume_with_what_the_pause_asks_for(server: EmbeddedServer) -> None:
    """Without its input a Pause is not resumed; with it, the tasks behind it read it."""
    execution_id = begun(server, "asks", "PAUSED")

    missing = server.run("resume", execution_id)
    resumed = server.run("resume", execution_id, "--input", "reason=because")

    assert missing.returncode == 1
    assert "reason" in missing.stdout
    assert resumed.returncode == 0
    execution = awaited(server, execution_id, "SUCCESS")
    assert execution["taskRunList"][-1]["outputs"] == {"value": "because"}


def test_restart_and_replay(server: EmbeddedServer) -> None:
    """A restart runs again what failed; a replay is a new execution, with other inputs or from a task run."""
    execution_id = begun(server, "fails", "FAILED")
    execution = awaited(server, execution_id, "FAILED")
    bad = execution["taskRunList"][-1]["id"]

    restarted = server.run("restart", execution_id)
    assert restarted.returncode == 0
    again = awaited(server, execution_id, "FAILED")
    assert len(again["taskRunList"][-1]["attempts"]) == 2
    same_revision = server.run("restart", execution_id, "--revision", "1")
    assert told(same_revision)[0].startswith("new execution ")
    replayed = server.run("replay", execution_id, "--input", "good=yes")
    from_there = server.run("replay", execution_id, "--task-run", bad)
    unknown = server.run("replay", execution_id, "--task-run", "nothing")

    new_id = told(replayed)[0].split()[2]
    assert awaited(server, new_id, "SUCCESS")["inputs"] == {"good": "yes"}
    carried = awaited(server, told(from_there)[0].split()[2], "FAILED")
    assert [run["taskId"] for run in carried["taskRunList"]] == ["first", "bad"]
    assert (unknown.returncode, told(unknown)) == (1, ["refused: No task found: task run nothing is not known"])
    assert told(server.run("restart", new_id)) == ["refused: No task found to restart execution from!"]


def test_a_revision_that_lacks_the_task_is_refused(server: EmbeddedServer) -> None:
    """A replay from a task run goes on with another revision only where that has the task."""
    server.put_flow(f"id: changes\n{HEAD}{FLOWS['fails']}").raise_for_status()
    execution_id = begun(server, "changes", "FAILED")
    changed = "tasks:\n  - {id: other, type: io.kestra.plugin.core.debug.Return, format: a}\n"
    server.http.put(
        "/flows/company.commands/changes",
        content=f"id: changes\n{HEAD}{changed}",
        headers={"Content-Type": "application/x-yaml"},
    ).raise_for_status()

    result = server.run("restart", execution_id, "--revision", "2")

    assert result.returncode == 1
    assert "revision 2 has no task `bad`" in result.stdout


def test_states_by_hand(server: EmbeddedServer) -> None:
    """A task run's state lets its execution go on; an execution's replaces its own; a wrong one is named."""
    execution_id = begun(server, "fails", "FAILED")
    bad = awaited(server, execution_id, "FAILED")["taskRunList"][-1]["id"]

    wrong = server.run("change-state", execution_id, bad, "GREAT")
    changed = server.run("change-state", execution_id, bad, "SUCCESS")

    assert wrong.returncode == 1
    assert "GREAT" in wrong.stdout
    assert changed.returncode == 0
    awaited(server, execution_id, "SUCCESS")
    assert told(server.run("change-status", "WARNING", execution_id)) == ["WARNING"]
    assert told(server.run("change-status", "WARNING", execution_id)) == ["refused: the execution is WARNING already"]


def test_the_queue_is_left_by_unqueue_and_force_run(server: EmbeddedServer) -> None:
    """Queued executions leave to RUNNING or CANCELLED, or run at once; one that runs is not in the queue."""
    first = begun(server, "queued", "RUNNING")
    second, third, fourth = (begun(server, "queued", "QUEUED") for _ in range(3))

    assert told(server.run("unqueue", second, "--state", "CANCELLED")) == ["CANCELLED"]
    assert told(server.run("unqueue", third)) == ["RUNNING"]
    assert told(server.run("force-run", fourth)) == ["RUNNING"]
    assert told(server.run("unqueue", first)) == ["refused: the execution is RUNNING, not QUEUED"]
    assert server.run("kill", first, third, fourth).returncode == 0


def test_labels_and_deletion(server: EmbeddedServer) -> None:
    """Labels are replaced; an ended execution goes, one that runs stays."""
    execution_id, running = begun(server, "fails", "FAILED"), begun(server, "sleeps", "RUNNING")

    assert server.run("set-labels", execution_id, "-l", "who:me").returncode == 0
    labels = server.http.get(f"/executions/{execution_id}").json()["labels"]
    assert {"key": "who", "value": "me"} in labels
    assert told(server.run("delete", execution_id)) == ["deleted"]
    assert server.http.get(f"/executions/{execution_id}").status_code == 404
    assert told(server.run("delete", running)) == ["refused: the execution is RUNNING: it must be terminated"]
    assert server.run("kill", running).returncode == 0


BULK = [
    ("DELETE", "kill", "sleeps", "RUNNING", {}, "KILLED"),
    ("POST", "pause", "sleeps", "RUNNING", {}, "PAUSED"),
    ("POST", "resume", "paused", "PAUSED", {}, "RUNNING"),
    ("POST", "restart", "fails", "FAILED", {}, "FAILED"),
    ("POST", "replay", "fails", "FAILED", {}, "FAILED"),
    ("POST", "change-status", "fails", "FAILED", {"newStatus": "WARNING"}, "WARNING"),
    ("POST", "force-run", "queued", "QUEUED", {}, "RUNNING"),
    ("POST", "unqueue", "queued", "QUEUED", {}, "RUNNING"),
]


@pytest.mark.parametrize("how", ["ids", "query"])
@pytest.mark.parametrize(("method", "action", "flow", "state", "parameters", "then"), BULK, ids=[b[1] for b in BULK])
def test_actions_on_many(
    server: EmbeddedServer,
    how: str,
    method: str,
    action: str,
    flow: str,
    state: str,
    parameters: dict[str, str],
    then: str,
) -> None:
    """By ids and by query: every execution is in the state that was asked for, and counted."""
    name = f"{flow}-{action}-{how}"
    source = FLOWS["sleeps" if flow == "paused" else flow]
    server.put_flow(f"id: {name}\n{HEAD}{source}").raise_for_status()
    holder = [begun(server, name, "RUNNING")] if flow == "queued" else []
    first = "RUNNING" if flow == "paused" else state
    chosen = [begun(server, name, first) for _ in range(2)]
    if flow == "paused":
        assert server.run("pause", *chosen).returncode == 0

    if how == "ids":
        answer = server.http.request(method, f"/executions/{action}/by-ids", json=chosen, params=parameters)
    else:
        query = {"namespace": "company.commands", "flowId": name, "state": state}
        _searchable(server, query, 2)
        answer = server.http.request(method, f"/executions/{action}/by-query", params={**query, **parameters})

    assert (answer.status_code, answer.json()) == (200, {"count": 2})
    for execution_id in chosen:
        awaited(server, execution_id, then)
    if then in ("RUNNING", "PAUSED"):
        assert server.run("kill", *holder, *chosen).returncode == 0


def _searchable(server: EmbeddedServer, query: dict[str, str], count: int) -> None:
    until = time.monotonic() + PATIENCE
    while server.http.get("/executions/search", params=query).json()["total"] < count:
        assert time.monotonic() < until
        time.sleep(0.05)
