"""What operators do to executions: kill, pause, resume, restart, replay, states and labels by hand."""

from typing import Any

from executor.engine.entries import deleted_key
from shared import messages as m
from shared.model.state import StateType
from tests.engine_driver import Driver, core_worker, run_flow

HEAD = "id: f\nnamespace: test.engine\n"
TWO = """
tasks:
  - {id: a, type: io.kestra.plugin.core.log.Log, message: m}
  - {id: b, type: io.kestra.plugin.core.log.Log, message: m}
"""


def command(driver: Driver, kind: Any, execution_id: str, **more: Any) -> str | None:
    """Hand a command over; the reason where it is rejected."""
    driver.count += 1
    return driver.take(kind(execution_id=execution_id, command_id=f"c{driver.count}", at=driver.now, **more)).rejection


def state(driver: Driver, execution_id: str) -> str:
    return driver.execution(execution_id).state.current.value


def begun(source: str = TWO) -> tuple[Driver, str]:
    """An execution that has just been created and whose first task waits for a worker."""
    driver = Driver()
    execution_id = driver.start(HEAD + source)
    driver.deliver()
    return driver, execution_id


def test_a_kill_closes_what_waits() -> None:
    """A kill ends an execution whose task runs no worker holds at once; it cannot be killed twice."""
    driver, execution_id = begun()

    assert command(driver, m.KillExecution, execution_id) is None
    assert state(driver, execution_id) == "KILLED"
    assert driver.states(execution_id) == [("a", None, "KILLED")]
    assert driver.queue == []
    assert command(driver, m.KillExecution, execution_id) == "the execution is KILLED already"


def test_a_kill_waits_for_running_work_until_its_deadline() -> None:
    """Running work keeps a killed execution in KILLING; the deadline closes it, and its late result is rejected."""
    driver, execution_id = begun()
    (waiting,) = driver.queue
    work = {
        "execution_id": execution_id,
        "task_run_id": waiting.task_run_id,
        "attempt": 0,
        "dispatch": 0,
        "session": "w",
        "at": driver.now,
    }
    driver.queue.clear()
    driver.take(m.AttemptStarted(**work))

    command(driver, m.KillExecution, execution_id)
    assert state(driver, execution_id) == "KILLING"
    driver.fire()

    assert state(driver, execution_id) == "KILLED"
    (task_run,) = driver.task_runs(execution_id)
    assert [attempt.state.current.value for attempt in task_run.attempts] == ["KILLED"]
    late = driver.take(m.AttemptEnded(**work, state="SUCCESS", started_at=driver.now))
    assert late.rejection == "the task run is KILLED already"


def test_a_kill_of_a_paused_execution() -> None:
    """A paused execution can be killed; what runs after its end still runs."""
    driver, execution_id = begun(
        "tasks:\n  - {id: p, type: io.kestra.plugin.core.flow.Pause}\n"
        "afterExecution:\n  - {id: z, type: io.kestra.plugin.core.log.Log, message: m}\n"
    )
    assert state(driver, execution_id) == "PAUSED"

    command(driver, m.KillExecution, execution_id)
    driver.run()

    assert state(driver, execution_id) == "KILLED"
    assert driver.states(execution_id) == [("p", None, "KILLED"), ("z", None, "SUCCESS")]


def test_a_kill_reaches_subflows_unless_told_otherwise() -> None:
    """A kill goes on to a waiting Subflow's execution."""
    driver = Driver()
    driver.add("id: child\nnamespace: test.engine\ntasks:\n  - {id: p, type: io.kestra.plugin.core.flow.Pause}\n")
    execution_id = driver.start(
        HEAD + "tasks:\n  - {id: s, type: io.kestra.plugin.core.flow.Subflow, namespace: test.engine, flowId: child}\n"
    )
    driver.run()
    child = driver.outputs(driver.task_runs(execution_id)[0])["executionId"]
    assert state(driver, child) == "PAUSED"

    command(driver, m.KillExecution, execution_id)
    driver.run()

    assert (state(driver, child), state(driver, execution_id)) == ("KILLED", "KILLED")
    assert driver.states(execution_id) == [("s", None, "KILLED")]


