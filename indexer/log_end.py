"""Log end: when a reader has read the log as far as it was when the reader asked, also where records keep coming."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Final

from shared.model.moment import Millis
from shared.ports import Inbound, Tail

GRACE: Final = 5.0
"""Seconds of reading after which a partition that said nothing has nothing: a fetch asks all partitions at once."""

SKEW: Final = 2_000
"""Milliseconds by which the clocks of writers may differ from this one's."""


class LogEnd:
    """Where the log ended when this was made.

    A tail that has caught up is there. Under steady load it is behind by a few records whenever one looks; then it is
    past that end when every partition that speaks has spoken of a later time.
    """

    def __init__(self, tail: Tail) -> None:
        """The end is that of now."""
        self._tail = tail
        self._began = time.monotonic()
        self._at: Millis = time.time_ns() // 1_000_000
        self._latest: dict[int, Millis] = {}

    def reached(self, records: Sequence[Inbound]) -> bool:
        """Whether these, just polled, were the last ones needed."""
        for record in records:
            self._latest[record.partition] = record.at
        if self._tail.caught_up():
            return True
        return time.monotonic() >= self._began + GRACE and all(at > self._at + SKEW for at in self._latest.values())
