"""Key values: a namespace's small values, kept beyond executions: one blob for each key, written as a whole."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import orjson

from shared.model.document import JSON_OPTIONS
from shared.model.moment import Millis
from shared.ports import BlobStore

KEY: Final = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9._-]*\Z")
"""Kestra's rule for keys."""
_UNSAFE: Final = re.compile(r"[^a-zA-Z0-9._-]")


class KeyValueError(ValueError):
    """A key that can't be used, or that is taken."""


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
    return KEY.match(text) is not None


class KeyValues:
    """The values of one namespace of a tenant. A value past its end isn't there.

    Of two writers at the same time the last wins; `overwrite=False` looks before it writes, so two that look at the
    same time may both write.
    """

    def __init__(
        self, blobs: BlobStore, tenant: str, namespace: str, *, folder: str = "_kv", pattern: re.Pattern[str] = KEY
    ) -> None:
        """`folder`: below the namespace's root. `pattern`: of the keys allowed."""
        self._blobs, self._folder, self._pattern = blobs, folder, pattern
        self._root = f"{tenant}/{namespace.replace('.', '/')}/{folder}/"

    def _path(self, key: str) -> str:
        # A folder for each key: deleting a prefix of the store can then never meet another key.
        return f"{self._root}{_escaped(key)}/value.json"

    def get(self, key: str, now: Millis) -> KeyValue | None:
        """A value that has not expired."""
        try:
            with self._blobs.open(f"kestra:///{self._path(key)}") as file:
                data = orjson.loads(file.read())
        except FileNotFoundError:
            return None
        updated = data["updated"]
        found = KeyValue(key, data["value"], data.get("created", updated), updated, data.get("expires"))
        return None if found.expires is not None and found.expires <= now else found

    def put(self, key: str, value: Any, now: Millis, ttl: Millis | None = None, *, overwrite: bool = True) -> None:
        """Set a value. `ttl`: milliseconds after which it is gone.

        Raises KeyValueError for a key that isn't allowed, or that is taken and isn't to be overwritten.
        """
        if not self._pattern.match(key):
            raise KeyValueError(
                f"Key '{key}' must start with a letter or digit and have only letters, digits, `.`, `_` and `-`"
            )
        known = self.get(key, now)
        if not overwrite and known is not None:
            raise KeyValueError(
                f"Cannot set value for key '{key}'. Key already exists and `overwrite` is set to `false`."
            )
        data: dict[str, Any] = {"value": value, "updated": now, "created": now if known is None else known.created}
        if ttl is not None:
            data["expires"] = now + ttl
        self._blobs.put(self._path(key), io.BytesIO(orjson.dumps(data, default=str, option=JSON_OPTIONS)))

    def delete(self, key: str, now: Millis) -> bool:
        """False when it wasn't there."""
        there = self.get(key, now) is not None
        self._blobs.delete(self._path(key))
        return there

    def entries(self, now: Millis) -> Iterator[KeyValue]:
        """All values that have not expired, by key."""
        marker = f"/{self._folder}/"
        names = {uri.rpartition(marker)[2].partition("/")[0] for uri in self._blobs.list(self._root)}
        for key in sorted(map(_key_of, names)):
            found = self.get(key, now)
            if found is not None:
                yield found


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
