"""Whether Kafka can be used now."""

from __future__ import annotations

from typing import Final

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from shared.adapters.kafka import client
from shared.ports import Topic
from shared.settings import Settings

_TIMEOUT: Final = 2.0
"""Seconds: whoever asks for a service's health expects an answer soon."""


class KafkaHealth:
    """Keeps a connection, so that asking often is cheap."""

    def __init__(self, settings: Settings) -> None:
        self._names: Final = client.Names(settings)
        self._admin: Final = AdminClient(client.common(settings), logger=client.LOG)

    def problem(self) -> str | None:
        """None when Kafka answers and has all topics; else what is wrong."""
        try:
            found = self._admin.list_topics(timeout=_TIMEOUT).topics
        except KafkaException as failure:
            return f"Kafka does not answer: {client.error_of(failure).str()}"
        missing = [self._names.full[topic] for topic in Topic if self._names.full[topic] not in found]
        return f"topics are missing: {', '.join(missing)}" if missing else None
