"""Backends: the adapters of one deployment. Nothing but this module chooses between them."""

from __future__ import annotations

from pathlib import Path
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
        from shared.adapters.files import DirectoryBlobStore  # noqa: PLC0415

        return DirectoryBlobStore(self._settings.blobs.directory)

    def prepare(self) -> None:
        from shared.adapters.kafka import topics  # noqa: PLC0415

        topics.create(self._settings)
        store = self.documents()
        try:
            store.prepare()
        finally:
            store.close()


class EmbeddedBackends:
    """One SQLite file and a folder of blobs, for one process."""

    def __init__(self, directory: Path, synchronous: str = "NORMAL") -> None:
        """Opens the file. Raises StorageError when the directory can't be used, or is in use."""
        from shared.adapters.sqlite import SqliteDatabase  # noqa: PLC0415

        self._directory = directory
        self._database = SqliteDatabase(directory / "runyard.db", synchronous)

    def journal(self) -> Journal:
        from shared.adapters.sqlite import SqliteJournal  # noqa: PLC0415

        return SqliteJournal(self._database)

    def inbox(self) -> Inbox:
        from shared.adapters.sqlite import SqliteInbox  # noqa: PLC0415

        return SqliteInbox(self._database)

    def event_log(self) -> EventLog:
        from shared.adapters.sqlite import SqliteEventLog  # noqa: PLC0415

        return SqliteEventLog(self._database)

    def documents(self) -> DocumentStore:
        from shared.adapters.sqlite import SqliteDocumentStore  # noqa: PLC0415

        return SqliteDocumentStore(self._database)

    def blobs(self) -> BlobStore:
        from shared.adapters.files import DirectoryBlobStore  # noqa: PLC0415

        return DirectoryBlobStore(self._directory / "blobs")

    def prepare(self) -> None:
        store = self.documents()
        store.prepare()
        store.close()

    def close(self) -> None:
        self._database.close()
