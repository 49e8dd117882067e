"""What goes wrong is said clearly, with its place and a fitting status; embedded and on servers."""

from pathlib import Path

import httpx
import pytest

from tests.acceptance.servers import Server

UNKNOWN_TYPE = """\
id: unknown_type
namespace: company.team
tasks:
  - id: first
    type: com.example.Nothing
"""
BAD_YAML = """\
id: bad_yaml
namespace: company.team
tasks:
  - id: first
   type: io.kestra.plugin.core.debug.Return
"""
UNKNOWN_PROPERTY = """\
id: unknown_property
namespace: company.team
tasks:
  - id: first
    type: io.kestra.plugin.core.debug.Return
    formatt: x
"""
RETURN = """\
id: {id}
namespace: company.team
inputs:
  - id: name
    type: STRING
    required: {required}
  - id: count
    type: INT
    defaults: 1
tasks:
  - id: first
    type: io.kestra.plugin.core.debug.Return
    format: "{format}"
  - id: second
    type: io.kestra.plugin.core.debug.Return
    format: not reached
"""

LARGE = """\
id: fitting
namespace: company.team
tasks:
  - id: make
    type: io.kestra.plugin.core.debug.Return
    format: "{{ range(1, 60000) }}"
  - id: measure
    type: io.kestra.plugin.core.debug.Return
    format: "{{ outputs.make.value | length }}"
  - id: each
    type: io.kestra.plugin.core.flow.ForEach
    values: "{{ json(outputs.make.value) | slice(59998, 60000) }}"
    tasks:
      - id: show
        type: io.kestra.plugin.core.debug.Return
        format: "{{ taskrun.value }}"
"""


def message(answer: httpx.Response) -> str:
    text: str = answer.json()["message"]
    return text


@pytest.mark.parametrize(
    ("source", "line", "words"),
    [
        (UNKNOWN_TYPE, 5, ["tasks[0].type", "com.example.Nothing"]),
        (BAD_YAML, 5, ["not valid YAML"]),
        (UNKNOWN_PROPERTY, 6, ["tasks[0].formatt", "known are", "format"]),
    ],
    ids=["type", "yaml", "property"],
)
def test_a_wrong_flow_is_refused_with_its_line(
    server: Server, tmp_path: Path, source: str, line: int, words: list[str]
) -> None:
    """A type that doesn't exist, a YAML error, an unknown property: 422 and line; the command names the file."""
    file = tmp_path / "flow.yaml"
    file.write_text(source)

    answer = server.put_flow(source)
    result = server.run("run", str(file))

    assert answer.status_code == 422
    assert f"(line {line})" in message(answer)
    assert [word for word in words if word not in message(answer)] == []
    assert result.returncode == 1
    assert f"{file}: {message(answer)}" in result.stderr
    assert "Traceback" not in result.stderr


def test_an_undefined_variable_fails_its_task_run(server: Server) -> None:
    """The task run is FAILED with an attempt and a log line that name variable, expression, property and place."""
    server.put_flow(RETURN.format(id="undefined", required="false", format="{{ nothing }}"))

    execution = server.execute("undefined")

    [task_run] = execution["taskRunList"]
    assert execution["state"]["current"] == "FAILED"
    assert task_run["state"]["current"] == "FAILED"
    [attempt] = task_run["attempts"]
    assert attempt["state"]["current"] == "FAILED"
    assert "Unable to find `nothing` used in the expression `{{ nothing }}` at line 1" in attempt["error"]
    assert "property `format`" in attempt["error"]
    [line] = server.logs(execution["id"], 1)
    assert (line["level"], line["taskId"], line["message"]) == ("ERROR", "first", attempt["error"])


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ({}, "`name`, missing required input"),
        ({"name": "x", "count": "many"}, "`count`, Expected `INT` but received `many`"),
    ],
    ids=["missing", "no number"],
)
def test_wrong_inputs_start_nothing(server: Server, inputs: dict[str, str], words: str) -> None:
    """A missing or wrong input is a 422 that names it, and no execution is made."""
    server.put_flow(RETURN.format(id="inputs", required="true", format="{{ inputs.name }}"))

    answer = server.execute("inputs", inputs)

    assert answer.status_code == 422
    assert words in message(answer)
    assert server.http.get("/executions/search", params={"flowId": "inputs"}).json()["total"] == 0


def test_a_flow_that_is_not_there_is_named(server: Server) -> None:
    """An execution of an unknown flow is a 404 that names the flow."""
    answer = server.execute("nowhere")

    assert answer.status_code == 404
    assert message(answer) == "Not Found: flow company.team.nowhere"


def test_an_output_above_the_hard_limit_fails_its_task_run_alone(server: Server) -> None:
    """The task run is FAILED with its output's size and the limit."""
    server.put_flow(RETURN.format(id="large", required="false", format="{{ range(1, 100000) }}"))

    execution = server.execute("large")

    [task_run] = execution["taskRunList"]
    assert execution["state"]["current"] == task_run["state"]["current"] == "FAILED"
    [attempt] = task_run["attempts"]
    assert "Message of size 588908 has exceeded the configured limit of 400000" in attempt["error"]


def test_a_large_output_can_be_used_like_any_other(server: Server) -> None:
    """An output that is too large for messages is stored; later tasks and the values of a loop read it."""
    server.put_flow(LARGE)

    execution = server.execute("fitting")

    make, measure, each, *shown = server.http.get(f"/executions/{execution['id']}").json()["taskRunList"]
    assert make["outputs"].keys() == {"$blob", "size"}
    assert measure["outputs"] == {"value": "348895"}
    assert each["state"]["current"] == "SUCCESS"
    assert [run["outputs"]["value"] for run in shown] == ["59999", "60000"]


def test_a_search_that_cannot_be_answered_says_why(server: Server) -> None:
    """A query with a syntax error, and one by a field that isn't there: 422 naming it."""
    unknown = server.http.get("/taskruns/search", params={"q": "colour:blue"})
    broken = server.http.get("/taskruns/search", params={"q": "state:(A"})

    assert (unknown.status_code, broken.status_code) == (422, 422)
    assert "colour" in message(unknown)
    assert "q is not a Lucene query, position 9: unexpected end of expression" in message(broken)
