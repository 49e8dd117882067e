"""Dead letters: how a record that could not be handled is kept, so that it can be shown whole and sent again."""

from __future__ import annotations

import base64
import binascii
import contextlib
import zlib
from dataclasses import replace
from typing import Any, Final

import orjson

from shared.messages import DeadLetter, DeadLetterReplayed
from shared.model.moment import Millis
from shared.ports import Inbound, Outbound, Topic

PACKED_FROM: Final = 64 * 1024
"""Bytes from which a value is kept compressed: base64 makes it a third larger, and a letter is a record with a limit.
JSON becomes a tenth of its size, so that what was a record fits into a letter."""


def origin_of(record: Inbound) -> str:
    """Where a record stands: topic/partition/offset."""
    return f"{record.topic.value}/{record.partition}/{record.offset}"


def place_of(origin: str) -> tuple[Topic, int, int] | None:
    """Topic, partition and offset of a letter's origin; None where it is no record of the log."""
    try:
        topic, partition, offset = origin.split("/")
        return Topic(topic), int(partition), int(offset)
    except ValueError:
        return None


def dead_letter(
    record: Inbound,
    reason: str,
    service: str,
    at: Millis,
    *,
    keep: bool = True,
    execution_id: str | None = None,
    task_run_id: str | None = None,
) -> DeadLetter:
    """A record as a dead letter; without its bytes where these are too many (`keep`).

    Ids that the caller does not know are looked for in the record and in its key.
    """
    value = record.value
    named = _ids(record)
    kept = value if keep else None
    packed = kept is not None and len(kept) > PACKED_FROM
    return DeadLetter(
        origin=origin_of(record),
        reason=reason,
        at=at,
        service=service,
        key=record.key,
        value=None if kept is None else base64.b64encode(zlib.compress(kept, 1) if packed else kept).decode(),
        execution_id=execution_id or named[0],
        task_run_id=task_run_id or named[1],
        packed=packed,
        size=None if value is None else len(value),
    )


def buried(letter: DeadLetter | DeadLetterReplayed) -> Outbound:
    """The record of a letter, or of what became of it. All stand in one partition: they are replayed in their order."""
    return Outbound(Topic.DEAD_LETTERS, letter.origin, letter.to_bytes(), 0)


def without(letter: DeadLetter) -> DeadLetter:
    """The letter without its bytes, where these are too many for a record."""
    return replace(letter, value=None, packed=False)


def content(letter: DeadLetter) -> bytes | None:
    """The bytes of the record; None where they were not kept, or there were none. Raises ValueError when damaged."""
    if letter.value is None:
        return None
    try:
        stored = base64.b64decode(letter.value, validate=True)
        return zlib.decompress(stored) if letter.packed else stored
    except (binascii.Error, zlib.error) as error:
        raise ValueError(f"the value of dead letter {letter.origin} is damaged: {error}") from error


def _ids(record: Inbound) -> tuple[str | None, str | None]:
    """Execution and task run that a record names, whether a message or not."""
    data: Any = None
    with contextlib.suppress(orjson.JSONDecodeError):
        data = orjson.loads(record.value or b"")
    named = data if isinstance(data, dict) else {}
    execution_id, task_run_id = named.get("execution_id"), named.get("task_run_id")
    if execution_id is None and record.topic in _KEYED_BY_EXECUTION and "/" not in record.key:
        execution_id = record.key or None
    return _text(execution_id), _text(task_run_id)


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


_KEYED_BY_EXECUTION: Final = frozenset({Topic.EXECUTION_COMMANDS, Topic.TASK_RUN_EVENTS, Topic.LOGS, Topic.METRICS})
"""Topics whose keys are execution ids; a flow's command has slashes in its key."""
