"""Packages that add task types: the example of docs/plugins.md, and the types of Kestra's test code."""

from __future__ import annotations

import shutil
import tomllib
from dataclasses import dataclass
from pathlib import Path

import pytest

from runyard import plugin
from shared.dead_letters import content
from shared.messages import DeadLetter, decode
from shared.ports import Topic
from tests.unit.worker.memory import Bench, MemoryLog, until
from worker.catalog import TaskCatalog
from worker.context import Context
from worker.task import Task
from worker.tasks import core_tasks

ROOT = Path(__file__).parents[3]
EXAMPLE = ROOT / "tests/plugins/example"


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TaskCatalog:
    """The types of everything installed, and of the example package: put where an installer would put it."""
    project = tomllib.loads((EXAMPLE / "pyproject.toml").read_text())["project"]
    shutil.copytree(EXAMPLE / "runyard_example", tmp_path / "runyard_example")
    info = tmp_path / f"runyard_example-{project['version']}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
    points = [f"{name} = {value}" for name, value in project["entry-points"]["runyard.tasks"].items()]
    (info / "entry_points.txt").write_text("\n".join(["[runyard.tasks]", *points]))
    monkeypatch.syspath_prepend(tmp_path)
    return TaskCatalog.installed()


def test_an_installed_package_adds_its_types(installed: TaskCatalog) -> None:
    """The example's type runs on a worker beside the built-in ones, with each of its endings."""
    text = "io.kestra.plugin.core.storage.Write"
    with Bench(tasks=installed) as bench:
        uri = bench.run(text, content="a b a").outputs["uri"]
        counted = bench.run("com.example.text.CountWords", **{"from": uri, "ignore": ["b"]})
        few = bench.run("com.example.text.CountWords", **{"from": uri, "leastWords": "{{ 2 + 2 }}"})
        empty = bench.run("com.example.text.CountWords", **{"from": bench.run(text, content="").outputs["uri"]})

    assert (counted.state, counted.outputs) == ("SUCCESS", {"total": 3, "counts": {"a": 2}})
    assert (few.state, few.error) == ("WARNING", "fewer than 4 words")
    assert (empty.state, empty.outputs, empty.error) == ("FAILED", {"total": 0}, "the file is empty")
    assert bench.log.lines()[0].text == "3 words, 1 different ones"
    assert {metric.value for metric in bench.log.metrics() if metric.name == "words"} == {3, 0}


def test_a_package_that_fails_to_load_costs_its_own_types(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An entry point that can't be loaded is a dead letter; the worker runs the other types, and names it to who asks."""
    info = tmp_path / "broken-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[runyard.tasks]\nbroken = no_such_module:tasks\n")
    monkeypatch.syspath_prepend(tmp_path)

    with Bench(tasks=TaskCatalog.installed()) as bench:
        unknown = bench.run("com.example.Broken")
        other = bench.run("io.kestra.plugin.core.debug.Return", format="works")
        (letter,) = until(lambda: bench.log.messages(Topic.DEAD_LETTERS), "a dead letter")

    assert isinstance(letter, DeadLetter)
    assert (letter.origin, letter.service) == ("entry-point/runyard.tasks/broken/worker", "worker")
    assert letter.reason.startswith("no_such_module:tasks: ModuleNotFoundError")
    assert (unknown.state, other.state) == ("FAILED", "SUCCESS")
    assert "com.example.Broken" in unknown.error
    assert "no_such_module:tasks" in unknown.error


@dataclass(frozen=True)
class Explosive(Task):
    """Raises when it is made."""

    type = "com.example.Explosive"
    brief = True
    fuse: str = ""

    def __post_init__(self) -> None:
        raise RuntimeError(f"too short a fuse: {self.fuse}")

    def run(self, context: Context) -> None:
        raise AssertionError("it was made")


def test_a_constructor_that_raises_is_a_dead_letter() -> None:
    """The attempt fails with what the constructor raised, the command is kept whole, and the worker goes on."""
    with Bench(tasks=TaskCatalog((*core_tasks(), Explosive))) as bench:
        command = bench.send("com.example.Explosive", fuse="{{ flow.id }}")
        ended = bench.ended(command)
        (letter,) = until(lambda: bench.log.messages(Topic.DEAD_LETTERS), "a dead letter")
        again = bench.run("io.kestra.plugin.core.debug.Return", format="works")

    assert (ended.state, ended.error) == ("FAILED", "RuntimeError: too short a fuse: flow")
    assert isinstance(letter, DeadLetter)
    assert letter.origin == f"task-run-commands/{command.session}/{command.task_run_id}/0/0"
    assert letter.reason == "the constructor of com.example.Explosive raised: RuntimeError: too short a fuse: flow"
    assert (letter.execution_id, letter.task_run_id) == (command.execution_id, command.task_run_id)
    assert decode(content(letter) or b"") == command
    assert again.state == "SUCCESS"


def test_the_corpus_types_are_found_on_the_path(monkeypatch: pytest.MonkeyPatch) -> None:
    """With tests/plugins/corpus on the path the types of Kestra's test code run as it tells."""
    monkeypatch.syspath_prepend(ROOT / "tests/plugins/corpus")
    with Bench(tasks=TaskCatalog.installed()) as bench:
        failed = bench.run("io.kestra.core.runners.test.TaskThatFail", message="{{ flow.id }}")
        null = bench.run("io.kestra.core.tasks.test.NullOutputTask")
        bench.run("io.kestra.core.runners.test.task.Alias", message="by alias")
        large = bench.run("io.kestra.core.runners.test.WorkerTaskResultTooLarge")
        encrypted = bench.run("io.kestra.core.tasks.test.Encrypted", format="Hello World")

    assert (failed.state, failed.outputs) == ("FAILED", {"message": "flow"})
    assert null.outputs == {"value": None}
    assert bench.log.lines()[-1].text == "by alias"
    assert large.outputs["size"] > 1_100_000
    assert encrypted.outputs["value"]["type"] == "io.kestra.datatype:aes_encrypted"


def test_a_letter_too_large_for_the_log_is_named_without_its_bytes() -> None:
    """The command of a constructor that raises may not fit into a letter: then place and size are kept."""
    with Bench(tasks=TaskCatalog((*core_tasks(), Explosive)), log=MemoryLog(limit=3_000)) as bench:
        command = bench.send("com.example.Explosive", fuse="x", more="y" * 5_000)
        ended = bench.ended(command)
        (letter,) = until(lambda: bench.log.messages(Topic.DEAD_LETTERS), "a dead letter")

    assert ended.state == "FAILED"
    assert isinstance(letter, DeadLetter)
    assert (letter.task_run_id, letter.value, letter.size) == (command.task_run_id, None, len(command.to_bytes()))


def test_the_documentation_shows_the_example() -> None:
    """The class of docs/plugins.md is the one that the test above installs."""
    source = (EXAMPLE / "runyard_example/__init__.py").read_text()
    start = source.index("@dataclass")
    shown = (ROOT / "docs/plugins.md").read_text()

    assert source[start : source.index("def tasks")].strip() in shown


def test_every_name_for_authors_is_documented() -> None:
    """What runyard.plugin offers beside types of its own signatures is described in docs/plugins.md."""
    shown = (ROOT / "docs/plugins.md").read_text()
    inner = {"GROUP", "Files", "KvStore", "Level", "Metrics", "PropertyError", "State", "StorageError"}
    inner |= {"TaskCatalog", "TaskLogger", "TaskRunInfo"}

    assert [name for name in plugin.__all__ if name not in inner and name not in shown] == []