def test_a_pause_starts_nothing_new() -> None:
    """What runs when an execution is paused ends; the next task starts with the resume."""
    driver, execution_id = begun()
    assert command(driver, m.PauseExecution, execution_id) is None
    work = driver.queue.pop()
    common = {"task_run_id": work.task_run_id, "attempt": 0, "dispatch": 0, "session": "w", "at": driver.now}
    driver.take(m.AttemptStarted(execution_id=execution_id, **common))
    driver.take(m.AttemptEnded(execution_id=execution_id, **common, state="SUCCESS", started_at=driver.now))
    assert driver.queue == []
    assert state(driver, execution_id) == "PAUSED"

    assert command(driver, m.ResumeExecution, execution_id) is None
    driver.run()

    assert state(driver, execution_id) == "SUCCESS"
    assert driver.states(execution_id) == [("a", None, "SUCCESS"), ("b", None, "SUCCESS")]
    assert command(driver, m.ResumeExecution, execution_id) == "the execution is SUCCESS, not PAUSED"


def test_pause_task_waits_for_its_resume_with_inputs() -> None:
    """A Pause waits; the resume's inputs are its outputs."""
    driver, execution_id = run_flow(HEAD + "tasks:\n  - {id: p, type: io.kestra.plugin.core.flow.Pause}\n")
    assert state(driver, execution_id) == "PAUSED"

    command(driver, m.ResumeExecution, execution_id, inputs={"x": 1})
    driver.run()

    assert state(driver, execution_id) == "SUCCESS"
    assert driver.outputs(driver.task_runs(execution_id)[0]) == {"onResume": {"x": 1}}
    histories = [each.value for each, _ in driver.execution(execution_id).state.histories]
    assert histories == ["CREATED", "RUNNING", "PAUSED", "RESTARTED", "RUNNING", "SUCCESS"]


def test_a_paused_task_run_set_to_running_is_resumed() -> None:
    """RUNNING set by hand goes on with a paused task run, as a resume does."""
    driver, execution_id = run_flow(HEAD + "tasks:\n  - {id: p, type: io.kestra.plugin.core.flow.Pause}\n")
    (paused,) = driver.task_runs(execution_id)

    assert command(driver, m.ChangeTaskRunState, execution_id, task_run_id=paused.id, state="RUNNING") is None
    driver.run()

    assert driver.states(execution_id) == [("p", None, "SUCCESS")]
    histories = [each.value for each, _ in driver.execution(execution_id).state.histories]
    assert histories == ["CREATED", "RUNNING", "PAUSED", "RESTARTED", "RUNNING", "SUCCESS"]


def test_pause_task_with_delay_and_timeout() -> None:
    """A Pause goes on by itself after its delay, and fails after its timeout."""
    for properties, expected in (("delay: PT1M", "SUCCESS"), ("timeout: PT1M", "FAILED")):
        driver, execution_id = run_flow(
            HEAD + f"tasks:\n  - {{id: p, type: io.kestra.plugin.core.flow.Pause, {properties}}}\n"
        )

        assert state(driver, execution_id) == expected


def test_a_pause_whose_duration_is_over_does_what_its_behavior_says() -> None:
    """RESUME and WARN go on, FAIL fails with `errors`, CANCEL ends the execution and all that is open."""
    for behavior, expected in (
        ("RESUME", [("s", "SUCCESS"), ("p", "SUCCESS"), ("n", "SUCCESS")]),
        ("WARN", [("s", "WARNING"), ("p", "WARNING"), ("n", "SUCCESS")]),
        ("FAIL", [("s", "FAILED"), ("p", "FAILED"), ("e", "SUCCESS")]),
        ("CANCEL", [("s", "CANCELLED"), ("p", "CANCELLED")]),
    ):
        driver, execution_id = run_flow(
            HEAD
            + f"""
tasks:
  - id: s
    type: io.kestra.plugin.core.flow.Sequential
    tasks:
      - {{id: p, type: io.kestra.plugin.core.flow.Pause, pauseDuration: PT1M, behavior: {behavior}}}
      - {{id: n, type: io.kestra.plugin.core.log.Log, message: m}}
errors:
  - {{id: e, type: io.kestra.plugin.core.log.Log, message: m}}
"""
        )

        assert [(task, ended) for task, _, ended in driver.states(execution_id)] == expected
        assert state(driver, execution_id) == expected[0][1]


