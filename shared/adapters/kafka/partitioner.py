"""Which partition a key belongs to: murmur2, as Kafka's Java client and librdkafka's `murmur2_random` compute it."""

from __future__ import annotations

import struct
from functools import lru_cache
from typing import Final

_SEED: Final = 0x9747B28C
_FACTOR: Final = 0x5BD1E995
_MASK: Final = 0xFFFFFFFF


def murmur2(data: bytes) -> int:
    """The unsigned 32-bit hash."""
    length = len(data)
    whole = length & ~3
    result = _SEED ^ length
    for (word,) in struct.iter_unpack("<I", data[:whole]):
        mixed = (word * _FACTOR) & _MASK
        mixed = ((mixed ^ (mixed >> 24)) * _FACTOR) & _MASK
        result = ((result * _FACTOR) & _MASK) ^ mixed
    if whole < length:
        result = ((result ^ int.from_bytes(data[whole:], "little")) * _FACTOR) & _MASK
    result = ((result ^ (result >> 13)) * _FACTOR) & _MASK
    return result ^ (result >> 15)


@lru_cache(maxsize=65_536)  # an execution's id comes again with each of its records; a hash costs 2 µs, a hit 0.1
def partition_of(key: str, partitions: int) -> int:
    """The partition that a producer with `partitioner=murmur2_random` chooses for a key."""
    return (murmur2(key.encode()) & 0x7FFFFFFF) % partitions
