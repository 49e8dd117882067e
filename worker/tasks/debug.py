"""`debug`: tasks that show a rendered text."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from worker.context import Context
from worker.logger import Level
from worker.task import Task


@dataclass(frozen=True)
class Return(Task):
    """Gives a rendered text as output `value`; metrics: its length and how long it took."""

    type = "io.kestra.plugin.core.debug.Return"
    aliases = ("io.kestra.core.tasks.debugs.Return",)
    brief = True

    format: str | None = None

    def run(self, context: Context) -> Mapping[str, Any]:
        begun = time.perf_counter()
        length = len(self.format or "")
        context.metrics.counter("length", length)
        context.metrics.timer("duration", (time.perf_counter() - begun) * 1000)
        return {} if self.format is None else {"value": self.format}


@dataclass(frozen=True)
class Echo(Task):
    """Logs a rendered text."""

    type = "io.kestra.plugin.core.debug.Echo"
    aliases = ("io.kestra.core.tasks.debugs.Echo",)
    brief = True

    format: str
    level: Level = "INFO"

    def run(self, context: Context) -> None:
        context.logger.log(self.level, self.format)


TASKS: Final = (Return, Echo)
