"""What each flowable runs, in which order, and how it ends."""

from tests.engine_driver import Driver, run_flow

HEAD = "id: f\nnamespace: test.engine\n"


def ended(source: str, **inputs: object) -> tuple[str, list[tuple[str, str | None, str]]]:
    """The execution's state, and (task id, value, state) of its task runs in the order of their creation."""
    driver, execution_id = run_flow(HEAD + source, **inputs)
    return driver.execution(execution_id).state.current.value, driver.states(execution_id)


def test_tasks_of_a_flow_run_one_after_another() -> None:
    """The second task of a flow is created after the first one has ended."""
    driver, execution_id = run_flow(
        HEAD
        + """
tasks:
  - {id: a, type: io.kestra.plugin.core.log.Log, message: one}
  - {id: b, type: io.kestra.plugin.core.log.Log, message: two}
"""
    )

    first, second = driver.task_runs(execution_id)
    histories = [state.value for state, _ in driver.execution(execution_id).state.histories]
    assert histories == ["CREATED", "RUNNING", "SUCCESS"]
    assert [state.value for state, _ in first.state.histories] == ["CREATED", "RUNNING", "SUCCESS"]
    assert first.state.end is not None
    assert first.state.end <= second.state.start
    assert driver.logs == [("a", "one"), ("b", "two")]


def test_a_failure_ends_a_sequence() -> None:
    """After a failed task the rest of the flow is not created, and the execution is FAILED."""
    state, runs = ended(
        """
tasks:
  - id: s
    type: io.kestra.plugin.core.flow.Sequential
    tasks:
      - {id: a, type: io.kestra.plugin.core.execution.Fail}
      - {id: b, type: io.kestra.plugin.core.log.Log, message: never}
  - {id: c, type: io.kestra.plugin.core.log.Log, message: never}
"""
    )

    assert state == "FAILED"
    assert runs == [("s", None, "FAILED"), ("a", None, "FAILED")]


def test_parallel_creates_all_at_once() -> None:
    """A Parallel without `concurrent` has all its children created before any of them ends."""
    driver, execution_id = run_flow(
        HEAD
        + """
tasks:
  - id: p
    type: io.kestra.plugin.core.flow.Parallel
    tasks:
      - {id: a, type: io.kestra.plugin.core.log.Log, message: m}
      - {id: b, type: io.kestra.plugin.core.log.Log, message: m}
      - {id: c, type: io.kestra.plugin.core.log.Log, message: m}
"""
    )

    runs = driver.task_runs(execution_id)
    assert [run.task_id for run in runs] == ["p", "a", "b", "c"]
    assert max(run.state.start for run in runs[1:]) <= min(run.state.end or 0 for run in runs[1:])


def test_parallel_keeps_its_limit() -> None:
    """With `concurrent: 2` the third child is created only after one of the first two has ended."""
    driver, execution_id = run_flow(
        HEAD
        + """
tasks:
  - id: p
    type: io.kestra.plugin.core.flow.Parallel
    concurrent: 2
    tasks:
      - {id: a, type: io.kestra.plugin.core.log.Log, message: m}
      - {id: b, type: io.kestra.plugin.core.log.Log, message: m}
      - {id: c, type: io.kestra.plugin.core.log.Log, message: m}
"""
    )

    _, a, b, c = driver.task_runs(execution_id)
    assert a.state.end is not None
    assert b.state.start < a.state.end <= c.state.start


def test_parallel_lets_siblings_end_after_a_failure() -> None:
    """A failed child of a Parallel ends it FAILED, after its siblings have ended."""
    state, runs = ended(
        """
tasks:
  - id: p
    type: io.kestra.plugin.core.flow.Parallel
    tasks:
      - {id: a, type: io.kestra.plugin.core.execution.Fail}
      - {id: b, type: io.kestra.plugin.core.log.Log, message: m}
"""
    )

    assert state == "FAILED"
    assert runs == [("p", None, "FAILED"), ("a", None, "FAILED"), ("b", None, "SUCCESS")]


