"""Encoding: the base of all messages, their JSON and its version.

No other module of the package knows how a message is written or read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from typing import Any, ClassVar, Final, Self, TypeVar

import orjson

from shared.model.document import JSON_OPTIONS, plain

VERSION: Final = 1
"""Version of every message. Readers accept this one and the one before."""

TYPES: Final[dict[str, type[Message]]] = {}
"""Every type of message by its name; what `message` decorates."""


class UnknownMessage(ValueError):
    """A record that no reader here understands; it belongs in the dead letters."""


@dataclass(frozen=True, slots=True)
class Message:
    """Base of all messages: JSON with `v` and `type` first, then the fields."""

    _names: ClassVar[frozenset[str]] = frozenset()

    def to_bytes(self) -> bytes:
        body = orjson.dumps(self, option=JSON_OPTIONS, default=plain)
        head = b'{"v":%d,"type":"%s"' % (VERSION, type(self).__name__.encode())
        return head + (b"," + body[1:] if len(body) > 2 else b"}")

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> Self:
        """Build from parsed JSON. Raises UnknownMessage when a required field is missing."""
        names = _FIELDS[cls]
        try:
            return cls(**{name: value for name, value in data.items() if name in names})
        except TypeError as error:
            msg = f"{cls.__name__}: {error}"
            raise UnknownMessage(msg) from error


M = TypeVar("M", bound=type[Message])
_FIELDS: Final[dict[type[Message], frozenset[str]]] = {}


def message(cls: M) -> M:
    """Class decorator: register a message type by its name."""
    TYPES[cls.__name__] = cls
    _FIELDS[cls] = frozenset(f.name for f in fields(cls))
    return cls


def decode(value: bytes) -> Message:
    """Read any message. Raises UnknownMessage with the reason."""
    try:
        data = orjson.loads(value)
    except orjson.JSONDecodeError as error:
        msg = f"not JSON: {error}"
        raise UnknownMessage(msg) from error
    if not isinstance(data, dict):
        msg = "not a JSON object"
        raise UnknownMessage(msg)
    version = data.get("v")
    if version not in (VERSION, VERSION - 1):
        msg = f"version {version!r} is not one of {VERSION - 1}, {VERSION}"
        raise UnknownMessage(msg)
    cls = TYPES.get(data.get("type", ""))
    if cls is None:
        msg = f"type {data.get('type')!r} is not known"
        raise UnknownMessage(msg)
    return cls.from_data(data)


def required(cls: type[Message]) -> frozenset[str]:
    """Names of the fields without a default."""
    return frozenset(f.name for f in fields(cls) if f.default is MISSING and f.default_factory is MISSING)
