"""The servers of the tests themselves: what the real tests rely on."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from tests.servers import BOOTSTRAP_SERVERS, HOSTS, KafkaServer
from tests.servers import elasticsearch as elasticsearch_module

pytestmark = pytest.mark.real


def test_the_broker_takes_transactions(kafka: str, prefix: str) -> None:
    """What a committed transaction wrote can be read."""
    topic = f"{prefix}topic"
    create_topic(kafka, topic)
    producer = Producer({"bootstrap.servers": kafka, "transactional.id": prefix})

    producer.init_transactions(30)
    producer.begin_transaction()
    producer.produce(topic, b"value", partition=0)
    producer.commit_transaction(30)

    assert first_committed(kafka, topic) == b"value"


def test_a_killed_broker_comes_back_with_its_data() -> None:
    """After SIGKILL, `start` serves the same topics at the same address."""
    with KafkaServer() as server:
        create_topic(server.address, "kept")

        server.kill()
        assert not listens(server.address)
        server.start()

        assert "kept" in AdminClient({"bootstrap.servers": server.address}).list_topics(timeout=30).topics


def test_the_node_makes_no_index_by_itself(elasticsearch: str, prefix: str) -> None:
    """A document for an index that nobody created is refused, whatever its name."""
    answer = httpx.put(f"{elasticsearch}/{prefix}missing/_doc/1", json={"field": 1}, timeout=30)

    assert answer.status_code == 404
    assert answer.json()["error"]["type"] == "index_not_found_exception"


def test_the_node_finds_what_it_was_given(elasticsearch: str, prefix: str) -> None:
    """An index made by a template takes a document and finds it by a word of its text."""
    with httpx.Client(base_url=elasticsearch, timeout=30) as client:
        mappings = {"dynamic": "strict", "properties": {"message": {"type": "text"}}}
        template = {"index_patterns": [f"{prefix}*"], "template": {"mappings": mappings}}
        client.put(f"/_index_template/{prefix}logs", json=template).raise_for_status()
        client.put(f"/{prefix}logs").raise_for_status()
        client.put(f"/{prefix}logs/_doc/1?refresh=true", json={"message": "Hello, world"}).raise_for_status()

        found = client.get(f"/{prefix}logs/_search", params={"q": "message:hello"}).json()

    assert [hit["_id"] for hit in found["hits"]["hits"]] == ["1"]


def test_the_node_is_of_the_pinned_version(elasticsearch: str) -> None:
    """The node is of the version that the module names."""
    assert httpx.get(elasticsearch, timeout=30).json()["version"]["number"] == elasticsearch_module.VERSION


def test_the_command_gets_the_addresses_and_gives_its_status() -> None:
    """`python -m tests.servers COMMAND` runs the command with both addresses set, and ends with its status."""
    command = [sys.executable, "-c", f"import os, sys; print(os.environ['{BOOTSTRAP_SERVERS}']); sys.exit(7)"]
    environment = {**os.environ, HOSTS: "http://127.0.0.1:1"}
    environment.pop(BOOTSTRAP_SERVERS, None)

    done = subprocess.run(
        [sys.executable, "-m", "tests.servers", *command], env=environment, capture_output=True, text=True, timeout=120
    )

    assert done.returncode == 7, done.stderr
    assert done.stdout.startswith("127.0.0.1:")
    assert not listens(done.stdout.strip())


def test_no_server_outlives_its_killed_parent() -> None:
    """SIGKILL of the process that started the servers ends both of them."""
    environment = {name: value for name, value in os.environ.items() if name not in (BOOTSTRAP_SERVERS, HOSTS)}
    with tempfile.TemporaryDirectory() as directory:
        Path(directory).chmod(0o755)  # Elasticsearch may run as another user
        command = [sys.executable, "-m", "tests.servers", "--directory", directory]
        parent = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
        assert parent.stdout is not None
        addresses = [parent.stdout.readline().strip().partition("=")[2] for _ in range(2)]
        assert all(listens(address) for address in addresses), addresses

        parent.send_signal(signal.SIGKILL)
        parent.communicate()

        deadline = time.monotonic() + 60
        while any(listens(address) for address in addresses):
            assert time.monotonic() < deadline, f"one of {addresses} still listens"
            time.sleep(0.2)


def create_topic(kafka: str, topic: str) -> None:
    admin = AdminClient({"bootstrap.servers": kafka})
    admin.create_topics([NewTopic(topic, 1, 1)])[topic].result(30)


def first_committed(kafka: str, topic: str) -> bytes | None:
    consumer = Consumer({"bootstrap.servers": kafka, "group.id": topic, "isolation.level": "read_committed"})
    try:
        consumer.assign([TopicPartition(topic, 0, 0)])
        record = consumer.poll(60)
        return record and record.value()
    finally:
        consumer.close()


def listens(address: str) -> bool:
    host, _, port = urlsplit(address).netloc.partition(":") if "//" in address else address.partition(":")
    try:
        socket.create_connection((host, int(port)), timeout=5).close()
    except ConnectionRefusedError:
        return False
    return True