def test_dag_starts_what_its_dependencies_allow() -> None:
    """A Dag's task starts when all it depends on have ended, wherever it is written."""
    driver, execution_id = run_flow(
        HEAD
        + """
tasks:
  - id: d
    type: io.kestra.plugin.core.flow.Dag
    tasks:
      - task: {id: last, type: io.kestra.plugin.core.log.Log, message: m}
        dependsOn: [left, right]
      - task: {id: left, type: io.kestra.plugin.core.log.Log, message: m}
        dependsOn: [first]
      - task: {id: right, type: io.kestra.plugin.core.log.Log, message: m}
        dependsOn: [first]
      - task: {id: first, type: io.kestra.plugin.core.log.Log, message: m}
"""
    )

    runs = {run.task_id: run for run in driver.task_runs(execution_id)}
    assert [run.task_id for run in driver.task_runs(execution_id)] == ["d", "first", "left", "right", "last"]
    assert runs["left"].state.start >= (runs["first"].state.end or 0)
    assert runs["last"].state.start >= max(runs["left"].state.end or 0, runs["right"].state.end or 0)


def test_if_takes_one_branch_and_keeps_its_result() -> None:
    """If runs `then` for a truthy condition, `else` otherwise, and shows which by `evaluationResult`."""
    source = """
inputs:
  - {id: x, type: STRING}
tasks:
  - id: i
    type: io.kestra.plugin.core.flow.If
    condition: "{{ inputs.x == 'yes' }}"
    then:
      - {id: a, type: io.kestra.plugin.core.log.Log, message: m}
    else:
      - {id: b, type: io.kestra.plugin.core.log.Log, message: m}
"""
    for given, expected in (("yes", "a"), ("no", "b")):
        driver, execution_id = run_flow(HEAD + source, x=given)

        branch, child = driver.task_runs(execution_id)
        assert child.task_id == expected
        assert driver.outputs(branch) == {"evaluationResult": given == "yes"}


def test_if_without_a_branch_to_take_succeeds() -> None:
    """An If whose condition is false and that has no `else` is SUCCESS without children."""
    state, runs = ended(
        """
tasks:
  - id: i
    type: io.kestra.plugin.core.flow.If
    condition: "{{ false }}"
    then:
      - {id: a, type: io.kestra.plugin.core.log.Log, message: m}
"""
    )

    assert (state, runs) == ("SUCCESS", [("i", None, "SUCCESS")])


def test_switch_takes_its_case_or_defaults() -> None:
    """Switch runs the case that equals its value as text, else `defaults`; without these it fails."""
    cases = """
tasks:
  - id: s
    type: io.kestra.plugin.core.flow.Switch
    value: "{{ inputs.x }}"
    cases:
      one:
        - {id: a, type: io.kestra.plugin.core.log.Log, message: m}
"""
    defaults = """    defaults:
      - {id: b, type: io.kestra.plugin.core.log.Log, message: m}
"""
    given = "inputs:\n  - {id: x, type: STRING}"

    assert ended(given + cases, x="one")[1] == [("s", None, "SUCCESS"), ("a", None, "SUCCESS")]
    assert ended(given + cases + defaults, x="two")[1] == [("s", None, "SUCCESS"), ("b", None, "SUCCESS")]
    assert ended(given + cases, x="two") == ("FAILED", [("s", None, "FAILED")])


def test_for_each_goes_through_its_values_in_order() -> None:
    """A ForEach runs all tasks of a value before the next value, and its children carry the value."""
    state, runs = ended(
        """
tasks:
  - id: e
    type: io.kestra.plugin.core.flow.ForEach
    values: ["x", "y"]
    tasks:
      - {id: a, type: io.kestra.plugin.core.debug.Return, format: "{{ taskrun.value }}"}
      - {id: b, type: io.kestra.plugin.core.debug.Return, format: "{{ outputs.a[taskrun.value].value }}"}
"""
    )

    assert state == "SUCCESS"
    assert runs == [
        ("e", None, "SUCCESS"),
        ("a", "x", "SUCCESS"),
        ("b", "x", "SUCCESS"),
        ("a", "y", "SUCCESS"),
        ("b", "y", "SUCCESS"),
    ]


