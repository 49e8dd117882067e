"""What goes in and out of attempts: large values, secrets, encrypted texts, what expressions reach."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass, replace
from typing import Any

import orjson
import pytest

from shared.expressions.encryption import decrypt, encrypt
from tests.unit.worker.memory import Bench
from worker.catalog import TaskCatalog
from worker.context import Context
from worker.large_values import ENCRYPTED, Resolver, is_reference
from worker.logger import ERROR_BYTES, LONGEST
from worker.task import Result, Task, TaskError
from worker.tasks import core_tasks

RETURN = "io.kestra.plugin.core.debug.Return"
LOG = "io.kestra.plugin.core.log.Log"
KEY = base64.b64encode(b"0123456789abcdef").decode()


@dataclass(frozen=True)
class Answer(Task):
    """Ends as its properties say."""

    type = "test.Answer"

    how: str = ""

    def run(self, context: Context) -> Any:
        match self.how:
            case "warning":
                return Result({"a": 1}, state="WARNING", error="not good")
            case "outputs":
                raise TaskError("failed with outputs", {"message": "kept"})
            case "exit":
                raise SystemExit(3)
            case "defect":
                return {}["missing"]
            case "nonsense":
                return {"value": 1 << 80}
            case "errors":
                for number in range(50):
                    context.logger.error("%d %s", number, "e" * 1000)
            case "encrypted":
                context.logger.info("the text is plain text")
                value = context.encrypted("plain text")
                context.logger.info("the text is plain text")
                return {"value": value}
        return None


CATALOG = TaskCatalog((*core_tasks(), Answer))


def test_large_outputs_go_to_the_blob_store() -> None:
    """Outputs above the soft limit become a reference; a later template reads them through it."""
    with Bench(blobs={"soft_limit": 1000}) as bench:
        ended = bench.run(RETURN, format="x" * 2000)

        assert is_reference(ended.outputs)
        with bench.blobs.open(ended.outputs["$blob"]) as file:
            text = file.read()
        assert orjson.loads(text) == {"value": "x" * 2000}
        assert ended.outputs["size"] == len(text)
        assert ended.outputs["$blob"].startswith("kestra:///main/company/team/flow/executions/")

        again = bench.run(RETURN, {"outputs": {"t": ended.outputs}}, format="{{ outputs.t.value | length }}")
        nested = bench.run(RETURN, {"outputs": {"t": {"a": ended.outputs}}}, format="{{ outputs.t.a.value | length }}")

    assert (again.outputs, nested.outputs) == ({"value": "2000"}, {"value": "2000"})


def test_outputs_above_the_hard_limit_fail_their_task_run() -> None:
    """The text names both sizes, in Kestra's words, and is an ERROR line."""
    with Bench(blobs={"soft_limit": 1000, "hard_limit": 1500}) as bench:
        ended = bench.run(RETURN, format="x" * 2000)
        after = bench.run(RETURN, format="small")

    text = "Unable to emit the worker task result to the queue: Message of size 2012 has exceeded the configured limit of 1500"
    assert (ended.state, ended.outputs, ended.error) == ("FAILED", None, text)
    assert bench.log.lines()[0].text == text
    assert after.state == "SUCCESS"


def test_outputs_that_are_no_json_fail_their_task_run() -> None:
    """A number that no message can hold fails the attempt with a reason."""
    with Bench(tasks=CATALOG) as bench:
        ended = bench.run("test.Answer", how="nonsense")

    assert ended.state == "FAILED"
    assert ended.error.startswith("The outputs can't be stored")


def test_a_reference_cannot_leave_its_tenant() -> None:
    """A forged reference to another tenant's blob is looked for below its own tenant, and so not found."""
    with Bench() as bench:
        uri = bench.blobs.put("other/secret.json", io.BytesIO(b'{"value": "theirs"}'))
        ended = bench.run(RETURN, {"outputs": {"t": {"$blob": uri, "size": 19}}}, format="{{ outputs.t.value }}")

    assert ended.state == "FAILED"
    assert "theirs" not in ended.error


def test_shared_blobs_are_read_once() -> None:
    """Two commands with the same reference cost one read of the blob store."""
    with Bench() as bench:
        uri = bench.blobs.put("main/wide.json", io.BytesIO(b'{"a": {"value": 1}}'))
        variables = {"outputs": {"$blob": uri, "size": 19}}
        resolver = Resolver(bench.blobs, None)
        first = resolver.resolve(variables, "main", lambda _: None)
        bench.blobs.delete("main/wide.json")
        second = resolver.resolve(variables, "main", lambda _: None)

    assert first["outputs"] == second["outputs"] == {"a": {"value": 1}}


def test_a_task_chooses_its_state_and_keeps_outputs_of_a_failure() -> None:
    """Result(state) and TaskError(outputs) are reported as they are."""
    with Bench(tasks=CATALOG) as bench:
        warning = bench.run("test.Answer", how="warning")
        failed = bench.run("test.Answer", how="outputs")

    assert (warning.state, warning.outputs, warning.error) == ("WARNING", {"a": 1}, "not good")
    assert (failed.state, failed.outputs, failed.error) == ("FAILED", {"message": "kept"}, "failed with outputs")


