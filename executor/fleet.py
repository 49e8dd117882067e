"""Fleet: the worker sessions that are alive, and how far the indexers are, as their heartbeats tell."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from shared.messages import Heartbeat, UnknownMessage, decode
from shared.model.moment import Millis
from shared.model.task_run import Work
from shared.ports import JournalError, Tail

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class Session:
    """A worker session. `seen` is this executor's monotonic clock, since hosts' clocks differ."""

    name: str
    group: str
    slots: int
    inbox: int
    seen: float
    terminating: bool = False
    position: int = 0
    held: frozenset[Work] = field(default_factory=frozenset)


class Fleet:
    """Sessions by name. `poll` reads what heartbeats have come."""

    def __init__(self, tail: Tail, lease: float, clock: Callable[[], float] = time.monotonic) -> None:
        """`lease`: seconds without a heartbeat after which a session is gone."""
        self._tail = tail
        self._lease = lease
        self._clock = clock
        self.sessions: dict[str, Session] = {}
        self.named: dict[Work, float] = {}
        self.projected: dict[int, Millis] = {}  #: by partition, up to when the search store has its history
        self.caught_up = False
        self._cleared = clock()

    def poll(self) -> tuple[list[Session], list[Session]]:
        """Sessions that were heard of, and those that have gone."""
        heard: dict[str, Session] = {}
        gone: list[Session] = []
        while records := self._tail.poll(1000, 0):
            for record in records:
                beat = self._read(record.value)
                if beat is not None and beat.service == "indexer":
                    for partition, moment in beat.projected:
                        self.projected[partition] = max(self.projected.get(partition, 0), moment)
                if beat is None or beat.service != "worker":
                    continue
                if beat.state == "TERMINATED":
                    session = self.sessions.pop(beat.session, None)
                    heard.pop(beat.session, None)
                    if session is not None:
                        gone.append(session)
                    continue
                heard[beat.session] = self._heard(beat)
        self.caught_up = self.caught_up or self.up_to_date()
        now = self._clock()
        silent = [name for name, session in self.sessions.items() if now - session.seen > self._lease]
        if silent and self.up_to_date():  # else their heartbeats may be written and not read yet
            gone.extend(self.sessions.pop(name) for name in silent)
        self._clear(now)
        return list(heard.values()), gone

    def up_to_date(self) -> bool:
        """Whether every heartbeat that is written by now was heard; a log that does not answer says no."""
        try:
            return self._tail.caught_up()
        except JournalError as error:
            logger.warning("Heartbeats may be missing: %s", error)
            return False

    def _clear(self, now: float) -> None:
        """Forget work that was not named for a lease: also that of other executors, whose ends are not heard here."""
        if now - self._cleared > self._lease:
            self._cleared = now
            self.named = {work: at for work, at in self.named.items() if now - at <= self._lease}

    @staticmethod
    def _read(value: bytes | None) -> Heartbeat | None:
        try:
            message = decode(value or b"")
        except UnknownMessage as error:
            logger.warning("A heartbeat cannot be read: %s", error)
            return None
        return message if isinstance(message, Heartbeat) else None

    def _heard(self, beat: Heartbeat) -> Session:
        now = self._clock()
        held = frozenset(Work(*work) for work in beat.held)
        for work in held:
            self.named[work] = now
        session = Session(
            name=beat.session,
            group=beat.group,
            slots=beat.slots,
            inbox=beat.inbox,
            seen=now,
            terminating=beat.state == "TERMINATING",
            position=beat.position,
            held=held,
        )
        self.sessions[beat.session] = session
        return session

    def last_named(self, work: Work) -> float:
        """When a heartbeat last named the work, by the monotonic clock; 0 when none did."""
        return self.named.get(work, 0.0)

    def forget(self, work: Work) -> None:
        """The work has ended."""
        self.named.pop(work, None)

    def of_group(self, group: str) -> Iterator[Session]:
        """Sessions of a group that take work."""
        return (s for s in self.sessions.values() if s.group == group and not s.terminating)
