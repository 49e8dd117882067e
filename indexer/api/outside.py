"""Outside: what templates that a server renders may ask for: secrets, key values, stored and namespace files."""

from __future__ import annotations

import time
from typing import Any

from indexer.api.errors import ApiError
from indexer.api.files import NAMESPACE_FILES
from indexer.api.tenancy import DEFAULT_TENANT, within_tenant
from shared.expressions.outside import NoOutside, OutsideError, Place
from shared.key_values import KeyValues
from shared.model.reference import LARGEST
from shared.ports import BlobStore
from shared.settings import Settings


class ServerOutside(NoOutside):
    """Everything of the place's own tenant; the network and ports say that they aren't there."""

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
        entry = KeyValues(self._blobs, _tenant(place), namespace).get(key, time.time_ns() // 1_000_000)
        return None if entry is None else entry.value

    def namespace_file(self, place: Place, path: str) -> str:
        namespace = (place.namespace or "").replace(".", "/")
        return self._text(place, f"kestra:///{_tenant(place)}/{namespace}/{NAMESPACE_FILES}/{path.lstrip('/')}", path)

    def stored_file(self, place: Place, uri: str) -> str:
        return self._text(place, uri, uri)

    def file_size(self, place: Place, uri: str) -> int:
        try:
            return self._blobs.size(within_tenant(uri, _tenant(place)))
        except (FileNotFoundError, ApiError) as error:
            raise OutsideError(f"File not found: {uri}") from error

    def file_exists(self, place: Place, uri: str) -> bool:
        try:
            self._blobs.size(within_tenant(uri, _tenant(place)))
        except (FileNotFoundError, ApiError):
            return False
        return True

    def _text(self, place: Place, uri: str, shown: str) -> str:
        try:
            with self._blobs.open(within_tenant(uri, _tenant(place))) as file:
                content = file.read(LARGEST + 1)
        except (FileNotFoundError, ApiError) as error:
            raise OutsideError(f"File not found: {shown}") from error
        if len(content) > LARGEST:
            raise OutsideError(f"The file {shown} is larger than the {LARGEST} bytes that a template may read")
        return content.decode(errors="replace")


def _tenant(place: Place) -> str:
    return place.tenant or DEFAULT_TENANT
