"""Every port of shared/ports.py on one SQLite file: the embedded default."""

from __future__ import annotations

from shared.adapters.sqlite.database import SqliteDatabase
from shared.adapters.sqlite.document_store import SqliteDocumentStore
from shared.adapters.sqlite.errors import StorageError
from shared.adapters.sqlite.event_log import SqliteEventLog
from shared.adapters.sqlite.inbox import SqliteInbox
from shared.adapters.sqlite.journal import SqliteJournal

__all__ = ["SqliteDatabase", "SqliteDocumentStore", "SqliteEventLog", "SqliteInbox", "SqliteJournal", "StorageError"]
