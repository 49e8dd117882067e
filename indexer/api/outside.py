"""Outside: what templates that the API renders may ask for: secrets of the settings and key values."""

from __future__ import annotations

import time
from typing import Any

from indexer.api.key_values import KeyValues
from shared.expressions.outside import NoOutside, OutsideError, Place
from shared.ports import BlobStore
from shared.settings import Settings


class ServerOutside(NoOutside):
    """Secrets and key values; everything else says that it isn't there."""

    def __init__(self, blobs: BlobStore, settings: Settings) -> None:
        """`settings.secrets`: by name."""
        super().__init__()
        self._blobs = blobs
        self._secrets = settings.secrets

    def secret(self, place: Place, key: str) -> str:
        # The environment's names arrive in lower case.
        found = self._secrets.get(key, self._secrets.get(key.lower()))
        if found is None:
            raise OutsideError(f"Cannot find secret for key '{key}'.")
        del place
        return found

    def kv(self, place: Place, key: str, namespace: str) -> Any | None:
        entry = KeyValues(self._blobs, place.tenant or "main", namespace).get(key, time.time_ns() // 1_000_000)
        return None if entry is None else entry.value
