"""Letter sources: dead letters through a server's API, or straight from the log, in the form that the API has."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

from indexer.dead_letters import DeadLetters, Selection
from indexer.letter_replay import LetterReplay
from runyard.client import ApiError, Client
from shared.model.moment import parse_duration
from shared.ports import DocumentStore, EventLog
from shared.settings import IndexerSettings


class Remote:
    """Through an indexer or a standalone that runs."""

    def __init__(self, client: Client) -> None:
        """The client is the caller's to close."""
        self._client = client

    def letters(
        self, *, service: str | None, since: str | None, reason: str | None, limit: int, settled: bool
    ) -> dict[str, Any]:
        """A list. Raises ApiError."""
        return self._client.dead_letters(service=service, since=since, reason=reason, limit=limit, settled=settled)

    def letter(self, origin: str) -> dict[str, Any] | None:
        """One, with what it holds. Raises ApiError."""
        return self._client.dead_letter(origin)

    def replay(self, origins: list[str] | None, *, dry_run: bool) -> Iterator[dict[str, Any]]:
        """What became of each. Raises ApiError."""
        yield from self._client.replay_dead_letters(origins, dry_run=dry_run)


class Direct:
    """On the log: Kafka's, or a standalone's file."""

    def __init__(self, log: EventLog, store: Callable[[], DocumentStore], settings: IndexerSettings) -> None:
        """`store` is called, once, when a document is to be written. The log is the caller's to close."""
        self._make = store
        self._store: DocumentStore | None = None
        self._letters = DeadLetters(log)
        self._replay = LetterReplay(log, self._documents, settings)

    def _documents(self) -> DocumentStore:
        if self._store is None:
            self._store = self._make()
        return self._store

    def letters(
        self, *, service: str | None, since: str | None, reason: str | None, limit: int, settled: bool
    ) -> dict[str, Any]:
        """A list. Raises JournalError, and ApiError for a duration that is none."""
        try:
            moment = None if since is None else time.time_ns() // 1_000_000 - parse_duration(since)
        except ValueError as error:
            raise ApiError(f"since: {error}") from None
        found = self._letters.entries(Selection(service, moment, reason, settled))
        return {"results": [entry.summary() for entry in found[:limit]], "total": len(found)}

    def letter(self, origin: str) -> dict[str, Any] | None:
        """One, with what it holds. Raises JournalError."""
        entry = self._letters.entry(origin)
        return None if entry is None else entry.whole()

    def replay(self, origins: list[str] | None, *, dry_run: bool) -> Iterator[dict[str, Any]]:
        """What became of each. Raises JournalError or OSError."""
        for each in self._replay.replay(origins, dry_run=dry_run):
            yield {"origin": each.origin, "outcome": each.outcome.value, "detail": each.detail}

    def close(self) -> None:
        if self._store is not None:
            self._store.close()
