"""The three flows that everything began with, by the command line, the API and the index; embedded and on servers."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.servers import Server

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def run_example(server: Server, name: str) -> tuple[str, str]:
    """`runyard run` of an example: the execution's id, and what was printed."""
    result = server.run("run", str(EXAMPLES / name))
    assert result.returncode == 0, result.stdout + result.stderr
    found = re.match(r"execution (\S+) of company\.team\.", result.stdout)
    assert found, result.stdout
    return found[1], result.stdout


def messages(lines: list[dict[str, Any]]) -> list[str]:
    return [line["message"] for line in lines]


def history(state: dict[str, Any]) -> list[str]:
    return [entry["state"] for entry in state["histories"]]


def test_a_task_run_sees_itself(server: Server) -> None:
    """`{{ taskrun }}` is a map with the task run's id, its start and 0 attempts that ended before."""
    execution_id, printed = run_example(server, "taskrun.yaml")

    execution = server.http.get(f"/executions/{execution_id}").json()
    [task_run] = execution["taskRunList"]
    value = json.loads(task_run["outputs"]["value"])
    assert value == {"id": task_run["id"], "startDate": task_run["state"]["startDate"], "attemptsCount": 0}
    assert history(execution["state"]) == ["CREATED", "RUNNING", "SUCCESS"]
    assert history(task_run["state"]) == ["CREATED", "RUNNING", "SUCCESS"]
    assert [history(attempt["state"])[-1] for attempt in task_run["attempts"]] == ["SUCCESS"]
    assert task_run["id"] in printed
    assert "SUCCESS in " in printed


def test_a_loop_gives_each_child_its_value(server: Server) -> None:
    """ForEach over [1, 2] runs its task with the values 1 and 2, one after another; each logs its own."""
    execution_id, printed = run_example(server, "foreach-value.yaml")

    task_runs = server.http.get(f"/executions/{execution_id}").json()["taskRunList"]
    each, *logs = task_runs
    assert [(run["taskId"], run.get("value"), run["state"]["current"]) for run in task_runs] == [
        ("each", None, "SUCCESS"),
        ("log", "1", "SUCCESS"),
        ("log", "2", "SUCCESS"),
    ]
    assert {run["parentTaskRunId"] for run in logs} == {each["id"]}
    assert logs[0]["state"]["endDate"] <= logs[1]["state"]["startDate"]
    assert "attempts" not in each
    assert messages(server.logs(execution_id, 2)) == ["1", "2"]
    assert "INFO  log: 1\nINFO  log: 2\n" in printed


def test_a_task_sees_the_tasks_around_it(server: Server) -> None:
    """`{{ parents }}` of a task in an If in a ForEach is the If's task run, with the loop's value."""
    execution_id, _ = run_example(server, "foreach-parents.yaml")

    task_runs = server.http.get(f"/executions/{execution_id}").json()["taskRunList"]
    by_id = {run["id"]: run for run in task_runs}
    inner = [run for run in task_runs if run["taskId"] == "log"]
    logged = messages(server.logs(execution_id, 2))
    assert logged == ['[{"taskrun":{"value":"1"}}]', '[{"taskrun":{"value":"2"}}]']
    assert [by_id[run["parentTaskRunId"]]["value"] for run in inner] == ["1", "2"]
    assert all("value" not in run for run in inner)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("taskrun.yaml", [("return", None, 1)]),
        ("foreach-value.yaml", [("each", None, 0), ("log", "1", 1), ("log", "2", 1)]),
        (
            "foreach-parents.yaml",
            [("each", None, 0), ("if", "1", 0), ("if", "2", 0), ("log", None, 1), ("log", None, 1)],
        ),
    ],
)
def test_the_index_has_a_document_for_each_task_run(
    server: Server, name: str, expected: list[tuple[str, str | None, int]]
) -> None:
    """Whoever reads the index finds every task run with its place, its end and its attempts, as the API shows them."""
    execution_id, _ = run_example(server, name)
    shown = {run["id"]: run for run in server.http.get(f"/executions/{execution_id}").json()["taskRunList"]}

    documents = server.indexed(execution_id, len(expected))

    found = [(run["taskId"], run.get("value"), run["attemptsCount"]) for run in documents]
    assert sorted(found, key=str) == sorted(expected, key=str)
    assert {run["id"] for run in documents} == shown.keys()
    for document in documents:
        assert document["namespace"] == "company.team"
        assert document["state"]["current"] == "SUCCESS"
        assert document["executionId"] == execution_id
        assert document.get("parentTaskRunId") == shown[document["id"]].get("parentTaskRunId")
