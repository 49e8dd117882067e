"""Tasks that ask or change what is around them: other executions, triggers, their execution's variables and its end."""

import json
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.acceptance.servers import PATIENCE, EmbeddedServer, Server, Standalone

CORE = "io.kestra.plugin.core"


def put(server: Server, flow_id: str, rest: str) -> None:
    answer = server.put_flow(f"id: {flow_id}\nnamespace: company.team\n{rest}")
    assert answer.status_code in (200, 201), answer.text


def outcome(execution: dict[str, Any]) -> tuple[str, list[tuple[str, str]]]:
    """The execution's state, and each task run's."""
    return execution["state"]["current"], [
        (run["taskId"], run["state"]["current"]) for run in execution.get("taskRunList", ())
    ]


def listed(server: Server, flow_id: str) -> int:
    """How many executions of a flow the search finds."""
    query = {"namespace": "company.team", "flowId": flow_id}
    return int(server.http.get("/executions/search", params=query).raise_for_status().json()["total"])


def until_listed(server: Server, flow_id: str, count: int) -> None:
    until = time.monotonic() + PATIENCE
    while (found := listed(server, flow_id)) < count:
        assert time.monotonic() < until, f"{found} of {count} executions of {flow_id} are listed"
        time.sleep(0.1)


def test_count_counts_executions_of_flows_and_namespaces(server: Server) -> None:
    """It gives each flow and namespace for which the expression holds, with its count, and their sum."""
    put(server, "counted", f"tasks:\n  - {{id: log, type: {CORE}.log.Log, message: x}}\n")
    server.execute("counted")
    server.execute("counted")
    until_listed(server, "counted", 2)
    put(
        server,
        "counting",
        f"""
tasks:
  - id: all
    type: {CORE}.execution.Count
    startDate: "{{{{ now() | dateAdd(-1, 'DAYS') }}}}"
    states: [SUCCESS]
    expression: "{{{{ count >= 0 }}}}"
    flows:
      - {{namespace: company.team, flowId: counted}}
      - {{namespace: company.team, flowId: missing}}
  - id: none
    type: io.kestra.core.tasks.executions.Counts
    startDate: "{{{{ now() | dateAdd(-1, 'DAYS') }}}}"
    expression: "{{{{ count == 0 }}}}"
    namespaces: [company, company.nowhere]
""",
    )

    execution = server.execute("counting")

    assert outcome(execution) == ("SUCCESS", [("all", "SUCCESS"), ("none", "SUCCESS")])
    every, none = (run["outputs"] for run in execution["taskRunList"])
    flows = [{"namespace": "company.team", "flowId": name} for name in ("counted", "missing")]
    assert every == {"results": [{**flows[0], "count": 2}, {**flows[1], "count": 0}], "total": 2}
    empty = [{"namespace": name, "count": 0} for name in ("company", "company.nowhere")]
    assert none == {"results": empty, "total": 0}


TOGGLE = f"""
inputs:
  - {{id: enabled, type: BOOLEAN}}
  - {{id: trigger, type: STRING}}
  - {{id: flow, type: STRING}}
tasks:
  - id: if
    type: {CORE}.flow.If
    condition: "{{{{ inputs.enabled }}}}"
    then:
      - {{id: "on", type: {CORE}.trigger.Toggle, trigger: "{{{{ inputs.trigger }}}}", flowId: "{{{{ inputs.flow }}}}", enabled: true}}
    else:
      - {{id: "off", type: {CORE}.trigger.Toggle, trigger: "{{{{ inputs.trigger }}}}", flowId: "{{{{ inputs.flow }}}}"}}
"""
HOOKED = f"""
tasks:
  - {{id: log, type: {CORE}.log.Log, message: x}}
triggers:
  - {{id: hook, type: {CORE}.trigger.Webhook, key: abc}}
"""


def toggle(server: Server, flow_id: str, trigger: str, *, enabled: bool) -> str:
    execution = server.execute("toggling", {"enabled": str(enabled), "trigger": trigger, "flow": flow_id})
    return str(execution["state"]["current"])


def called(server: Server, flow_id: str) -> int:
    return server.http.post(f"/executions/webhook/company.team/{flow_id}/abc").status_code


def await_called(server: Server, flow_id: str, status: int) -> None:
    """The API learns of a trigger's switch from the log, a moment after the task that switched it has ended."""
    until = time.monotonic() + PATIENCE
    while (found := called(server, flow_id)) != status:
        assert time.monotonic() < until, f"the webhook of {flow_id} still answers {found}"
        time.sleep(0.05)


