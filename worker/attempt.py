"""Attempt: one piece of work in this process, from its command until exactly one result of it is settled."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from enum import StrEnum
from typing import TYPE_CHECKING

from shared.messages import RunTaskRun
from shared.model.moment import Millis

if TYPE_CHECKING:
    from worker.session import Session

Key = tuple[str, int, int]
"""Task run, attempt, dispatch: what makes two commands the same piece of work."""


class Interruption(StrEnum):
    """Why an attempt is to stop. The first reason that comes decides what is reported."""

    KILL = "kill"  #: the user wants it stopped: reported as KILLED
    TIMEOUT = "timeout"  #: it took longer than its `timeout`: reported as FAILED
    LOST = "lost"  #: another session has it by now: nothing is reported
    UNWANTED = "unwanted"  #: nobody waits for it any more: nothing is reported
    DRAIN = "drain"  #: this worker ends: handed back with AttemptDeclined


class Attempt:
    """A command with what became of it. Thread-safe.

    The thread that runs it, the one that gives it up after a kill, and the one that declines it race for its only
    result: whoever gets True of `settle` reports, the others drop what they have.
    """

    __slots__ = (
        "_callbacks",
        "_lock",
        "_settled",
        "allowed",
        "brief",
        "cancelled",
        "command",
        "interruption",
        "session",
        "since",
    )

    def __init__(self, command: RunTaskRun, session: Session, *, brief: bool = False) -> None:
        """`brief`: the task only computes, so that a thread may run many of them in a row."""
        self.command = command
        self.session = session
        self.brief = brief
        self.since = time.monotonic()  #: when it began to wait for a slot
        self.cancelled = threading.Event()
        self.interruption: Interruption | None = None
        self.allowed: Millis = 0  #: its rendered `timeout`
        self._lock = threading.Lock()
        self._settled = False
        self._callbacks: list[Callable[[], None]] = []

    @property
    def key(self) -> Key:
        """What makes two commands the same piece of work."""
        command = self.command
        return command.task_run_id, command.attempt, command.dispatch

    @property
    def settled(self) -> bool:
        """Whether its result has been reported."""
        return self._settled

    def settle(self) -> bool:
        """Claim the right to report the result: True for the first caller only."""
        with self._lock:
            first, self._settled = not self._settled, True
        return first

    def interrupt(self, reason: Interruption) -> bool:
        """Ask it to stop. False when it is settled or was asked before."""
        with self._lock:
            if self._settled or self.interruption is not None:
                return False
            self.interruption = reason
            callbacks, self._callbacks = self._callbacks, []
        self.cancelled.set()
        for callback in callbacks:
            callback()
        return True

    def on_interrupt(self, callback: Callable[[], None]) -> None:
        """Call `callback` once when it is asked to stop; at once when it was already."""
        with self._lock:
            if self.interruption is None:
                self._callbacks.append(callback)
                return
        callback()

    def __str__(self) -> str:
        command = self.command
        return f"task run {command.task_run_id} (attempt {command.attempt}, dispatch {command.dispatch})"
