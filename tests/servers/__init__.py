"""Real servers for the tests: one Kafka broker and one Elasticsearch node, as processes of this machine.

`python -m tests.servers` starts both; the fixtures `kafka` and `elasticsearch` of tests/conftest.py use them.
"""

from tests.servers.elasticsearch import ElasticsearchServer
from tests.servers.kafka import KafkaServer

__all__ = ["BOOTSTRAP_SERVERS", "HOSTS", "ElasticsearchServer", "KafkaServer"]

#: The settings that name running servers; where the environment has them, tests start none of their own.
BOOTSTRAP_SERVERS = "RUNYARD_KAFKA__BOOTSTRAP_SERVERS"
HOSTS = "RUNYARD_ELASTICSEARCH__HOSTS"
