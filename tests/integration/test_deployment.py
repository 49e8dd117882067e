"""docker-compose.yml, run as processes of this machine.

A broker and a node with exactly the settings of its `kafka` and `elasticsearch`, then Runyard's services with exactly
their commands and environment; only host names, ports and paths are mapped to what there is here.
"""

from collections.abc import Iterator

import httpx
import pytest
from confluent_kafka.admin import AdminClient, ConfigResource, ResourceType

from tests.servers import ElasticsearchServer, KafkaServer
from tests.servers.compose import Service, services

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
