"""Dead letters as an operator meets them: each kind is kept, the rest goes on, and a replay does what it says."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from shared import messages as m
from shared.adapters.kafka import KafkaEventLog
from shared.adapters.kafka.partitioner import partition_of
from shared.adapters.sqlite import SqliteDatabase, SqliteEventLog
from shared.dead_letters import buried, dead_letter
from shared.model.document import Kind
from shared.model.identifier import new_id
from shared.ports import EventLog, Inbound, Outbound, Topic
from shared.settings import KafkaSettings, Settings, TopicSettings
from tests.acceptance.servers import PATIENCE, ClusterServer, EmbeddedServer, Server, Standalone, command
from tests.unit.indexer.memory import execution, run_event

FLOW = """\
id: %s
namespace: company.team
tasks:
  - id: only
    type: %s
"""
RETURN = "io.kestra.plugin.core.debug.Return"
EXPLOSIVE = """
from dataclasses import dataclass
from runyard.plugin import Context, Task

@dataclass(frozen=True)
class Explosive(Task):
    type = "com.example.Explosive"

    def __post_init__(self):
        raise RuntimeError("boom")

    def run(self, context: Context):
        return None

def tasks():
    return (Explosive,)
"""


def package(folder: Path, name: str, point: str) -> None:
    """A package as an installer leaves it."""
    info = folder / f"{name}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[runyard.tasks]\n{name} = {point}\n")


@pytest.fixture
def standalone(tmp_path: Path) -> Iterator[Standalone]:
    """A standalone with a package that can't be loaded, and one whose task type raises in its constructor."""
    plugins = tmp_path / "plugins"
    package(plugins, "broken", "no_such_module:tasks")
    package(plugins, "explosive", "explosive:tasks")
    (plugins / "explosive.py").write_text(EXPLOSIVE)
    made = Standalone(tmp_path / "data", {"PYTHONPATH": str(plugins)})
    made.start()
    yield made
    if made.process is not None and made.process.poll() is None:
        made.stop()


def publish(standalone: Standalone, *records: Outbound) -> None:
    """Write records to the file of a standalone that is not running."""
    database = SqliteDatabase(standalone.data / "runyard.db")
    log = SqliteEventLog(database)
    log.publish(records)
    log.close()
    database.close()


def letters(*where: str, **environment: str) -> dict[str, dict[str, Any]]:
    """The open letters by their origins."""
    result = command("dead-letters", "list", "--json", *where, environment=environment)
    assert result.returncode == 0, result.stderr
    return {letter["origin"]: letter for letter in json.loads(result.stdout)["results"]}


def awaited(count: int, *where: str, **environment: str) -> dict[str, dict[str, Any]]:
    """The open letters, once there are so many."""
    until = time.monotonic() + PATIENCE
    while len(found := letters(*where, **environment)) < count:
        assert time.monotonic() < until, f"{len(found)} of {count} dead letters: {list(found)}"
        time.sleep(0.2)
    return found


def unreadable(key: str = "e") -> Outbound:
    return Outbound(Topic.EXECUTION_COMMANDS, key, b'{"v":1,"type":"DanceExecution"}', 0)


def unknown_event() -> tuple[str, Outbound]:
    """A result of work of an execution that never was."""
    execution_id = new_id()
    event = m.AttemptEnded(execution_id, new_id(), 0, 0, "w", 1, "SUCCESS", 1)
    return execution_id, Outbound(Topic.TASK_RUN_EVENTS, execution_id, event.to_bytes())


