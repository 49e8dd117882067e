"""The servers as containers, with the images and settings of docker-compose.yml.

Only where the extra `containers` is installed and a Docker engine answers. Where this was written there is no engine:
starting a container is untested.
"""

import importlib.util
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager

from tests.servers import elasticsearch as elasticsearch_process
from tests.servers import kafka as kafka_process
from tests.servers.compose import services
from tests.servers.process import ServerFailed, free_port

#: Seconds until a container's server must answer; its image is there by then.
_READY_TIMEOUT = 180.0


def engine_answers() -> bool:
    """Whether containers can be started here."""
    if importlib.util.find_spec("testcontainers") is None:
        return False
    import docker

    try:
        with closing(docker.from_env(timeout=5)) as engine:
            return bool(engine.ping())
    except docker.errors.DockerException:
        return False


@contextmanager
def kafka() -> Iterator[str]:
    """Run a broker; gives the address for `bootstrap.servers`."""
    port = free_port()  # known before the start, because the broker has to tell it to its clients
    environment = {
        "KAFKA_LISTENERS": f"INSIDE://:9092,HOST://:{port},CONTROLLER://:9093",
        "KAFKA_ADVERTISED_LISTENERS": f"INSIDE://localhost:9092,HOST://127.0.0.1:{port}",
        "KAFKA_CONTROLLER_QUORUM_VOTERS": "1@localhost:9093",
    }
    with _container("kafka", {port: port}, environment, lambda: kafka_process.answers(f"127.0.0.1:{port}")):
        yield f"127.0.0.1:{port}"


@contextmanager
def elasticsearch() -> Iterator[str]:
    """Run a node; gives its URL."""
    address = f"http://127.0.0.1:{(port := free_port())}"
    with _container("elasticsearch", {9200: port}, {}, lambda: elasticsearch_process.answers(address)):
        yield address


@contextmanager
def _container(
    name: str, ports: Mapping[int, int], environment: Mapping[str, str], ready: Callable[[], bool]
) -> Iterator[None]:
    """Run a service of docker-compose.yml with these published ports, and its environment changed by this one."""
    from testcontainers.core.container import DockerContainer

    service = services()[name]
    container = DockerContainer(service.image, env={**service.environment, **environment})
    for inside, outside in ports.items():
        container.with_bind_ports(inside, outside)
    with container:
        deadline = time.monotonic() + _READY_TIMEOUT
        while not ready():
            if time.monotonic() > deadline:
                raise ServerFailed(f"{service.image} did not answer in {_READY_TIMEOUT:.0f} s\n{container.get_logs()}")
            time.sleep(0.5)
        yield
