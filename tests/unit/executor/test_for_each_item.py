"""ForEachItem: what it begins for the batches of a file, how it counts, ends, restarts and is killed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from executor.engine.apply import apply
from executor.engine.batches import given
from executor.engine.effects import Send
from executor.engine.entries import Overlay
from executor.engine.item_tasks import MERGE, SPLIT
from executor.engine.variables import variables
from shared import messages as m
from shared.model.flow import Task
from shared.model.state import StateType
from shared.model.task_run import TaskRun
from tests.engine_driver import Driver, MemoryEntries, core_worker

CORE = "io.kestra.plugin.core"
CHILD = f"""
id: child
namespace: test.items
inputs:
  - {{id: file, type: STRING}}
tasks:
  - {{id: r, type: {CORE}.debug.Return, format: "{{{{ inputs.file }}}}"}}
outputs:
  - {{id: seen, type: STRING, value: "{{{{ outputs.r.value }}}}"}}
"""
FAILING = f"""
id: child
namespace: test.items
inputs:
  - {{id: file, type: STRING}}
tasks:
  - {{id: bad, type: {CORE}.execution.Fail, condition: "{{{{ inputs.file == 'b1' }}}}"}}
"""


def flow(more: str = "", file: str = "{{ taskrun.items }}") -> str:
    return f"""
id: parent
namespace: test.items
tasks:
  - id: each
    type: {CORE}.flow.ForEachItem
    items: kestra:///file
    namespace: test.items
    flowId: child
    inputs: {{file: "{file}"}}
{more}
  - {{id: after, type: {CORE}.log.Log, message: "{{{{ outputs.each_items.numberOfBatches }}}}"}}
