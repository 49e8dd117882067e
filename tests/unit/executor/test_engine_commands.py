"""What follows a command: nothing sticks, nothing begins twice, and nobody works for what is gone."""

from typing import Any

from executor.engine.effects import Withdraw
from shared import messages as m
from shared.model.state import StateType
from tests.engine_driver import Driver, core_worker

HEAD = "id: f\nnamespace: test.engine\n"
LOG = "io.kestra.plugin.core.log.Log"
FLOW = "io.kestra.plugin.core.flow"
AFTER = f"""
tasks:
  - {{id: a, type: {LOG}, message: m}}
afterExecution:
  - {{id: s, type: {FLOW}.Sequential, tasks: [{{id: x, type: {LOG}, message: m}}, {{id: y, type: {LOG}, message: m}}]}}
"""


def ran(driver: Driver, execution_id: str) -> list[tuple[str, str]]:
    """Task runs with their states, by task."""
    runs = [run for _, run in driver.entries.scan(f"x/{execution_id}/r/")]
    return sorted((run.task_id, run.state.current.value) for run in runs)


def command(driver: Driver, kind: Any, execution_id: str, **more: Any) -> Any:
    driver.count += 1
    return driver.take(kind(execution_id=execution_id, command_id=f"c{driver.count}", at=driver.now, **more))


def failing(*tasks: str) -> Any:
    """A worker on which these tasks fail."""

    def work(driver: Driver, task: Any, task_run: Any, shown: dict[str, Any]) -> Any:
        if task.id in tasks:
            return StateType.FAILED, None, "failed"
        return core_worker(driver, task, task_run, shown)

    return work


def killed_with_open_end() -> tuple[Driver, str]:
    """An execution that was killed, and whose afterExecution waits for a worker."""
    driver = Driver()
    execution_id = driver.start(HEAD + AFTER)
    driver.deliver()
    command(driver, m.KillExecution, execution_id)
    assert driver.states(execution_id) == [("a", None, "KILLED"), ("s", None, "RUNNING"), ("x", None, "CREATED")]
    return driver, execution_id


def test_a_deletion_takes_back_what_runs_after_the_end() -> None:
    """Task runs of afterExecution that wait or run are withdrawn with their execution."""
    driver, execution_id = killed_with_open_end()
    waiting = next(run for run in driver.task_runs(execution_id) if run.task_id == "x")

    decision = command(driver, m.DeleteExecution, execution_id)

    assert Withdraw(waiting.id) in decision.effects


def test_a_state_by_hand_after_the_end_lets_the_rest_go_on() -> None:
    """What comes behind an open task run of a later phase begins when that is ended by hand."""
    driver, execution_id = killed_with_open_end()
    waiting = next(run for run in driver.task_runs(execution_id) if run.task_id == "x")

    command(driver, m.ChangeTaskRunState, execution_id, task_run_id=waiting.id, state="SUCCESS")
    driver.run()

    assert driver.states(execution_id)[1:] == [("s", None, "SUCCESS"), ("x", None, "SUCCESS"), ("y", None, "SUCCESS")]


def test_a_failure_after_the_end_repeats_nothing() -> None:
    """A flow's retry by a new execution is for its tasks: a failing afterExecution leaves the ended one as it is."""
    retry = "retry: {type: constant, interval: PT1S, maxAttempt: 3, behavior: CREATE_NEW_EXECUTION}\n"
    driver = Driver(worker=failing("x"))
    execution_id = driver.start(HEAD + retry + AFTER)

    driver.run()

    assert driver.execution(execution_id).state.current is StateType.SUCCESS
    assert ("s", None, "FAILED") in driver.states(execution_id)


def test_a_restart_counts_once_what_it_takes_away() -> None:
    """Errors of a flowable that is killed while nothing of its tasks is: superseded, and counted, once."""
    source = f"""
tasks:
  - id: s
    type: {FLOW}.Sequential
    tasks: [{{id: a, type: {LOG}, message: m}}]
    finally: [{{id: z, type: {LOG}, message: m}}]
"""
    driver = Driver()
    execution_id = driver.start(HEAD + source)
    driver.deliver()
    driver.work()
    command(driver, m.KillExecution, execution_id)

    command(driver, m.RestartExecution, execution_id)

    execution = driver.execution(execution_id)
    superseded = [run for _, run in driver.entries.scan(f"x/{execution_id}/r/") if run.superseded]
    assert execution.superseded == len(superseded) == 2