def test_a_webhook_is_switched_off_and_on(server: Server) -> None:
    """A switched-off webhook is not there; also after the flow is stored again, until it no longer has the trigger."""
    put(server, "toggling", TOGGLE)
    put(server, "hooked", HOOKED)
    assert called(server, "hooked") == 200

    assert toggle(server, "hooked", "hook", enabled=False) == "SUCCESS"
    await_called(server, "hooked", 404)
    assert server.put_flow(f"id: hooked\nnamespace: company.team\n{HOOKED}# changed\n").status_code == 422
    path = "/flows/company.team/hooked"
    source = f"id: hooked\nnamespace: company.team\n{HOOKED}"
    headers = {"Content-Type": "application/x-yaml"}
    server.http.put(path, content=source + "# changed\n", headers=headers).raise_for_status()
    assert called(server, "hooked") == 404

    assert toggle(server, "hooked", "hook", enabled=True) == "SUCCESS"
    await_called(server, "hooked", 200)

    assert toggle(server, "hooked", "hook", enabled=False) == "SUCCESS"
    await_called(server, "hooked", 404)
    server.http.put(path, content=source.partition("triggers:")[0], headers=headers).raise_for_status()
    server.http.put(path, content=source, headers=headers).raise_for_status()
    await_called(server, "hooked", 200)


@pytest.mark.parametrize(("flow_id", "trigger"), [("hooked", "missing"), ("missing", "hook")])
def test_a_missing_trigger_or_flow_fails_the_toggle(server: Server, flow_id: str, trigger: str) -> None:
    """The task run fails with what was not found."""
    put_if_new(server, "toggling", TOGGLE)
    put_if_new(server, "hooked", HOOKED)

    execution = server.execute("toggling", {"enabled": "false", "trigger": trigger, "flow": flow_id})

    assert execution["state"]["current"] == "FAILED"
    found = [line["message"] for line in server.logs(execution["id"], 1)]
    what = f"Unable to find flow company.team.{flow_id}" if flow_id == "missing" else "Unable to find trigger missing"
    assert any(what in message for message in found)


def put_if_new(server: Server, flow_id: str, rest: str) -> None:
    if server.http.get(f"/flows/company.team/{flow_id}").status_code == httpx.codes.NOT_FOUND:
        put(server, flow_id, rest)


def test_a_flow_trigger_is_switched_off_and_on(server: Server) -> None:
    """A switched-off Flow trigger starts nothing; switched on again, the next end starts the flow."""
    put_if_new(server, "toggling", TOGGLE)
    put(server, "upstream", f"tasks:\n  - {{id: log, type: {CORE}.log.Log, message: x}}\n")
    put(
        server,
        "downstream",
        f"""
tasks:
  - {{id: log, type: {CORE}.log.Log, message: x}}
triggers:
  - id: after
    type: {CORE}.trigger.Flow
    conditions:
      - {{type: {CORE}.condition.ExecutionFlow, namespace: company.team, flowId: upstream}}
""",
    )
    server.execute("upstream")
    until_listed(server, "downstream", 1)

    assert toggle(server, "downstream", "after", enabled=False) == "SUCCESS"
    server.execute("upstream")
    assert toggle(server, "downstream", "after", enabled=True) == "SUCCESS"
    server.execute("upstream")

    until_listed(server, "downstream", 2)
    until_listed(server, "upstream", 3)
    assert listed(server, "downstream") == 2


def test_what_was_switched_off_stays_so_after_a_restart(tmp_path: Path) -> None:
    """A server that is killed and started again knows which triggers are switched off."""
    standalone = Standalone(tmp_path / "data")
    standalone.start()
    server = EmbeddedServer(standalone.url)
    put(server, "toggling", TOGGLE)
    put(server, "hooked", HOOKED)
    assert toggle(server, "hooked", "hook", enabled=False) == "SUCCESS"
    server.close()
    standalone.kill()

    standalone.start()
    server = EmbeddedServer(standalone.url)
    try:
        assert called(server, "hooked") == 404
        assert toggle(server, "hooked", "hook", enabled=True) == "SUCCESS"
        await_called(server, "hooked", 200)
    finally:
        server.close()
        standalone.stop()