def test_each_kind_is_kept_and_the_rest_goes_on(standalone: Standalone) -> None:
    """An unreadable record, an event for an unknown execution, a refused document, plugins that raise."""
    e = new_id()
    stranger, event = unknown_event()
    standalone.stop()
    publish(standalone, unreadable(), event, run_event(e, "bad", 2, state={"startDate": "soon"}))

    standalone.start()
    server = EmbeddedServer(standalone.url)
    server.put_flow(FLOW % ("good", RETURN)).raise_for_status()
    server.put_flow(FLOW % ("explosive", "com.example.Explosive")).raise_for_status()
    good, explosive = server.execute("good"), server.execute("explosive")
    found = awaited(7, "--server", standalone.url)
    by_reason = {letter["reason"]: letter for letter in found.values()}

    assert good["state"]["current"] == "SUCCESS"
    assert explosive["state"]["current"] == "FAILED"
    broken = [f"entry-point/runyard.tasks/broken/{service}" for service in ("executor", "indexer", "worker")]
    assert set(broken) <= found.keys()
    assert "type 'DanceExecution' is not known" in by_reason
    constructor = by_reason["the constructor of com.example.Explosive raised: RuntimeError: boom"]
    assert constructor["executionId"] == explosive["id"]
    assert constructor["taskRunId"] == explosive["taskRunList"][0]["id"]
    assert any(letter["executionId"] == stranger and "not known" in letter["reason"] for letter in found.values())
    (document,) = [origin for origin, letter in found.items() if letter["taskRunId"] == "bad"]
    shown = json.loads(server.run("dead-letters", "show", document).stdout)
    assert shown["value"]["document"]["state"] == {"startDate": "soon"}
    metrics = server.http.get(f"{standalone.url}/metrics").text
    assert 'runyard_executor_dead_letters_total{why="unreadable"} 1.0' in metrics
    assert 'runyard_worker_dead_letters_total{why="plugin"}' in metrics

    replayed = server.run("dead-letters", "replay", "--all")
    assert replayed.returncode == 1
    assert f"{document}: not replayed: the store still refuses it" in replayed.stdout
    still = awaited(3, "--server", standalone.url)
    assert {letter["reason"] for letter in still.values()} >= {"type 'DanceExecution' is not known"}

    assert "runyard dead-letters --server" in command("dead-letters", "list", "--data", str(standalone.data)).stderr
    server.close()
    standalone.stop()
    publish(standalone, run_event(e, "bad", 3))
    mended = command("dead-letters", "replay", document, "--data", str(standalone.data))
    again = command("dead-letters", "replay", document, "--data", str(standalone.data))
    assert (mended.returncode, again.returncode) == (0, 0)
    assert f"{document}: written: version 3" in mended.stdout
    assert f"{document}: replayed before" in again.stdout
    assert document not in letters("--data", str(standalone.data))


def test_a_skipped_flow_goes_on_after_a_replay(standalone: Standalone) -> None:
    """What `--skip-flows` passes over at start is listed, and runs once it is replayed without the option."""
    server = EmbeddedServer(standalone.url)
    for name in ("good", "poison"):
        server.put_flow(FLOW % (name, RETURN)).raise_for_status()
    server.close()
    standalone.stop()

    standalone.arguments = ("--skip-flows", "company.team.poison")
    standalone.start()
    server = EmbeddedServer(standalone.url)
    passed = server.http.post("/executions/company.team/poison", files=[("", (None, ""))]).json()["id"]
    assert server.execute("good")["state"]["current"] == "SUCCESS"
    awaited(1, "--server", standalone.url, "--reason", "executor.skip_flows")
    table = server.run("dead-letters", "list", "--reason", "SKIPPED BY")
    assert passed in table.stdout
    server.close()
    standalone.stop()

    standalone.arguments = ()
    standalone.start()
    server = EmbeddedServer(standalone.url)
    (origin,) = letters("--server", standalone.url, "--reason", "skipped")
    assert server.run("dead-letters", "replay", origin).returncode == 0
    (run,) = server.searched(passed, 1)
    assert run["state"]["current"] == "SUCCESS"
    server.close()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["standalone", "--skip-executions", "12"], "'12' is not the id of an execution"),
        (["executor", "--skip-flows", "a/b"], "'a/b' is not id, namespace.id or tenant/namespace/id"),
        (["executor", "--skip-namespaces", "Company"], "'Company' is not a namespace"),
        (["dead-letters", "replay"], "give origins, or --all"),
        (["dead-letters", "replay", "x", "--all"], "give origins, or --all"),
        (["dead-letters", "list", "--data", "."], "it is no data directory"),
        (["dead-letters", "list", "--since", "soon"], "--since: 'soon' is neither"),
        (["dead-letters", "list", "--server", "http://127.0.0.1:9"], "does not answer"),
    ],
)
def test_wrong_arguments_are_named(tmp_path: Path, arguments: list[str], words: str) -> None:
    """Each wrong argument gives an exit status that is not 0 and one message that names it, without a traceback."""
    result = command(*arguments, cwd=tmp_path)

    assert result.returncode != 0
    assert words in result.stderr
    assert result.stderr.count("runyard: ") == 1
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("path", ["", "/letter?origin=x", "/replay"])
def test_the_api_refuses_what_it_does_not_have(embedded: Server, path: str) -> None:
    """An unknown letter is 404; a wrong duration, or a replay of nothing, is 422."""
    root = f"{embedded.url}/api/v1/dead-letters"
    if path == "/replay":
        answer = embedded.http.post(root + path, json={})
    else:
        answer = embedded.http.get(root + path, params=None if path else {"since": "yesterday"})

    assert answer.status_code == (404 if "letter?" in path else 422)
    assert answer.json()["message"]


