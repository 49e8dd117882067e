"""Gauges: what a worker tells Prometheus. One set for a process."""

from __future__ import annotations

from typing import Final

from prometheus_client import Counter, Gauge

ATTEMPTS: Final = Counter("runyard_worker_attempts", "Attempts that ended here, by state", ["state"])
DECLINED: Final = Counter("runyard_worker_declined", "Commands handed back, by reason", ["reason"])
RUNNING: Final = Gauge("runyard_worker_running", "Slots that are taken")
ABANDONED: Final = Gauge("runyard_worker_abandoned", "Slots taken by tasks that were given up and do not end")
LATE: Final = Counter("runyard_worker_late_results", "Results that came after their attempt was given up, dropped")
SESSIONS: Final = Counter("runyard_worker_sessions", "Sessions begun")
PUBLISH_ERRORS: Final = Counter("runyard_worker_publish_errors", "Publishing that failed and was repeated")
DEAD_LETTERS: Final = Counter("runyard_worker_dead_letters", "What became a dead letter here, by kind", ["why"])
PENDING: Final = Gauge("runyard_worker_pending_records", "Records that wait to be published")

_ENDED: Final = {state: ATTEMPTS.labels(state) for state in ("SUCCESS", "WARNING", "FAILED", "KILLED")}


def ended(state: str) -> None:
    """Count an attempt."""
    _ENDED[state].inc()
