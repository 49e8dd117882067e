"""How single attempts run and end."""

from __future__ import annotations

from shared.messages import AttemptEnded, AttemptStarted
from tests.unit.worker.memory import Bench

RETURN = "io.kestra.plugin.core.debug.Return"
LOG = "io.kestra.plugin.core.log.Log"
FAIL = "io.kestra.plugin.core.execution.Fail"
SLEEP = "io.kestra.plugin.core.flow.Sleep"


def test_return_gives_its_rendered_text_and_two_metrics() -> None:
    """A Return ends SUCCESS with the rendered format as `value`, after a started event, with length and duration."""
    with Bench() as bench:
        command = bench.send(RETURN, format="{{ task.id }} of {{ flow.id }}", _task_id="t")

        ended = bench.ended(command)

    assert (ended.state, ended.outputs, ended.error) == ("SUCCESS", {"value": "t of flow"}, None)
    kinds = [type(event) for event in bench.log.events()]
    assert kinds == [AttemptStarted, AttemptEnded]
    assert ended.started_at == bench.log.events(AttemptStarted)[0].at
    assert {(metric.name, metric.kind) for metric in bench.log.metrics()} == {
        ("length", "counter"),
        ("duration", "timer"),
    }


def test_log_writes_each_message_with_numbered_ids() -> None:
    """A Log with a list writes one line for each text, at its level, with ids that follow from the attempt."""
    with Bench() as bench:
        command = bench.send(LOG, message=["first {{ flow.id }}", "second"], level="WARN")
        bench.ended(command)

    lines = bench.log.lines()
    assert [(line.text, line.level) for line in lines] == [("first flow", "WARN"), ("second", "WARN")]
    assert [line.id for line in lines] == [f"{command.task_run_id}-0-0-{number}" for number in (0, 1)]


def test_lines_below_the_log_level_are_not_written() -> None:
    """`logLevel` INFO keeps a TRACE line away."""
    with Bench() as bench:
        bench.run(LOG, message="quiet", level="TRACE", _log_level="INFO")

    assert bench.log.lines() == []


def test_fail_fails_with_its_message_as_an_error_line() -> None:
    """A Fail without a condition ends FAILED; the message is its error, an ERROR line, and in the error logs."""
    with Bench() as bench:
        ended = bench.run(FAIL, errorMessage="no {{ flow.id }}")

    assert (ended.state, ended.error) == ("FAILED", "no flow")
    assert [(line.level, line.text) for line in bench.log.lines()] == [("ERROR", "no flow")]
    assert [line["message"] for line in ended.error_logs] == ["no flow"]


def test_fail_passes_where_its_condition_does_not_hold() -> None:
    """A Fail whose condition renders to `false` ends SUCCESS."""
    with Bench() as bench:
        assert bench.run(FAIL, condition="{{ 1 == 2 }}").state == "SUCCESS"
        assert bench.run(FAIL, condition="{{ 1 == 1 }}").state == "FAILED"


def test_a_render_error_fails_the_attempt_with_kestras_words() -> None:
    """An undefined variable fails the attempt; the error and the ERROR line name variable, expression, property."""
    with Bench() as bench:
        ended = bench.run(RETURN, format="{{ missing }}")

    assert ended.state == "FAILED"
    assert "Unable to find `missing` used in the expression `{{ missing }}` at line 1" in ended.error
    assert "`format`" in ended.error
    assert bench.log.lines()[0].text == ended.error


def test_a_missing_property_is_named() -> None:
    """A Sleep without a duration fails with a text that names the property."""
    with Bench() as bench:
        assert bench.run(SLEEP).error == "property `duration` is missing"


def test_an_unknown_type_fails_its_attempt_only() -> None:
    """A type that no package gives fails its task run by name; the worker goes on."""
    with Bench() as bench:
        ended = bench.run("com.example.Nothing")
        after = bench.run(RETURN, format="still here")

    assert (ended.state, ended.error) == ("FAILED", "No worker here knows the task type 'com.example.Nothing'")
    assert after.state == "SUCCESS"


def test_a_timeout_fails_the_attempt_with_kestras_words() -> None:
    """A task that takes longer than its rendered `timeout` is stopped and FAILED."""
    with Bench() as bench:
        ended = bench.run(SLEEP, {"vars": {"most": "PT0.05S"}}, duration="PT1H", _timeout="{{ vars.most }}")

    assert (ended.state, ended.error) == ("FAILED", "Timeout after 00:00:00.050")
    _, error, trace = bench.log.lines()
    assert (error.level, error.text) == ("ERROR", "Timeout after 00:00:00.050")
    assert trace.level == "TRACE"
    assert "sleep interrupted" in trace.text


def test_the_same_work_sent_twice_runs_once() -> None:
    """A repeated command is dropped; another dispatch of the same attempt is not."""
    with Bench() as bench:
        command = bench.command(RETURN, format="once", _task_run_id="run")
        bench.inbox.send(command, command)
        bench.inbox.send(bench.command(RETURN, format="again", _task_run_id="run", _dispatch=1))
        bench.run(RETURN, format="a later one")

    assert [event.dispatch for event in bench.log.events(AttemptEnded, "run")] == [0, 1]