def test_the_task_of_a_pause_runs_before_it() -> None:
    """`onPause` ends before the execution pauses; the Pause's own tasks come after the resume."""
    driver, execution_id = run_flow(
        HEAD
        + """
tasks:
  - id: p
    type: io.kestra.plugin.core.flow.Pause
    onPause: {id: tell, type: io.kestra.plugin.core.log.Log, message: waiting}
    tasks:
      - {id: own, type: io.kestra.plugin.core.log.Log, message: m}
"""
    )
    assert driver.states(execution_id) == [("p", None, "PAUSED"), ("tell", None, "SUCCESS")]
    assert state(driver, execution_id) == "PAUSED"

    command(driver, m.ResumeExecution, execution_id)
    driver.run()

    assert driver.states(execution_id) == [("p", None, "SUCCESS"), ("tell", None, "SUCCESS"), ("own", None, "SUCCESS")]


def test_a_failed_task_of_a_pause_fails_it() -> None:
    """Where `onPause` fails, nothing pauses."""
    driver, execution_id = run_flow(
        HEAD
        + """
tasks:
  - id: p
    type: io.kestra.plugin.core.flow.Pause
    onPause: {id: tell, type: io.kestra.plugin.core.execution.Fail}
"""
    )

    assert driver.states(execution_id) == [("p", None, "FAILED"), ("tell", None, "FAILED")]
    assert state(driver, execution_id) == "FAILED"


def test_pauses_beside_each_other_are_resumed_one_by_one() -> None:
    """With several paused tasks the execution stays PAUSED until none is."""
    driver, execution_id = run_flow(
        HEAD
        + """
tasks:
  - id: par
    type: io.kestra.plugin.core.flow.Parallel
    tasks:
      - {id: p, type: io.kestra.plugin.core.flow.Pause}
      - {id: q, type: io.kestra.plugin.core.flow.Pause}
"""
    )

    command(driver, m.ResumeExecution, execution_id)
    assert state(driver, execution_id) == "PAUSED"
    command(driver, m.ResumeExecution, execution_id)
    driver.run()

    assert state(driver, execution_id) == "SUCCESS"


class Mending:
    """A worker whose tasks fail until they are mended."""

    def __init__(self) -> None:
        self.broken = True

    def __call__(self, driver, task, task_run, shown):
        if self.broken and task.id.startswith("bad"):
            return StateType.FAILED, None, "broken"
        return core_worker(driver, task, task_run, shown)


FAILING = """
tasks:
  - id: s
    type: io.kestra.plugin.core.flow.Sequential
    tasks:
      - {id: a, type: io.kestra.plugin.core.log.Log, message: m}
      - {id: bad, type: io.kestra.plugin.core.log.Log, message: m}
      - {id: c, type: io.kestra.plugin.core.log.Log, message: m}
errors:
  - {id: e, type: io.kestra.plugin.core.log.Log, message: m}
"""


def failed(source: str = FAILING) -> tuple[Driver, str, Mending]:
    worker = Mending()
    driver = Driver(worker=worker)
    execution_id = driver.start(HEAD + source)
    driver.run()
    assert state(driver, execution_id) == "FAILED"
    return driver, execution_id, worker


def test_a_restart_runs_again_what_failed() -> None:
    """A restart keeps what succeeded, repeats what failed in the same task run, and takes error tasks away."""
    driver, execution_id, worker = failed()
    before = {run.task_id: run.id for run in driver.task_runs(execution_id)}
    worker.broken = False

    assert command(driver, m.RestartExecution, execution_id) is None
    assert state(driver, execution_id) == "RESTARTED"
    driver.run()

    assert state(driver, execution_id) == "SUCCESS"
    assert driver.states(execution_id) == [(each, None, "SUCCESS") for each in ("s", "a", "bad", "c")]
    runs = {run.task_id: run for run in driver.task_runs(execution_id)}
    assert (runs["a"].id, runs["bad"].id) == (before["a"], before["bad"])
    assert (len(runs["a"].attempts), len(runs["bad"].attempts)) == (1, 2)
    assert driver.execution(execution_id).superseded == 1


def test_a_restart_of_a_success_is_rejected() -> None:
    """Where nothing failed there is nothing to restart; what runs cannot be restarted."""
    driver, execution_id = run_flow(HEAD + TWO)

    assert command(driver, m.RestartExecution, execution_id) == "No task found to restart execution from!"
    running, other = begun()
    assert "must be terminated or paused" in (command(running, m.RestartExecution, other) or "")


