"""Ports: what the services need of the outside. Each has a Kafka or Elasticsearch adapter and an embedded one.

Every adapter passes the tests in tests/contract. Nothing above the adapters knows which one runs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import BinaryIO, Protocol

from shared.messages import UnknownMessage, WorkerCommand
from shared.model.document import Kind
from shared.model.moment import Millis
from shared.model.query import Bucket, Found, Page, Query


class Topic(StrEnum):
    """The topics, without their prefix. Embedded: names of streams in one file."""

    EXECUTION_COMMANDS = "execution-commands"
    TASK_RUN_COMMANDS = "task-run-commands"
    TASK_RUN_EVENTS = "task-run-events"
    EXECUTION_EVENTS = "execution-events"
    EXECUTOR_STATE = "executor-state"
    FLOWS = "flows"
    HEARTBEATS = "heartbeats"
    LOGS = "logs"
    METRICS = "metrics"
    DEAD_LETTERS = "dead-letters"
    BULK_ACTIONS = "bulk-actions"


@dataclass(frozen=True, slots=True)
class Inbound:
    """A record that was read."""

    topic: Topic
    partition: int
    offset: int
    key: str
    value: bytes | None  #: None: a tombstone
    at: Millis


@dataclass(frozen=True, slots=True)
class Outbound:
    """A record to write. Without a partition the key decides (murmur2 on Kafka)."""

    topic: Topic
    key: str
    value: bytes | None
    partition: int | None = None


class JournalError(Exception):
    """A commit did not happen, or may not have."""


class Fenced(JournalError):
    """Another instance owns a partition of the step: nothing was written; the caller drops what it holds."""


class Aborted(JournalError):
    """Nothing was written; the partitions are still owned and the same records come again."""


class Uncertain(JournalError):
    """It is not known whether it was written: the adapter re-creates its client and restores."""


class RecordTooLarge(ValueError):
    """A record above the hard limit; names the record. Checked before anything of the step is written."""

    def __init__(self, record: Outbound, size: int, limit: int) -> None:
        """Sizes in bytes."""
        super().__init__(f"{record.topic} record {record.key}: {size} bytes are more than the limit of {limit}")
        self.record, self.size, self.limit = record, size, limit


class PartitionState(Protocol):
    """A partition's key-value state, as of the last commit."""

    def get(self, key: str) -> bytes | None: ...
    def scan(self, prefix: str, after: str = "") -> Iterator[tuple[str, bytes]]:
        """Pairs whose key starts with `prefix`, and is greater than `after`, in key order."""
        ...


class PartitionOwner(Protocol):
    """Called on the polling thread, inside `Journal.poll`."""

    def assigned(self, partition: int, state: PartitionState) -> None:
        """The partition is this instance's now; its state is restored and stable."""
        ...

    def revoked(self, partition: int, *, lost: bool) -> None:
        """It no longer is. `lost`: it already belongs to another; else a last commit is still possible before."""
        ...


@dataclass(frozen=True, slots=True)
class Step:
    """What one commit does, all or nothing.

    `touched` names every partition whose state or timers the step rests on, also where no record was
    consumed: its position is committed too, which is what fences a zombie.
    """

    positions: Mapping[tuple[Topic, int], int]  #: next offset to read, by topic and partition
    writes: Mapping[int, Mapping[str, bytes | None]]  #: state changes by partition; None deletes
    outputs: Sequence[Outbound]
    touched: frozenset[int] = field(default_factory=frozenset)


class Journal(Protocol):
    """The executor's exactly-once log: consume, decide, write, in one transaction."""

    @property
    def partitions(self) -> int:
        """How many partitions execution-commands and task-run-events both have."""
        ...

    def partition_of(self, key: str) -> int:
        """Where records with this key go: the partition of an execution or of a flow."""
        ...

    def poll(self, owner: PartitionOwner, limit: int, timeout: float) -> Sequence[Inbound]:
        """At most `limit` records, commands before events, waiting at most `timeout` seconds for the first one."""
        ...

    def commit(self, step: Step) -> None:
        """Write the step. Raises Fenced, Aborted, Uncertain or RecordTooLarge."""
        ...

    def close(self) -> None:
        """Hand the partitions over and leave."""
        ...


@dataclass(frozen=True, slots=True)
class InboxAddress:
    """Where a worker session's commands are sent, and the offset from which it reads."""

    partition: int
    position: int


class UnreadableCommand(UnknownMessage):
    """A record of an inbox that is no command for a worker."""

    def __init__(self, record: Inbound, reason: str) -> None:
        """The record as it lies on the log."""
        super().__init__(f"{record.topic}/{record.partition}/{record.offset}: {reason}")
        self.record, self.reason = record, reason


