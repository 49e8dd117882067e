"""Pool: the threads that run attempts, and the short queue in front of them.

A hand-off to a sleeping thread costs about 40 µs, as much as a short task. So commands that come together wake one
thread, which runs brief tasks in a row; before anything that may take long it wakes the next, and `hurry` wakes
another whenever something has waited for a few milliseconds.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable
from typing import Final

from worker.attempt import Attempt

HURRY_AFTER: Final = 0.005
"""Seconds that an attempt waits behind a brief one before another thread is woken for it: well above the time that a
brief task takes (below 1 ms), well below what a person or the executor's 250 ms notices."""


class Pool:
    """At most `slots` threads. They are daemons: a task that ignores its end must not keep the process alive."""

    def __init__(self, slots: int, run: Callable[[Attempt], None], freed: Callable[[], None], name: str) -> None:
        """`run` must not raise. `freed`: called when a full pool has a slot again."""
        self._slots = slots
        self._run = run
        self._freed = freed
        self._name = name
        self._waiting: deque[Attempt] = deque()
        self._changed = threading.Condition(threading.Lock())
        self._threads = 0
        self._idle = 0
        self._busy = 0
        self._closed = False

    @property
    def free(self) -> int:
        """Slots that neither run something nor are spoken for by the queue."""
        with self._changed:
            return max(0, self._slots - self._busy - len(self._waiting))

    @property
    def busy(self) -> int:
        """Threads that run something, also something that was given up and ignores it."""
        with self._changed:
            return self._busy

    @property
    def waiting(self) -> int:
        """Length of the queue."""
        with self._changed:
            return len(self._waiting)

    def submit(self, attempts: Iterable[Attempt]) -> list[Attempt]:
        """Queue attempts; give back those for which there is no room: as many may wait as there are slots."""
        refused: list[Attempt] = []
        with self._changed:
            room = 2 * self._slots - self._busy - len(self._waiting)
            for attempt in attempts:
                if room > 0:
                    self._waiting.append(attempt)
                    room -= 1
                else:
                    refused.append(attempt)
            self._wake()
        return refused

    def hurry(self, now: float) -> float | None:
        """Wake another thread when the first in the queue has waited; seconds until it is to be looked at again."""
        with self._changed:
            if not self._waiting:
                return None
            if now - self._waiting[0].since >= HURRY_AFTER:
                self._wake()
            return HURRY_AFTER

    def withdraw(self, unwanted: Callable[[Attempt], bool]) -> list[Attempt]:
        """Take those out of the queue for which `unwanted` holds."""
        with self._changed:
            if not self._waiting:
                return []
            found = [attempt for attempt in self._waiting if unwanted(attempt)]
            if found:
                self._waiting = deque(attempt for attempt in self._waiting if attempt not in found)
        return found

    def close(self) -> None:
        """Let the threads end after what they run."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _wake(self) -> None:
        """Have one thread look at the queue (the lock is held)."""
        if not self._waiting:
            return
        if self._idle:
            self._idle -= 1  # here, not by the woken thread: a second call must not count it again
            self._changed.notify()
        elif self._threads < self._slots:
            self._threads += 1
            threading.Thread(target=self._work, name=f"{self._name}-{self._threads}", daemon=True).start()

    def _work(self) -> None:
        while (attempt := self._next()) is not None:
            self._run(attempt)
            with self._changed:
                full = self._busy + len(self._waiting) >= self._slots
                self._busy -= 1
                freed = full and self._busy + len(self._waiting) < self._slots
            if freed:
                self._freed()

    def _next(self) -> Attempt | None:
        with self._changed:
            while not self._waiting:
                if self._closed:
                    self._threads -= 1
                    return None
                self._idle += 1
                self._changed.wait()
            attempt = self._waiting.popleft()
            self._busy += 1
            if not attempt.brief:
                self._wake()
            return attempt
