"""The command line as a user meets it: what it prints, what it says when something is wrong, how it ends."""

import json
import os
import signal
import socket
import subprocess
from pathlib import Path

import pytest

from runyard.cli import app
from runyard.throwaway import NOTICE
from tests.acceptance.servers import PATIENCE, RUNYARD, EmbeddedServer, Standalone, command, plain_environment

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"

WARNING = """\
id: warning
namespace: company.team
tasks:
  - id: fail
    type: io.kestra.plugin.core.execution.Fail
    allowFailure: true
"""

CALLED = """\
id: called
namespace: company.team
tasks:
  - id: work
    type: io.kestra.plugin.core.debug.Return
    format: done
"""
CALLING = """\
id: calling
namespace: company.team
tasks:
  - id: call
    type: io.kestra.plugin.core.flow.Subflow
    namespace: company.team
    flowId: called
    wait: true
"""
LONG = """\
id: long
namespace: company.team
tasks:
  - id: sleep
    type: io.kestra.plugin.core.flow.Sleep
    duration: PT10M
"""


def test_every_command_has_a_help_text() -> None:
    """Each command says in its help what it does."""
    assert [command.callback.__name__ for command in app.registered_commands if not command.callback.__doc__] == []


# ------------------------------------------------------------------ run, taskruns, render


@pytest.mark.parametrize(("example", "status", "state"), [("retry", 0, "SUCCESS"), ("failing", 1, "FAILED")])
def test_the_exit_status_follows_from_the_state(
    embedded: EmbeddedServer, example: str, status: int, state: str
) -> None:
    """`runyard run` ends with 0 when the execution did well, else with 1, and prints the state."""
    result = embedded.run("run", str(EXAMPLES / f"{example}.yaml"))

    assert result.returncode == status
    assert f"{state} in PT" in result.stdout


def test_a_warning_is_a_success_with_a_remark(embedded: EmbeddedServer, tmp_path: Path) -> None:
    """An execution that ends WARNING gives exit status 0."""
    file = tmp_path / "warning.yaml"
    file.write_text(WARNING)

    result = embedded.run("run", str(file))

    assert result.returncode == 0
    assert "WARNING in PT" in result.stdout


def test_inputs_and_labels_reach_the_execution(embedded: EmbeddedServer) -> None:
    """`--input name=value` and `--label key:value` are the execution's inputs and labels."""
    result = embedded.run("run", str(EXAMPLES / "foreach-20.yaml"), "-i", "greeting=moin", "-l", "who:me")

    execution_id = result.stdout.split()[1]
    execution = embedded.http.get(f"/executions/{execution_id}").json()
    assert execution["inputs"] == {"greeting": "moin"}
    assert {"key": "who", "value": "me"} in execution["labels"]
    assert sum(run.get("outputs", {}).get("value", "").startswith("moin ") for run in execution["taskRunList"]) == 20


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run", "nowhere.yaml"], "nowhere.yaml"),
        (["run", "{taskrun}", "-i", "greeting"], "--input greeting: expected name=value"),
        (["run", "{taskrun}", "-l", "who"], "--label who: expected key:value"),
        (["run", "{taskrun}", "-i", "a=@nowhere.txt"], "nowhere.txt"),
        (["taskruns", "-q", "colour:blue"], "colour"),
        (["taskruns", "--sort", "colour:asc"], "colour"),
        (["taskruns", "--since", "soon"], "--since: 'soon' is neither"),
    ],
    ids=["no file", "input", "label", "input file", "query", "sort", "since"],
)
def test_wrong_arguments_are_named(embedded: EmbeddedServer, arguments: list[str], words: str) -> None:
    """Each wrong argument gives an exit status that is not 0 and a message that names it, without a traceback."""
    result = embedded.run(*(each.format(taskrun=EXAMPLES / "taskrun.yaml") for each in arguments))

    assert result.returncode != 0
    assert words in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("arguments", [["taskruns"], ["run", str(EXAMPLES / "taskrun.yaml")]], ids=["taskruns", "run"])
