"""The folder that children of a WorkingDirectory share, from one worker to the next."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import pytest

from tests.unit.worker.memory import Bench
from worker.patterns import matches
from worker.storage import checked

FILES = "io.kestra.plugin.core.storage.LocalFiles"


@pytest.fixture
def bench() -> Iterator[Bench]:
    """A worker."""
    with Bench() as bench:
        yield bench


def child(bench: Bench, execution: str = "execution", told: dict[str, Any] | None = None, **properties: Any) -> Any:
    """The end of a child of a WorkingDirectory; each child may run on another worker: nothing is kept in memory."""
    directory = {"id": "parent-0", "taskId": "parent", **(told or {})}
    return bench.run(FILES, _execution_id=execution, **{"$workingDirectory": directory}, **properties)


def texts(bench: Bench, ended: Any) -> dict[str, str]:
    """The stored files of a LocalFiles."""
    assert ended.state == "SUCCESS", ended.error
    return {name: read(bench, uri) for name, uri in ended.outputs["uris"].items()}


def read(bench: Bench, uri: str) -> str:
    with bench.blobs.open(checked(uri, "main")) as file:
        return file.read().decode()


def test_a_child_finds_what_the_ones_before_left(bench: Bench) -> None:
    """Files of the first child, changed by the second, are there for the third; another execution has none of them."""
    child(bench, inputs={"out/stay.txt": "one", "out/change.txt": "old"})
    child(bench, inputs={"out/change.txt": "new"})

    assert texts(bench, child(bench, outputs=["out/*"])) == {"out/stay.txt": "one", "out/change.txt": "new"}
    assert texts(bench, child(bench, execution="other", outputs=["**"])) == {}


def test_what_a_failed_child_wrote_stays(bench: Bench) -> None:
    """A child that fails after it wrote leaves its files, as Kestra does."""
    failed = child(bench, inputs={"a.txt": "a", "b.txt": "kestra:///nowhere"})

    assert failed.state == "FAILED"
    assert texts(bench, child(bench, outputs=["**"])) == {"a.txt": "a"}


def test_the_first_child_begins_with_the_parents_files(bench: Bench) -> None:
    """Namespace files that match, then rendered input files; a later child doesn't get them again."""
    for name in ("a/1.txt", "ignore/4.txt", "b.csv"):
        bench.blobs.put(f"main/company/team/_files/{name}", io.BytesIO(name.encode()))
    told = {
        "namespaceFiles": {"exclude": ["/ignore/**"], "include": ["**.txt"]},
        "inputFiles": {"in.txt": "of {{ flow.id }}"},
    }

    first = child(bench, told=told, outputs=["**"])
    child(bench, told=told, inputs={"in.txt": "changed"})

    assert texts(bench, first) == {"a/1.txt": "a/1.txt", "in.txt": "of flow"}
    assert texts(bench, child(bench, told=told, outputs=["in.txt"])) == {"in.txt": "changed"}


def test_output_files_are_told_to_the_executor(bench: Bench) -> None:
    """Each child's end carries the files that match the parent's `outputFiles` by then."""
    told = {"outputFiles": ["*.txt"]}
    before = child(bench, told=told, inputs={"deep/x.txt": "x"})
    after = child(bench, told=told, inputs={"output.txt": "Hello"})

    assert before.attributes == {"outputFiles": {}}
    assert {name: read(bench, uri) for name, uri in after.attributes["outputFiles"].items()} == {"output.txt": "Hello"}
    assert child(bench).attributes is None


def test_cached_files_are_there_in_the_next_execution(bench: Bench) -> None:
    """Files of the cache's patterns are kept for its `ttl`, others are not."""
    told = {"cache": {"ttl": "PT5M", "patterns": ["*.txt"]}}
    child(bench, told=told, inputs={"kept.txt": "kept", "other.csv": "x"})

    assert texts(bench, child(bench, "second", told, outputs=["**"])) == {"kept.txt": "kept"}
    over = {"cache": {**told["cache"], "ttl": "-PT1S"}}
    assert texts(bench, child(bench, "third", over, outputs=["**"])) == {}


@pytest.mark.parametrize(
    ("name", "pattern", "expected"),
    [
        ("a.txt", "*.txt", True),
        ("deep/a.txt", "*.txt", False),
        ("deep/a.txt", "**.txt", True),
        ("deep/er/a.txt", "deep/**", True),
        ("deep/a.txt", "/deep/?.txt", True),
        ("a.csv", "*.{txt,csv}", True),
        ("a.xml", "*.{txt,csv}", False),
        ("b1", "[a-c][!2]", True),
        ("b2", "[a-c][!2]", False),
        ("a+b", "a+b", True),
        ("a{b", "a{b", True),
    ],
)
def test_patterns_match_as_javas_do(name: str, pattern: str, expected: bool) -> None:
    """One star stays within a folder, two don't."""
    assert matches(name, [pattern]) is expected
