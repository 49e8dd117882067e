"""docker-compose.yml, run as processes of this machine.

A broker and a node with exactly the settings of its `kafka` and `elasticsearch`, then Runyard's services with exactly
their commands and environment; only host names, ports and paths are mapped to what there is here.
"""

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from confluent_kafka.admin import AdminClient, ConfigResource, ResourceType

from tests.servers import ElasticsearchServer, KafkaServer
from tests.servers.compose import Service, services
from tests.servers.process import free_port

pytestmark = pytest.mark.real

#: Settings of a place, which the mapping replaces: addresses and directories.
OF_THE_PLACE = {
    "listeners",
    "advertised.listeners",
    "listener.security.protocol.map",
    "inter.broker.listener.name",
    "controller.quorum.voters",
    "log.dirs",
}

FLOW = """\
id: deployment
namespace: tests
tasks:
  - id: hello
    type: io.kestra.plugin.core.log.Log
    message: Hello from the compose file
"""


@pytest.fixture(scope="module")
def broker() -> Iterator[KafkaServer]:
    with KafkaServer(settings=broker_settings(services()["kafka"])) as server:
        yield server


@pytest.fixture(scope="module")
def node() -> Iterator[ElasticsearchServer]:
    with ElasticsearchServer(settings=node_settings(services()["elasticsearch"])) as server:
        yield server


def test_the_broker_knows_its_settings(broker: KafkaServer) -> None:
    """Each setting that the file gives the broker is one it knows, with that value."""
    wanted = broker_settings(services()["kafka"])
    resource = ConfigResource(ResourceType.BROKER, wanted["node.id"])
    admin = AdminClient({"bootstrap.servers": broker.address})

    found = admin.describe_configs([resource])[resource].result(30)

    assert {name: found[name].value if name in found else None for name in wanted} == wanted


@pytest.mark.parametrize(("index", "status"), [("runyard-task-runs-2026.01", 404), ("other", 201)])
def test_the_node_makes_no_index_of_runyard_by_itself(node: ElasticsearchServer, index: str, status: int) -> None:
    """An index of Runyard's needs its template; Kibana and others may make theirs."""
    assert httpx.put(f"{node.address}/{index}/_doc/1", json={"field": 1}, timeout=30).status_code == status


def broker_settings(service: Service) -> dict[str, str]:
    """The broker settings that the image makes of its environment: KAFKA_NODE_ID is node.id."""
    named = {
        name.removeprefix("KAFKA_").lower().replace("_", "."): value
        for name, value in service.environment.items()
        if name.startswith("KAFKA_") and name != "KAFKA_HEAP_OPTS"
    }
    return {name: value for name, value in named.items() if name not in OF_THE_PLACE}


def node_settings(service: Service) -> dict[str, str]:
    """The node settings that the image makes of its environment: the names with a dot."""
    return {name: value for name, value in service.environment.items() if "." in name}


def test_the_services_run_a_flow(broker: KafkaServer, node: ElasticsearchServer, tmp_path: Path) -> None:
    """With the file's commands and environment the services become healthy, run a flow, show it, and end cleanly."""
    place = Place(broker.address, node.address, tmp_path)
    flow = tmp_path / "flow.yaml"
    flow.write_text(FLOW)
    for _ in range(2):  # `topics` also runs at every later start, when all is there
        assert place.run(services()["topics"].command, services()["topics"]) == 0

    with place.running("executor") as executor, place.running("worker") as worker, place.running("indexer") as indexer:
        for process, name in ((executor, "executor"), (worker, "worker"), (indexer, "indexer")):
            place.await_health(services()[name], process)
        cli = ["--server", "http://127.0.0.1:8080"]
        assert place.run(["runyard", "run", str(flow), *cli], services()["indexer"]) == 0
        task_runs = place.await_task_runs("http://127.0.0.1:8080")
        for process, name in ((worker, "worker"), (executor, "executor"), (indexer, "indexer")):
            process.terminate()
            assert process.wait(seconds(services()[name].definition["stop_grace_period"])) == 0, place.log(name)

    assert [(run["taskId"], run["state"]["current"]) for run in task_runs] == [("hello", "SUCCESS")]


class Place:
    """This machine in the place of the containers: what stands for their host names, ports and paths."""

    def __init__(self, kafka: str, elasticsearch: str, directory: Path) -> None:
        self.directory = directory
        self._substitutes = {
            r"\bkafka:9092\b": kafka,
            r"\bhttp://elasticsearch:9200\b": elasticsearch,
            r"/var/lib/runyard\b": str(directory / "volume"),
            r"\b0\.0\.0\.0\b": "127.0.0.1",
            **{rf"\b{port}\b": str(free_port()) for port in (8080, 8081, 8082)},
        }

    def mapped(self, text: str) -> str:
        for pattern, substitute in self._substitutes.items():
            text = re.sub(pattern, substitute, text)
        return text

    def log(self, name: str) -> str:
        return (self.directory / f"{name}.log").read_text()

    def start(self, command: Sequence[str], service: Service) -> subprocess.Popen[bytes]:
        """Start a command with the service's environment, and nothing else of the outer one's but the programs."""
        programs = f"{Path(sys.executable).parent}:{os.defpath}"
        environment = {name: self.mapped(value) for name, value in service.environment.items()}
        with (self.directory / f"{service.name}.log").open("ab") as log:
            return subprocess.Popen(
                [self.mapped(each) for each in command],
                cwd=self.directory,
                env={**environment, "PATH": programs, "HOME": str(self.directory)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def run(self, command: Sequence[str], service: Service) -> int:
        """Run a command as `start` does; its exit status. What it says is in the service's log."""
        process = self.start(command, service)
        try:
            status = process.wait(120)
        finally:
            process.kill()
        if status != 0:
            print(self.log(service.name)[-5000:])
        return status

    @contextmanager
    def running(self, name: str) -> Iterator[subprocess.Popen[bytes]]:
        """Run a service's own command; it is gone at the end in any case."""
        process = self.start(services()[name].command, services()[name])
        try:
            yield process
        except BaseException:
            print(f"--- {name}:\n{self.log(name)[-5000:]}")
            raise
        finally:
            process.kill()
            process.wait()

    def await_health(self, service: Service, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + 120
        checker = Service(f"{service.name}-health", service.definition)
        while self.start(service.health_command, checker).wait(30) != 0:
            assert process.poll() is None, f"{service.name} has ended: {self.log(service.name)[-2000:]}"
            assert time.monotonic() < deadline, f"{service.name} is not healthy: {self.log(checker.name)[-2000:]}"
            time.sleep(1.0)

    def await_task_runs(self, server: str) -> list[dict[str, Any]]:
        """The task runs that the search shows, as soon as there is one that has ended."""
        deadline = time.monotonic() + 60
        while True:
            answer = httpx.get(self.mapped(f"{server}/api/v1/main/taskruns/search"), timeout=30)
            found = answer.raise_for_status().json()["results"]
            if found and all(run["state"]["current"] in ("SUCCESS", "FAILED") for run in found):
                return found
            assert time.monotonic() < deadline, f"no ended task run is found: {found}"
            time.sleep(0.5)


def seconds(duration: str) -> int:
    """A duration of the file, as it writes them: `30s`."""
    return int(duration.removesuffix("s"))
