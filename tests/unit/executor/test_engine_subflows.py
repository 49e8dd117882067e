"""Subflows: what the child's end does to the task run that waits, and what the child is given."""

from typing import Any

from tests.engine_driver import Driver

CHILD = """
id: child
namespace: test.engine
labels: {own: "1"}
inputs:
  - {id: x, type: STRING, defaults: none}
outputs:
  - {id: y, type: STRING, value: "{{ outputs.a.value }}"}
tasks:
  - {id: a, type: io.kestra.plugin.core.debug.Return, format: "got {{ inputs.x }}"}
  - {id: b, type: io.kestra.plugin.core.execution.Fail, condition: "{{ inputs.x == 'bad' }}"}
"""


def run(properties: str, labels: str = "") -> tuple[Driver, str]:
    driver = Driver()
    driver.add(CHILD)
    execution_id = driver.start(
        f"""
id: parent
namespace: test.engine
{labels}
tasks:
  - id: s
    type: io.kestra.plugin.core.flow.Subflow
    namespace: test.engine
    flowId: child
    {properties}
  - {{id: last, type: io.kestra.plugin.core.log.Log, message: m}}
"""
    )
    driver.run()
    return driver, execution_id


def outputs(driver: Driver, execution_id: str) -> dict[str, Any]:
    found = driver.outputs(driver.task_runs(execution_id)[0])
    assert found is not None
    return found


def test_a_subflow_is_waited_for() -> None:
    """The task run ends with its child and has the child's id, state and outputs."""
    driver, execution_id = run("inputs: {x: hello}")

    assert driver.states(execution_id) == [("s", None, "SUCCESS"), ("last", None, "SUCCESS")]
    given = outputs(driver, execution_id)
    assert (given["state"], given["outputs"]) == ("SUCCESS", {"y": "got hello"})
    child = driver.execution(given["executionId"])
    waiting, last = driver.task_runs(execution_id)
    assert (child.state.end or 0) <= (waiting.state.end or 0) <= last.state.start
    assert child.trigger is not None
    assert child.trigger.variables["executionId"] == execution_id


def test_a_failed_subflow_fails_its_task() -> None:
    """The child's failure is the task's, unless transmitFailed is off or it is allowed."""
    for more, expected in (
        ("", [("s", None, "FAILED")]),
        ("transmitFailed: false", [("s", None, "SUCCESS"), ("last", None, "SUCCESS")]),
        ("allowFailure: true", [("s", None, "WARNING"), ("last", None, "SUCCESS")]),
    ):
        driver, execution_id = run(f"inputs: {{x: bad}}\n    {more}")

        assert driver.states(execution_id) == expected


def test_a_subflow_that_is_not_waited_for() -> None:
    """Without `wait` the task succeeds at once, whatever becomes of the child."""
    driver, execution_id = run("wait: false\n    inputs: {x: bad}")

    assert driver.states(execution_id)[0] == ("s", None, "SUCCESS")
    given = outputs(driver, execution_id)
    assert driver.execution(given["executionId"]).state.current.value == "FAILED"


def test_a_missing_flow_fails_the_task() -> None:
    """A Subflow of a flow that is not there fails with a text that names it."""
    driver, _ = run("")
    driver.flows.pop(("test.engine", "child"))
    again = driver.start(driver.flows["test.engine", "parent"].flow.source)
    driver.run()

    (task_run,) = driver.task_runs(again)
    assert task_run.state.current.value == "FAILED"
    assert "Unable to find flow: 'test.engine'.'child'" in (task_run.error or task_run.attempts[-1].error or "")


def test_labels_of_a_subflow() -> None:
    """The correlation id goes on to the child; other labels only with `inheritLabels`; its own are rendered."""
    parent = "labels: {team: a}"
    for properties, inherited in (("", False), ("inheritLabels: true", True)):
        driver, execution_id = run(f'labels: {{at: "{{{{ flow.id }}}}"}}\n    {properties}', parent)

        labels = dict(driver.execution(outputs(driver, execution_id)["executionId"]).labels)
        assert labels["system.correlationId"] == execution_id
        assert (labels["own"], labels["at"]) == ("1", "parent")
        assert ("team" in labels) is inherited


def test_a_retried_subflow_is_another_execution() -> None:
    """A retry of a Subflow creates another child, and the end of the first one does not count for it."""
    driver, execution_id = run("inputs: {x: bad}\n    retry: {type: constant, interval: PT1S, maxAttempt: 2}")

    (task_run,) = driver.task_runs(execution_id)
    children = {key.split("/")[1] for key in driver.entries.data if key.endswith("/h")} - {execution_id}
    assert len(task_run.attempts) == 2
    assert len(children) == 2
