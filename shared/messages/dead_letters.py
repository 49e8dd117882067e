"""Dead letters: what could not be handled, and that it was settled."""

from __future__ import annotations

from dataclasses import dataclass

from shared.messages.encoding import Message, message
from shared.model.moment import Millis


@message
@dataclass(frozen=True, slots=True)
class DeadLetter(Message):
    """A record or document that could not be handled, with where it came from and why."""

    origin: str  #: topic/partition/offset of the record; else the kind of thing, and its name
    reason: str
    at: Millis
    service: str
    key: str | None = None
    value: str | None = None  #: base64 of the bytes
    execution_id: str | None = None
    task_run_id: str | None = None
    packed: bool = False  #: the bytes are compressed (zlib)
    size: int | None = None  #: bytes of the record, also where they are not kept; None: it had no value


@message
@dataclass(frozen=True, slots=True)
class DeadLetterReplayed(Message):
    """A dead letter is settled: what it holds was sent again, or there is nothing of it to send."""

    origin: str
    at: Millis
    outcome: str  #: what was done, for whoever reads it later
