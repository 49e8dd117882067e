"""Key values: small values that tasks keep beyond an execution, shared by all workers through the blob store."""

from __future__ import annotations

import io
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final, Protocol

import orjson

from shared.model.moment import Millis
from shared.ports import BlobStore
from worker.storage import namespace_root, uri_of

KEY: Final = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9._-]*\Z")
"""Kestra's rule for keys."""
_UNSAFE: Final = re.compile(r"[^a-zA-Z0-9._-]")


class KeyValueError(ValueError):
    """A key that can't be used, or that is taken."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A value that is there."""

    key: str
    value: Any
    created: Millis
    updated: Millis
    expires: Millis | None = None


class KvStore(Protocol):
    """Values by tenant, namespace and key. A value past its end isn't there."""

    def get(self, tenant: str, namespace: str, key: str) -> Entry | None: ...
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
    """A blob for each key, written as a whole.

    Of two writers at the same time the last wins; `overwrite=False` looks before it writes, so two that look at the
    same time may both write.
    """

    def __init__(
        self,
        blobs: BlobStore,
        folder: str = "_kv",
        pattern: re.Pattern[str] = KEY,
        clock: Callable[[], Millis] | None = None,
    ) -> None:
        """`folder`: below each namespace's root. `pattern`: of the keys allowed. `clock`: epoch ms."""
        self._pattern = pattern
        self._blobs = blobs
        self._folder = folder
        self._clock = clock or (lambda: time.time_ns() // 1_000_000)

    def _root(self, tenant: str, namespace: str) -> str:
        return f"{namespace_root(tenant, namespace)}/{self._folder}/"

    def _path(self, tenant: str, namespace: str, key: str) -> str:
        # A folder for each key: deleting a prefix of the store can then never meet another key.
        return f"{self._root(tenant, namespace)}{_escaped(key)}/value.json"

    def get(self, tenant: str, namespace: str, key: str) -> Entry | None:
        try:
            with self._blobs.open(uri_of(self._path(tenant, namespace, key))) as file:
                data = orjson.loads(file.read())
        except FileNotFoundError:
            return None
        updated = data["updated"]
        entry = Entry(key, data["value"], data.get("created", updated), updated, data.get("expires"))
        return None if entry.expires is not None and entry.expires <= self._clock() else entry

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
        if not self._pattern.match(key):
            raise KeyValueError(
                f"Key '{key}' must start with a letter or digit and have only letters, digits, `.`, `_` and `-`"
            )
        known = self.get(tenant, namespace, key)
        if not overwrite and known is not None:
            raise KeyValueError(
                f"Cannot set value for key '{key}'. Key already exists and `overwrite` is set to `false`."
            )
        now = self._clock()
        data = {"value": value, "updated": now, "created": now if known is None else known.created}
        if ttl is not None:
            data["expires"] = now + ttl
        text = orjson.dumps(data, default=str, option=orjson.OPT_NON_STR_KEYS)
        self._blobs.put(self._path(tenant, namespace, key), io.BytesIO(text))

    def delete(self, tenant: str, namespace: str, key: str) -> bool:
        there = self.get(tenant, namespace, key) is not None
        self._blobs.delete(self._path(tenant, namespace, key))
        return there

    def keys(self, tenant: str, namespace: str) -> Iterator[str]:
        marker = f"/{self._folder}/"
        for uri in self._blobs.list(self._root(tenant, namespace)):
            name = _key_of(uri.rpartition(marker)[2].partition("/")[0])
            if self.get(tenant, namespace, name) is not None:
                yield name


def _escaped(key: str) -> str:
    """A key as one folder's name; not percent-encoded, since the name becomes part of a URI."""
    return _UNSAFE.sub(lambda found: "".join(f"~{byte:02X}" for byte in found[0].encode()), key)


def _key_of(name: str) -> str:
    """The inverse of `_escaped`."""
    return bytes.fromhex("".join(_bytes_of(name))).decode()


def _bytes_of(name: str) -> Iterator[str]:
    for number, part in enumerate(name.split("~")):
        escaped, plain = (part[:2], part[2:]) if number else ("", part)
        yield escaped + plain.encode().hex()