def test_a_restart_of_a_dag_lets_dependents_wait_anew() -> None:
    """A task of a Dag that runs again is waited for by what depends on it, also where it had ended before."""
    source = f"""
tasks:
  - id: d
    type: {FLOW}.Dag
    tasks:
      - task: {{id: a, type: {FLOW}.Sequential, allowFailure: true, tasks: [{{id: bad, type: {LOG}, message: m}}]}}
      - task: {{id: b, type: {LOG}, message: m}}
        dependsOn: [a]
"""
    driver = Driver(worker=failing("bad"))
    execution_id = driver.start(HEAD + source)
    driver.deliver()
    driver.work()
    assert ("b", None, "CREATED") in driver.states(execution_id)
    command(driver, m.KillExecution, execution_id)

    command(driver, m.RestartExecution, execution_id)

    scope = next(run for run in driver.task_runs(execution_id) if run.task_id == "d").scope
    assert scope is not None
    assert scope.done == ()


def test_a_restart_of_an_earlier_task_of_a_value_goes_on_behind_the_last_one() -> None:
    """What an AllowFailure let pass runs again alone; then the value goes on where the kill had cut it off."""
    tasks = (
        f"{{id: allow, type: {FLOW}.AllowFailure, tasks: [{{id: bad, type: {LOG}, message: m}}]}}",
        f"{{id: good, type: {LOG}, message: m}}",
        f"{{id: end, type: {LOG}, message: m}}",
    )
    driver = Driver(worker=failing("bad"))
    loop = f"tasks: [{{id: each, type: {FLOW}.ForEach, values: [1], tasks: [{', '.join(tasks)}]}}]"
    execution_id = driver.start(f"{HEAD}{loop}\n")
    while not any(run.task_id == "good" for run in driver.task_runs(execution_id)):
        driver.deliver() if driver.commands else driver.work()
    good = driver.queue.pop()
    attempt = {"attempt": 0, "dispatch": 0, "session": "w1", "at": driver.now}
    driver.take(m.AttemptStarted(execution_id, good.task_run_id, **attempt))
    command(driver, m.KillExecution, execution_id)
    driver.take(m.AttemptEnded(execution_id, good.task_run_id, **attempt, state="SUCCESS", started_at=driver.now))
    driver.run()
    assert ran(driver, execution_id) == [
        ("allow", "WARNING"),
        ("bad", "FAILED"),
        ("each", "KILLED"),
        ("good", "SUCCESS"),
    ]

    driver.worker = core_worker
    command(driver, m.RestartExecution, execution_id)
    driver.deliver()
    open_ = [run.task_id for run in driver.task_runs(execution_id) if not run.state.terminated]
    driver.run()

    assert sorted(open_) == ["allow", "bad", "each"]
    assert [state for _, state in ran(driver, execution_id)] == ["SUCCESS"] * 5


def test_a_rejected_deletion_stays_rejected_when_it_comes_again() -> None:
    """The same command is answered as before, although it would be possible by now."""
    driver = Driver()
    execution_id = driver.start(HEAD + f"tasks: [{{id: a, type: {LOG}, message: m}}]\n")
    driver.deliver()
    deletion = m.DeleteExecution(execution_id=execution_id, command_id="d", at=driver.now)
    refused = driver.take(deletion).rejection
    driver.run()

    assert refused == driver.take(deletion).rejection == "the execution is RUNNING: it must be terminated"
    assert driver.execution(execution_id).state.current is StateType.SUCCESS


RETRIED = (
    "id: child\nnamespace: test.engine\n"
    "retry: {type: constant, interval: PT1S, maxAttempt: 2, behavior: CREATE_NEW_EXECUTION}\n"
    f"tasks: [{{id: bad, type: {LOG}, message: m}}]\n"
)
CALLER = f"tasks: [{{id: s, type: {FLOW}.Subflow, namespace: test.engine, flowId: child, wait: true}}]\n"


