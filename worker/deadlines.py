"""Deadlines: calls that are due at a moment, on one thread: timeouts, and when a stopped attempt is given up."""

from __future__ import annotations

import heapq
import itertools
import logging
import threading
import time
from collections.abc import Callable
from typing import Final

FORGOTTEN: Final = 1_000
"""Cancelled entries from which on the heap is rebuilt once they are the greater part of it."""

_log = logging.getLogger(__name__)


class Deadline:
    """A call that is due; `cancel` makes it nothing and lets go of what it refers to."""

    __slots__ = ("_owner", "call")

    def __init__(self, owner: Deadlines, call: Callable[[], None]) -> None:
        """`owner`: whose heap it stands in."""
        self._owner = owner
        self.call: Callable[[], None] | None = call

    def cancel(self) -> None:
        """It will not be called (unless it is being called now)."""
        if self.call is not None:
            self.call = None
            self._owner.forgot()


class Deadlines:
    """Calls due later. The thread sleeps until the next one; calls must be short."""

    def __init__(self, name: str) -> None:
        """The thread begins with `start`."""
        self._due: list[tuple[float, int, Deadline]] = []
        self._forgotten = 0
        self._numbers = itertools.count()
        self._changed = threading.Condition(threading.Lock())
        self._closed = False
        self._thread = threading.Thread(target=self._work, name=f"{name}-deadlines", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def after(self, seconds: float, call: Callable[[], None]) -> Deadline:
        """Call `call` in `seconds`."""
        deadline = Deadline(self, call)
        with self._changed:
            heapq.heappush(self._due, (time.monotonic() + seconds, next(self._numbers), deadline))
            if self._due[0][2] is deadline:
                self._changed.notify()
        return deadline

    def forgot(self) -> None:
        """A deadline was cancelled; a heap mostly of such is cleaned, since timeouts are long and tasks are short."""
        with self._changed:
            self._forgotten += 1
            if self._forgotten > FORGOTTEN and 2 * self._forgotten > len(self._due):
                self._due = [entry for entry in self._due if entry[2].call is not None]
                heapq.heapify(self._due)
                self._forgotten = 0

    def close(self) -> None:
        """Forget what is due and end."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        if self._thread.is_alive():
            self._thread.join()

    def _work(self) -> None:
        while True:
            with self._changed:
                now = time.monotonic()
                while not self._closed and (not self._due or self._due[0][0] > now):
                    self._changed.wait(self._due[0][0] - now if self._due else None)
                    now = time.monotonic()
                if self._closed:
                    return
                deadline = heapq.heappop(self._due)[2]
            call, deadline.call = deadline.call, None
            try:
                if call is not None:
                    call()
            except Exception:  # noqa: BLE001 - one call's defect must not take the others' deadlines away
                _log.exception("a deadline's call failed")