def test_a_server_that_does_not_answer_is_named(arguments: list[str]) -> None:
    """Clients of a server that isn't there say which address does not answer; no other one is used instead."""
    result = command(*arguments, "--server", "http://127.0.0.1:9")

    assert result.returncode == 1
    assert result.stderr.startswith("runyard: http://127.0.0.1:9 does not answer")
    assert result.stdout == ""


def test_task_runs_are_searched_by_all_filters(embedded: EmbeddedServer) -> None:
    """`runyard taskruns` gives what the query, the flow, the state and the label select; `--json` the server's answer."""
    execution_id = embedded.run("run", str(EXAMPLES / "parallel.yaml")).stdout.split()[1]
    embedded.searched(execution_id, 4)
    narrowed = [
        "--flow",
        "parallel",
        "--namespace",
        "company",
        "--state",
        "SUCCESS",
        "--label",
        "team:examples",
        "--since",
        "1h",
    ]

    table = embedded.run("taskruns", "-q", f"taskId:left AND executionId:{execution_id}", *narrowed)
    answer = embedded.run("taskruns", "-q", f"executionId:{execution_id}", "--sort", "taskId:asc", "--json", *narrowed)

    assert "1 of 1" in table.stdout
    assert [run["taskId"] for run in json.loads(answer.stdout)["results"]] == ["both", "done", "left", "right"]


def test_templates_are_rendered_without_a_server(tmp_path: Path) -> None:
    """`runyard render` prints the text; an error gives exit status 1 and its place; variables must be JSON."""
    given = tmp_path / "vars.json"
    given.write_text('{"inputs": {"name": "world"}}')
    wrong = tmp_path / "wrong.json"
    wrong.write_text("{inputs")

    rendered = command("render", "hello {{ inputs.name | upper }}", "--vars", str(given))
    failed = command("render", "{{ inputs.nothing }}", "--vars", str(given))
    unread = command("render", "x", "--vars", str(wrong))

    assert (rendered.returncode, rendered.stdout) == (0, "hello WORLD\n")
    assert failed.returncode == 1
    assert "inputs.nothing" in failed.stderr
    assert "line 1" in failed.stderr
    assert unread.returncode == 1
    assert f"{wrong}: not JSON" in unread.stderr


# ------------------------------------------------------------------ run without a server


@pytest.mark.parametrize(
    ("files", "status", "words"),
    [
        ([CALLING, CALLED], 0, "SUCCESS in PT"),
        ([CALLED.replace("debug.Return", "execution.Fail").replace("format", "errorMessage")], 1, "FAILED in PT"),
        (["id: x\ntasks: 1\n"], 1, "flow0.yaml: Invalid entity: namespace: must not be null (line 1)"),
        ([b"\xff\xfe"], 1, "flow0.yaml: not UTF-8 text"),
    ],
    ids=["with a subflow", "failing", "refused", "not a text"],
)
def test_without_a_server_a_throw_away_one_runs_the_flow(
    tmp_path: Path, files: list[str | bytes], status: int, words: str
) -> None:
    """`run` alone gives the same result as on a server, says on one line where it ran, and leaves nothing behind."""
    named = [tmp_path / f"flow{number}.yaml" for number in range(len(files))]
    for file, source in zip(named, files, strict=True):
        file.write_bytes(source if isinstance(source, bytes) else source.encode())
    (tmp_path / "tmp").mkdir()

    result = command("run", *map(str, named), environment={"TMPDIR": str(tmp_path / "tmp")}, cwd=tmp_path)

    assert result.returncode == status, result.stderr
    assert words in result.stdout + result.stderr
    assert result.stderr.splitlines()[0] == NOTICE
    assert "Traceback" not in result.stderr
    assert list((tmp_path / "tmp").iterdir()) == []
    assert sorted(each.name for each in tmp_path.iterdir()) == sorted([*(file.name for file in named), "tmp"])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name)
