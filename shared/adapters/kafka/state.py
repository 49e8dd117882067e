"""A partition's state in memory: a dictionary with a sorted list of its keys, for range scans."""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterator, Mapping
from typing import Final

_CHUNK: Final = 1024
"""Keys of a chunk at which it is cut in two (twice this): inserting moves at most 16 KiB of pointers, 0.5 µs."""

_SLICE: Final = 128
"""Keys that a scan copies at a time: it stays valid while the state changes, and a short scan stays cheap."""


class SortedKeys:
    """A sorted set of keys as a list of sorted lists: adding and removing cost microseconds at a million keys."""

    def __init__(self) -> None:
        self._chunks: list[list[str]] = []
        self._lasts: list[str] = []  #: the greatest key of each chunk

    def rebuild(self, keys: list[str]) -> None:
        """Hold exactly these, which are sorted and distinct."""
        self._chunks = [keys[start : start + _CHUNK] for start in range(0, len(keys), _CHUNK)]
        self._lasts = [chunk[-1] for chunk in self._chunks]

    def add(self, key: str) -> None:
        """Insert a key that is not held."""
        if not self._chunks:
            self.rebuild([key])
            return
        at = min(bisect_left(self._lasts, key), len(self._chunks) - 1)
        chunk = self._chunks[at]
        insort(chunk, key)
        if len(chunk) >= 2 * _CHUNK:
            self._chunks[at : at + 1] = [chunk[:_CHUNK], chunk[_CHUNK:]]
            self._lasts.insert(at, chunk[_CHUNK - 1])
            at += 1
        self._lasts[at] = self._chunks[at][-1]

    def remove(self, key: str) -> None:
        """Take out a key that is held."""
        at = bisect_left(self._lasts, key)
        chunk = self._chunks[at]
        del chunk[bisect_left(chunk, key)]
        if chunk:
            self._lasts[at] = chunk[-1]
        else:
            del self._chunks[at], self._lasts[at]

    def some(self, start: str, *, inclusive: bool) -> list[str]:
        """A few keys in order from `start` on; none only where there are none."""
        bisect = bisect_left if inclusive else bisect_right
        at = bisect(self._lasts, start)
        if at == len(self._chunks):
            return []
        chunk = self._chunks[at]
        first = bisect(chunk, start)
        return chunk[first : first + _SLICE]


class KeyValueState:
    """Implements `PartitionState`. Changes become visible by `apply` only, which the journal calls after a commit."""

    def __init__(self) -> None:
        self._values: dict[str, bytes] = {}
        self._keys: Final = SortedKeys()
        # Most changes overwrite: keys are sorted in only when a scan asks, and one added and removed again never is.
        self._added: set[str] = set()
        self._removed: set[str] = set()

    def __len__(self) -> int:
        return len(self._values)

    def get(self, key: str) -> bytes | None:
        return self._values.get(key)

    def scan(self, prefix: str, after: str = "") -> Iterator[tuple[str, bytes]]:
        """Pairs in key order; a change between two pairs is seen for keys that are still to come."""
        values = self._values
        start, inclusive = (prefix, True) if after < prefix else (after, False)
        while True:
            self._sort_in()
            some = self._keys.some(start, inclusive=inclusive)
            if not some:
                return
            for key in some:
                if not key.startswith(prefix):
                    return
                value = values.get(key)
                if value is not None:
                    yield key, value
            start, inclusive = some[-1], False

    def apply(self, changes: Mapping[str, bytes | None]) -> None:
        """Make changes; None deletes."""
        values, added, removed = self._values, self._added, self._removed
        for key, value in changes.items():
            if value is not None:
                if key not in values:
                    if key in removed:
                        removed.discard(key)
                    else:
                        added.add(key)
                values[key] = value
            elif values.pop(key, None) is not None:
                if key in added:
                    added.discard(key)
                else:
                    removed.add(key)

    def _sort_in(self) -> None:
        changed = len(self._added) + len(self._removed)
        if not changed:
            return
        if changed > len(self._values) // 8:
            self._keys.rebuild(sorted(self._values))
        else:
            for key in self._removed:
                self._keys.remove(key)
            for key in self._added:
                self._keys.add(key)
        self._added.clear()
        self._removed.clear()
