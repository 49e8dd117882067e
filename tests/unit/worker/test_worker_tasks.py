"""The built-in tasks, as flows see them."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import orjson
import pytest

from shared.messages import ResumeExecution
from shared.ports import Topic
from tests.unit.worker.memory import Bench
from worker.key_values import BlobKvStore, KeyValueError
from worker.storage import checked

CORE = "io.kestra.plugin.core"


@pytest.fixture
def bench() -> Iterator[Bench]:
    """A worker."""
    with Bench() as bench:
        yield bench


def stored(bench: Bench, text: str, name: str = "in.txt") -> str:
    """A file of the storage."""
    return bench.blobs.put(f"main/company/team/{name}", io.BytesIO(text.encode()))


def read(bench: Bench, uri: str) -> str:
    with bench.blobs.open(checked(uri, "main")) as file:
        return file.read().decode()


def outputs(bench: Bench, name: str, variables: dict[str, Any] | None = None, /, **properties: Any) -> Any:
    """The outputs of a task that must end SUCCESS."""
    ended = bench.run(f"{CORE}.{name}", variables, **properties)
    assert ended.state == "SUCCESS", ended.error
    return ended.outputs


def error(bench: Bench, name: str, /, **properties: Any) -> str:
    """The error of a task that must end FAILED."""
    ended = bench.run(f"{CORE}.{name}", **properties)
    assert ended.state == "FAILED"
    return str(ended.error)


def test_echo_logs_its_text(bench: Bench) -> None:
    """Echo writes its rendered format at its level."""
    outputs(bench, "debug.Echo", format="echo {{ flow.id }}", level="DEBUG")

    assert [(line.level, line.text) for line in bench.log.lines()] == [("DEBUG", "echo flow")]


def test_output_values_are_rendered_deeply(bench: Bench) -> None:
    """OutputValues gives its map with all texts rendered; other values stay."""
    values = {"text": "{{ flow.id }}", "deep": [{"n": 1, "t": "{{ 1 + 1 }}"}]}

    assert outputs(bench, "output.OutputValues", values=values) == {
        "values": {"text": "flow", "deep": [{"n": 1, "t": "2"}]}
    }


def test_assert_names_each_condition_that_does_not_hold(bench: Bench) -> None:
    """A failed condition is an ERROR line; counts go to metrics."""
    text = error(bench, "execution.Assert", conditions=["{{ 1 == 1 }}", "{{ 1 == 2 }}"], errorMessage="not so")

    assert text == "not so"
    assert bench.log.lines()[0].text == "Assertion failed: {{ 1 == 2 }}"
    assert {metric.name: metric.value for metric in bench.log.metrics()} == {"failed": 1, "success": 1}
    assert outputs(bench, "execution.Assert", conditions=["{{ 1 == 1 }}"]) == {}


@pytest.mark.parametrize(
    "labels",
    [
        {"a": "{{ flow.id }}", "b": 1, "c": True},
        [{"key": "a", "value": "flow"}, {"key": "b", "value": "1"}, {"key": "c", "value": "true"}],
        '{"a": "{{ flow.id }}", "b": 1, "c": true}',
    ],
)
def test_labels_are_handed_to_the_executor(bench: Bench, labels: Any) -> None:
    """A map, a list and JSON text give the same labels, as texts."""
    ended = bench.run(f"{CORE}.execution.Labels", labels=labels)

    assert ended.attributes == {"labels": {"a": "flow", "b": "1", "c": "true"}}


def test_system_labels_fail_the_task(bench: Bench) -> None:
    """Labels that begin with `system.` are Kestra's own, also where a template makes their name."""
    ended = bench.run(f"{CORE}.execution.Labels", labels={"{{ 'system.a' }}": "b", "c": "d"})

    assert (ended.state, ended.attributes) == ("FAILED", None)
    assert "offending label: system.a=b" in ended.error


def test_resume_sends_the_command(bench: Bench) -> None:
    """Resume puts a ResumeExecution on the log whose id follows from the attempt."""
    command = bench.send(f"{CORE}.execution.Resume", executionId="other", inputs={"asked": "{{ flow.id }}"})
    bench.ended(command)

    (sent,) = bench.log.messages(Topic.EXECUTION_COMMANDS)
    assert isinstance(sent, ResumeExecution)
    assert (sent.execution_id, sent.command_id) == ("other", f"{command.task_run_id}-0-0")
    assert sent.inputs == {"asked": "flow"}