def test_a_restart_keeps_the_limit_of_a_loop() -> None:
    """Values that were cut off by a failure go on after a restart, never more of them than the limit."""
    worker = Mending()
    driver = Driver(worker=worker)
    execution_id = driver.start(
        HEAD
        + """
tasks:
  - id: e
    type: io.kestra.plugin.core.flow.ForEach
    concurrencyLimit: 3
    values: [1, 2, 3, 4, 5, 6]
    tasks:
      - {id: a, type: io.kestra.plugin.core.log.Log, message: m}
      - {id: b, type: io.kestra.plugin.core.log.Log, message: m}
"""
    )
    driver.worker = lambda driver, task, task_run, shown: (
        (StateType.FAILED, None, "x")
        if worker.broken and (task.id, task_run.value) == ("a", "1")
        else (StateType.SUCCESS, None, None)
    )
    driver.run()
    worker.broken = False
    command(driver, m.RestartExecution, execution_id)
    most = 0
    while driver.commands or driver.queue or driver.timers:
        driver.now += 1
        driver.deliver() if driver.commands else driver.work() if driver.queue else driver.fire()
        most = max(most, sum(not run.state.terminated for run in driver.task_runs(execution_id) if run.value))

    assert most == 3
    assert state(driver, execution_id) == "SUCCESS"
    assert len(driver.task_runs(execution_id)) == 13


def replayed(driver: Driver, execution_id: str, **more: Any) -> str:
    new_id = f"replay{driver.count}".ljust(22, "0")
    assert command(driver, m.ReplayExecution, execution_id, new_execution_id=new_id, **more) is None
    driver.run()
    return new_id


def test_a_replay_from_the_beginning() -> None:
    """A replay without a task run does everything again in a new execution that names the old one."""
    driver, execution_id = run_flow(HEAD + TWO)

    new_id = replayed(driver, execution_id)

    assert [run.task_id for run in runs_of(driver, new_id)] == ["a", "b"]
    assert driver.execution(new_id).parent_id == execution_id
    assert driver.execution(new_id).attempt_number == 2
    assert state(driver, new_id) == "SUCCESS"


def runs_of(driver: Driver, execution_id: str) -> list[Any]:
    found = [run for _, run in driver.entries.scan(f"x/{execution_id}/r/") if not run.superseded]
    return sorted(found, key=lambda run: (run.state.start, run.position))


def test_a_replay_from_a_task_run_keeps_what_came_before() -> None:
    """A replay from a task run carries what came before with new ids, and runs it and its successors again."""
    driver, execution_id, worker = failed()
    worker.broken = False
    target = next(run for run in driver.task_runs(execution_id) if run.task_id == "bad")

    new_id = replayed(driver, execution_id, task_run_id=target.id)

    runs = {run.task_id: run for run in runs_of(driver, new_id)}
    assert {task_id: run.state.current.value for task_id, run in runs.items()} == dict.fromkeys(
        ("s", "a", "bad", "c"), "SUCCESS"
    )
    assert not {run.id for run in runs.values()} & {run.id for run in driver.task_runs(execution_id)}
    assert len(runs["a"].attempts) == 1
    assert state(driver, new_id) == "SUCCESS"
    assert state(driver, execution_id) == "FAILED"


def test_a_replay_from_an_error_task_is_rejected() -> None:
    """Only a task run of `tasks` can be replayed."""
    driver, execution_id, _ = failed()
    target = next(run for run in driver.task_runs(execution_id) if run.task_id == "e")

    reason = command(driver, m.ReplayExecution, execution_id, new_execution_id="n", task_run_id=target.id)

    assert "only one of `tasks` can be replayed" in (reason or "")


def test_a_state_set_by_hand_lets_the_flow_go_on() -> None:
    """A failed task run that is set to SUCCESS lets its flowable and the execution go on."""
    driver, execution_id, _ = failed()
    target = next(run for run in driver.task_runs(execution_id) if run.task_id == "bad")

    assert command(driver, m.ChangeTaskRunState, execution_id, task_run_id=target.id, state="SUCCESS") is None
    driver.run()

    assert state(driver, execution_id) == "SUCCESS"
    assert driver.states(execution_id) == [(each, None, "SUCCESS") for each in ("s", "a", "bad", "c")]


