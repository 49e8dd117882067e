"""Session: one life of a worker between two losses of contact, with the work that it holds.

Commands are addressed to a session. A worker that could not send heartbeats for the length of a lease must assume that
its work was given to others; it drops the session with everything in it and begins a new one.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Final

from shared.messages import RunTaskRun
from shared.model.identifier import new_id
from shared.ports import InboxAddress
from worker.attempt import Attempt, Key

REMEMBERED: Final = 50_000
"""Commands of a session that are recognised when they come again. A repeat follows the first within a read-ahead of the
inbox, a few thousand records; 50,000 are some 10 MB."""


class Session:
    """What a session holds. Thread-safe."""

    def __init__(self, slots: int) -> None:
        """`slots`: how many task runs may run at the same time."""
        self.id = new_id()
        self.slots = slots
        self.address = InboxAddress(-1, 0)
        self.position = 0  #: everything before this inbox offset is held, settled or was declined
        self.sent = 0  #: commands taken so far
        self.ended = False  #: the worker has begun another session
        self._held: dict[Key, Attempt] = {}
        self._seen: OrderedDict[Key, None] = OrderedDict()
        self._lock = threading.Lock()

    def opened(self, address: InboxAddress) -> None:
        """The inbox is there: heartbeats may tell the executors of it."""
        self.address = address
        self.position = address.position

    def admit(self, command: RunTaskRun, *, brief: bool) -> Attempt | None:
        """Hold a new attempt; None when the same piece of work came before in this session."""
        attempt = Attempt(command, self, brief=brief)
        key = attempt.key
        with self._lock:
            if key in self._seen:
                return None
            if len(self._seen) >= REMEMBERED:
                self._seen.popitem(last=False)
            self._seen[key] = None
            self._held[key] = attempt
        return attempt

    def advance(self, position: int, commands: int) -> None:
        """Commands before `position` are dealt with; called after they were admitted, so that no heartbeat lies."""
        self.position = position
        self.sent += commands

    def find(self, key: Key) -> Attempt | None:
        """The attempt that is held under this key."""
        return self._held.get(key)

    def release(self, key: Key) -> None:
        """Its result is durable: heartbeats need not name it any more."""
        with self._lock:
            self._held.pop(key, None)

    def held(self) -> list[Attempt]:
        """Every attempt whose result is not yet durable."""
        with self._lock:
            return list(self._held.values())