"""


class ItemsDriver(Driver):
    """A driver whose worker has cut the file into `batches`, and that joins what the subflows gave."""

    batches: tuple[str, ...] = ()
    merged: list[Any] | None = None

    def take(self, message: Any) -> Any:
        if isinstance(message, m.AttemptEnded) and message.outputs == {"splits": "kestra:///listing"}:
            message = replace(message, attributes={"splits": list(self.batches)})
        return super().take(message)


def worker(
    driver: Driver, task: Task, task_run: TaskRun, shown: dict[str, Any]
) -> tuple[StateType, dict[str, Any] | None, str | None]:
    """The parts that workers run; the other tasks are those of the core worker."""
    if task.type == SPLIT:
        return StateType.SUCCESS, {"splits": "kestra:///listing"}, None
    if task.type == MERGE:
        assert isinstance(driver, ItemsDriver)
        assert task_run.parent_id is not None
        driver.merged = list(given(driver.entries, task_run.execution_id, task_run.parent_id))
        return StateType.SUCCESS, {}, None
    return core_worker(driver, task, task_run, shown)


def begun(source: str, child: str | None, *batches: str) -> tuple[ItemsDriver, str]:
    driver = ItemsDriver(worker=worker)
    driver.batches = batches
    if child is not None:
        driver.add(child)
    return driver, driver.start(source)


def ran(source: str, child: str | None, *batches: str) -> tuple[ItemsDriver, str]:
    driver, execution_id = begun(source, child, *batches)
    driver.run()
    return driver, execution_id


def items(driver: Driver, execution_id: str) -> TaskRun:
    return next(run for run in driver.task_runs(execution_id) if run.task_id == "each_items")


def children(driver: Driver) -> list[str]:
    """Ids of the executions of `child`, in the order of their batches."""
    found = dict.fromkeys(
        effect.command.execution_id
        for decision in driver.decisions
        for effect in decision.effects
        if isinstance(effect, Send) and isinstance(effect.command, m.CreateExecution)
    )
    return list(found)


def until_started(driver: ItemsDriver, execution_id: str) -> None:
    """Go on until X_items has begun executions."""
    for _ in range(1000):
        driver.now += 1
        if children(driver):
            return
        if driver.commands:
            driver.deliver()
        elif driver.queue:
            driver.work()
    raise AssertionError(f"no batch of {execution_id} begins")


def assert_replays(driver: Driver) -> None:
    """Applying the events again gives the same entries."""
    again = MemoryEntries()
    for decision in driver.decisions:
        overlay = Overlay(again)
        for item in decision.events:
            apply(overlay, item.event)
        again.store(overlay)
    assert again.data == driver.entries.data


def test_each_batch_is_an_execution_and_the_outputs_are_joined_in_order() -> None:
    """X_split, X_items and X_merge run in order; each execution sees its file; X_items counts how they ended."""
    driver, execution_id = ran(flow(), CHILD, "b0", "b1", "b2")

    assert driver.states(execution_id) == [
        ("each", None, "SUCCESS"),
        ("each_split", None, "SUCCESS"),
        ("each_items", None, "SUCCESS"),
        ("each_merge", None, "SUCCESS"),
        ("after", None, "SUCCESS"),
    ]
    run = items(driver, execution_id)
    iterations = {"CREATED": 0, "RUNNING": 0, "SUCCESS": 3}
    assert driver.outputs(run) == {"numberOfBatches": 3, "iterations": iterations}
    assert [attempt.state.current.value for attempt in run.attempts] == ["SUCCESS"]
    assert driver.merged == [{"seen": "b0"}, {"seen": "b1"}, {"seen": "b2"}]
    assert ("after", "3") in driver.logs
    assert_replays(driver)


def test_an_empty_file_begins_nothing() -> None:
    """Without batches X_items is SUCCESS without outputs, and X_merge runs with nothing to join."""
    driver, execution_id = ran(flow().replace("{{ outputs.each_items.numberOfBatches }}", "x"), None)

    assert driver.execution(execution_id).state.current is StateType.SUCCESS
    assert driver.outputs(items(driver, execution_id)) is None
    assert children(driver) == []
    assert driver.merged == []
    assert_replays(driver)


def test_one_failed_batch_fails_it_after_all_have_ended() -> None:
    """All executions run; then X_items is FAILED and X_merge is not created."""
    driver, execution_id = ran(flow(), FAILING, "b0", "b1", "b2")

    assert driver.states(execution_id) == [
        ("each", None, "FAILED"),
        ("each_split", None, "SUCCESS"),
        ("each_items", None, "FAILED"),
    ]
    iterations = {"CREATED": 0, "RUNNING": 0, "SUCCESS": 2, "FAILED": 1}
    assert (driver.outputs(items(driver, execution_id)) or {})["iterations"] == iterations
    assert driver.execution(execution_id).state.current is StateType.FAILED


@pytest.mark.parametrize(
    ("more", "states"),
    [
        ("    transmitFailed: false", ("SUCCESS", "SUCCESS")),
        ("    wait: false", ("SUCCESS", "SUCCESS")),
        ("    allowFailure: true", ("FAILED", "WARNING")),
    ],
)
def test_what_a_failed_batch_means_can_be_told(more: str, states: tuple[str, str]) -> None:
    """`transmitFailed: false` and `wait: false` hide it from X_items, `allowFailure` from what follows."""
    driver, execution_id = ran(flow(more), FAILING, "b0", "b1")

    found = {task_id: state for task_id, _, state in driver.states(execution_id)}
    assert (found["each_items"], found["each"]) == states
    assert found["after"] == "SUCCESS"
    assert_replays(driver)


def test_a_missing_flow_fails_only_the_items() -> None:
    """Without the flow X_items is FAILED with a message, and no execution is begun."""
    driver, execution_id = ran(flow(), None, "b0", "b1")

    assert items(driver, execution_id).state.current is StateType.FAILED
    assert any("Unable to find flow: 'test.items'.'child'" in text for _, text in driver.logs)
    assert children(driver) == []


def test_a_large_file_is_begun_in_bounded_steps() -> None:
    """No step begins more than 500 executions; all are begun, once each."""
    number = 1201
    driver, execution_id = ran(flow(), CHILD, *(f"b{each}" for each in range(number)))

    most = max(
        sum(isinstance(effect, Send) and isinstance(effect.command, m.CreateExecution) for effect in decision.effects)
        for decision in driver.decisions
    )
    assert most == 500
    assert len(children(driver)) == number
    iterations = {"CREATED": 0, "RUNNING": 0, "SUCCESS": number}
    assert (driver.outputs(items(driver, execution_id)) or {})["iterations"] == iterations
    assert driver.merged == [{"seen": f"b{each}"} for each in range(number)]


def test_executions_can_be_scheduled() -> None:
    """With `scheduleDate` the executions begin at that date, and X_items waits for them."""
    driver, execution_id = ran(flow('    scheduleDate: "2030-01-02T03:04:05Z"'), CHILD, "b0")

    child = driver.execution(children(driver)[0])
    running = next(at for state, at in child.state.histories if state is StateType.RUNNING)
    assert running >= 1_893_553_445_000
    assert driver.execution(execution_id).state.current is StateType.SUCCESS


def test_an_end_that_is_told_twice_counts_once() -> None:
    """The second EndSubflow of a batch is rejected."""
    driver, execution_id = begun(flow(), CHILD, "b0", "b1")
    until_started(driver, execution_id)
    end = m.EndSubflow(
        execution_id=execution_id,
        command_id="end",
        at=driver.now,
        task_run_id=items(driver, execution_id).id,
        attempt=0,
        iteration=0,
        child_id=children(driver)[0],
        state="SUCCESS",
        outputs={"seen": "told"},
    )

    assert driver.take(end).rejection is None
    assert driver.take(end).rejection == "batch 0 has ended already"
    iterations = (driver.outputs(items(driver, execution_id)) or {})["iterations"]
    assert iterations == {"CREATED": 0, "RUNNING": 1, "SUCCESS": 1}


@pytest.mark.parametrize("number", [3, 1201])
def test_a_kill_reaches_the_executions_of_all_batches(number: int) -> None:
    """After a kill the executions that were begun are KILLED, and so are X_items and the execution."""
    driver, execution_id = begun(flow(), CHILD, *(f"b{each}" for each in range(number)))
    until_started(driver, execution_id)
    while any(isinstance(command, m.WakeTimer) for command in driver.commands):  # the other steps of the fan-out
        driver.deliver(next(i for i, each in enumerate(driver.commands) if isinstance(each, m.WakeTimer)))
    while any(isinstance(command, m.CreateExecution | m.FlowCommand) for command in driver.commands):
        driver.deliver()

    driver.take(m.KillExecution(execution_id=execution_id, command_id="kill", at=driver.now, cascade=True))
    driver.run()

    assert {driver.execution(child).state.current for child in children(driver)} == {StateType.KILLED}
    assert len(children(driver)) == number
    assert driver.states(execution_id)[-1] == ("each_items", None, "KILLED")
    assert driver.execution(execution_id).state.current is StateType.KILLED


def restarted(more: str) -> tuple[ItemsDriver, str, list[str]]:
    """A run in which batch 1 failed; its flow is mended and the execution restarted."""
    driver, execution_id = ran(flow(more), FAILING, "b0", "b1", "b2")
    before = children(driver)
    driver.add(CHILD.replace("id: r,", "id: bad,").replace("outputs.r.", "outputs.bad."))
    driver.take(m.RestartExecution(execution_id=execution_id, command_id="again", at=driver.now))
    driver.run()
    return driver, execution_id, before


def test_a_restart_repeats_the_failed_executions() -> None:
    """Only the failed batch's execution runs again, as the same execution; then all are SUCCESS."""
    driver, execution_id, before = restarted("")

    assert driver.execution(execution_id).state.current is StateType.SUCCESS
    assert children(driver) == before
    histories = [state.value for state, _ in driver.execution(before[1]).state.histories]
    assert histories == ["CREATED", "RUNNING", "FAILED", "RESTARTED", "RUNNING", "SUCCESS"]
    iterations = {"CREATED": 0, "RUNNING": 0, "SUCCESS": 3}
    assert (driver.outputs(items(driver, execution_id)) or {})["iterations"] == iterations
    assert_replays(driver)


