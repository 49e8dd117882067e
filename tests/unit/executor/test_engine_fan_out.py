"""A large fan-out: bounded steps that continue themselves, and commands that come in between."""

import pytest

from executor.engine.draft import FAN_OUT_STEP
from shared import messages as m
from tests.engine_driver import Driver

LOOP = """
id: f
namespace: test.engine
tasks:
  - id: e
    type: io.kestra.plugin.core.flow.%s
    %s: "{{ range(1, 1200) }}"
    %s: 0
    tasks:
      - {id: a, type: io.kestra.plugin.core.log.Log, message: m}
"""
KINDS = [("ForEach", "values", "concurrencyLimit"), ("EachParallel", "value", "concurrent")]


@pytest.mark.parametrize("kind", KINDS)
def test_steps_are_bounded(kind: tuple[str, str, str]) -> None:
    """One decision creates at most 500 task runs; all are created in the end, once each."""
    driver = Driver()
    execution_id = driver.start(LOOP % kind)
    while driver.commands:
        driver.deliver()

    created = [sum(item.event.name == "TaskRunCreated" for item in each.events) for each in driver.decisions]
    assert max(created) == FAN_OUT_STEP
    assert sum(created) == 1201
    assert len({run.value for run in driver.task_runs(execution_id)[1:]}) == 1200


def test_a_kill_amid_a_fan_out() -> None:
    """A kill between two steps of a fan-out closes what there is, in steps, too; nothing further is created."""
    driver = Driver()
    execution_id = driver.start(LOOP % KINDS[0])
    driver.deliver()
    driver.deliver()

    driver.take(m.KillExecution(execution_id=execution_id, command_id="k", at=driver.now))
    while driver.commands:
        driver.deliver()

    assert driver.execution(execution_id).state.current.value == "KILLED"
    assert {run.state.current.value for run in driver.task_runs(execution_id)} == {"KILLED"}
    assert driver.execution(execution_id).task_runs == 2 * FAN_OUT_STEP
    assert driver.queue == []


def test_a_parents_entry_stays_small() -> None:
    """The bookkeeping of a loop over 1,200 values stays below 1 KiB, whatever has ended in it."""
    driver = Driver()
    execution_id = driver.start(LOOP % KINDS[0])
    driver.run()

    loop = driver.task_runs(execution_id)[0]
    assert len(driver.entries.data[f"x/{execution_id}/r/{loop.id}"]) < 1024
    assert driver.execution(execution_id).state.current.value == "SUCCESS"


def test_labels_reach_every_document_in_steps() -> None:
    """Changed labels are shown in the documents of all task runs, 500 in each step."""
    driver = Driver()
    execution_id = driver.start(LOOP % KINDS[0])
    while driver.commands:
        driver.deliver()
    before = len(driver.decisions)

    driver.take(m.SetLabels(execution_id=execution_id, command_id="l", at=driver.now, labels=[["k", "v"]]))
    while driver.commands:
        driver.deliver()

    shown = [
        [item.event.task_run for item in each.events if item.event.name == "TaskRunRelabelled"]
        for each in driver.decisions[before:]
    ]
    assert max(map(len, shown)) == 500
    assert len({task_run for each in shown for task_run in each}) == 1201
