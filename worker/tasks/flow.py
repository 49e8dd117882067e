"""`flow`: what of the flow tasks a worker runs."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from shared.model.moment import format_duration
from worker.context import Context
from worker.task import Task, TaskError


@dataclass(frozen=True)
class Sleep(Task):
    """Waits for a time."""

    type = "io.kestra.plugin.core.flow.Sleep"

    duration: timedelta

    def run(self, context: Context) -> None:
        seconds = self.duration.total_seconds()
        context.logger.info("Waiting for %s", format_duration(round(seconds * 1000)))
        if context.cancelled.wait(seconds):
            raise TaskError("sleep interrupted")


TASKS: Final = (Sleep,)