def test_fetch_writes_the_lines_of_its_execution(bench: Bench) -> None:
    """Lines of this execution from a level on, of all or some tasks; those of others are not there."""
    execution = "0193" + "x" * 18
    for task, level in [("one", "INFO"), ("two", "INFO"), ("one", "DEBUG")]:
        bench.run(f"{CORE}.log.Log", message=f"of {task}", level=level, _task_id=task, _execution_id=execution)
    bench.run(f"{CORE}.log.Log", message="of another")

    everything = bench.run(f"{CORE}.log.Fetch", _execution_id=execution).outputs
    some = bench.run(f"{CORE}.log.Fetch", tasksId=["one"], level="DEBUG", _execution_id=execution).outputs

    assert (everything["size"], some["size"]) == (2, 2)
    rows = [orjson.loads(row) for row in read(bench, everything["uri"]).splitlines()]
    assert [(row["taskId"], row["message"], row["level"]) for row in rows] == [
        ("one", "of one", "INFO"),
        ("two", "of two", "INFO"),
    ]


def test_key_values_keep_their_types(bench: Bench) -> None:
    """Set keeps what its expression gives; Get, `kv()` and GetKeys find it; Delete says whether it was there."""
    outputs(bench, "kv.Set", {"vars": {"n": {"a": 1}}}, key="my-key", value="{{ vars.n }}")
    outputs(bench, "kv.Set", key="my-number", value="12", kvType="NUMBER")

    assert outputs(bench, "kv.Get", key="my-key") == {"value": {"a": 1}}
    assert outputs(bench, "kv.Get", key="my-number") == {"value": 12}
    assert outputs(bench, "debug.Return", format="{{ kv('my-key').a }}") == {"value": "1"}
    assert outputs(bench, "kv.GetKeys", prefix="my-") == {"keys": ["my-key", "my-number"]}
    assert outputs(bench, "kv.Delete", key="my-key") == {"deleted": True}
    assert outputs(bench, "kv.Delete", key="my-key") == {"deleted": False}
    assert outputs(bench, "kv.Get", key="my-key") == {}
    assert "No value found for key 'my-key'" in error(bench, "kv.Get", key="my-key", errorOnMissing=True)


def test_a_key_that_is_taken_can_be_kept(bench: Bench) -> None:
    """`overwrite: false` on a key that exists fails and changes nothing."""
    outputs(bench, "kv.Set", key="k", value="first")

    assert "already exists" in error(bench, "kv.Set", key="k", value="second", overwrite=False)
    assert outputs(bench, "kv.Get", key="k") == {"value": "first"}
    assert "must start with a letter" in error(bench, "kv.Set", key="../k", value="x")


def test_a_value_ends_with_its_time_to_live(bench: Bench) -> None:
    """After `ttl` a value isn't there any more; keys of other namespaces were never seen."""
    now = 1000
    store = BlobKvStore(bench.blobs, clock=lambda: now)
    store.put("main", "a.b", "k", 1, ttl=500)
    store.put("main", "a.b", "kk", 2)
    store.put("main", "a", "other", 3)

    now = 1499
    assert sorted(store.keys("main", "a.b")) == ["k", "kk"]
    now = 1500
    assert store.get("main", "a.b", "k") is None
    assert list(store.keys("main", "a.b")) == ["kk"]
    with pytest.raises(KeyValueError):
        store.put("main", "a.b", "a/b", 1)


def test_a_state_is_merged_and_kept(bench: Bench) -> None:
    """Set merges, Get counts, by name and loop value; `taskrunValue: false` shares it between values."""
    first = {"taskrun": {"value": "a"}}
    assert outputs(bench, "state.Get", first, name="s") == {"count": 0, "data": {}}

    outputs(bench, "state.Set", first, name="s", data={"x": 1, "list": ["{{ flow.id }}"]})
    outputs(bench, "state.Set", first, name="s", data={"y": 2, "list": ["b"]})
    outputs(bench, "state.Set", first, name="s", data={"shared": True}, taskrunValue=False)

    found = {"x": 1, "y": 2, "list": ["flow", "b"]}
    assert outputs(bench, "state.Get", first, name="s") == {"count": 3, "data": found}
    assert outputs(bench, "state.Get", {"taskrun": {"value": "b"}}, name="s")["count"] == 0
    assert outputs(bench, "state.Get", name="s", taskrunValue=False)["data"] == {"shared": True}
    assert outputs(bench, "state.Delete", first, name="s") == {"deleted": True}
    assert "Unable to find the state file 'none'" in error(bench, "state.Delete", name="none", errorOnMissing=True)