@pytest.mark.parametrize(("how", "error"), [("exit", "SystemExit: 3"), ("defect", "KeyError: 'missing'")])
def test_whatever_a_task_raises_fails_its_attempt_only(how: str, error: str) -> None:
    """An exception of any kind, SystemExit too, fails the attempt; the worker goes on."""
    with Bench(tasks=CATALOG) as bench:
        ended = bench.run("test.Answer", how=how)
        after = bench.run("test.Answer")

    assert (ended.state, ended.error) == ("FAILED", error)
    assert {line.level for line in bench.log.lines()} == {"ERROR", "TRACE"}
    assert after.state == "SUCCESS"


def test_error_logs_are_bounded() -> None:
    """Of many ERROR lines the event carries the last ones, at most 20 and 8 KiB."""
    with Bench(tasks=CATALOG) as bench:
        ended = bench.run("test.Answer", how="errors")

    texts = [line["message"] for line in ended.error_logs]
    assert texts[-1].startswith("49 ")
    assert sum(map(len, texts)) == ERROR_BYTES
    assert len(texts) <= 20
    assert len(bench.log.lines()) == 50


def test_long_lines_are_cut_into_several() -> None:
    """A text above 15 KiB becomes several lines in order."""
    with Bench() as bench:
        bench.run(LOG, message="z" * (2 * LONGEST + 1))

    assert [len(line.text) for line in bench.log.lines()] == [LONGEST, LONGEST, 1]
    assert [line.index for line in bench.log.lines()] == [0, 1, 2]


def test_secrets_are_found_in_any_case_and_masked() -> None:
    """`secret()` finds a setting whatever its case; outputs have it, log lines and errors show ********."""
    with Bench(secrets={"MY_SECRET": "pa$$word"}) as bench:
        given = bench.run(RETURN, format="{{ secret('my_secret') }}")
        bench.run(LOG, message="it is {{ secret('MY_SECRET') }} or {{ secret('my_secret') | base64encode }}")
        failed = bench.run("io.kestra.plugin.core.execution.Fail", errorMessage="bad {{ secret('my_secret') }}")
        missing = bench.run(RETURN, format="{{ secret('none') }}")

    assert given.outputs == {"value": "pa$$word"}
    assert bench.log.lines()[0].text == "it is ******** or ********"
    assert failed.error == "bad ********"
    assert failed.error_logs[0]["message"] == "bad ********"
    assert "Cannot find secret for key 'none'" in missing.error


def test_encrypted_values_are_read_and_masked() -> None:
    """An encrypted input is plain to templates and masked in log lines; encrypted outputs are given as Kestra's."""
    with Bench(tasks=CATALOG, encryption_key=KEY) as bench:
        variables = {"inputs": {"secret": {"type": ENCRYPTED, "value": encrypt(KEY, "hidden")}}}
        given = bench.run(RETURN, variables, format="{{ inputs.secret }}")
        bench.run(LOG, variables, message="{{ inputs.secret }}")
        made = bench.run("test.Answer", how="encrypted")
        read = bench.run(RETURN, {"outputs": {"t": made.outputs}}, format="{{ outputs.t.value }}")

    assert given.outputs == {"value": "hidden"}
    assert [line.text for line in bench.log.lines()] == ["********", "the text is plain text", "the text is ********"]
    assert made.outputs["value"]["type"] == ENCRYPTED
    assert decrypt(KEY, made.outputs["value"]["value"]) == "plain text"
    assert read.outputs == {"value": "plain text"}


def test_without_a_key_encrypted_outputs_are_plain() -> None:
    """With no encryption key the shape stays and the value is plain (Kestra's rule)."""
    with Bench(tasks=CATALOG) as bench:
        made = bench.run("test.Answer", how="encrypted")
        read = bench.run(RETURN, {"outputs": {"t": made.outputs}}, format="{{ outputs.t.value }}")

    assert made.outputs == {"value": {"type": ENCRYPTED, "value": "plain text"}}
    assert read.outputs == {"value": "plain text"}


def test_templates_reach_environment_globals_and_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """`envs` has KESTRA_* in lower case, `globals` the setting; `read()` reads stored and namespace files."""
    monkeypatch.setenv("KESTRA_TEST2", "Pass by env")
    with Bench(globals={"nested": {"int": 2}}) as bench:
        bench.blobs.put("main/company/team/_files/a/b.txt", io.BytesIO(b"of the namespace"))
        both = bench.run(RETURN, format="{{ envs.test2 }} {{ globals.nested.int }}")
        file = bench.run(RETURN, format="{{ read('a/b.txt') }}")
        none = bench.run(RETURN, format="{{ read('a/c.txt') }}")

    assert both.outputs == {"value": "Pass by env 2"}
    assert file.outputs == {"value": "of the namespace"}
    assert none.state == "FAILED"


def test_error_logs_of_the_execution_reach_templates() -> None:
    """`errorLogs()` gives what the command carries."""
    with Bench() as bench:
        variables = {"errorLogs": [{"taskId": "t", "message": "broken", "level": "ERROR"}]}
        ended = bench.run(RETURN, variables, format="{{ errorLogs()[0].message }}")

    assert ended.outputs == {"value": "broken"}


def test_what_a_command_says_by_itself_is_a_variable() -> None:
    """`flow`, `execution`, `task` and `taskrun` are there although the command's pruned variables lack them."""
    with Bench() as bench:
        command = replace(
            bench.command(RETURN, format="{{ flow.namespace }} {{ task.id }} {{ taskrun.id }}"), variables={}
        )
        bench.inbox.send(command)

        assert bench.ended(command).outputs == {"value": f"company.team task {command.task_run_id}"}
