"""Secrecy: SECRET values as they lie in events, state and index: encrypted, in Kestra's form."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from shared.expressions.encryption import encrypt
from shared.flows.inputs import Secret

ENCRYPTED: Final = "io.kestra.datatype:aes_encrypted"
"""The `type` of an encrypted value, as Kestra writes it."""


class NoKey(ValueError):
    """A secret has to be written, and there is no encryption key."""


def sealed(value: Any, key: str | None) -> Any:
    """The value with every `Secret` in it encrypted. Raises NoKey when there is one and no key."""
    if isinstance(value, Secret):
        if key is None:
            msg = "a SECRET needs an encryption key: set RUNYARD_ENCRYPTION_KEY"
            raise NoKey(msg)
        return {"type": ENCRYPTED, "value": encrypt(key, value.text)}
    if isinstance(value, Mapping):
        return {name: sealed(item, key) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [sealed(item, key) for item in value]
    return value
