"""A worker on the adapters: SQLite always, Kafka where real servers are asked for."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from shared.adapters.files import DirectoryBlobStore
from shared.adapters.kafka import KafkaEventLog, KafkaInbox, topics
from shared.adapters.sqlite import SqliteDatabase, SqliteEventLog, SqliteInbox
from shared.messages import (
    AttemptDeclined,
    AttemptEnded,
    AttemptStarted,
    Heartbeat,
    LogLine,
    Message,
    RunTaskRun,
    StopTaskRun,
    decode,
)
from shared.model.identifier import new_id
from shared.ports import EventLog, Inbox, Outbound, Topic
from shared.settings import KafkaSettings, Settings, TopicSettings
from worker.catalog import TaskCatalog
from worker.tasks import core_tasks
from worker.worker import Worker

PATIENCE = 60.0


@dataclass
class Streams:
    """Makers of the ports over the same streams."""

    inbox: Callable[[], Inbox]
    log: Callable[[], EventLog]


@pytest.fixture
def sqlite(tmp_path: Path) -> Iterator[Streams]:
    """One SQLite file."""
    database = SqliteDatabase(tmp_path / "runyard.db")
    yield Streams(lambda: SqliteInbox(database), lambda: SqliteEventLog(database))
    database.close()


@pytest.fixture
def real(kafka: str, prefix: str) -> Streams:
    """Topics of a real Kafka."""
    names = TopicSettings(prefix=prefix, partitions=4, inbox_partitions=4)
    settings = Settings(kafka=KafkaSettings(bootstrap_servers=kafka), topics=names)
    topics.create(settings)
    return Streams(lambda: KafkaInbox(settings), lambda: KafkaEventLog(settings))


@pytest.fixture(params=["sqlite", pytest.param("real", marks=pytest.mark.real)])
def streams(request: pytest.FixtureRequest) -> Streams:
    """The streams of each adapter."""
    found: Streams = request.getfixturevalue(request.param)
    return found


class Floor:
    """A worker on streams, and what an executor would see of it."""

    def __init__(self, streams: Streams, folder: Path) -> None:
        self.messages: list[Message] = []
        self.log = streams.log()
        self._worker_log = streams.log()
        self._tail = self.log.tail([Topic.TASK_RUN_EVENTS, Topic.HEARTBEATS, Topic.LOGS])
        settings = Settings(worker={"concurrency": 4, "heartbeat": 0.1, "grace": 20.0, "start_within": 20.0})
        blobs = DirectoryBlobStore(folder)
        self.worker = Worker(streams.inbox(), self._worker_log, blobs, settings, TaskCatalog(core_tasks()))
        self._thread = threading.Thread(target=self.worker.run)
        self._thread.start()
        self.beat: Heartbeat = self.until(lambda: self.of(Heartbeat))[0]

    def close(self) -> None:
        self.worker.stop()
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive()
        self._tail.close()
        self.log.close()
        self._worker_log.close()

    def until(self, found: Callable[[], Any]) -> Any:
        """Read until something is found."""
        latest = time.monotonic() + PATIENCE
        while not (result := found()):
            assert time.monotonic() < latest, "waited in vain"
            for record in self._tail.poll(1000, 0.1):
                self.messages.append(decode(record.value or b""))
        return result

    def of(self, kind: type[Any], task_run_id: str | None = None) -> list[Any]:
        """Messages of a kind."""
        found = [message for message in self.messages if isinstance(message, kind)]
        return [message for message in found if task_run_id in (None, getattr(message, "task_run_id", None))]

    def command(self, name: str, **properties: Any) -> RunTaskRun:
        task_run_id = new_id()
        return RunTaskRun(
            session=self.beat.session,
            execution_id=new_id(),
            task_run_id=task_run_id,
            attempt=0,
            dispatch=0,
            tenant="main",
            namespace="company.team",
            flow_id="flow",
            flow_revision=1,
            task={"id": "task", "type": f"io.kestra.plugin.core.{name}", **properties},
            variables={"taskrun": {"id": task_run_id}, "flow": {"id": "flow", "namespace": "company.team"}},
        )

    def send(self, *commands: Any) -> None:
        """As the executor addresses them: to the session, in the partition of its inbox."""
        self.log.publish(
            [Outbound(Topic.TASK_RUN_COMMANDS, c.session, c.to_bytes(), self.beat.inbox) for c in commands]
        )


@pytest.fixture
def floor(streams: Streams, tmp_path: Path) -> Iterator[Floor]:
    """A running worker."""
    floor = Floor(streams, tmp_path / "blobs")
    yield floor
    floor.close()


def test_commands_run_and_report_on_real_streams(floor: Floor) -> None:
    """Each of many commands is started, ended and logged, in this order; heartbeats then hold nothing any more."""
    commands = [floor.command("log.Log", message="of {{ taskrun.id }}") for _ in range(40)]
    for first in range(0, len(commands), 4):
        floor.send(*commands[first : first + 4])
        floor.until(lambda: len(floor.of(AttemptEnded)) + len(floor.of(AttemptDeclined)) >= first + 4)  # noqa: B023

    for command in commands:
        own = floor.of(AttemptStarted, command.task_run_id) + floor.of(AttemptEnded, command.task_run_id)
        assert [type(event) for event in own] == [AttemptStarted, AttemptEnded]
        assert floor.messages.index(own[0]) < floor.messages.index(own[1])
        assert own[1].state == "SUCCESS"
    floor.until(lambda: len(floor.of(LogLine)) == 40)
    last = floor.until(lambda: [b for b in floor.of(Heartbeat) if b.sent == 40 and not b.held])[0]
    assert last.position > floor.beat.position


def test_a_kill_reaches_a_running_task(floor: Floor) -> None:
    """A stop in the same inbox ends the sleeping attempt as KILLED; heartbeats named it meanwhile."""
    command = floor.command("flow.Sleep", duration="PT1H")
    floor.send(command)
    floor.until(lambda: any(command.task_run_id in work for b in floor.of(Heartbeat) for work in b.held))

    floor.send(StopTaskRun(command.session, command.execution_id, command.task_run_id, 0, 0, "kill"))

    ended = floor.until(lambda: floor.of(AttemptEnded, command.task_run_id))
    assert ended[0].state == "KILLED"


def test_a_drained_worker_finishes_and_says_goodbye(floor: Floor) -> None:
    """After `drain` the running task ends SUCCESS and the session's last heartbeat says TERMINATED."""
    command = floor.command("flow.Sleep", duration="PT0.5S")
    floor.send(command)
    floor.until(lambda: floor.of(AttemptStarted, command.task_run_id))

    floor.worker.drain()

    floor.until(lambda: [beat for beat in floor.of(Heartbeat) if beat.state == "TERMINATED"])
    assert [event.state for event in floor.of(AttemptEnded)] == ["SUCCESS"]


def test_fetch_reads_lines_from_the_log(floor: Floor) -> None:
    """The lines that an execution's tasks have written are found without an index."""
    first = floor.command("log.Log", message=["a", "b"])
    floor.send(first)
    floor.until(lambda: floor.of(AttemptEnded, first.task_run_id))

    fetch = floor.command("log.Fetch", executionId=first.execution_id)
    floor.send(fetch)

    ended = floor.until(lambda: floor.of(AttemptEnded, fetch.task_run_id))
    assert (ended[0].state, ended[0].error) == ("SUCCESS", None)
    assert ended[0].outputs["size"] == 2
