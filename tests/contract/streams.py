"""What the contract tests of journal, inbox and event log need of an adapter, and how they drive it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol, TypeVar

from shared.ports import EventLog, Inbound, Inbox, Journal, Outbound, PartitionState, Step, Subscription, Tail, Topic

#: Bytes of the largest record that every `Streams` is set to accept.
LIMIT = 100_000

#: Seconds until a test gives up waiting. None waits longer than it must.
PATIENCE = 60.0

T = TypeVar("T")


class Streams(Protocol):
    """Records and state in one place: what one of these opens sees what another one wrote.

    The fixture `kafka_streams` or `sqlite_streams` gives a fresh one with 4 partitions, 2 inbox partitions and LIMIT,
    and closes all that was opened.
    """

    def journal(self) -> Journal: ...
    def inbox(self) -> Inbox: ...
    def event_log(self) -> EventLog: ...


class Owner:
    """A `PartitionOwner` that remembers what it was told."""

    def __init__(self) -> None:
        self.states: dict[int, PartitionState] = {}
        self.calls: list[str] = []

    def assigned(self, partition: int, state: PartitionState) -> None:
        self.states[partition] = state
        self.calls.append(f"assigned {partition}")

    def revoked(self, partition: int, *, lost: bool) -> None:
        del self.states[partition]
        self.calls.append(f"{'lost' if lost else 'revoked'} {partition}")


def until(done: Callable[[], T]) -> T:
    """Call again and again, until the result is true."""
    deadline = time.monotonic() + PATIENCE
    while not (result := done()):
        assert time.monotonic() < deadline, f"waited {PATIENCE:.0f} s"
    return result


def joined(journal: Journal, owner: Owner) -> Journal:
    """Poll until every partition is owned; nothing else may be waiting."""

    def all_owned() -> bool:
        assert not journal.poll(owner, 1, 0.1)
        return len(owner.states) == journal.partitions

    until(all_owned)
    return journal


def taken(journal: Journal, owner: Owner, count: int, limit: int = 100) -> list[Inbound]:
    """Poll until `count` records came."""
    records: list[Inbound] = []
    until(lambda: len(records.extend(journal.poll(owner, limit, 0.2)) or records) >= count)
    return records


def read(source: Tail | Subscription, count: int) -> list[Inbound]:
    """Poll until `count` records came."""
    records: list[Inbound] = []
    until(lambda: len(records.extend(source.poll(100, 0.2)) or records) >= count)
    return records


def all_of(log: EventLog, *topics: Topic) -> list[Inbound]:
    """Everything that is committed in the topics."""
    tail = log.tail(topics)
    records: list[Inbound] = []
    until(lambda: records.extend(tail.poll(100, 0.1)) or tail.caught_up())
    tail.close()
    return records


def values(records: list[Inbound]) -> list[bytes | None]:
    return [record.value for record in records]


def after(records: list[Inbound]) -> dict[tuple[Topic, int], int]:
    """The positions that say: these were read."""
    positions: dict[tuple[Topic, int], int] = {}
    for record in records:
        source = record.topic, record.partition
        positions[source] = max(positions.get(source, 0), record.offset + 1)
    return positions


def step(
    read_records: list[Inbound] | None = None,
    writes: dict[int, dict[str, bytes | None]] | None = None,
    outputs: list[Outbound] | None = None,
    touched: set[int] | None = None,
) -> Step:
    """A step that has read these records."""
    return Step(after(read_records or []), writes or {}, outputs or [], frozenset(touched or ()))


def numbered(topic: Topic, key: str, count: int) -> list[Outbound]:
    """Records of one key, with the values b"0", b"1", …"""
    return [Outbound(topic, key, b"%d" % number) for number in range(count)]