def test_for_each_values_are_texts_without_doubles() -> None:
    """Values that are no strings are JSON text, and a value that comes twice is worked on once."""
    _, runs = ended(
        """
tasks:
  - id: e
    type: io.kestra.plugin.core.flow.ForEach
    values: '{{ [1, "1", {"k": true}, 1] }}'
    tasks:
      - {id: a, type: io.kestra.plugin.core.log.Log, message: m}
"""
    )

    assert [value for task_id, value, _ in runs if task_id == "a"] == ["1", '{"k":true}']


def test_for_each_over_nulls_fails() -> None:
    """A null among the values fails the loop, without children."""
    state, runs = ended(
        """
tasks:
  - id: e
    type: io.kestra.plugin.core.flow.ForEach
    values: '[1, null]'
    tasks:
      - {id: a, type: io.kestra.plugin.core.log.Log, message: m}
"""
    )

    assert (state, runs) == ("FAILED", [("e", None, "FAILED")])


def test_for_each_over_nothing_succeeds() -> None:
    """An empty list of values ends the loop SUCCESS without children."""
    for kind, name in (("ForEach", "values"), ("EachSequential", "value"), ("EachParallel", "value")):
        state, runs = ended(
            f"""
tasks:
  - id: e
    type: io.kestra.plugin.core.flow.{kind}
    {name}: []
    tasks:
      - {{id: a, type: io.kestra.plugin.core.log.Log, message: m}}
"""
        )

        assert (state, runs) == ("SUCCESS", [("e", None, "SUCCESS")])


def test_for_each_holds_its_concurrency_limit() -> None:
    """With `concurrencyLimit: 2`, never more than two values of a loop are worked on."""
    driver = Driver()
    execution_id = driver.start(
        HEAD
        + """
tasks:
  - id: e
    type: io.kestra.plugin.core.flow.ForEach
    concurrencyLimit: 2
    values: [1, 2, 3, 4, 5]
    tasks:
      - {id: a, type: io.kestra.plugin.core.log.Log, message: m}
      - {id: b, type: io.kestra.plugin.core.log.Log, message: m}
"""
    )
    most = 0
    while driver.commands or driver.queue:
        driver.now += 1
        driver.deliver() if driver.commands else driver.work(len(driver.queue) - 1)
        open_runs = [run for run in driver.task_runs(execution_id) if run.value and not run.state.terminated]
        most = max(most, len(open_runs))

    assert most == 2
    assert len(driver.task_runs(execution_id)) == 11
    assert driver.execution(execution_id).state.current.value == "SUCCESS"


def test_each_parallel_creates_every_task_of_every_value() -> None:
    """EachParallel starts all tasks of all values at once."""
    driver, execution_id = run_flow(
        HEAD
        + """
tasks:
  - id: e
    type: io.kestra.plugin.core.flow.EachParallel
    value: ["x", "y"]
    tasks:
      - {id: a, type: io.kestra.plugin.core.log.Log, message: m}
      - {id: b, type: io.kestra.plugin.core.log.Log, message: m}
"""
    )

    runs = driver.task_runs(execution_id)[1:]
    assert [(run.task_id, run.value) for run in runs] == [("a", "x"), ("b", "x"), ("a", "y"), ("b", "y")]
    assert max(run.state.start for run in runs) <= min(run.state.end or 0 for run in runs)


def test_a_failing_value_stops_a_loop() -> None:
    """After a failed value no further value starts; the loop and the execution are FAILED."""
    state, runs = ended(
        """
tasks:
  - id: e
    type: io.kestra.plugin.core.flow.ForEach
    values: [1, 2, 3]
    tasks:
      - {id: a, type: io.kestra.plugin.core.execution.Fail, condition: "{{ taskrun.value == '2' }}"}
"""
    )

    assert state == "FAILED"
    assert runs == [("e", None, "FAILED"), ("a", "1", "SUCCESS"), ("a", "2", "FAILED")]


