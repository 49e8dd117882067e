"""Large values: outputs that are too large for a message lie in the blob store, with a reference in their place.

`{"$blob": uri, "size": bytes}` stands for the whole outputs of a task run. References may come back in the variables
of later commands, and so may encrypted texts; `Resolver` puts the values in their places before anything is rendered.
"""

from __future__ import annotations

import io
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any, Final

import orjson

from shared.expressions.encryption import decrypt
from shared.model.reference import BLOB, is_reference, reference_to, uri_of
from shared.ports import BlobStore
from shared.secrecy import ENCRYPTED
from worker.storage import checked

CACHED: Final = 64 * 1024 * 1024
"""Bytes of blobs that are kept parsed: siblings of a fan-out share one reference, and reading it for each of 100,000
would cost more than the tasks."""
SEARCHED: Final = ("outputs", "inputs", "parents", "parent", "trigger", "execution")
"""Variables in which references and encrypted texts can stand."""


class TooLargeError(ValueError):
    """A value above the hard limit; the text names both sizes."""

    def __init__(self, size: int, limit: int) -> None:
        """Bytes. The words are those of Kestra for its queue's limit."""
        super().__init__(f"Message of size {size} has exceeded the configured limit of {limit}")
        self.size, self.limit = size, limit


def stored(value: object, path: str, blobs: BlobStore, limit: int) -> dict[str, Any]:
    """Put a value into the blob store; give the reference. Raises TooLargeError above `limit` bytes."""
    text = orjson.dumps(value, default=str, option=orjson.OPT_NON_STR_KEYS)
    if len(text) > limit:
        raise TooLargeError(len(text), limit)
    return reference_to(blobs.put(path, io.BytesIO(text)), len(text))


class Resolver:
    """Puts blobs and decrypted texts into variables. Keeps the blobs read last; thread-safe."""

    def __init__(self, blobs: BlobStore, key: str | None) -> None:
        """`key`: of encrypted texts, in base64; without one they are taken as they are (Kestra's rule)."""
        self._blobs = blobs
        self._key = key
        self._cache: OrderedDict[str, tuple[int, Any]] = OrderedDict()
        self._cached = 0
        self._lock = threading.Lock()

    def resolve(self, variables: Mapping[str, Any], tenant: str, secret: Callable[[str], None]) -> dict[str, Any]:
        """The variables with every reference and encrypted text replaced; `secret` hears each decrypted text.

        Raises:
            FileNotFoundError: a blob isn't there.
            StorageError: a reference leaves the tenant.
            Refusal: a text can't be decrypted.
        """
        if is_reference(variables):
            variables = self._load(variables, tenant)
        result = dict(variables)
        for name in SEARCHED:
            value = result.get(name)
            if value:
                result[name] = self._walk(value, tenant, secret)
        return result

    def _walk(self, value: Any, tenant: str, secret: Callable[[str], None]) -> Any:
        """The value, or a copy of it where something in it was replaced."""
        if type(value) is dict:
            if BLOB in value and is_reference(value):
                return self._walk(self._load(value, tenant), tenant, secret)
            if value.get("type") == ENCRYPTED and isinstance(value.get("value"), str):
                return self._decrypted(value["value"], secret)
            changed = None
            for key, item in value.items():
                if type(item) is dict or type(item) is list:
                    new = self._walk(item, tenant, secret)
                    if new is not item:
                        changed = dict(value) if changed is None else changed
                        changed[key] = new
            return value if changed is None else changed
        if type(value) is list:
            items = [self._walk(item, tenant, secret) if type(item) in (dict, list) else item for item in value]
            return items if any(new is not old for new, old in zip(items, value, strict=True)) else value
        return value

    def _decrypted(self, text: str, secret: Callable[[str], None]) -> str:
        plain = text if self._key is None else decrypt(self._key, text)
        secret(plain)
        return plain

    def _load(self, reference: Mapping[str, Any], tenant: str) -> Any:
        uri = checked(uri_of(reference), tenant)
        with self._lock:
            found = self._cache.get(uri)
            if found is not None:
                self._cache.move_to_end(uri)
                return found[1]
        with self._blobs.open(uri) as file:
            text = file.read()
        value = orjson.loads(text)
        with self._lock:
            if uri not in self._cache and len(text) <= CACHED // 2:
                self._cache[uri] = len(text), value
                self._cached += len(text)
                while self._cached > CACHED:
                    self._cached -= self._cache.popitem(last=False)[1][0]
        return value
