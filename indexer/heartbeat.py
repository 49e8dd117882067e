"""Heartbeat: an indexer is alive, and how far the search store is: ended executions stay until they are in it."""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Callable, Mapping
from typing import Final

from shared.messages import Heartbeat
from shared.model.identifier import new_id
from shared.model.moment import Millis
from shared.ports import EventLog, JournalError, Outbound, Topic

BEAT: Final = 1.0
"""Seconds between two heartbeats, as of the other services."""

_log = logging.getLogger(__name__)


class IndexerHeartbeat:
    """Publishes heartbeats on a thread of its own."""

    def __init__(
        self, log: EventLog, projected: Callable[[], Mapping[int, Millis]], problem: Callable[[], str | None]
    ) -> None:
        """`projected`: by partition of execution-events. `problem`: why nothing gets into the store now."""
        self._event_log, self._projected, self._problem = log, projected, problem
        self._session = new_id()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="indexer-heartbeats", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """The last one says goodbye."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join(5)
            self.send("TERMINATED")

    def _run(self) -> None:
        while not self._stop.wait(BEAT):
            self.send("RUNNING" if self._problem() is None else "STALLED")

    def send(self, state: str) -> None:
        """Publish one; a log that does not take it is tried again with the next."""
        beat = Heartbeat(
            session=self._session,
            service="indexer",
            at=time.time_ns() // 1_000_000,
            state=state,
            host=socket.gethostname(),
            projected=[[partition, moment] for partition, moment in sorted(self._projected().items())],
        )
        try:
            self._event_log.publish([Outbound(Topic.HEARTBEATS, self._session, beat.to_bytes())])
        except JournalError as error:
            _log.warning("a heartbeat was not sent: %s", error)