def test_allow_failure_turns_a_failure_into_a_warning() -> None:
    """AllowFailure ends WARNING when a child fails, and the flow goes on."""
    state, runs = ended(
        """
tasks:
  - id: w
    type: io.kestra.plugin.core.flow.AllowFailure
    tasks:
      - {id: a, type: io.kestra.plugin.core.execution.Fail}
      - {id: b, type: io.kestra.plugin.core.log.Log, message: never}
  - {id: c, type: io.kestra.plugin.core.log.Log, message: m}
"""
    )

    assert state == "WARNING"
    assert runs == [("w", None, "WARNING"), ("a", None, "FAILED"), ("c", None, "SUCCESS")]


def test_loop_until_repeats_until_its_condition_holds() -> None:
    """LoopUntil runs its tasks in rounds, keeps the last round, and counts them in `iterationCount`."""
    for kind in ("LoopUntil", "WaitFor"):
        driver, execution_id = run_flow(
            HEAD
            + f"""
tasks:
  - id: l
    type: io.kestra.plugin.core.flow.{kind}
    condition: "{{{{ outputs.l.iterationCount >= 3 }}}}"
    checkFrequency: {{interval: PT1S, maxIterations: 10}}
    tasks:
      - {{id: a, type: io.kestra.plugin.core.debug.Return, format: "{{{{ taskrun.iteration }}}}"}}
"""
        )

        loop, child = driver.task_runs(execution_id)
        assert driver.outputs(loop) == {"iterationCount": 3}
        assert (child.iteration, driver.outputs(child)) == (3, {"value": "3"})
        assert driver.execution(execution_id).superseded == 2


def test_loop_until_gives_up() -> None:
    """At `maxIterations` a LoopUntil ends with its children's state, or FAILED with `failOnMaxReached`."""
    source = """
tasks:
  - id: l
    type: io.kestra.plugin.core.flow.LoopUntil
    condition: "{{ false }}"
    failOnMaxReached: %s
    checkFrequency: {interval: PT1S, maxIterations: 2}
    tasks:
      - {id: a, type: io.kestra.plugin.core.log.Log, message: m}
"""

    assert ended(source % "false")[0] == "SUCCESS"
    assert ended(source % "true")[0] == "FAILED"


def test_errors_run_after_a_failure() -> None:
    """Local and outer `errors` run after a failure, in this order, and the execution stays FAILED."""
    state, runs = ended(
        """
tasks:
  - id: s
    type: io.kestra.plugin.core.flow.Sequential
    tasks:
      - {id: a, type: io.kestra.plugin.core.execution.Fail}
    errors:
      - {id: local, type: io.kestra.plugin.core.log.Log, message: m}
errors:
  - {id: outer, type: io.kestra.plugin.core.log.Log, message: m}
"""
    )

    assert state == "FAILED"
    assert runs == [
        ("s", None, "FAILED"),
        ("a", None, "FAILED"),
        ("local", None, "SUCCESS"),
        ("outer", None, "SUCCESS"),
    ]


def test_finally_runs_in_any_case() -> None:
    """`finally` runs after success and after the error branch, before the execution ends."""
    tail = "finally:\n  - {id: z, type: io.kestra.plugin.core.log.Log, message: m}\n"
    errors = "errors:\n  - {id: e, type: io.kestra.plugin.core.log.Log, message: m}\n"
    good = "tasks:\n  - {id: a, type: io.kestra.plugin.core.log.Log, message: m}\n"
    bad = "tasks:\n  - {id: a, type: io.kestra.plugin.core.execution.Fail}\n"

    assert ended(good + tail) == ("SUCCESS", [("a", None, "SUCCESS"), ("z", None, "SUCCESS")])
    state, runs = ended(bad + errors + tail)
    assert state == "FAILED"
    assert [task_id for task_id, _, _ in runs] == ["a", "e", "z"]