def test_a_restart_can_begin_new_executions() -> None:
    """With `restartBehavior: NEW_EXECUTION` every batch gets a new execution."""
    driver, execution_id, before = restarted("    restartBehavior: NEW_EXECUTION")

    assert driver.execution(execution_id).state.current is StateType.SUCCESS
    assert len(children(driver)) == 2 * len(before)


def test_a_batch_with_nothing_to_restart_ends_as_before() -> None:
    """An execution that failed without a failed task run cannot be restarted: X_items ends FAILED again."""
    outputs = CHILD.replace("outputs.r.value", "outputs.nowhere.value")
    driver, execution_id = ran(flow(), outputs, "b0", "b1")
    assert items(driver, execution_id).state.current is StateType.FAILED

    driver.take(m.RestartExecution(execution_id=execution_id, command_id="again", at=driver.now))
    driver.run()

    run = items(driver, execution_id)
    assert [attempt.state.current.value for attempt in run.attempts] == ["FAILED", "FAILED"]
    iterations = {"CREATED": 0, "RUNNING": 0, "FAILED": 2}
    assert (driver.outputs(run) or {})["iterations"] == iterations


def test_an_end_that_nobody_heard_is_told_again_at_a_restart() -> None:
    """Executions that ended after an operator had set X_items to FAILED count when it is restarted."""
    driver, execution_id = begun(flow(), CHILD, "b0", "b1")
    until_started(driver, execution_id)
    common = {"execution_id": execution_id, "at": driver.now}
    driver.take(m.PauseExecution(command_id="pause", **common))
    run = items(driver, execution_id)
    driver.take(m.ChangeTaskRunState(command_id="set", task_run_id=run.id, state="FAILED", **common))
    driver.run()
    assert items(driver, execution_id).state.current is StateType.FAILED
    assert driver.merged is None

    driver.take(m.RestartExecution(command_id="again", **common))
    driver.run()

    assert driver.execution(execution_id).state.current is StateType.SUCCESS
    assert driver.merged == [{"seen": "b0"}, {"seen": "b1"}]
    assert len(children(driver)) == 2


