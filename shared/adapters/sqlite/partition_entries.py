"""Partition entries: a partition's state in memory, so that reading it costs no SQL."""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

_CHUNK: Final = 1000
"""Keys of one chunk before it is split: adding a key moves at most so many, however many there are."""


class SortedKeys:
    """Keys in order, in chunks: adding, removing and seeking take the logarithm plus one chunk."""

    __slots__ = ("_chunks", "_highest")

    def __init__(self, ordered: Sequence[str] = ()) -> None:
        """`ordered` is already in order."""
        half = _CHUNK // 2
        self._chunks = [list(ordered[start : start + half]) for start in range(0, len(ordered), half)]
        self._highest = [chunk[-1] for chunk in self._chunks]

    def add(self, key: str) -> None:
        """Add a key that is not there yet."""
        if not self._chunks:
            self._chunks.append([key])
            self._highest.append(key)
            return
        index = min(bisect_left(self._highest, key), len(self._chunks) - 1)
        chunk = self._chunks[index]
        insort(chunk, key)
        if len(chunk) > _CHUNK:
            half = len(chunk) // 2
            self._chunks[index : index + 1] = [chunk[:half], chunk[half:]]
            self._highest[index : index + 1] = [chunk[half - 1], chunk[-1]]
        else:
            self._highest[index] = chunk[-1]

    def remove(self, key: str) -> None:
        """Remove a key that is there."""
        index = bisect_left(self._highest, key)
        chunk = self._chunks[index]
        del chunk[bisect_left(chunk, key)]
        if chunk:
            self._highest[index] = chunk[-1]
        else:
            del self._chunks[index]
            del self._highest[index]

    def after(self, key: str, *, inclusive: bool) -> list[str]:
        """The keys of one chunk that come after a key (or are it); empty at the end."""
        index = (bisect_left if inclusive else bisect_right)(self._highest, key)
        if index == len(self._chunks):
            return []
        chunk = self._chunks[index]
        return chunk[(bisect_left if inclusive else bisect_right)(chunk, key) :]


class PartitionEntries:
    """Keys and values of one partition. Changes come from commits only; readers see none that is half done.

    A scan goes on over changes made meanwhile: it shows each key at most once, with its value of that moment.
    """

    __slots__ = ("_keys", "_values")

    def __init__(self, rows: Sequence[tuple[str, bytes]] = ()) -> None:
        """Rows in key order."""
        self._values: dict[str, bytes] = dict(rows)
        self._keys = SortedKeys([key for key, _ in rows])

    def __len__(self) -> int:
        return len(self._values)

    def get(self, key: str) -> bytes | None:
        return self._values.get(key)

    def scan(self, prefix: str, after: str = "") -> Iterator[tuple[str, bytes]]:
        """Pairs whose key starts with `prefix`, and is greater than `after`, in key order."""
        last, inclusive = (prefix, True) if after < prefix else (after, False)
        while keys := self._keys.after(last, inclusive=inclusive):
            for key in keys:
                if not key.startswith(prefix):
                    return
                value = self._values.get(key)
                if value is not None:
                    yield key, value
            last, inclusive = keys[-1], False

    def apply(self, changes: Mapping[str, bytes | None]) -> None:
        """Make a commit's changes visible; None deletes."""
        values = self._values
        for key, value in changes.items():
            if value is None:
                if values.pop(key, None) is not None:
                    self._keys.remove(key)
            else:
                if key not in values:
                    self._keys.add(key)
                values[key] = value
