"""What a broken SLA does to its execution."""

import pytest

from shared import messages as m
from tests.engine_driver import Driver, run_flow

HEAD = "id: f\nnamespace: test.sla\n"


def started(source: str) -> tuple[Driver, str]:
    """An execution whose task runs are waiting for workers."""
    driver = Driver()
    execution_id = driver.start(HEAD + source)
    while driver.commands:
        driver.deliver()
    return driver, execution_id


def duration(behavior: str) -> str:
    return f"""
sla:
  - {{id: quick, type: MAX_DURATION, behavior: {behavior}, duration: PT1M, labels: {{sla: missed}}}}
tasks:
  - {{id: a, type: io.kestra.plugin.core.log.Log, message: one}}
  - {{id: b, type: io.kestra.plugin.core.log.Log, message: two}}
"""


def assertion(behavior: str, text: str) -> str:
    return f"""
sla:
  - {{id: right, type: EXECUTION_ASSERTION, behavior: {behavior}, assert: "{text}", labels: {{sla: missed}}}}
tasks:
  - {{id: a, type: io.kestra.plugin.core.debug.Return, format: wrong}}
  - {{id: b, type: io.kestra.plugin.core.log.Log, message: two}}
"""


@pytest.mark.parametrize(("behavior", "state"), [("FAIL", "FAILED"), ("CANCEL", "CANCELLED")])
def test_an_execution_that_takes_too_long_ends(behavior: str, state: str) -> None:
    """A MAX_DURATION that is over gives its state to the last open task run and to the execution."""
    driver, execution_id = started(duration(behavior))

    driver.fire()

    assert driver.execution(execution_id).state.current.value == state
    assert driver.states(execution_id) == [("a", None, state)]
    assert ("sla", "missed") in driver.execution(execution_id).labels
    assert driver.queue == []


def test_only_the_last_open_task_run_takes_the_state() -> None:
    """The other open task runs of an execution that its SLA fails are KILLED, flowables as well."""
    driver, execution_id = started(
        """
sla:
  - {id: quick, type: MAX_DURATION, behavior: FAIL, duration: PT1M}
tasks:
  - id: p
    type: io.kestra.plugin.core.flow.Parallel
    tasks:
      - {id: a, type: io.kestra.plugin.core.log.Log, message: one}
      - {id: b, type: io.kestra.plugin.core.log.Log, message: two}
errors:
  - {id: e, type: io.kestra.plugin.core.log.Log, message: never}
"""
    )

    driver.fire()
    driver.run()

    assert driver.states(execution_id) == [("p", None, "KILLED"), ("a", None, "KILLED"), ("b", None, "FAILED")]
    assert driver.execution(execution_id).state.current.value == "FAILED"


def test_a_running_attempt_ends_with_its_task_run() -> None:
    """The attempt that a worker runs takes the state of the task run that the SLA closes."""
    driver, execution_id = started(duration("CANCEL"))
    (item,) = driver.queue
    driver.take(m.AttemptStarted(execution_id, item.task_run_id, item.attempt, 0, "w1", driver.now))

    driver.fire()

    (run,) = driver.task_runs(execution_id)
    assert [attempt.state.current.value for attempt in run.attempts] == ["CANCELLED"]


def test_none_only_labels() -> None:
    """With NONE an execution that takes too long gets the labels and goes on."""
    driver, execution_id = started(duration("NONE"))

    driver.fire()
    driver.run()

    assert driver.execution(execution_id).state.current.value == "SUCCESS"
    assert ("sla", "missed") in driver.execution(execution_id).labels


def test_the_timer_of_an_ended_execution_changes_nothing() -> None:
    """An execution that ends in time stays as it ended when the timer comes."""
    driver, execution_id = run_flow(HEAD + duration("FAIL"))

    assert driver.timers == []
    assert driver.decisions[-1].rejection == "the execution is SUCCESS"
    assert driver.execution(execution_id).state.current.value == "SUCCESS"
    assert ("sla", "missed") not in driver.execution(execution_id).labels


def test_a_subflow_is_killed_with_its_parent() -> None:
    """The execution that a Subflow task run waits for is killed when an SLA ends the parent."""
    driver = Driver()
    driver.add(
        """
id: child
namespace: test.sla
tasks:
  - {id: a, type: io.kestra.plugin.core.log.Log, message: one}
"""
    )
    execution_id = driver.start(
        HEAD
        + """
sla:
  - {id: quick, type: MAX_DURATION, behavior: CANCEL, duration: PT1M}
tasks:
  - {id: s, type: io.kestra.plugin.core.flow.Subflow, namespace: test.sla, flowId: child}
"""
    )
    while driver.commands:
        driver.deliver()
    (run,) = driver.task_runs(execution_id)
    child = (driver.outputs(run) or {})["executionId"]

    driver.fire()
    driver.deliver()

    assert driver.execution(execution_id).state.current.value == "CANCELLED"
    assert driver.execution(child).state.current.value in ("KILLING", "KILLED")


def test_an_assertion_that_does_not_hold_at_the_start_ends_the_execution_without_task_runs() -> None:
    """An EXECUTION_ASSERTION is looked at before the first task run is created."""
    driver, execution_id = run_flow(HEAD + assertion("CANCEL", "{{ flow.id == 'other' }}"))

    assert driver.execution(execution_id).state.current.value == "CANCELLED"
    assert driver.states(execution_id) == []


def test_an_assertion_is_looked_at_again_when_a_task_run_has_ended() -> None:
    """An assertion on outputs is passed over until they are there, and then ends the execution."""
    driver, execution_id = run_flow(HEAD + assertion("FAIL", "{{ outputs.a.value == 'right' }}"))

    assert driver.states(execution_id) == [("a", None, "SUCCESS")]
    assert driver.execution(execution_id).state.current.value == "FAILED"
    assert driver.execution(execution_id).error == "SLA 'right' violated"


def test_an_assertion_that_cannot_be_rendered_is_told_at_the_end() -> None:
    """An assertion that never can be rendered does nothing but a line in the execution's log."""
    driver, execution_id = run_flow(HEAD + assertion("FAIL", "{{ outputs.nowhere.value }}"))

    assert driver.execution(execution_id).state.current.value == "SUCCESS"
    told = [text for task, text in driver.logs if task == "executor" and "The SLA 'right' is ignored" in text]
    assert len(told) == 1


def test_only_the_first_violation_changes_the_execution() -> None:
    """After a violation that only labels, another SLA that is broken later and would fail the execution does nothing."""
    driver, execution_id = run_flow(
        HEAD
        + """
sla:
  - {id: two, type: EXECUTION_ASSERTION, behavior: FAIL, assert: "{{ outputs.a is not defined }}", labels: {second: v}}
  - {id: one, type: EXECUTION_ASSERTION, behavior: NONE, assert: "false", labels: {first: violated}}
tasks:
  - {id: a, type: io.kestra.plugin.core.debug.Return, format: one}
"""
    )

    labels = dict(driver.execution(execution_id).labels)
    assert driver.execution(execution_id).state.current.value == "SUCCESS"
    assert labels["first"] == "violated"
    assert "second" not in labels