@pytest.mark.parametrize(
    ("how", "parts"),
    [
        ({"rows": 2}, ["1\n2\n", "3\n4\n", "5\n"]),
        ({"partitions": 2}, ["1\n3\n5\n", "2\n4\n"]),
        ({"bytes": "3"}, ["1\n2\n", "3\n4\n", "5\n"]),
        ({"rows": "{{ 4 }}", "separator": ";"}, ["1;2;3;4;", "5;"]),
    ],
)
def test_split_cuts_at_rows(bench: Bench, how: dict[str, Any], parts: list[str]) -> None:
    """By rows, dealt out to partitions, or by bytes: a part is full once it has reached the bound."""
    uri = stored(bench, "1\n2\n3\n4\n5\n", "in.csv")

    uris = outputs(bench, "storage.Split", **{"from": uri, **how})["uris"]

    assert [read(bench, uri) for uri in uris] == parts
    assert all(uri.endswith(".csv") for uri in uris)


def test_files_are_joined_turned_round_measured_and_deleted(bench: Bench) -> None:
    """Concat, Reverse, Size, Write and Delete on stored files."""
    one, two = stored(bench, "a\nb\n", "1"), stored(bench, "c\n", "2")

    joined = outputs(bench, "storage.Concat", files=orjson.dumps([one, two]).decode(), separator="-", extension=".txt")
    assert read(bench, joined["uri"]) == "a\nb\n-c\n-"
    assert joined["uri"].endswith(".txt")
    assert read(bench, outputs(bench, "storage.Reverse", **{"from": one})["uri"]) == "b\na\n"
    assert outputs(bench, "storage.Size", uri=one) == {"size": 4}
    assert read(bench, outputs(bench, "storage.Write", content="{{ flow.id }}")["uri"]) == "flow"
    assert outputs(bench, "storage.Delete", uri=one) == {"uri": one, "deleted": True}
    assert outputs(bench, "storage.Delete", uri=one)["deleted"] is False
    assert "Unable to find file" in error(bench, "storage.Delete", uri=one, errorOnMissing=True)
    assert "no file" in error(bench, "storage.Size", uri=one)
    assert "no URI of the internal storage" in error(bench, "storage.Size", uri="file:///etc/passwd")


def test_items_are_filtered_and_deduplicated(bench: Bench) -> None:
    """FilterItems keeps what holds; DeduplicateItems keeps the last of equal keys."""
    uri = stored(bench, '{"k":"a","n":1}\n{k:"b",n:2}\n{"k":"a","n":3}\n{"k":"c"}\n', "items.ion")

    kept = outputs(
        bench,
        "storage.FilterItems",
        **{"from": uri, "filterCondition": "{{ n > 1 }}", "errorOrNullBehavior": "EXCLUDE"},
    )
    dropped = outputs(
        bench, "storage.FilterItems", **{"from": uri, "filterCondition": "{{ k == 'a' }}", "filterType": "exclude"}
    )
    unique = outputs(bench, "storage.DeduplicateItems", **{"from": uri, "expr": "{{ k }}"})

    assert read(bench, kept["uri"]) == '{k:"b",n:2}\n{"k":"a","n":3}\n'
    assert (kept["processedItemsTotal"], kept["droppedItemsTotal"]) == (4, 2)
    assert read(bench, dropped["uri"]) == '{k:"b",n:2}\n{"k":"c"}\n'
    assert read(bench, unique["uri"]) == '{k:"b",n:2}\n{"k":"a","n":3}\n{"k":"c"}\n'
    assert (unique["numKeys"], unique["droppedItemsTotal"]) == (3, 1)
    assert "Unable to find `n`" in error(
        bench, "storage.FilterItems", **{"from": uri, "filterCondition": "{{ n > 1 }}"}
    )


def test_local_files_are_written_and_stored_by_pattern(bench: Bench) -> None:
    """Inputs are texts or URIs; outputs are found by pattern, by their path; a path can't leave the folder."""
    uri = stored(bench, "stored", "s.txt")

    found = outputs(
        bench, "storage.LocalFiles", inputs={"out/a.txt": "{{ flow.id }}", "out/b.txt": uri}, outputs=["out/*"]
    )

    assert {name: read(bench, uri) for name, uri in found["uris"].items()} == {
        "out/a.txt": "flow",
        "out/b.txt": "stored",
    }
    assert found["uris"]["out/a.txt"].endswith("/out/a.txt")
    assert "'../x' is no path of a file" in error(bench, "storage.LocalFiles", inputs={"../x": ""})


