"""What every test may ask for.

A test marked `real` runs against a real Kafka and a real Elasticsearch, and only where `-m real` asks for it. It uses
the servers that the environment names (`python -m tests.servers` prints them), else ones started for the session:
processes, or containers where the extra `containers` is installed and a Docker engine answers.
"""

import os
import uuid
from collections.abc import Iterator

import httpx
import hypothesis
import pytest
from confluent_kafka.admin import AdminClient

from tests.servers import BOOTSTRAP_SERVERS, HOSTS, ElasticsearchServer, KafkaServer, containers

# No deadline: on a busy machine an example may take long, and no test asserts a time.
hypothesis.settings.register_profile("default", deadline=None, print_blob=True)
hypothesis.settings.register_profile("fuzz", deadline=None, print_blob=True, max_examples=5_000)
hypothesis.settings.register_profile("soak", deadline=None, print_blob=True, max_examples=10_000)
hypothesis.settings.load_profile("default")


@pytest.fixture(scope="session")
def kafka() -> Iterator[str]:
    """The `bootstrap.servers` of a real Kafka broker."""
    if running := os.environ.get(BOOTSTRAP_SERVERS):
        yield running
    elif containers.engine_answers():
        with containers.kafka() as address:
            yield address
    else:
        with KafkaServer() as server:
            yield server.address


@pytest.fixture(scope="session")
def elasticsearch() -> Iterator[str]:
    """The URL of a real Elasticsearch node."""
    if running := os.environ.get(HOSTS):
        yield running
    elif containers.engine_answers():
        with containers.elasticsearch() as address:
            yield address
    else:
        with ElasticsearchServer() as server:
            yield server.address


@pytest.fixture
def prefix(request: pytest.FixtureRequest) -> Iterator[str]:
    """How this test's topics and indices begin, for names that no other test uses; they are removed after it.

    It fits both kinds of names: lower-case letters, digits and a hyphen at the end.
    """
    unique = f"t{uuid.uuid4().hex[:12]}-"
    yield unique
    if "kafka" in request.fixturenames:
        _remove_topics(request.getfixturevalue("kafka"), unique)
    if "elasticsearch" in request.fixturenames:
        _remove_indices(request.getfixturevalue("elasticsearch"), unique)


def _remove_topics(bootstrap_servers: str, prefix: str) -> None:
    admin = AdminClient({"bootstrap.servers": bootstrap_servers})
    topics = [topic for topic in admin.list_topics(timeout=30).topics if topic.startswith(prefix)]
    for removed in (admin.delete_topics(topics) if topics else {}).values():
        removed.result(30)


def _remove_indices(host: str, prefix: str) -> None:
    with httpx.Client(base_url=host, timeout=30) as client:
        # One by one: Elasticsearch refuses to remove indices by a pattern.
        for index in client.get(f"/_cat/indices/{prefix}*", params={"format": "json"}).raise_for_status().json():
            client.delete(f"/{index['index']}").raise_for_status()
        for kind in ("_index_template", "_component_template"):
            found = client.get(f"/{kind}/{prefix}*")
            if found.status_code != 404:
                for template in found.raise_for_status().json()[f"{kind.removeprefix('_')}s"]:
                    client.delete(f"/{kind}/{template['name']}").raise_for_status()