def test_variables_are_set_and_unset(server: Server) -> None:
    """Later tasks see what was set; maps are merged; what is there, or missing, fails where the flow says so."""
    put(
        server,
        "varying",
        f"""
variables:
  name: World
  nested: {{a: 1, b: 2}}
tasks:
  - id: set
    type: {CORE}.execution.SetVariables
    variables:
      message: "Hello from {{{{ flow.id }}}}"
      name: Ada
      nested: {{b: 3, c: {{d: 4}}}}
  - {{id: shown, type: {CORE}.debug.Return, format: "{{{{ vars.message }}}} {{{{ vars.name }}}} {{{{ vars.nested }}}}"}}
  - {{id: unset, type: {CORE}.execution.UnsetVariables, variables: [message, nested.c.d]}}
  - {{id: left, type: {CORE}.debug.Return, format: "{{{{ vars }}}}"}}
  - {{id: again, type: {CORE}.execution.SetVariables, variables: {{name: Eve}}, overwrite: false, allowFailure: true}}
  - {{id: missing, type: {CORE}.execution.UnsetVariables, variables: [message], allowFailure: true}}
  - {{id: ignored, type: {CORE}.execution.UnsetVariables, variables: [message], ignoreMissing: true}}
""",
    )

    execution = server.execute("varying")

    states = {run["taskId"]: run["state"]["current"] for run in execution["taskRunList"]}
    assert states == {
        **dict.fromkeys(("set", "shown", "unset", "left", "ignored"), "SUCCESS"),
        **dict.fromkeys(("again", "missing"), "WARNING"),
    }
    values = {run["taskId"]: run.get("outputs", {}).get("value") for run in execution["taskRunList"]}
    assert values["shown"] == 'Hello from varying Ada {"a":1,"b":3,"c":{"d":4}}'
    left = {"name": "Ada", "nested": {"a": 1, "b": 3, "c": {}}}
    assert json.loads(values["left"]) == left
    assert server.http.get(f"/executions/{execution['id']}").json()["variables"] == left


EXIT = f"""
inputs:
  - {{id: state, type: STRING}}
tasks:
  - id: parallel
    type: {CORE}.flow.Parallel
    tasks:
      - {{id: beside, type: {CORE}.flow.Sleep, duration: PT2S}}
      - id: first
        type: {CORE}.flow.Sequential
        tasks:
          - {{id: begin, type: {CORE}.flow.Sleep, duration: PT0.3S}}
          - {{id: leave, type: {CORE}.execution.Exit, state: "{{{{ inputs.state }}}}"}}
          - {{id: never, type: {CORE}.log.Log, message: never}}
  - {{id: later, type: {CORE}.log.Log, message: later}}
errors:
  - {{id: error, type: {CORE}.log.Log, message: error}}
afterExecution:
  - {{id: after, type: {CORE}.log.Log, message: "{{{{ execution.state }}}}"}}
"""


@pytest.mark.parametrize("state", ["SUCCESS", "WARNING", "FAILED", "CANCELED", "KILLED"])
def test_an_exit_ends_the_execution_in_its_state(server: Server, state: str) -> None:
    """Nothing new starts; what runs finishes, but for KILLED; the state is the execution's and its open flowables'."""
    put_if_new(server, "exiting", EXIT)

    execution = server.execute("exiting", {"state": state})

    ended = "CANCELLED" if state == "CANCELED" else state
    until = time.monotonic() + PATIENCE
    while len(outcome(execution)[1]) < 6:
        assert time.monotonic() < until, outcome(execution)
        time.sleep(0.05)
        execution = server.http.get(f"/executions/{execution['id']}").json()
    assert execution["state"]["current"] == ended
    beside = "KILLED" if state == "KILLED" else "SUCCESS"
    states = dict(outcome(execution)[1])
    assert states == {
        **dict.fromkeys(("parallel", "first", "leave"), ended),
        "begin": "SUCCESS",
        "beside": beside,
        "after": states["after"],
    }


def test_a_resume_finds_the_only_paused_execution_of_a_flow(server: Server) -> None:
    """Without an id, the execution of the flow that is paused is resumed; where there is none, it fails."""
    put(server, "pausing", f"tasks:\n  - {{id: pause, type: {CORE}.flow.Pause}}\n")
    put(
        server,
        "resuming",
        f"tasks:\n  - {{id: go, type: {CORE}.execution.Resume, namespace: company.team, flowId: pausing}}\n",
    )
    assert server.execute("resuming")["state"]["current"] == "FAILED"
    files = [("", (None, ""))]
    paused = server.http.post("/executions/company.team/pausing", files=files).raise_for_status().json()["id"]
    until = time.monotonic() + PATIENCE
    query = {"namespace": "company.team", "flowId": "pausing", "state": "PAUSED"}
    while server.http.get("/executions/search", params=query).json()["total"] == 0:
        assert time.monotonic() < until, "the paused execution is not listed"
        time.sleep(0.1)

    assert server.execute("resuming")["state"]["current"] == "SUCCESS"

    while server.http.get(f"/executions/{paused}").json()["state"]["current"] != "SUCCESS":
        assert time.monotonic() < until, "it is not resumed"
        time.sleep(0.05)