@pytest.mark.parametrize(("task_id", "new"), [("each_merge", 0), ("each_items", 2)])
def test_a_replay_from_a_part_keeps_what_came_before(task_id: str, new: int) -> None:
    """From X_merge the same outputs are joined again; from X_items every batch gets a new execution."""
    driver, execution_id = ran(flow(), CHILD, "b0", "b1")
    before = children(driver)
    target = next(run.id for run in driver.task_runs(execution_id) if run.task_id == task_id)
    driver.merged = None

    driver.take(
        m.ReplayExecution(
            execution_id=execution_id,
            command_id="replay",
            at=driver.now,
            new_execution_id="replayed",
            task_run_id=target,
        )
    )
    driver.run()

    assert driver.execution("replayed").state.current is StateType.SUCCESS
    assert driver.merged == [{"seen": "b0"}, {"seen": "b1"}]
    assert len(set(children(driver)) - {*before, "replayed"}) == new
    assert_replays(driver)


def test_templates_of_a_batch_see_its_number() -> None:
    """`taskrun.iteration` counts the batches from 0, `taskrun.items` is the batch's file."""
    driver, _ = ran(flow(file="{{ taskrun.iteration }}/{{ taskrun.items }}"), CHILD, "x", "y")

    assert driver.merged == [{"seen": "0/x"}, {"seen": "1/y"}]


def test_variables_know_the_parts() -> None:
    """The split's and the items' outputs are found by the names of the parts."""
    driver, execution_id = ran(flow(), CHILD, "b0")
    plan = driver.flows["test.items", "parent"]

    shown = variables(driver.entries, plan, driver.execution(execution_id))
    assert shown["outputs"]["each_split"]["splits"] == "kestra:///listing"
    assert shown["outputs"]["each_items"]["numberOfBatches"] == 1
