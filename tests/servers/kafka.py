"""One Kafka broker that is its own controller (KRaft), on 127.0.0.1."""

import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from tests.servers import downloads, java
from tests.servers.process import Server, ServerFailed, free_port

#: The version of docker-compose.yml's image.
VERSION = "4.3.1"

#: Broker settings besides the addresses. One broker: every internal topic has one replica, and few partitions,
#: which a restart has to load. Timeouts are short or may be set short by tests that wait for them.
SETTINGS = {
    "process.roles": "broker,controller",
    "node.id": "1",
    "controller.listener.names": "CONTROLLER",
    "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
    "inter.broker.listener.name": "PLAINTEXT",
    "num.network.threads": "2",
    "num.io.threads": "4",
    "background.threads": "2",
    "num.partitions": "1",
    "default.replication.factor": "1",
    "min.insync.replicas": "1",
    "auto.create.topics.enable": "false",
    "offsets.topic.replication.factor": "1",
    "offsets.topic.num.partitions": "4",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "transaction.state.log.num.partitions": "4",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    "share.coordinator.state.topic.num.partitions": "4",
    # As in docker-compose.yml: a dead executor's transaction holds readers back at most 1 s past its timeout.
    "transaction.abort.timed.out.transaction.cleanup.interval.ms": "1000",
    "group.initial.rebalance.delay.ms": "0",
    "group.min.session.timeout.ms": "500",
    "group.consumer.min.session.timeout.ms": "1000",
    "group.consumer.min.heartbeat.interval.ms": "500",
    # A restart after SIGKILL waits for the old registration to lapse: 5 s with this, up to 19 s by default.
    "broker.session.timeout.ms": "2000",
    "broker.heartbeat.interval.ms": "500",
    # A sixteenth of the default is plenty for the compacted topics of tests.
    "log.cleaner.dedupe.buffer.size": "16777216",
}

#: Any 16 bytes in base64; a random one that begins with a hyphen would be taken for an option.
_CLUSTER = "cnVueWFyZC10ZXN0cy0wMQ"

_LOGGING = """\
appender.console.type = Console
appender.console.name = console
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = [%d] %p %m (%c)%n
rootLogger.level = info
rootLogger.appenderRef.console.ref = console
"""


class KafkaServer(Server):
    """A broker; `address` is what `bootstrap.servers` takes."""

    name = "kafka"
    ready_timeout = 60.0

    def __init__(
        self,
        port: int | None = None,
        directory: Path | None = None,
        *,
        heap: str = "512m",
        settings: Mapping[str, str] | None = None,
    ) -> None:
        """Choose the address; nothing is started yet.

        Args:
            port: the port to listen on; None for a free one.
            directory: where data and log stay after `close`; None for a temporary one that `close` removes.
            heap: the JVM's heap, as `-Xmx` takes it.
            settings: broker settings that go before SETTINGS.
        """
        super().__init__(port, directory)
        self._controller_port = free_port()
        self._heap = heap
        self._settings = settings or {}

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def _prepare(self) -> tuple[Sequence[str], Mapping[str, str]]:
        data = self.directory / "data"
        properties = self.directory / "server.properties"
        properties.write_text("".join(f"{key}={value}\n" for key, value in self._properties(data).items()))
        logging = self.directory / "log4j2.properties"
        logging.write_text(_LOGGING)
        java_command = [
            f"{java.home()}/bin/java",
            "-Xms128m",
            f"-Xmx{self._heap}",
            "-XX:+UseSerialGC",  # least memory and shortest start on two cores
            "-Djava.awt.headless=true",
            f"-Dlog4j2.configurationFile={logging}",
            "-cp",
            f"{_libraries()}/*",
        ]
        if not (data / "meta.properties").exists():
            self._format([*java_command, "kafka.tools.StorageTool"], properties)
        return [*java_command, "kafka.Kafka", str(properties)], {}

    def _properties(self, data: Path) -> dict[str, str]:
        return {
            **SETTINGS,
            "controller.quorum.voters": f"1@127.0.0.1:{self._controller_port}",
            "listeners": f"PLAINTEXT://{self.address},CONTROLLER://127.0.0.1:{self._controller_port}",
            "advertised.listeners": f"PLAINTEXT://{self.address}",
            "log.dirs": str(data),
            **self._settings,
        }

    def _format(self, storage_tool: Sequence[str], properties: Path) -> None:
        done = subprocess.run(
            [*storage_tool, "format", "-t", _CLUSTER, "-c", str(properties)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=self.ready_timeout,
        )
        if done.returncode != 0:
            raise ServerFailed(f"kafka's storage could not be formatted\n{done.stdout}{done.stderr}")

    def _ready(self) -> bool:
        return answers(self.address)


def answers(address: str) -> bool:
    """Whether the broker at this address is a member of its cluster."""
    # No log: that nothing listens yet is no news. A client of its own each time, for it has no back-off then.
    settings: dict[str, Any] = {"bootstrap.servers": address, "log_level": 0, "error_cb": lambda _error: None}
    try:
        return bool(AdminClient(settings).list_topics(timeout=1.0).brokers)
    except KafkaException:
        return False


def _libraries() -> Path:
    return downloads.cached(f"kafka-{VERSION}", _fill)


def _fill(directory: Path) -> None:
    with tempfile.TemporaryDirectory(dir=directory.parent) as repository:
        downloads.from_maven(
            "copy-dependencies",
            f"-f={Path(__file__).with_name('pom.xml')}",
            f"-Dkafka.version={VERSION}",
            "-DincludeScope=runtime",
            f"-DoutputDirectory={directory}",
            repository=Path(repository),
        )
    for jar in sorted(directory.iterdir()):
        downloads.verify(jar)