def test_after_execution_runs_after_the_end() -> None:
    """`afterExecution` sees the ended execution's state and does not change it."""
    driver, execution_id = run_flow(
        HEAD
        + """
tasks:
  - {id: a, type: io.kestra.plugin.core.execution.Fail}
afterExecution:
  - {id: z, type: io.kestra.plugin.core.debug.Return, format: "{{ execution.state }}"}
"""
    )

    after = driver.task_runs(execution_id)[1]
    assert driver.execution(execution_id).state.current.value == "FAILED"
    assert driver.outputs(after) == {"value": "FAILED"}


def test_run_if_skips() -> None:
    """A task whose runIf is not truthy is SKIPPED without an attempt, which counts as success."""
    driver, execution_id = run_flow(
        HEAD
        + """
tasks:
  - {id: a, type: io.kestra.plugin.core.log.Log, message: never, runIf: "{{ false }}"}
  - {id: b, type: io.kestra.plugin.core.log.Log, message: m, runIf: "{{ true }}"}
"""
    )

    skipped, ran = driver.task_runs(execution_id)
    assert (skipped.state.current.value, skipped.attempts) == ("SKIPPED", ())
    assert ran.state.current.value == "SUCCESS"
    assert driver.execution(execution_id).state.current.value == "SUCCESS"


def test_run_if_that_cannot_be_rendered_fails() -> None:
    """A runIf that can't be rendered fails its task without an attempt."""
    driver, execution_id = run_flow(
        HEAD + "tasks:\n  - {id: a, type: io.kestra.plugin.core.log.Log, message: m, runIf: '{{ nothing.there }}'}\n"
    )

    (run,) = driver.task_runs(execution_id)
    assert (run.state.current.value, run.attempts) == ("FAILED", ())
    assert driver.execution(execution_id).state.current.value == "FAILED"


def test_disabled_tasks_have_no_task_run() -> None:
    """A disabled task does not appear, and a flowable with nothing else is SUCCESS."""
    state, runs = ended(
        """
tasks:
  - id: s
    type: io.kestra.plugin.core.flow.Sequential
    tasks:
      - {id: a, type: io.kestra.plugin.core.execution.Fail, disabled: true}
  - {id: b, type: io.kestra.plugin.core.execution.Fail, disabled: true}
"""
    )

    assert (state, runs) == ("SUCCESS", [("s", None, "SUCCESS")])


def test_allow_failure_and_allow_warning_of_a_task() -> None:
    """allowFailure makes a failure a WARNING, allowWarning makes that a SUCCESS; the attempt stays FAILED."""
    driver, execution_id = run_flow(
        HEAD
        + """
tasks:
  - {id: a, type: io.kestra.plugin.core.execution.Fail, allowFailure: true, allowWarning: true}
  - {id: b, type: io.kestra.plugin.core.execution.Fail, allowFailure: true}
"""
    )

    a, b = driver.task_runs(execution_id)
    assert (a.state.current.value, b.state.current.value) == ("SUCCESS", "WARNING")
    assert [attempt.state.current.value for run in (a, b) for attempt in run.attempts] == ["FAILED", "FAILED"]
    assert driver.execution(execution_id).state.current.value == "WARNING"


def test_outputs_of_nested_loops_are_found_by_values() -> None:
    """Within nested loops, outputs are found by the outer and the inner value."""
    driver, execution_id = run_flow(
        HEAD
        + """
tasks:
  - id: outer
    type: io.kestra.plugin.core.flow.ForEach
    values: ["x", "y"]
    tasks:
      - id: inner
        type: io.kestra.plugin.core.flow.ForEach
        values: ["1", "2"]
        tasks:
          - id: a
            type: io.kestra.plugin.core.debug.Return
            format: "{{ parent.taskrun.value }}{{ taskrun.value }}"
          - id: b
            type: io.kestra.plugin.core.debug.Return
            format: "{{ outputs.a[parent.taskrun.value][taskrun.value].value }}!"
  - id: all
    type: io.kestra.plugin.core.debug.Return
    format: "{{ outputs.b.x['2'].value }} {{ outputs.b.y['1'].value }}"
"""
    )

    last = driver.task_runs(execution_id)[-1]
    assert driver.outputs(last) == {"value": "x2! y1!"}