def test_a_throw_away_server_goes_with_its_command(tmp_path: Path, number: signal.Signals) -> None:
    """Ctrl-C, SIGTERM and the end of the terminal stop what runs and remove the directory."""
    (tmp_path / "tmp").mkdir()
    file = tmp_path / "long.yaml"
    file.write_text(LONG)
    process = subprocess.Popen(
        [*RUNYARD, "run", str(file)],
        env=plain_environment({"TMPDIR": str(tmp_path / "tmp"), "PYTHONUNBUFFERED": "1"}),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell starts what it puts into the background with SIGINT ignored, and that is handed down.
        preexec_fn=lambda: signal.signal(number, signal.SIG_DFL),
    )
    assert process.stdout is not None
    assert process.stdout.readline().startswith("execution ")
    directories = list((tmp_path / "tmp").iterdir())

    process.send_signal(number)
    _, errors = process.communicate(timeout=PATIENCE)

    assert len(directories) == 1
    assert list((tmp_path / "tmp").iterdir()) == []
    assert process.returncode == 128 + number
    assert errors.splitlines() == [NOTICE]


# ------------------------------------------------------------------ demo


def test_the_demo_prints_the_task_runs_and_ends(tmp_path: Path) -> None:
    """`runyard demo --once` runs every example and prints each one's task runs; a second time it uses what is there."""
    arguments = ["demo", "--once", "--port", "0", "--data", str(tmp_path / "demo")]

    first = command(*arguments, cwd=tmp_path)
    again = command(*arguments, cwd=tmp_path)

    for result in (first, again):
        assert result.returncode == 0, result.stderr
        for word in ("taskrun", "foreach_value", "foreach_parents", "foreach_20", "parallel", "retry"):
            assert word in result.stdout
        assert result.stdout.count(" greet ") == 20
        assert "failing.yaml: FAILED, as it is meant to" in result.stdout
        assert "/ui/main/taskruns" in result.stdout
    assert (tmp_path / "demo" / "runyard.db").is_file()


# ------------------------------------------------------------------ what a service needs


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        ("RUNYARD_WORKER__CONCURRENCY", "many", "worker.concurrency: Input should be a valid integer"),
        ("RUNYARD_WORKER__CONCURRENCY", "0", "worker.concurrency: Input should be greater than or equal to 1"),
        ("RUNYARD_WORKER__CONCURENCY", "4", "worker.concurency: Extra inputs are not permitted"),
        ("RUNYARD_LOG_FORMAT", "xml", "log_format: String should match pattern"),
        ("RUNYARD_LOG_LEVEL", "loud", "log_level: String should match pattern"),
    ],
)
def test_a_wrong_setting_is_named(tmp_path: Path, variable: str, value: str, words: str) -> None:
    """A setting of the wrong kind, out of bounds or misspelled ends the start with its name."""
    result = command("standalone", "--data", str(tmp_path / "data"), environment={variable: value})

    assert result.returncode == 1
    assert words in result.stderr
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("option", "value"), [("--synchronous", "maybe"), ("--port", "65536"), ("--port", "-1"), ("--port", "web")]
)
def test_a_wrong_option_is_named(tmp_path: Path, option: str, value: str) -> None:
    """An option that can't be ends the start with its name, before anything is made."""
    result = command("standalone", "--data", str(tmp_path / "data"), option, value)

    assert result.returncode != 0
    assert f"Invalid value for '{option}'" in result.stderr
    assert not (tmp_path / "data").exists()


def test_log_lines_are_json_where_that_is_asked_for(tmp_path: Path) -> None:
    """With `log_format: json` every line on standard error is an object; `--synchronous full` is understood, too."""
    standalone = Standalone(
        tmp_path / "data",
        {"RUNYARD_LOG_FORMAT": "json", "RUNYARD_LOG_LEVEL": "info"},
        arguments=("--synchronous", "full"),
    )
    standalone.start()
    assert standalone.stop() == 0

    lines = [json.loads(line) for line in standalone.log.read_text().splitlines()]
    assert len(lines) > 3
    assert all({"time", "level", "logger", "message"} <= line.keys() for line in lines)