class Inbox(Protocol):
    """A worker session's commands."""

    def open(self, session: str) -> InboxAddress:
        """Begin a session: what was sent before, and what is for others, is not seen."""
        ...

    def take(self, limit: int, timeout: float) -> Sequence[WorkerCommand]:
        """At most `limit` commands for the session, waiting at most `timeout` seconds for the first.

        Raises UnreadableCommand, once, for one that can't be read; the next call goes on after it.
        """
        ...

    @property
    def position(self) -> int:
        """The next offset that will be read: everything before has been seen."""
        ...

    def close(self) -> None: ...


class Subscription(Protocol):
    """A group's share of some topics. Uncommitted records come again, to this member or another."""

    def poll(self, limit: int, timeout: float) -> Sequence[Inbound]: ...
    def commit(self, positions: Mapping[tuple[Topic, int], int]) -> None:
        """Remember the next offsets to read. A partition that is no longer owned is passed over."""
        ...

    def lag(self) -> Mapping[tuple[Topic, int], int]:
        """Records between what is committed and the end, of each owned partition."""
        ...

    def close(self) -> None: ...


class Tail(Protocol):
    """Every record of some topics from a moment on, without a group."""

    def poll(self, limit: int, timeout: float) -> Sequence[Inbound]: ...
    def caught_up(self) -> bool:
        """Whether everything that was committed when this was called has been returned by `poll`."""
        ...

    def close(self) -> None: ...


class EventLog(Protocol):
    """Publishing and reading for the API, the workers and the indexer."""

    def publish(self, records: Sequence[Outbound]) -> None:
        """Durable on return; raises RecordTooLarge before anything is written, JournalError when it failed."""
        ...

    def subscribe(self, topics: Sequence[Topic], group: str) -> Subscription: ...
    def tail(self, topics: Sequence[Topic], since: Millis | None = None) -> Tail:
        """Records from `since` (epoch ms) on; from the very first where it is None."""
        ...

    def close(self) -> None: ...


class Verdict(StrEnum):
    """What became of one written document."""

    STORED = "STORED"
    STALE = "STALE"  #: a version at least as new was there: success
    RETRY = "RETRY"  #: the store could not take it now
    REFUSED = "REFUSED"  #: the store will never take it (with `reason` in `Outcome`)
    TOO_LARGE = "TOO_LARGE"  #: the request was too large: halve it, or give the single document up


@dataclass(frozen=True, slots=True)
class Outcome:
    """Verdict on one document, and why."""

    verdict: Verdict
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Versioned:
    """A document with its version. `document` None deletes (and remembers the version)."""

    kind: Kind
    id: str
    version: int
    document: Mapping[str, object] | None
    routing: str  #: the execution id


class DocumentStore(Protocol):
    """The search store. `search` may lag behind `write`; `get` never does.

    Reading raises ConnectionError or JournalError while the store is away; `write` answers RETRY then.
    """

    def prepare(self) -> None:
        """Create templates, indices and aliases, or what stands for them; repeatable."""
        ...

    def ready(self) -> str | None:
        """None when reads and writes can work; else what is missing."""
        ...

    def write(self, documents: Sequence[Versioned]) -> Sequence[Outcome]: ...
    def get(self, kind: Kind, id: str, routing: str) -> Versioned | None: ...  # noqa: A002
    def search(self, query: Query, page: Page) -> Found:
        """Raises QueryError for a text or sort that it cannot answer."""
        ...

    def histogram(self, query: Query, buckets: int) -> Sequence[Bucket]:
        """Counts by state over start dates, in at most `buckets` intervals of equal length."""
        ...

    def refresh(self, kind: Kind, execution_id: str) -> None:
        """Make what is written for an execution visible to `search`."""
        ...

    def scan(self, kind: Kind) -> Iterator[Versioned]:
        """Every document with its version, for verify-index."""
        ...

    def delete_by_executions(self, tenant: str, execution_ids: Sequence[str]) -> int:
        """Remove executions' log lines and metrics (their topics hold no tombstones); returns how many."""
        ...

    def close(self) -> None: ...


class BlobStore(Protocol):
    """Files by URI (`kestra:///…`, tenant first in the path). `put` is atomic and readable at once."""

    def put(self, path: str, content: BinaryIO) -> str:
        """Store under tenant-rooted path, return its URI."""
        ...

    def open(self, uri: str) -> BinaryIO:
        """Raises FileNotFoundError naming the URI."""
        ...

    def size(self, uri: str) -> int: ...
    def delete(self, prefix: str) -> int:
        """Remove everything below a path; returns how many."""
        ...

    def list(self, prefix: str) -> Iterator[str]: ...
