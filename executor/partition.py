"""Partition: the entries of one owned partition, decoded, and the changes of the batch in hand."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from executor.engine.entries import Overlay, decode, encode
from shared.ports import PartitionState

_UNKEPT: Final = frozenset({"t"})
"""Groups whose entries are not kept decoded: a timer is written once and read once, perhaps a month later."""


class Decoded:
    """Typed entries over a partition's stored bytes. What was decoded is kept until its execution leaves."""

    __slots__ = ("_groups", "_state")

    def __init__(self, state: PartitionState) -> None:
        """`state`: as of the last commit."""
        self._state = state
        self._groups: dict[str, dict[str, Any]] = {}

    @staticmethod
    def group(key: str) -> str:
        """What is forgotten together: an execution's entries; for others their kind."""
        first, _, rest = key.partition("/")
        return rest.split("/", 1)[0] if first == "x" else first

    def get(self, key: str) -> Any | None:
        group = self._groups.get(self.group(key))
        if group is not None and key in group:
            return group[key]
        value = self._state.get(key)
        return None if value is None else self._keep(key, value)

    def _keep(self, key: str, value: bytes) -> Any:
        decoded = decode(key, value)
        group = self.group(key)
        if group not in _UNKEPT:
            self._groups.setdefault(group, {})[key] = decoded
        return decoded

    def keys(self, prefix: str) -> Iterator[str]:
        """The keys that begin so, in order; nothing is decoded."""
        for key, _ in self._state.scan(prefix):
            yield key

    def scan(self, prefix: str, after: str = "") -> Iterator[tuple[str, Any]]:
        for key, value in self._state.scan(prefix, after):
            group = self._groups.get(self.group(key))
            yield key, group[key] if group is not None and key in group else self._keep(key, value)

    def has(self, key: str) -> bool:
        group = self._groups.get(self.group(key))
        return (group is not None and key in group) or self._state.get(key) is not None

    def committed(self, changes: dict[str, Any | None]) -> None:
        """The changes are stored now."""
        for key, value in changes.items():
            name = self.group(key)
            if value is None:
                group = self._groups.get(name)
                if group is not None:
                    group.pop(key, None)
                    if not group:
                        del self._groups[name]
            elif name not in _UNKEPT:
                self._groups.setdefault(name, {})[key] = value


class Partition:
    """One owned partition: its entries, and an overlay with the changes of the batch in hand."""

    __slots__ = ("batch", "entries", "number")

    def __init__(self, number: int, state: PartitionState) -> None:
        """`state`: restored and stable."""
        self.number = number
        self.entries = Decoded(state)
        self.batch = Overlay(self.entries)

    def writes(self) -> dict[str, bytes | None]:
        """The batch's changes in stored form; what was made and removed within it does not appear."""
        return {
            key: None if value is None else encode(value)
            for key, value in self.batch.changes.items()
            if value is not None or self.entries.has(key)
        }

    def committed(self) -> None:
        """The batch is stored."""
        self.entries.committed(self.batch.changes)
        self.batch = Overlay(self.entries)

    def dropped(self) -> None:
        """The batch is not stored: its changes never were."""
        self.batch = Overlay(self.entries)
