"""Retries: which attempts are repeated, when, and what the states say meanwhile."""

import pytest

from executor.engine.retries import next_date, wait
from shared.model.flow import Retry, RetryType
from shared.model.state import StateType
from tests.engine_driver import Driver, run_flow

HEAD = "id: f\nnamespace: test.engine\n"


def failing(times: int):
    """A worker whose tasks fail so many times each, then succeed."""

    def work(driver, task, task_run, shown):
        made = sum(attempt.state.current is StateType.FAILED for attempt in task_run.attempts)
        return (StateType.FAILED, None, "failed") if made < times else (StateType.SUCCESS, None, None)

    return work


def run(source: str, fails: int) -> tuple[Driver, str]:
    driver = Driver(worker=failing(fails))
    execution_id = driver.start(HEAD + source)
    driver.run()
    return driver, execution_id


RETRIED = """
tasks:
  - id: a
    type: io.kestra.plugin.core.log.Log
    message: m
    retry: {type: constant, interval: PT1M, maxAttempt: 3}
"""


def test_a_failed_task_is_repeated_after_the_interval() -> None:
    """A failed attempt is followed by another one after the interval; task run and execution are RETRYING meanwhile."""
    driver, execution_id = run(RETRIED, 2)

    (task_run,) = driver.task_runs(execution_id)
    assert [attempt.state.current.value for attempt in task_run.attempts] == ["FAILED", "FAILED", "SUCCESS"]
    first, second = task_run.attempts[:2]
    assert second.state.start - (first.state.end or 0) >= 60_000
    states = [state.value for state, _ in driver.execution(execution_id).state.histories]
    assert states == ["CREATED", "RUNNING", "RETRYING", "RUNNING", "RETRYING", "RUNNING", "SUCCESS"]


def test_max_attempt_is_the_total() -> None:
    """`maxAttempt: 3` means three attempts in all."""
    driver, execution_id = run(RETRIED, 99)

    (task_run,) = driver.task_runs(execution_id)
    assert len(task_run.attempts) == 3
    assert driver.execution(execution_id).state.current.value == "FAILED"


def test_the_retry_of_a_flowable_is_its_childrens() -> None:
    """A child without a retry of its own has that of the nearest flowable, then the flow's."""
    source = """
%s
tasks:
  - id: s
    type: io.kestra.plugin.core.flow.Sequential
    %s
    tasks:
      - {id: a, type: io.kestra.plugin.core.log.Log, message: m}
"""
    policy = "retry: {type: constant, interval: PT1S, maxAttempt: %d}"
    for flow, flowable, attempts in (("", policy % 2, 2), (policy % 3, "", 3), (policy % 3, policy % 2, 2)):
        driver, execution_id = run(source % (flow, flowable), 99)

        assert len(driver.task_runs(execution_id)[1].attempts) == attempts


def test_warning_on_retry() -> None:
    """With `warningOnRetry` a success after a failed attempt is a WARNING."""
    driver, execution_id = run(RETRIED.replace("maxAttempt: 3", "maxAttempt: 3, warningOnRetry: true"), 1)

    assert driver.states(execution_id) == [("a", None, "WARNING")]


def test_create_new_execution() -> None:
    """CREATE_NEW_EXECUTION ends task run, parents and execution RETRIED; a new execution does it all again."""
    driver, execution_id = run(
        """
tasks:
  - id: s
    type: io.kestra.plugin.core.flow.Sequential
    tasks:
      - id: a
        type: io.kestra.plugin.core.log.Log
        message: m
        retry: {type: constant, interval: PT1S, maxAttempt: 3, behavior: CREATE_NEW_EXECUTION}
""",
        99,
    )

    ids = [key.split("/")[1] for key in driver.entries.data if key.endswith("/h")]
    executions = sorted((driver.execution(each) for each in ids), key=lambda each: each.attempt_number)
    assert [each.state.current.value for each in executions] == ["RETRIED", "RETRIED", "FAILED"]
    assert [each.parent_id for each in executions] == [None, executions[0].id, executions[1].id]
    assert {each.original_id for each in executions} == {execution_id}
    assert driver.states(execution_id) == [("s", None, "RETRIED"), ("a", None, "RETRIED")]


def test_create_new_execution_stops_what_runs_beside() -> None:
    """Nothing of a RETRIED execution is left open: what ran beside the failed task is closed."""
    driver = Driver(worker=lambda driver, task, task_run, shown: (StateType.FAILED, None, "failed"))
    execution_id = driver.start(
        HEAD
        + """
tasks:
  - id: p
    type: io.kestra.plugin.core.flow.Parallel
    tasks:
      - id: a
        type: io.kestra.plugin.core.log.Log
        message: m
        retry: {type: constant, interval: PT1S, maxAttempt: 2, behavior: CREATE_NEW_EXECUTION}
      - {id: b, type: io.kestra.plugin.core.log.Log, message: m}
"""
    )
    driver.deliver()
    driver.work(0)

    assert driver.states(execution_id) == [("p", None, "RETRIED"), ("a", None, "RETRIED"), ("b", None, "KILLED")]
    assert driver.queue == []


def test_errors_wait_for_the_last_attempt() -> None:
    """Error tasks begin after the last attempt failed, not before."""
    driver, execution_id = run(RETRIED + "errors:\n  - {id: e, type: io.kestra.plugin.core.log.Log, message: m}\n", 3)

    assert [task_id for task_id, _, _ in driver.states(execution_id)] == ["a", "e"]
    a, e = driver.task_runs(execution_id)
    assert e.state.start >= (a.state.end or 0)


def test_a_failed_listener_is_repeated() -> None:
    """Tasks that run after the end are repeated, too, though the execution has ended."""
    driver, execution_id = run_flow(
        HEAD
        + """
tasks:
  - {id: a, type: io.kestra.plugin.core.log.Log, message: m}
afterExecution:
  - id: z
    type: io.kestra.plugin.core.execution.Fail
    retry: {type: constant, interval: PT1S, maxAttempt: 2}
"""
    )

    assert len(driver.task_runs(execution_id)[1].attempts) == 2
    assert driver.execution(execution_id).state.current.value == "SUCCESS"


@pytest.mark.parametrize(
    ("retry", "waits"),
    [
        (Retry(RetryType.CONSTANT, 1000), [1000, 1000, 1000]),
        (Retry(RetryType.EXPONENTIAL, 1000, 5000), [1000, 2000, 4000, 5000]),
        (Retry(RetryType.EXPONENTIAL, 1000, delay_factor=3.0), [1000, 3000, 9000]),
    ],
)
def test_waits(retry: Retry, waits: list[int]) -> None:
    """Waits before the next attempt, by type."""
    assert [wait(retry, made, "x") for made in range(1, len(waits) + 1)] == waits


def test_random_waits_lie_between_their_bounds_and_repeat() -> None:
    """A random wait is between its bounds, differs by attempt, and is the same when it is decided again."""
    retry = Retry(RetryType.RANDOM, min_interval=1000, max_interval=9000)

    waits = [wait(retry, made, "x") for made in range(50)]

    assert all(1000 <= each <= 9000 for each in waits)
    assert len(set(waits)) > 40
    assert waits == [wait(retry, made, "x") for made in range(50)]


def test_max_duration_counts_from_the_first_attempt() -> None:
    """No attempt begins later than `maxDuration` after the first one's start."""
    retry = Retry(RetryType.CONSTANT, 1000, max_duration=5000)

    assert next_date(retry, 1, 0, 3999, "x") == 4999
    assert next_date(retry, 1, 0, 4001, "x") is None