def test_a_settings_file_is_read_and_the_environment_wins(tmp_path: Path) -> None:
    """`--config` names a YAML file; its errors are named, and so is a file that isn't there."""
    file = tmp_path / "runyard.yaml"
    file.write_text("worker:\n  concurrency: lots\n")

    wrong = command("standalone", "--config", str(file), "--data", str(tmp_path / "data"))
    missing = command("standalone", "--config", str(tmp_path / "nowhere.yaml"))

    assert wrong.returncode == missing.returncode == 1
    assert "worker.concurrency" in wrong.stderr
    assert "nowhere.yaml" in missing.stderr
    assert "Traceback" not in wrong.stderr + missing.stderr


@pytest.mark.parametrize("service", ["standalone", "demo"])
def test_a_port_in_use_is_named(tmp_path: Path, service: str) -> None:
    """A start on a port that somebody listens on ends with that port in its message."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]

        result = command(service, "--port", str(port), "--data", str(tmp_path / "data"))

    assert result.returncode == 1
    assert f"127.0.0.1:{port}" in result.stderr
    assert "in use" in result.stderr


def test_a_second_process_on_the_same_directory_is_refused(tmp_path: Path) -> None:
    """The second standalone ends with the first one's process id; the first one goes on; so with verify-index."""
    standalone = Standalone(tmp_path / "data")
    standalone.start()
    assert standalone.process is not None

    second = command("standalone", "--port", "0", "--data", str(tmp_path / "data"))
    verification = command("verify-index", "--data", str(tmp_path / "data"))
    health = EmbeddedServer(standalone.url).http.get(f"{standalone.url}/health")
    status = standalone.stop()

    for refused in (second, verification):
        assert refused.returncode == 1
        assert f"in use by another process (pid {standalone.process.pid})" in refused.stderr
    assert health.status_code == 200
    assert status == 0


def test_a_directory_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    """A data directory within a read-only one, and one that is a file: exit status 1 and the place."""
    read_only = tmp_path / "locked"
    read_only.mkdir(mode=0o555)
    if os.access(read_only, os.W_OK):  # root may write anywhere but where the kernel itself refuses
        read_only = Path("/sys")
    file = tmp_path / "file"
    file.write_text("")

    for place in (file, read_only / "data"):
        result = command("standalone", "--port", "0", "--data", str(place))

        assert result.returncode == 1
        assert f"runyard: {place}" in result.stderr
        assert "Traceback" not in result.stderr


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    """Services and verify-index end with exit status 1, the file and the remedy; the file stays as it is."""
    data = tmp_path / "data"
    assert command("demo", "--once", "--port", "0", "--data", str(data)).returncode == 0
    file = data / "runyard.db"
    with file.open("r+b") as opened:
        opened.seek(file.stat().st_size // 8192 * 4096)
        opened.write(b"\0" * 4096)
    damaged = file.read_bytes()

    for arguments in (["standalone", "--port", "0"], ["demo", "--once", "--port", "0"], ["verify-index"]):
        result = command(*arguments, "--data", str(data))

        assert result.returncode == 1
        assert result.stderr.startswith(f"runyard: {file}: the file is damaged: ")
        assert "Restore its directory from a backup" in result.stderr
        assert "Traceback" not in result.stderr
        assert file.read_bytes() == damaged


@pytest.mark.parametrize("data", ["nowhere", "empty"])
def test_verify_index_needs_a_data_directory(tmp_path: Path, data: str) -> None:
    """A directory that isn't there or holds no database is an error, and nothing is made in it."""
    (tmp_path / "empty").mkdir()

    result = command("verify-index", "--data", str(tmp_path / data))

    assert result.returncode != 0
    assert data in result.stderr
    assert list((tmp_path / "empty").iterdir()) == []
