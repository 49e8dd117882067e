"""Entries: the keys under which an execution's state lies in its partition, and an overlay to change it in.

An execution is a header and one small entry for each task run; inputs, outputs and loop values are entries of
their own, written once. All keys of an execution share a prefix, so that it can leave as a whole.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, Protocol

import orjson

from shared.model.document import JSON_OPTIONS, plain
from shared.model.execution import Execution
from shared.model.task_run import TaskRun

SEPARATOR: Final = "\x1f"
"""Between the values of an outputs key: it cannot be typed in a flow by accident."""


def prefix(execution_id: str) -> str:
    """Of every key of an execution."""
    return f"x/{execution_id}/"


def header_key(execution_id: str) -> str:
    return f"x/{execution_id}/h"


def task_run_key(execution_id: str, task_run_id: str) -> str:
    return f"x/{execution_id}/r/{task_run_id}"


def task_runs_prefix(execution_id: str) -> str:
    return f"x/{execution_id}/r/"


def outputs_key(execution_id: str, task_id: str, values: Sequence[str]) -> str:
    """Outputs are found by task id and the values of the valued ancestors, as templates address them."""
    return f"x/{execution_id}/o/{task_id}/{SEPARATOR.join(values)}"


def outputs_prefix(execution_id: str, task_id: str | None = None) -> str:
    return f"x/{execution_id}/o/" if task_id is None else f"x/{execution_id}/o/{task_id}/"


def inputs_key(execution_id: str) -> str:
    return f"x/{execution_id}/i"


def variables_key(execution_id: str) -> str:
    """The `vars` of an execution that a task has changed."""
    return f"x/{execution_id}/w"


def flow_outputs_key(execution_id: str) -> str:
    return f"x/{execution_id}/u"


def error_logs_key(execution_id: str) -> str:
    """The last ERROR lines, for `errorLogs()`."""
    return f"x/{execution_id}/g"


def values_key(execution_id: str, task_run_id: str, chunk: int) -> str:
    """Loop values lie in chunks, so that no message grows with the loop."""
    return f"x/{execution_id}/v/{task_run_id}/{chunk:06d}"


def batches_prefix(execution_id: str, task_run_id: str) -> str:
    return f"x/{execution_id}/b/{task_run_id}/"


def values_prefix(execution_id: str) -> str:
    return f"x/{execution_id}/v/"


def all_batches_prefix(execution_id: str) -> str:
    return f"x/{execution_id}/b/"


def commands_key(execution_id: str) -> str:
    """The operators' last commands and how they were answered."""
    return f"x/{execution_id}/c"


def deleted_key(execution_id: str) -> str:
    """What is left of a deleted execution for a while: it does not come back from what was read before."""
    return f"x/{execution_id}/d"


def batch_key(execution_id: str, task_run_id: str, number: int) -> str:
    """A batch of a ForEachItem's task run."""
    return f"{batches_prefix(execution_id, task_run_id)}{number:06d}"


class Entries(Protocol):
    """Typed entries by key: headers are Execution, task runs TaskRun, the rest JSON values."""

    def get(self, key: str) -> Any | None: ...
    def scan(self, prefix: str, after: str = "") -> Iterator[tuple[str, Any]]: ...


class Overlay:
    """Changes over entries that are not changed themselves: kept by `merge`, or dropped."""

    __slots__ = ("base", "changes")

    def __init__(self, base: Entries) -> None:
        """Nothing is changed yet."""
        self.base = base
        self.changes: dict[str, Any | None] = {}

    def get(self, key: str) -> Any | None:
        if key in self.changes:
            return self.changes[key]
        return self.base.get(key)

    def put(self, key: str, value: Any | None) -> None:
        """None deletes."""
        self.changes[key] = value

    def scan(self, prefix: str, after: str = "") -> Iterator[tuple[str, Any]]:
        changed = sorted(key for key in self.changes if key.startswith(prefix) and key > after)
        if not changed:
            yield from self.base.scan(prefix, after)
            return
        changes = self.changes
        kept = ((key, value) for key, value in self.base.scan(prefix, after) if key not in changes)
        new = [(key, changes[key]) for key in changed if changes[key] is not None]
        yield from heapq.merge(kept, new, key=lambda pair: pair[0])

    def merge(self, other: Overlay) -> None:
        """Take over the changes of an overlay that lies on this one."""
        self.changes.update(other.changes)


_DECODERS: Final[dict[str, Callable[[Any], Any]]] = {"h": Execution.from_data, "r": TaskRun.from_data}


def decode(key: str, value: bytes) -> Any:
    """The entry of a stored value; what it is follows from the key."""
    data = orjson.loads(value)
    if key.startswith("x/"):
        kind = key.split("/", 3)[2]
        decoder = _DECODERS.get(kind)
        if decoder is not None:
            return decoder(data)
    return data


def encode(value: Any) -> bytes:
    """The stored form of an entry."""
    if isinstance(value, TaskRun | Execution):
        value = value.to_data()
    return orjson.dumps(value, option=JSON_OPTIONS, default=plain)
