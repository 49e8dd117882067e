"""The Kafka adapters, for the contract tests. Topics are removed with the prefix."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from shared.adapters.kafka import KafkaEventLog, KafkaInbox, KafkaJournal, topics
from shared.settings import KafkaSettings, Settings, TopicSettings
from tests.contract.streams import LIMIT


class KafkaStreams:
    """Implements `Streams` over topics of its own."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._opened: list[Any] = []

    def journal(self, *, instance: str | None = None) -> KafkaJournal:
        return self._keep(KafkaJournal(self.settings, instance=instance))

    def inbox(self) -> KafkaInbox:
        return self._keep(KafkaInbox(self.settings))

    def event_log(self) -> KafkaEventLog:
        return self._keep(KafkaEventLog(self.settings))

    def _keep(self, opened: Any) -> Any:
        self._opened.append(opened)
        return opened

    def close(self) -> None:
        for opened in reversed(self._opened):
            opened.close()


@pytest.fixture
def kafka_settings(kafka: str, prefix: str) -> Callable[..., Settings]:
    """Makes settings with names of this test's own; arguments are librdkafka keys with `_` for `.`."""

    def make(*, partitions: int = 4, **extra: object) -> Settings:
        return Settings(
            kafka=KafkaSettings(bootstrap_servers=kafka, **extra),
            topics=TopicSettings(prefix=prefix, partitions=partitions, inbox_partitions=2, max_message_bytes=LIMIT),
        )

    return make


@pytest.fixture
def kafka_streams(kafka_settings: Callable[..., Settings]) -> Iterator[KafkaStreams]:
    settings = kafka_settings()
    topics.create(settings)
    streams = KafkaStreams(settings)
    yield streams
    streams.close()
