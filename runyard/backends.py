"""Backends: the adapters of one deployment. Nothing but this module chooses between them."""

from __future__ import annotations

from typing import Protocol

from shared.ports import BlobStore, DocumentStore, EventLog, Inbox, Journal
from shared.settings import Settings


class Backends(Protocol):
    """Makes what the services need. Each call gives a new instance, the caller's to close."""

    def journal(self) -> Journal: ...
    def inbox(self) -> Inbox: ...
    def event_log(self) -> EventLog: ...
    def documents(self) -> DocumentStore: ...
    def blobs(self) -> BlobStore: ...
    def prepare(self) -> None:
        """Create topics, templates and indices; repeatable."""
        ...


class ServerBackends:
    """Kafka and Elasticsearch, as the settings name them. Clients are imported when they are needed."""

    def __init__(self, settings: Settings) -> None:
        """Nothing is connected yet."""
        self._settings = settings

    def journal(self) -> Journal:
        from shared.adapters.kafka import KafkaJournal  # noqa: PLC0415 -- a client library that others do without

        return KafkaJournal(self._settings)

    def inbox(self) -> Inbox:
        from shared.adapters.kafka import KafkaInbox  # noqa: PLC0415

        return KafkaInbox(self._settings)

    def event_log(self) -> EventLog:
        from shared.adapters.kafka import KafkaEventLog  # noqa: PLC0415

        return KafkaEventLog(self._settings)

    def documents(self) -> DocumentStore:
        from shared.adapters.elasticsearch import ElasticsearchDocumentStore  # noqa: PLC0415

        return ElasticsearchDocumentStore(self._settings)

    def blobs(self) -> BlobStore:
        from shared.adapters.files import FileBlobStore  # noqa: PLC0415

        return FileBlobStore(self._settings.blobs.directory)

    def prepare(self) -> None:
        from shared.adapters.kafka import topics  # noqa: PLC0415

        topics.create(self._settings)
        store = self.documents()
        try:
            store.prepare()
        finally:
            store.close()