class _Server(BaseHTTPRequestHandler):
    """Answers with what it got."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        text = orjson.dumps({"path": self.path, "type": self.headers["content-type"], "body": body.decode()})
        self.send_response(404 if self.path.startswith("/missing") else 200)
        self.send_header("content-type", "application/json")
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_: Any) -> None:
        return None


@pytest.fixture
def server() -> Iterator[str]:
    """The address of an HTTP server."""
    with HTTPServer(("127.0.0.1", 0), _Server) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_a_request_gives_code_and_body(bench: Bench, server: str) -> None:
    """Request sends its rendered body; a JSON answer becomes a value; a status from 400 on fails unless allowed."""
    found = outputs(bench, "http.Request", uri=f"{server}/a", method="post", body="{{ flow.id }}", params={"q": 1})
    assert found["code"] == 200
    assert found["body"] == {"path": "/a?q=1", "type": "application/json", "body": "flow"}

    failed = bench.run(f"{CORE}.http.Request", uri=f"{server}/missing", method="POST", body="x")
    assert failed.state == "FAILED"
    assert "response code '404'" in failed.error
    assert failed.outputs["code"] == 404
    assert (
        outputs(bench, "http.Request", uri=f"{server}/missing", method="POST", body="x", allowFailed=True)["code"]
        == 404
    )


def test_a_download_becomes_a_file(bench: Bench, server: str) -> None:
    """Download stores the body under the name of the address; a failed one leaves nothing."""
    found = outputs(bench, "http.Download", uri=f"{server}/deep/report.json", method="POST", body="x")

    assert found["uri"].endswith("/report.json")
    assert orjson.loads(read(bench, found["uri"]))["path"] == "/deep/report.json"
    assert found["length"] == bench.blobs.size(checked(found["uri"], "main"))
    assert "response code '404'" in error(bench, "http.Download", uri=f"{server}/missing", method="POST", body="x")


def test_namespace_files_are_uploaded_downloaded_and_deleted(bench: Bench) -> None:
    """Files go into a namespace by text or URI, come back by pattern, and are deleted by pattern."""
    uri = stored(bench, "stored")
    files = {"a.txt": "{{ flow.id }}", "deep/b.txt": uri}

    up = outputs(bench, "namespace.UploadFiles", namespace="company.team", filesMap=files, destination="/to")
    assert set(up["files"]) == {"to/a.txt", "to/deep/b.txt"}
    assert outputs(bench, "debug.Return", format="{{ read('to/a.txt') }}") == {"value": "flow"}
    kept = outputs(
        bench, "namespace.UploadFiles", namespace="company.team", filesMap={"to/a.txt": "x"}, conflict="SKIP"
    )
    assert kept == {"files": {}}
    taken = error(
        bench, "namespace.UploadFiles", namespace="company.team", filesMap={"to/a.txt": "x"}, conflict="ERROR"
    )
    assert taken == "File to/a.txt already exists and conflict is set to ERROR"

    down = outputs(bench, "namespace.DownloadFiles", namespace="company.team", files=["**/b.txt"])
    assert {name: read(bench, uri) for name, uri in down["files"].items()} == {"/to/deep/b.txt": "stored"}
    assert outputs(bench, "namespace.DeleteFiles", namespace="company.team", files="to/*") == {"files": 1}
    assert "to/a.txt" in error(bench, "debug.Return", format="{{ read('to/a.txt') }}")


def test_the_items_of_a_for_each_are_split_and_their_outputs_merged(bench: Bench) -> None:
    """The split's end tells its batches to the executor, too; the merge writes one line for each subflow."""
    uri = stored(bench, "1\n2\n3\n", "items.csv")
    kind = f"{CORE}.flow.ForEachItem"

    ended = bench.run(
        f"{kind}$ForEachItemSplit", {"vars": {"uri": uri}}, items="{{ vars.uri }}", batch={"rows": "{{ 2 }}"}
    )
    assert [read(bench, uri) for uri in ended.attributes["splits"]] == ["1\n2\n", "3\n"]
    assert read(bench, ended.outputs["splits"]).split("\n") == ended.attributes["splits"]
    assert len(bench.run(f"{kind}$ForEachItemSplit", items=uri).attributes["splits"]) == 3
    assert "this is not an internal storage URI" in bench.run(f"{kind}$ForEachItemSplit", items="You will fail").error

    merged = bench.run(f"{kind}$ForEachItemMergeOutputs", outputs=[{"value": "a"}, None, {"value": "b"}])
    assert read(bench, merged.outputs["subflowOutputs"]) == '{"value":"a"}\n{"value":"b"}\n'
    assert bench.run(f"{kind}$ForEachItemMergeOutputs").outputs == {}
