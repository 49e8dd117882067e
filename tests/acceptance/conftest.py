from collections.abc import Iterator

import pytest
from confluent_kafka.admin import AdminClient

from benchmarks.stack import Stack
from tests.acceptance.servers import ClusterServer, EmbeddedServer, Server, Standalone

LIMITS = {"RUNYARD_BLOBS__HARD_LIMIT": "400000"}
"""A limit that a test can exceed without moving 64 MiB about."""


@pytest.fixture(scope="session")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    standalone = Standalone(tmp_path_factory.mktemp("embedded") / "data", LIMITS)
    standalone.start()
    server = EmbeddedServer(standalone.url)
    yield server
    server.close()
    standalone.stop()


@pytest.fixture(scope="session")
def cluster(kafka: str, elasticsearch: str) -> Iterator[ClusterServer]:
    settings = {
        **LIMITS,
        "RUNYARD_KAFKA__BOOTSTRAP_SERVERS": kafka,
        "RUNYARD_ELASTICSEARCH__HOSTS": elasticsearch,
    }
    with Stack(executors=2, workers=2, settings=settings) as stack:
        server = ClusterServer(stack, elasticsearch)
        yield server
        server.close()
    admin = AdminClient({"bootstrap.servers": kafka})
    prefix = stack.environment["RUNYARD_TOPICS__PREFIX"]
    topics = [topic for topic in admin.list_topics(timeout=30).topics if topic.startswith(prefix)]
    for removed in admin.delete_topics(topics).values():
        removed.result(30)


@pytest.fixture(params=["embedded", pytest.param("cluster", marks=pytest.mark.real)])
def server(request: pytest.FixtureRequest) -> Server:
    """Each way to run Runyard, in turn."""
    return request.getfixturevalue(request.param)
