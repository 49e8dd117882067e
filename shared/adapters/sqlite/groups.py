"""Groups: who of several readers in one process owns which partition, and how far the group has read.

It behaves as a consumer group does: a partition goes to another member only after its owner gave it back, or lost it.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING

from shared.adapters.sqlite.streams import Bell, stream_number
from shared.ports import Topic

if TYPE_CHECKING:
    from shared.adapters.sqlite.database import Transaction

Positions = Mapping[tuple[Topic, int], int]


class Member:
    """One reader of a group."""

    __slots__ = ("bell", "lost", "owned", "returning")

    def __init__(self) -> None:
        self.bell = Bell()
        self.owned: set[int] = set()  #: partitions that were taken and not given back; the member's thread changes it
        self.lost: set[int] = set()  #: partitions that were taken away and whose loss the member has not seen yet
        self.returning: set[int] = set()  #: partitions it is asked to give back though they remain its share


class Group:
    """Members, ownership and committed positions.

    Ownership is taken away under the database's writer lock, or by the owner's own thread: never while it commits.
    """

    def __init__(self, name: str, partitions: int) -> None:
        self.name = name
        self._partitions = partitions
        self._lock = threading.RLock()
        self._members: list[Member] = []
        self._owners: list[Member | None] = [None] * partitions
        self._next: dict[int, int] = {}

    def load(self, connection: sqlite3.Connection) -> None:
        """Read the committed positions."""
        self._next = dict(connection.execute("SELECT stream, next FROM positions WHERE crowd = ?", (self.name,)))

    def join(self, member: Member) -> None:
        """Add a member if it is not there; shares are divided anew at everybody's next poll."""
        with self._lock:
            if member not in self._members:
                self._members.append(member)
                self._ring()

    def leave(self, member: Member) -> None:
        """Give everything back and go."""
        with self._lock:
            if member in self._members:
                self._members.remove(member)
            for partition in member.owned:
                if self._owners[partition] is member:
                    self._owners[partition] = None
            member.owned.clear()
            self._ring()

    def take_away(self, member: Member, partitions: frozenset[int] | None = None, *, expel: bool = False) -> None:
        """Take partitions (all: None) from a member that has not given them back; it learns so at its next poll."""
        with self._lock:
            for partition, owner in enumerate(self._owners):
                if owner is member and (partitions is None or partition in partitions):
                    self._owners[partition] = None
                    member.lost.add(partition)
            if expel and member in self._members:
                self._members.remove(member)
            self._ring()

    def ask_back(self, member: Member, partition: int) -> None:
        """Have the member give a partition back at its next poll, as in a rebalance; it is divided anew then."""
        with self._lock:
            member.returning.add(partition)
            member.bell.ring()

    def owns(self, member: Member, partition: int) -> bool:
        return 0 <= partition < self._partitions and self._owners[partition] is member

    def lost(self, member: Member) -> list[int]:
        """Partitions taken away since the last call."""
        with self._lock:
            lost = sorted(member.lost)
            member.lost.clear()
            member.owned.difference_update(lost)
            return lost

    def surplus(self, member: Member) -> list[int]:
        """Owned partitions that the member is to give back."""
        with self._lock:
            return sorted(
                partition
                for partition in member.owned
                if partition in member.returning or self._share(partition) is not member
            )

    def give_back(self, member: Member, partition: int) -> None:
        with self._lock:
            member.owned.discard(partition)
            member.returning.discard(partition)
            if self._owners[partition] is member:
                self._owners[partition] = None
            self._ring()

    def take(self, member: Member) -> list[int]:
        """Take the partitions of the member's share that nobody owns."""
        with self._lock:
            taken = [
                partition
                for partition, owner in enumerate(self._owners)
                if owner is None and partition not in member.lost and self._share(partition) is member
            ]
            for partition in taken:
                self._owners[partition] = member
            member.owned.update(taken)
            return taken

    def _share(self, partition: int) -> Member | None:
        """Ranges of equal size, in the order in which members came."""
        return self._members[partition * len(self._members) // self._partitions] if self._members else None

    def _ring(self) -> None:
        for member in self._members:
            member.bell.ring()

    def position(self, topic: Topic, partition: int) -> int:
        """The next offset to read, as committed; the very first where nothing was."""
        return self._next.get(stream_number(topic, partition), 0)

    def commit(self, transaction: Transaction, positions: Positions) -> None:
        """Write positions as part of a transaction."""
        numbered = {stream_number(topic, partition): offset for (topic, partition), offset in positions.items()}
        transaction.connection.executemany(
            "INSERT INTO positions VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET next = excluded.next",
            [(self.name, stream, offset) for stream, offset in numbered.items()],
        )
        transaction.after_commit.append(lambda: self._next.update(numbered))
