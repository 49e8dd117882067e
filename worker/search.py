"""Search: the search store, for the few tasks that ask it. It is opened by the first one that does."""

from __future__ import annotations

import threading
from collections.abc import Callable

from shared.model.query import Found, Page, Query
from shared.ports import DocumentStore


class Search:
    """The search store of a worker. Thread-safe as the store is; a worker without such tasks never opens it."""

    def __init__(self, open_store: Callable[[], DocumentStore] | None) -> None:
        """`open_store`: None where the worker has been given none."""
        self._open_store = open_store
        self._store: DocumentStore | None = None
        self._lock = threading.Lock()

    def find(self, query: Query, page: Page) -> Found:
        """One page. Raises LookupError without a store, QueryError, or what the store raises when it is away."""
        return self._opened().search(query, page)

    def _opened(self) -> DocumentStore:
        with self._lock:
            if self._store is None:
                if self._open_store is None:
                    raise LookupError("this worker has no search store")
                self._store = self._open_store()
            return self._store

    def close(self) -> None:
        with self._lock:
            if self._store is not None:
                self._store.close()
