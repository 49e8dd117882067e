"""`log`: writing log lines, and reading those of an execution."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from shared.messages import LogLine, UnknownMessage, decode
from shared.model.identifier import time_of
from shared.model.moment import iso
from shared.ports import Topic
from worker.context import Context
from worker.logger import LINES, Level
from worker.storage import json_lines
from worker.task import Task, TaskError

READ_WITHIN: Final = 60.0
"""Seconds that Fetch reads at most: the lines of an old execution are behind all those written since."""

SKEW: Final = 60_000
"""Milliseconds by which hosts' clocks may differ: an execution's id has the API's time, its lines the workers'."""


@dataclass(frozen=True)
class Log(Task):
    """Logs one text, or each of a list."""

    type = "io.kestra.plugin.core.log.Log"
    aliases = ("io.kestra.core.tasks.log.Log",)
    brief = True

    message: str | list[str]
    level: Level = "INFO"

    def run(self, context: Context) -> None:
        for text in [self.message] if isinstance(self.message, str) else self.message:
            context.logger.log(self.level, text)


@dataclass(frozen=True)
class Fetch(Task):
    """Writes an execution's log lines to a file: outputs `uri` and `size`, the number of lines.

    It reads the log from the execution's start: lines that a running task has written so far are there, without the
    wait for an index.
    """

    type = "io.kestra.plugin.core.log.Fetch"
    aliases = ("io.kestra.core.tasks.log.Fetch",)

    namespace: str | None = None
    flow_id: str | None = None
    execution_id: str | None = None
    tasks_id: list[str] | None = None
    level: Level = "INFO"

    def run(self, context: Context) -> Mapping[str, Any]:
        info = context.info
        execution_id = self.execution_id or info.execution_id
        if self.namespace is not None and self.flow_id is None:
            raise TaskError("Both `namespace` and `flowId` must be set when `executionId` is of another flow")
        rows = [_row(line) for line in self._lines(context, execution_id)]
        return {"uri": context.files.put(json_lines(rows), "logs.ion"), "size": len(rows)}

    def _lines(self, context: Context, execution_id: str) -> Iterator[LogLine]:
        seen: set[str] = set()
        for line in _written(context, execution_id):
            if (
                line.tenant == context.info.tenant
                and line.namespace == (self.namespace or context.info.namespace)
                and line.flow_id == (self.flow_id or context.info.flow_id)
                and LINES.get(line.level, 0) >= LINES[self.level]
                and (self.tasks_id is None or line.task_id in self.tasks_id)
                and line.id not in seen  # the log holds a line twice when its publishing was repeated
            ):
                seen.add(line.id)
                yield line


def _written(context: Context, execution_id: str) -> Iterator[LogLine]:
    created = time_of(execution_id)
    tail = context.services.events.tail([Topic.LOGS], None if created is None else created - SKEW)
    latest = time.monotonic() + READ_WITHIN
    try:
        done = False
        while not done:
            done = tail.caught_up()
            while records := tail.poll(1000, 0 if done else 0.1):
                for record in records:
                    if record.key == execution_id and record.value is not None and (line := _line(record.value)):
                        yield line
                if time.monotonic() > latest or context.cancelled.is_set():
                    raise TaskError(
                        f"The log lines of execution {execution_id} could not be read in {READ_WITHIN:.0f} s"
                    )
    finally:
        tail.close()


def _line(value: bytes) -> LogLine | None:
    try:
        message = decode(value)
    except UnknownMessage:
        return None  # the indexer dead-letters it; here it is only not a line
    return message if isinstance(message, LogLine) else None


def _row(line: LogLine) -> dict[str, Any]:
    return {
        "tenantId": line.tenant,
        "namespace": line.namespace,
        "flowId": line.flow_id,
        "taskId": line.task_id,
        "executionId": line.execution_id,
        "taskRunId": line.task_run_id,
        "attemptNumber": line.attempt,
        "timestamp": iso(line.at),
        "level": line.level,
        "thread": line.thread,
        "message": line.text,
    }


TASKS: Final = (Log, Fetch)
