"""A task that writes each of its attempts into a ledger: one appended line, which no kill can tear or take back."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from runyard.plugin import Context, Result, Task


@dataclass(frozen=True)
class Ledger(Task):
    """Appends `task run, attempt, dispatch, process` to the file that RUNYARD_TEST_LEDGER names, then sleeps."""

    type = "test.Ledger"

    seconds: float = 0.0

    def run(self, context: Context) -> Result | Mapping[str, Any]:
        info = context.info
        line = f"{info.task_run_id} {info.attempt} {info.dispatch} {os.getpid()}\n".encode()
        file = os.open(os.environ["RUNYARD_TEST_LEDGER"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        try:
            os.write(file, line)
        finally:
            os.close(file)
        if self.seconds:
            context.cancelled.wait(self.seconds)
        return {"value": "written"}


def tasks() -> Iterable[type[Task]]:
    return (Ledger,)