def test_states_that_nobody_can_set() -> None:
    """A state that does not exist or is not terminal is rejected with a reason, and nothing changes."""
    driver, execution_id, _ = failed()
    target = driver.task_runs(execution_id)[0]

    for name in ("RUNNING", "NONSENSE", "RETRIED"):
        reason = command(driver, m.ChangeTaskRunState, execution_id, task_run_id=target.id, state=name)
        assert reason == f"{name} is not a terminal state"
        assert command(driver, m.ChangeExecutionState, execution_id, state=name) == f"{name} is not a terminal state"
    assert command(driver, m.ChangeExecutionState, execution_id, state="WARNING") is None
    assert state(driver, execution_id) == "WARNING"


def test_labels_are_added_or_replaced() -> None:
    """Labels are added by key or replaced; the system's stay."""
    driver, execution_id = run_flow(HEAD + "labels: {x: '1', y: '2'}\n" + TWO)
    correlation = ("system.correlationId", execution_id)

    command(driver, m.SetLabels, execution_id, labels=[["y", "3"], ["z", "4"]])
    assert set(driver.execution(execution_id).labels) == {("x", "1"), ("y", "3"), ("z", "4"), correlation}
    command(driver, m.SetLabels, execution_id, labels=[["only", "1"]], replace=True)

    assert set(driver.execution(execution_id).labels) == {("only", "1"), correlation}


def test_an_ended_execution_can_be_deleted() -> None:
    """Deleting takes every entry away and leaves a mark that it was there; what runs cannot be deleted."""
    driver, execution_id = run_flow(HEAD + TWO)
    running, other = begun()

    assert "must be terminated" in (command(running, m.DeleteExecution, other) or "")
    command(driver, m.DeleteExecution, execution_id)

    assert [key for key in driver.entries.data if execution_id in key] == [deleted_key(execution_id)]
    assert command(driver, m.KillExecution, execution_id) == "the execution is not known"


LIMITED = "concurrency: {limit: 1, behavior: %s}\n" + TWO


def two_of(behavior: str) -> tuple[Driver, str, str]:
    driver = Driver()
    first = driver.start(HEAD + LIMITED % behavior)
    second = driver.start(HEAD + LIMITED % behavior)
    while driver.commands:
        driver.deliver()
    return driver, first, second


def test_a_queued_execution_runs_when_a_slot_is_free() -> None:
    """Over a QUEUE limit an execution waits QUEUED and runs when the first one has ended."""
    driver, first, second = two_of("QUEUE")
    assert (state(driver, first), state(driver, second)) == ("RUNNING", "QUEUED")

    driver.run()

    assert (state(driver, first), state(driver, second)) == ("SUCCESS", "SUCCESS")
    assert driver.task_runs(second)[0].state.start > (driver.execution(first).state.end or 0)
    assert driver.gate.data == {}


def test_over_a_limit_executions_are_cancelled_or_fail() -> None:
    """Over a CANCEL or FAIL limit an execution ends at once, without task runs."""
    for behavior, expected in (("CANCEL", "CANCELLED"), ("FAIL", "FAILED")):
        driver, first, second = two_of(behavior)

        assert (state(driver, first), state(driver, second)) == ("RUNNING", expected)
        assert driver.task_runs(second) == []


def test_a_forced_run_leaves_the_queue() -> None:
    """A forced run starts a queued execution without a slot; its place in the queue is given back."""
    driver, first, second = two_of("QUEUE")

    assert command(driver, m.ForceRunExecution, second) is None
    assert (state(driver, first), state(driver, second)) == ("RUNNING", "RUNNING")
    driver.run()

    assert driver.gate.data == {}
    assert "must be CREATED, QUEUED or PAUSED" in (command(driver, m.ForceRunExecution, second) or "")


def test_a_killed_execution_leaves_the_queue() -> None:
    """Killing what is QUEUED, or what holds a slot, lets the next one run."""
    driver, first, second = two_of("QUEUE")
    third = driver.start(HEAD + LIMITED % "QUEUE")
    while driver.commands:
        driver.deliver()

    command(driver, m.KillExecution, second)
    command(driver, m.KillExecution, first)
    driver.run()

    assert [state(driver, each) for each in (first, second, third)] == ["KILLED", "KILLED", "SUCCESS"]
    assert driver.gate.data == {}
