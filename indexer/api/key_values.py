"""Key values: a namespace's small values, where the tasks find them (`kv()`, `Get`, `Set`): one blob for each key."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote, unquote

import orjson

from shared.model.document import JSON_OPTIONS
from shared.model.moment import Millis
from shared.ports import BlobStore

FOLDER: Final = "_kv"
"""Below the namespace's root, as the workers have it."""

_KEY: Final = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9._-]*\Z")
"""Kestra's rule for keys."""


@dataclass(frozen=True, slots=True)
class KeyValue:
    """A value that is there. Times are epoch milliseconds."""

    key: str
    value: Any
    created: Millis
    updated: Millis
    expires: Millis | None = None


def is_key(text: str) -> bool:
    """Whether it may be a key."""
    return _KEY.match(text) is not None


class KeyValues:
    """The values of one namespace of a tenant. Of two writers at the same time the last wins."""

    def __init__(self, blobs: BlobStore, tenant: str, namespace: str) -> None:
        """Nothing is read yet."""
        self._blobs = blobs
        self._root = f"{tenant}/{namespace.replace('.', '/')}/{FOLDER}/"

    def _path(self, key: str) -> str:
        return f"{self._root}{quote(key, safe='')}/value.json"

    def get(self, key: str, now: Millis) -> KeyValue | None:
        """A value that has not expired."""
        try:
            with self._blobs.open(f"kestra:///{self._path(key)}") as file:
                data = orjson.loads(file.read())
        except FileNotFoundError:
            return None
        updated = data["updated"]
        entry = KeyValue(key, data["value"], data.get("created", updated), updated, data.get("expires"))
        return None if entry.expires is not None and entry.expires <= now else entry

    def put(self, key: str, value: Any, now: Millis, ttl: Millis | None = None) -> None:
        """Set a value. `ttl`: milliseconds after which it is gone."""
        known = self.get(key, now)
        data: dict[str, Any] = {"value": value, "updated": now, "created": now if known is None else known.created}
        if ttl is not None:
            data["expires"] = now + ttl
        self._blobs.put(self._path(key), io.BytesIO(orjson.dumps(data, option=JSON_OPTIONS)))

    def delete(self, key: str, now: Millis) -> bool:
        """False when it wasn't there."""
        there = self.get(key, now) is not None
        self._blobs.delete(self._path(key))
        return there

    def entries(self, now: Millis) -> Iterator[KeyValue]:
        """All values that have not expired, by key."""
        names = {unquote(uri.rpartition(f"/{FOLDER}/")[2].partition("/")[0]) for uri in self._blobs.list(self._root)}
        for name in sorted(names):
            entry = self.get(name, now)
            if entry is not None:
                yield entry
