"""Heartbeat: tells the executors every second, and at once when a full worker frees up, what the session holds."""

from __future__ import annotations

import logging
import socket
import threading
import time
from importlib.metadata import PackageNotFoundError, version
from typing import Final

from shared.messages import Heartbeat
from shared.ports import Outbound, Topic
from worker import gauges
from worker.pool import Pool
from worker.runner import Runner
from worker.services import Services
from worker.session import Session

GAP: Final = 0.01
"""Seconds between two heartbeats at least: a full worker with tasks of a millisecond frees up a thousand times a
second, and every heartbeat is read by every executor. 16 slots told 100 times a second are enough for 1,600 tasks/s."""

GOODBYE_WITHIN: Final = 5.0
"""Seconds that an ending worker waits for a heartbeat that is under way."""

_log = logging.getLogger(__name__)


def _version() -> str:
    try:
        return version("runyard")
    except PackageNotFoundError:
        return ""


class Pulse:
    """Sends the heartbeats of the current session from a thread of its own."""

    def __init__(self, services: Services, pool: Pool, runner: Runner, name: str) -> None:
        """The thread begins with `start`; nothing is sent before `begin`."""
        self._services = services
        self._settings = services.settings.worker
        self._pool = pool
        self._runner = runner
        self._session: Session | None = None
        self._state = "RUNNING"
        self._ended: Session | None = None
        self._sent = time.monotonic()
        self._poked = threading.Event()
        self._closed = False
        self._host = socket.gethostname()
        self._version = _version()
        self._thread = threading.Thread(target=self._work, name=f"{name}-heartbeat", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def begin(self, session: Session) -> None:
        """From now on speak for this session; the one before is told to be over."""
        self._ended, self._session = self._session, session
        self._sent = time.monotonic()
        self._poked.set()

    def poke(self) -> None:
        """Send soon: something changed that executors wait for."""
        self._poked.set()

    def drain(self) -> None:
        """Say that nothing new is taken."""
        self._state = "TERMINATING"
        self._poked.set()

    @property
    def age(self) -> float:
        """Seconds since the last heartbeat that arrived was sent."""
        return time.monotonic() - self._sent

    def close(self) -> None:
        """Say goodbye and end; a log that is away hears nothing."""
        self._closed = True
        self._poked.set()
        if self._thread.is_alive():
            self._thread.join(GOODBYE_WITHIN)
            if self._thread.is_alive():
                return
        self._state = "TERMINATED"
        self._send()

    def _work(self) -> None:
        while not self._closed:
            self._poked.wait(self._settings.heartbeat)
            if self._closed:
                return
            self._poked.clear()
            self.beat()
            time.sleep(GAP)

    def beat(self) -> None:
        """Send one now. After a pause longer than a lease none is sent: the session must end, not come back to life."""
        if self.age <= self._settings.lease:
            self._send()

    def _send(self) -> None:
        session, ended = self._session, self._ended
        if session is None:
            return
        sent = time.monotonic()
        records = [self._record(session, self._state)]
        if ended is not None:
            records.append(self._record(ended, "TERMINATED"))
        try:
            self._services.events.publish(records)
        except Exception as error:  # noqa: BLE001 - whatever it is, the age of the last one tells; the next may arrive
            _log.warning("a heartbeat could not be sent: %s", error)
            return
        if session is self._session:
            self._sent = max(self._sent, sent)
        if ended is self._ended:
            self._ended = None

    def _record(self, session: Session, state: str) -> Outbound:
        # The position first, then what is held: whatever was read before the position is then named, or done.
        position, sent = session.position, session.sent
        held = [] if session.ended else session.held()
        gauges.RUNNING.set(self._pool.busy)
        abandoned = self._runner.abandoned
        gauges.ABANDONED.set(abandoned)
        free = self._pool.free if state == "RUNNING" else 0
        beat = Heartbeat(
            session=session.id,
            service="worker",
            at=self._services.clock(),
            state=state,
            group=self._settings.group,
            slots=session.slots - abandoned,
            free=free,
            inbox=session.address.partition,
            position=position,
            held=[[a.command.execution_id, a.command.task_run_id, a.command.attempt, a.command.dispatch] for a in held],
            sent=sent,
            host=self._host,
            version=self._version,
        )
        return Outbound(Topic.HEARTBEATS, session.id, beat.to_bytes())
