"""Intake: takes the session's commands, queues what can start soon, declines what can't, stops what is to stop."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from typing import Final

from shared.dead_letters import dead_letter
from shared.messages import RunTaskRun, StopTaskRun, WorkerCommand
from shared.ports import Inbox, JournalError, UnreadableCommand
from worker import gauges
from worker.attempt import Attempt, Interruption
from worker.heartbeat import Pulse
from worker.pool import Pool
from worker.reporter import Reporter
from worker.runner import Runner
from worker.services import Services
from worker.session import Session

IDLE: Final = 0.1
"""Seconds that taking commands waits at most, so that a stop or a lost lease is seen soon."""
RETRY: Final = 1.0
"""Seconds before an inbox that failed is tried again."""
_REASONS: Final = {
    "kill": Interruption.KILL,
    "lost": Interruption.LOST,
    "unwanted": Interruption.UNWANTED,
}

_log = logging.getLogger(__name__)


class Intake:
    """Owns the inbox and the session; used by one thread, the one that calls `step`."""

    def __init__(
        self, inbox: Inbox, pool: Pool, runner: Runner, pulse: Pulse, reporter: Reporter, services: Services
    ) -> None:
        """No session yet: `step` begins one."""
        self._inbox = inbox
        self._pool = pool
        self._runner = runner
        self._pulse = pulse
        self._reporter = reporter
        self._clock = services.clock
        self._settings = services.settings.worker
        self._session: Session | None = None
        self.draining = False

    def step(self) -> None:
        """Take what is there, waiting for a moment, and deal with it. Begins a session where there is none."""
        session = self._session
        if session is not None and self._pulse.age > self._settings.lease:
            self._lose(session)
            session = None
        if session is None and (session := self._begin()) is None:
            return
        wait = self._pool.hurry(time.monotonic())
        try:
            commands = self._inbox.take(2 * self._settings.concurrency, IDLE if wait is None else wait)
        except UnreadableCommand as error:
            self._pass_over(session, error)
            return
        except JournalError as error:
            _log.warning("the inbox can't be read, again in %.0f s: %s", RETRY, error)
            time.sleep(RETRY)
            return
        except Exception:  # noqa: BLE001 - whatever the client says, the next try may work; the lease is the bound
            _log.exception("the inbox can't be read; again in %.0f s", RETRY)
            time.sleep(RETRY)
            return
        if commands:
            self._handle(session, commands)
        self._decline_late()

    def held(self) -> list[Attempt]:
        """What the session holds."""
        return [] if self._session is None else self._session.held()

    def interrupt(self, attempts: Sequence[Attempt], reason: Interruption) -> None:
        """Stop attempts, whether they wait or run."""
        for attempt in attempts:
            self._runner.interrupt(attempt, reason)
        for attempt in self._pool.withdraw(lambda waiting: waiting.interruption is not None):
            self._runner.hand_back(attempt, attempt.interruption or reason)

    def decline_waiting(self) -> None:
        """Send everything elsewhere that has not begun."""
        for attempt in self._pool.withdraw(lambda _: True):
            self._runner.decline(attempt, "drain")

    def close(self) -> None:
        """Leave the inbox."""
        self._inbox.close()

    def _begin(self) -> Session | None:
        session = Session(self._settings.concurrency)
        try:
            session.opened(self._inbox.open(session.id))
        except JournalError as error:
            _log.warning("no session can begin, again in %.0f s: %s", RETRY, error)
            time.sleep(RETRY)
            return None
        except Exception:  # noqa: BLE001 - as above: the worker waits for its log to come back
            _log.exception("no session can begin; again in %.0f s", RETRY)
            time.sleep(RETRY)
            return None
        _log.info("session %s begins in inbox %d", session.id, session.address.partition)
        gauges.SESSIONS.inc()
        self._session = session
        self._pulse.begin(session)
        return session

    def _lose(self, session: Session) -> None:
        """No heartbeat arrived for a lease: others have the work by now, so it stops here."""
        attempts = session.held()
        _log.warning(
            "no heartbeat arrived for %.1f s: session %s ends with %d task runs",
            self._pulse.age,
            session.id,
            len(attempts),
        )
        session.ended = True
        self._session = None
        self.interrupt(attempts, Interruption.LOST)

    def _pass_over(self, session: Session, error: UnreadableCommand) -> None:
        """A command that can't be read is dead-lettered; its work is found lost, since no heartbeat names it."""
        self._reporter.bury(dead_letter(error.record, error.reason, "worker", self._clock()), "unreadable")
        session.advance(self._inbox.position, 0)

    def _handle(self, session: Session, commands: Sequence[WorkerCommand]) -> None:
        attempts: list[Attempt] = []
        for command in commands:
            try:
                if isinstance(command, RunTaskRun):
                    attempts.extend(self._admitted(session, command))
                elif isinstance(command, StopTaskRun):
                    refused = self._pool.submit(attempts)  # what came before must be where the stop can find it
                    attempts = []
                    self._decline(refused)
                    self._stop(session, command)
            except Exception:  # noqa: BLE001 - one command must not end the worker, and with it all that it runs
                _log.exception("%s can't be handled", command)
        self._decline(self._pool.submit(attempts))
        session.advance(self._inbox.position, len(commands))

    def _admitted(self, session: Session, command: RunTaskRun) -> list[Attempt]:
        """The attempt to queue, if it is one."""
        attempt = session.admit(command, brief=self._runner.is_brief(command))
        if attempt is None:
            _log.info("%s came twice and runs once", command.work)
            return []
        if self.draining:
            self._runner.decline(attempt, "drain")
            return []
        return [attempt]

    def _stop(self, session: Session, command: StopTaskRun) -> None:
        reason = _REASONS.get(command.reason)
        if reason is None:
            _log.error("%s: the reason '%s' to stop is not known", command.work, command.reason)
            return
        attempt = session.find((command.task_run_id, command.attempt, command.dispatch))
        if attempt is not None:
            self.interrupt([attempt], reason)

    def _decline(self, attempts: Sequence[Attempt]) -> None:
        for attempt in attempts:
            self._runner.decline(attempt, "busy")

    def _decline_late(self) -> None:
        latest = time.monotonic() - self._settings.start_within
        self._decline(self._pool.withdraw(lambda waiting: waiting.since < latest))
