"""Reference: what stands in the place of a value that is too large for messages and lies in the blob store."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

LARGEST: Final = 32 * 1024 * 1024
"""Bytes of a stored value that a server reads as a whole: what a rendering may make at most (`Limits.characters`)."""
BLOB: Final = "$blob"
_REFERENCE: Final = frozenset((BLOB, "size"))


def is_reference(value: object) -> bool:
    """Whether a value is `{"$blob": uri, "size": bytes}`: it stands for the JSON at that place."""
    return isinstance(value, dict) and value.keys() == _REFERENCE and isinstance(value[BLOB], str)


def reference_to(uri: str, size: int) -> dict[str, Any]:
    """The reference to a stored value. `size`: bytes."""
    return {BLOB: uri, "size": size}


def uri_of(reference: Mapping[str, Any]) -> str:
    """Where the value lies."""
    uri: str = reference[BLOB]
    return uri
