"""Key values as tasks use them: of any namespace of their tenant, with the worker's clock."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from typing import Any, Protocol

from shared.key_values import KEY, KeyValue, KeyValueError, KeyValues
from shared.model.moment import Millis
from shared.ports import BlobStore

__all__ = ["BlobKvStore", "KeyValue", "KeyValueError", "KvStore"]


class KvStore(Protocol):
    """Values by tenant, namespace and key. A value past its end isn't there."""

    def get(self, tenant: str, namespace: str, key: str) -> KeyValue | None: ...
    def put(
        self,
        tenant: str,
        namespace: str,
        key: str,
        value: Any,
        *,
        ttl: Millis | None = None,
        overwrite: bool = True,
    ) -> None:
        """Raises KeyValueError for a key that isn't allowed, or that is taken and isn't to be overwritten."""
        ...

    def delete(self, tenant: str, namespace: str, key: str) -> bool:
        """False when it wasn't there."""
        ...

    def keys(self, tenant: str, namespace: str) -> Iterator[str]: ...


class BlobKvStore:
    """Values in the blob store, which all workers and the API share."""

    def __init__(
        self,
        blobs: BlobStore,
        folder: str = "_kv",
        pattern: re.Pattern[str] = KEY,
        clock: Callable[[], Millis] | None = None,
    ) -> None:
        """`folder`: below each namespace's root. `pattern`: of the keys allowed. `clock`: epoch ms."""
        self._blobs, self._folder, self._pattern = blobs, folder, pattern
        self._clock = clock or (lambda: time.time_ns() // 1_000_000)

    def _values(self, tenant: str, namespace: str) -> KeyValues:
        return KeyValues(self._blobs, tenant, namespace, folder=self._folder, pattern=self._pattern)

    def get(self, tenant: str, namespace: str, key: str) -> KeyValue | None:
        return self._values(tenant, namespace).get(key, self._clock())

    def put(
        self,
        tenant: str,
        namespace: str,
        key: str,
        value: Any,
        *,
        ttl: Millis | None = None,
        overwrite: bool = True,
    ) -> None:
        self._values(tenant, namespace).put(key, value, self._clock(), ttl, overwrite=overwrite)

    def delete(self, tenant: str, namespace: str, key: str) -> bool:
        return self._values(tenant, namespace).delete(key, self._clock())

    def keys(self, tenant: str, namespace: str) -> Iterator[str]:
        return (found.key for found in self._values(tenant, namespace).entries(self._clock()))
