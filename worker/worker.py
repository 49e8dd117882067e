"""Worker: takes task runs from its inbox, runs them, and says what became of them."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Final

from shared.model.moment import Millis
from shared.ports import BlobStore, DocumentStore, EventLog, Inbox
from shared.settings import Settings
from worker.attempt import Interruption
from worker.catalog import TaskCatalog
from worker.deadlines import Deadlines
from worker.heartbeat import Pulse
from worker.intake import Intake
from worker.pool import Pool
from worker.reporter import Reporter
from worker.runner import STOP_WITHIN, Runner
from worker.search import Search
from worker.services import Services, now

FLUSH_WITHIN: Final = 10.0
"""Seconds that an ending worker waits for its last reports to arrive; what is lost then is found by its lease."""

_log = logging.getLogger(__name__)


class Worker:
    """One worker process: a session after another, `settings.worker.concurrency` task runs at a time."""

    def __init__(
        self,
        inbox: Inbox,
        log: EventLog,
        blobs: BlobStore,
        settings: Settings,
        tasks: TaskCatalog,
        clock: Callable[[], Millis] = now,
        name: str = "worker",
        documents: Callable[[], DocumentStore] | None = None,
    ) -> None:
        """`clock`: epoch milliseconds of events. `name`: of the threads. `documents` opens the search store.

        The ports stay the caller's, but the inbox and what `documents` opens.
        """
        self._search = Search(documents)
        services = Services(settings, log, blobs, clock, search=self._search)
        self._settings = settings.worker
        self._clock = clock
        self._failures = tasks.failures
        self._reporter = Reporter(log, name)
        self._deadlines = Deadlines(name)
        self._runner = Runner(services, tasks, self._reporter, self._deadlines)
        self._pool = Pool(self._settings.concurrency, self._runner.run, self._freed, name)
        self._pulse = Pulse(services, self._pool, self._runner, name)
        self._intake = Intake(inbox, self._pool, self._runner, self._pulse, self._reporter, services)
        self._ending = threading.Event()
        self._grace = self._settings.grace
        self._stepped = time.monotonic()

    def run(self) -> None:
        """Work until `drain` or `stop`; blocks. To be called once."""
        for part in (self._reporter, self._deadlines, self._pulse):
            part.start()
        for failure in self._failures:
            self._reporter.bury(failure.letter("worker", self._clock()), "plugin")
        try:
            while not self._ending.is_set():
                self._step()
            self._finish()
        finally:
            self._close()

    def drain(self) -> None:
        """Take nothing new, finish what runs within `settings.worker.grace`, then hand back the rest. Doesn't wait."""
        self._ending.set()

    def stop(self) -> None:
        """As `drain`, but hand back at once what runs. Doesn't wait."""
        self._grace = 0.0
        self._ending.set()

    def stalled(self, seconds: float) -> bool:
        """Whether the loop has not come round for so long: a health check."""
        return time.monotonic() - self._stepped > seconds

    def _step(self) -> None:
        self._stepped = time.monotonic()
        self._intake.step()

    def _freed(self) -> None:
        self._pulse.poke()

    def _finish(self) -> None:
        """The drain: also after it began commands may come that were under way; they are declined."""
        self._intake.draining = True
        self._pulse.drain()
        self._intake.decline_waiting()
        begun = time.monotonic()
        interrupted: float | None = None
        while held := self._intake.held():
            since = time.monotonic()
            if interrupted is None and since - begun >= self._grace:
                _log.warning("%d task runs are handed back after %.0f s of grace", len(held), self._grace)
                self._intake.interrupt(held, Interruption.DRAIN)
                interrupted = since
            if interrupted is not None and since - interrupted > STOP_WITHIN + FLUSH_WITHIN:
                _log.error("the results of %d task runs could not be published", len(held))
                break
            self._step()

    def _close(self) -> None:
        if not self._reporter.close(FLUSH_WITHIN):
            _log.error("the log did not take the last reports within %.0f s", FLUSH_WITHIN)
        self._pulse.close()
        self._deadlines.close()
        self._pool.close()
        self._intake.close()
        self._search.close()
