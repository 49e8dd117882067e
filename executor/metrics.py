"""Metrics: what an executor counts, for Prometheus."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram


class Metrics:
    """Counters of one executor, as Prometheus shows them."""

    def __init__(self, registry: CollectorRegistry) -> None:
        """Registered once for each process."""
        self.messages = Counter("runyard_executor_messages", "Messages decided", ["type"], registry=registry)
        self.rejected = Counter("runyard_executor_rejections", "Messages rejected", ["type"], registry=registry)
        self.errors = Counter("runyard_executor_errors", "Messages that raised", ["type"], registry=registry)
        self.skipped = Counter(
            "runyard_executor_skipped", "Messages and timers passed over by a setting", ["type"], registry=registry
        )
        self.dead_letters = Counter(
            "runyard_executor_dead_letters", "Records that became dead letters", ["why"], registry=registry
        )
        self.commits = Counter("runyard_executor_commits", "Transactions", ["outcome"], registry=registry)
        self.commit_seconds = Histogram("runyard_executor_commit_seconds", "Commit time", registry=registry)
        self.batch = Histogram(
            "runyard_executor_batch_messages", "Messages of a batch", buckets=(1, 10, 100, 500), registry=registry
        )
        self.lost = Counter("runyard_executor_leases_lost", "Leases that were over", registry=registry)
        self.waiting = Gauge(
            "runyard_executor_waiting_task_runs", "Task runs that wait for a worker", registry=registry
        )
        self.leases = Gauge("runyard_executor_leases", "Task runs that workers hold", registry=registry)
        self.partitions = Gauge("runyard_executor_partitions", "Partitions owned", registry=registry)
        self.timers = Gauge("runyard_executor_timers", "Timers waiting", registry=registry)