def called() -> tuple[Driver, str, str]:
    """An execution that waits for its subflow, which is RETRIED: its retry is to come."""
    driver = Driver(worker=failing("bad"))
    driver.add(RETRIED)
    execution_id = driver.start(HEAD + CALLER)
    while driver.commands or driver.queue:
        driver.deliver() if driver.commands else driver.work()
    child = driver.task_runs(execution_id)[0]
    child_id: str = driver.outputs(child)["executionId"]
    assert driver.execution(child_id).state.current is StateType.RETRIED
    return driver, execution_id, child_id


def test_who_waits_for_a_retry_is_told_when_it_is_deleted() -> None:
    """A subflow that is deleted before its retry fails for the task run that waits for it."""
    driver, execution_id, child_id = called()

    assert command(driver, m.DeleteExecution, child_id).rejection is None
    driver.run()

    assert driver.execution(execution_id).state.current is StateType.FAILED
    assert driver.states(execution_id) == [("s", None, "FAILED")]


def test_a_retry_is_off_when_an_operator_restarts_what_was_to_be_retried() -> None:
    """The restarted execution ends for who waits for it, and no other one begins."""
    driver, execution_id, child_id = called()
    driver.worker = core_worker
    open_run = driver.task_runs(child_id)[0]

    by_hand = command(driver, m.ChangeExecutionState, child_id, state="SUCCESS")
    changed = command(driver, m.ChangeTaskRunState, child_id, task_run_id=open_run.id, state="SUCCESS")
    driver.run()

    assert by_hand.rejection == "the execution is RETRIED: another one goes on in its place"
    assert changed.rejection is None
    assert driver.execution(execution_id).state.current is StateType.SUCCESS
    assert len([key for key in driver.entries.data if key.endswith("/h")]) == 2


# ------------------------------------------------------------------ other revisions


def replayed(source: str, again: str) -> tuple[Driver, str, Any]:
    """An execution of `source` whose task `bad` failed, replayed from there with the revision `again`."""
    driver = Driver(worker=failing("bad"))
    execution_id = driver.start(HEAD + source)
    driver.run()
    driver.add(HEAD + again, revision=2)
    driver.worker = core_worker
    target = next(run for run in driver.task_runs(execution_id) if run.task_id == "bad")
    decision = command(driver, m.ReplayExecution, execution_id, new_execution_id="n", task_run_id=target.id, revision=2)
    driver.run()
    return driver, "n", decision


THREE = f"tasks: [{{id: a, type: {LOG}, message: m}}, {{id: bad, type: {LOG}, message: m}}]\n"


def test_a_replay_with_a_longer_revision_runs_each_task_once() -> None:
    """A task that the other revision has before the target shifts its place: what follows it is found by that."""
    longer = (
        f"tasks: [{{id: a, type: {LOG}, message: m}}, {{id: new, type: {LOG}, message: m}},"
        f" {{id: bad, type: {LOG}, message: m}}, {{id: last, type: {LOG}, message: m}}]\n"
    )

    driver, new_id, _ = replayed(THREE, longer)

    assert ran(driver, new_id) == [(each, "SUCCESS") for each in ("a", "bad", "last")]
    assert driver.execution(new_id).state.current is StateType.SUCCESS


def test_a_replay_leaves_behind_what_the_revision_no_longer_has() -> None:
    """An ended task run whose task is gone is not carried over."""
    driver, new_id, _ = replayed(THREE, f"tasks: [{{id: bad, type: {LOG}, message: m}}]\n")

    assert ran(driver, new_id) == [("bad", "SUCCESS")]


def test_a_replay_from_a_task_that_the_revision_lacks_is_rejected() -> None:
    """The reason names the task and both revisions."""
    driver, _, decision = replayed(THREE, f"tasks: [{{id: a, type: {LOG}, message: m}}]\n")

    assert decision.rejection == (
        "revision 2 has no task `bad` where revision 1 has it: the execution cannot go on from there"
    )
    assert driver.commands == []