@pytest.mark.real
def test_list_show_and_replay_on_kafka(cluster: ClusterServer) -> None:
    """Through the API and straight from Kafka: a command runs, a refused document is written, garbage stays open."""
    environment = {name: value for name, value in cluster.stack.environment.items() if name.startswith("RUNYARD_")}
    topics = TopicSettings(prefix=environment["RUNYARD_TOPICS__PREFIX"])
    settings = Settings(
        kafka=KafkaSettings(bootstrap_servers=environment["RUNYARD_KAFKA__BOOTSTRAP_SERVERS"]), topics=topics
    )
    log: EventLog = KafkaEventLog(settings)
    partitions = int(environment["RUNYARD_TOPICS__PARTITIONS"])
    cluster.put_flow(FLOW % ("letters", RETURN)).raise_for_status()
    wanted, e = new_id(), new_id()
    create = m.CreateExecution(wanted, "c", 1, "main", "company.team", "letters", 1)
    stranger, event = unknown_event()
    skipped = Inbound(Topic.EXECUTION_COMMANDS, partition_of(wanted, partitions), 10**9, wanted, create.to_bytes(), 1)
    record = m.EventRecord(
        "ExecutionCreated",
        e,
        1,
        time.time_ns() // 1_000_000,
        Kind.EXECUTION,
        e,
        execution(e, 1, state={"startDate": "soon"}),
    )
    log.publish([unreadable(new_id()), event, buried(dead_letter(skipped, "skipped by setting", "executor", 1))])
    log.publish([Outbound(Topic.EXECUTION_EVENTS, e, record.to_bytes(), partition_of(e, partitions))])

    found = awaited(4, "--server", cluster.url)
    direct = letters(**environment)
    (document,) = [origin for origin, letter in found.items() if letter["executionId"] == e]
    (foreign,) = [origin for origin, letter in found.items() if letter["executionId"] == stranger]
    (bad,) = [origin for origin, letter in found.items() if "DanceExecution" in letter["reason"]]
    shown = json.loads(command("dead-letters", "show", foreign, environment=environment).stdout)
    assert direct.keys() == found.keys()
    assert shown["value"]["type"] == "AttemptEnded"

    command_origin = f"execution-commands/{skipped.partition}/{skipped.offset}"
    ran = command("dead-letters", "replay", command_origin, document, bad, environment=environment)
    assert ran.returncode == 1
    assert f"{command_origin}: published" in ran.stdout
    assert f"{document}: not replayed" in ran.stdout
    assert f"{bad}: not replayed" in ran.stdout
    assert cluster.searched(wanted, 1)[0]["state"]["current"] == "SUCCESS"

    mended = m.EventRecord("ExecutionCreated", e, 2, record.at, Kind.EXECUTION, e, execution(e, 2))
    log.publish([Outbound(Topic.EXECUTION_EVENTS, e, mended.to_bytes(), partition_of(e, partitions))])
    written = cluster.run("dead-letters", "replay", document)
    again = cluster.run("dead-letters", "replay", document, command_origin)
    assert written.returncode == 0
    assert f"{document}: written: version 2" in written.stdout
    assert "2 replayed before" in again.stdout
    gone = m.EventRecord("ExecutionDeleted", e, 3, record.at)  # other tests share the index
    log.publish([Outbound(Topic.EXECUTION_EVENTS, e, gone.to_bytes(), partition_of(e, partitions))])
    log.close()
