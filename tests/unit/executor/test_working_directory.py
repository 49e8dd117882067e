"""WorkingDirectory: its tasks in order, what stops them, what they are told of their folder, and its restart."""

from __future__ import annotations

from executor.engine.apply import apply
from executor.engine.entries import Overlay
from shared import messages as m
from shared.model.state import StateType
from tests.engine_driver import Driver, MemoryEntries, run_flow

CORE = "io.kestra.plugin.core"


def flow(first: str, more: str = "") -> str:
    return f"""
id: f
namespace: test.engine
inputs:
  - {{id: fails, type: STRING, defaults: "true"}}
tasks:
  - id: wd
    type: {CORE}.flow.WorkingDirectory
    outputFiles: ["*.txt"]
    inputFiles: {{a.txt: "{{{{ inputs.fails }}}}"}}
    tasks:
      - {first}
      - {{id: second, type: {CORE}.debug.Return, format: "{{{{ outputs.first.value ?? 'none' }}}}"}}
{more}
  - {{id: after, type: {CORE}.log.Log, message: "{{{{ outputs.second.value }}}}"}}
"""


FIRST = f"{{id: first, type: {CORE}.debug.Return, format: one}}"
FAILS = f"{{id: first, type: {CORE}.execution.Fail, condition: \"{{{{ inputs.fails == 'true' }}}}\"}}"
LOCAL_ERRORS = f"""    errors:
      - {{id: local, type: {CORE}.log.Log, message: mended}}"""


def test_tasks_run_in_order_and_see_the_outputs_before() -> None:
    """The second task starts when the first has ended, and sees its outputs."""
    driver, execution_id = run_flow(flow(FIRST))

    assert driver.states(execution_id) == [
        ("wd", None, "SUCCESS"),
        ("first", None, "SUCCESS"),
        ("second", None, "SUCCESS"),
        ("after", None, "SUCCESS"),
    ]
    _, first, second, _ = driver.task_runs(execution_id)
    assert (first.state.end or 0) <= second.state.start
    assert ("after", "one") in driver.logs


def test_in_a_loop_its_tasks_see_its_task_run_and_value() -> None:
    """`taskrun.value` is the WorkingDirectory's, `workerTaskrun` its task run; `parent` is as for any other task."""
    shown = "{{ taskrun.value }} {{ workerTaskrun.value }} {{ workerTaskrun.id }} {{ parent.taskrun.value }}"
    driver, execution_id = run_flow(f"""
id: f
namespace: test.engine
tasks:
  - id: each
    type: {CORE}.flow.ForEach
    values: ["v"]
    tasks:
      - id: wd
        type: {CORE}.flow.WorkingDirectory
        tasks:
          - {{id: first, type: {CORE}.log.Log, message: "{shown}"}}
        errors:
          - {{id: local, type: {CORE}.log.Log, message: "{{{{ workerTaskrun.id }}}}"}}
""")

    folder = next(run for run in driver.task_runs(execution_id) if run.task_id == "wd")
    assert driver.logs == [("first", f"v v {folder.id} v")]


def test_a_failed_task_stops_the_rest_and_local_errors_run() -> None:
    """After a failure the later tasks are not created; local `errors` run in the WorkingDirectory, which fails."""
    driver, execution_id = run_flow(flow(FAILS, LOCAL_ERRORS))

    assert driver.states(execution_id) == [
        ("wd", None, "FAILED"),
        ("first", None, "FAILED"),
        ("local", None, "SUCCESS"),
    ]


def test_an_allowed_failure_does_not_stop_the_rest() -> None:
    """A child with `allowFailure` is WARNING, the next runs, and the WorkingDirectory is WARNING."""
    driver, execution_id = run_flow(flow(FAILS.replace("id: first,", "id: first, allowFailure: true,")))

    assert [state for _, _, state in driver.states(execution_id)] == ["WARNING", "WARNING", "SUCCESS", "SUCCESS"]


def test_only_its_tasks_are_told_of_the_folder() -> None:
    """The plan tells children of what the parent says of the folder; error tasks and others of none."""
    plan = Driver().add(flow(FIRST, LOCAL_ERRORS))

    told = {"taskId": "wd", "outputFiles": ["*.txt"], "inputFiles": {"a.txt": "{{ inputs.fails }}"}}
    assert plan.shared_folder(plan.tasks["second"]) == told
    assert plan.shared_folder(plan.tasks["local"]) is None
    assert plan.shared_folder(plan.tasks["after"]) is None


def test_a_restart_runs_it_again_as_a_whole() -> None:
    """The WorkingDirectory is RESTARTED, its task runs are taken away, and all its tasks run again."""
    source = flow(FIRST).replace("id: second, type: io.kestra.plugin.core.debug.Return, format:", "id: second, X")
    assert "id: second, X" in source
    failing = "type: io.kestra.plugin.core.execution.Fail, condition:"
    driver, execution_id = run_flow(source.replace("X", failing))
    assert [state for _, _, state in driver.states(execution_id)] == ["FAILED", "SUCCESS", "FAILED"]
    before = {run.task_id: run.id for run in driver.task_runs(execution_id)}

    driver.add(flow(FIRST))
    driver.take(m.RestartExecution(execution_id=execution_id, command_id="again", at=driver.now))

    (alone,) = driver.task_runs(execution_id)
    histories = [state.value for state, _ in alone.state.histories]
    assert (alone.id, histories) == (before["wd"], ["CREATED", "RUNNING", "FAILED", "RESTARTED"])

    driver.run()

    assert driver.execution(execution_id).state.current is StateType.SUCCESS
    after = {run.task_id: run.id for run in driver.task_runs(execution_id)}
    assert after["wd"] == before["wd"]
    assert after["first"] != before["first"]
    again = MemoryEntries()
    for decision in driver.decisions:
        overlay = Overlay(again)
        for item in decision.events:
            apply(overlay, item.event)
        again.store(overlay)
    assert again.data == driver.entries.data
