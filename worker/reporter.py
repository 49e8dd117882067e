"""Reporter: publishes what attempts report, in order, in batches of whatever is waiting.

One thread publishes; while it waits for the log, more reports come together. So a batch is one report when idle and
hundreds under load, without a delay set anywhere. Nothing is dropped: a failed batch is published again until it is in.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from shared.dead_letters import buried, without
from shared.messages import DeadLetter
from shared.ports import EventLog, JournalError, Outbound, RecordTooLarge
from worker import gauges

BATCH: Final = 1_000
"""Records of one publish call: above it a batch takes longer than the 10 ms that a report should wait at most."""
ROOM: Final = 20_000
"""Waiting records from which on log lines and metrics must wait (at 15 KiB a line at most: 300 MB)."""
FIRST_PAUSE: Final = 0.05
LONGEST_PAUSE: Final = 5.0
"""Seconds between attempts to publish: doubled from the first to the longest, so that a broker that comes back is met
soon and one that is away is not hammered."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Report:
    """Records that belong together, in the order in which they are to be read."""

    records: Sequence[Outbound]
    durable: Callable[[], None] | None = None  #: called when all of them are in the log
    instead: Callable[[RecordTooLarge], Sequence[Outbound]] | None = None
    """What to publish in place of the records when one of them is too large for the log; by default nothing of it."""


class Reporter:
    """The only publisher of a worker's events, log lines and metrics."""

    def __init__(self, log: EventLog, name: str) -> None:
        """The thread begins with `start`."""
        self._events = log
        self._waiting: list[Report] = []
        self._records = 0
        self._changed = threading.Condition(threading.Lock())
        self._closed = False
        self._asleep = False
        self._thread = threading.Thread(target=self._work, name=f"{name}-reporter", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def report(self, report: Report) -> None:
        """Publish soon; never waits."""
        with self._changed:
            self._waiting.append(report)
            self._records += len(report.records)
            if self._asleep:
                self._asleep = False
                self._changed.notify_all()

    def bury(self, letter: DeadLetter, why: str) -> None:
        """Publish a dead letter; where it is too large for the log, without its bytes."""
        _log.error(
            "dead letter %s: %s (execution %s, task run %s)",
            letter.origin,
            letter.reason,
            letter.execution_id,
            letter.task_run_id,
        )
        gauges.DEAD_LETTERS.labels(why).inc()
        whole, short = buried(letter), buried(without(letter))
        self.report(Report((whole,), instead=lambda _: (short,)))

    def has_room(self) -> bool:
        """Whether log lines may come; else their writer waits, so that a log that is away can't fill the memory."""
        return self._records < ROOM

    def close(self, timeout: float) -> bool:
        """Publish what is waiting, at most for `timeout` seconds. False: something was left."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._thread.join(timeout)
        return not self._thread.is_alive() and not self._waiting

    def _work(self) -> None:
        while batch := self._next():
            self._publish(batch)
            gauges.PENDING.set(self._records)

    def _next(self) -> list[Report]:
        """What is waiting, at most `BATCH` records or one report; nothing when closed."""
        with self._changed:
            while not self._waiting:
                if self._closed:
                    return []
                self._asleep = True
                self._changed.wait()
            count = 0
            for number, report in enumerate(self._waiting):
                count += len(report.records)
                if count >= BATCH:
                    batch, self._waiting = self._waiting[: number + 1], self._waiting[number + 1 :]
                    break
            else:
                batch, self._waiting = self._waiting, []
            self._records -= count
            return batch

    def _publish(self, batch: list[Report]) -> None:
        pause = FIRST_PAUSE
        while batch:
            records = [record for report in batch for record in report.records]
            try:
                if records:
                    self._events.publish(records)
            except RecordTooLarge as error:
                smaller = [_smaller(report, error) for report in batch]
                if smaller != batch:
                    batch = smaller
                    continue
                _log.error("%s, but it is none of the records of the batch", error)
            except JournalError as error:
                gauges.PUBLISH_ERRORS.inc()
                _log.warning("%d records could not be published, again in %.2f s: %s", len(records), pause, error)
            except Exception:  # noqa: BLE001 - a client's own error too is no reason to lose reports
                gauges.PUBLISH_ERRORS.inc()
                _log.exception("%d records could not be published, again in %.2f s", len(records), pause)
            else:
                break
            with self._changed:
                self._changed.wait(pause)
            pause = min(2 * pause, LONGEST_PAUSE)
        for report in batch:
            if report.durable is not None:
                report.durable()


def _smaller(report: Report, error: RecordTooLarge) -> Report:
    """The report with something else in place of the record that is too large."""
    if not any(record is error.record or record == error.record for record in report.records):
        return report
    _log.error("not published: %s", error)
    if report.instead is not None:
        return Report(report.instead(error), report.durable)
    return Report([record for record in report.records if record != error.record], report.durable)
