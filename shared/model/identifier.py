"""Identifiers: UUIDv7 in Kestra's 22-character form, so that an id tells its time and sorts by it."""

from __future__ import annotations

import hashlib
import os
import time
from typing import Final

_ALPHABET: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
"""FriendlyId's alphabet, which Kestra uses; ASCII order, so text order is time order."""
_DIGIT: Final = {character: value for value, character in enumerate(_ALPHABET)}
_PAIRS: Final = tuple(high + low for high in _ALPHABET for low in _ALPHABET)
"""Two digits at a time halve the divisions: an id is made for every task run."""
LENGTH: Final = 22
"""Digits of base 62 that hold 128 bits."""


def _friendly(number: int) -> str:
    pairs = []
    for _ in range(LENGTH // 2):
        number, remainder = divmod(number, 3844)
        pairs.append(_PAIRS[remainder])
    pairs.reverse()
    return "".join(pairs)


def _uuid7(at: int, random: bytes) -> str:
    tail = int.from_bytes(random[:10], "big")
    rand_a = (tail >> 62) & 0xFFF
    rand_b = tail & 0x3FFF_FFFF_FFFF_FFFF
    return _friendly((at & 0xFFFF_FFFF_FFFF) << 80 | 0x7 << 76 | rand_a << 64 | 0x2 << 62 | rand_b)


def new_id(at: int | None = None) -> str:
    """A fresh id. `at`: epoch milliseconds, now by default."""
    return _uuid7(time.time_ns() // 1_000_000 if at is None else at, os.urandom(10))


def derive_id(at: int, *parts: object) -> str:
    """The id that always follows from the same time (epoch ms) and parts: making it twice makes it once."""
    text = "\x00".join(map(str, parts)).encode()
    return _uuid7(at, hashlib.blake2b(text, digest_size=10).digest())


def time_of(identifier: str) -> int | None:
    """Epoch milliseconds held in an id; None when it is not one of ours (an id made elsewhere)."""
    if len(identifier) != LENGTH:
        return None
    number = 0
    for character in identifier:
        digit = _DIGIT.get(character)
        if digit is None:
            return None
        number = number * 62 + digit
    if number >> 128 or (number >> 76) & 0xF != 0x7:
        return None
    return number >> 80
