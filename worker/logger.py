"""Logger: the log lines of one attempt, masked, cut to size, numbered; the last errors are kept for `errorLogs()`."""

from __future__ import annotations

import base64
import threading
from collections import deque
from collections.abc import Callable
from typing import Any, Final, Literal

from shared.messages import LogLine, RunTaskRun
from shared.model.moment import Millis, iso
from shared.ports import Outbound, Topic

Level = Literal["TRACE", "DEBUG", "INFO", "WARN", "ERROR"]
LINES: Final = {"TRACE": 0, "DEBUG": 1, "INFO": 2, "WARN": 3, "ERROR": 4}
LEAST: Final = {**LINES, "OFF": 5}
"""Levels of lines, and what `logLevel` may say."""
LONGEST: Final = 15 * 1024
"""Characters of one line; a longer text becomes several (Kestra's bound)."""
ERRORS: Final = 20
ERROR_BYTES: Final = 8 * 1024
"""ERROR lines, and bytes of their texts, that an ended attempt's event carries (design, §4)."""
MASK: Final = "********"


class Masks:
    """Secrets that were read, so that no log line shows them; also as base64, the form in which they often travel."""

    def __init__(self) -> None:
        self._texts: list[str] = []

    def add(self, secret: str) -> None:
        """Hide a text from now on."""
        if secret and secret not in self._texts:
            self._texts += [secret, base64.b64encode(secret.encode()).decode()]
            self._texts.sort(key=len, reverse=True)

    def hide(self, text: str) -> str:
        """The text with every secret masked."""
        for secret in self._texts:
            if secret in text:
                text = text.replace(secret, MASK)
        return text


class TaskLogger:
    """Writes log lines. Thread-safe: a task may log from threads of its own."""

    def __init__(
        self,
        command: RunTaskRun,
        masks: Masks,
        write: Callable[[list[Outbound]], None],
        clock: Callable[[], Millis],
    ) -> None:
        """`write`: takes the finished records, in order."""
        self._command = command
        self._masks = masks
        self._write = write
        self._clock = clock
        self._least = LEAST.get((command.log_level or "TRACE").upper(), 0)
        self._count = 0
        self._errors: deque[dict[str, Any]] = deque(maxlen=ERRORS)
        self._lock = threading.Lock()

    def trace(self, text: object, *arguments: object) -> None:
        self.log("TRACE", text, *arguments)

    def debug(self, text: object, *arguments: object) -> None:
        self.log("DEBUG", text, *arguments)

    def info(self, text: object, *arguments: object) -> None:
        self.log("INFO", text, *arguments)

    def warning(self, text: object, *arguments: object) -> None:
        self.log("WARN", text, *arguments)

    def error(self, text: object, *arguments: object) -> None:
        self.log("ERROR", text, *arguments)

    def log(self, level: Level, text: object, *arguments: object) -> None:
        """Write a line, unless it is below the task's `logLevel`; `%s` in it stand for the arguments, if any.

        Raises ValueError for an unknown level.
        """
        if level not in LINES:
            raise ValueError(f"Invalid log level '{level}'")
        if LINES[level] < self._least:
            return
        shown = str(text) % arguments if arguments else str(text)
        shown = self._masks.hide(shown).encode(errors="replace").decode()
        at = self._clock()
        with self._lock:
            first = self._count
            parts = [shown[start : start + LONGEST] for start in range(0, len(shown), LONGEST)] or [""]
            self._count += len(parts)
            if level == "ERROR":
                self._errors.append(self._error(shown[:ERROR_BYTES], at))
            self._write([self._line(level, part, at, first + number) for number, part in enumerate(parts)])

    def errors(self) -> list[dict[str, Any]]:
        """The last ERROR lines within the bounds, oldest first, in the form that `errorLogs()` shows."""
        kept: list[dict[str, Any]] = []
        left = ERROR_BYTES
        with self._lock:
            for line in reversed(self._errors):
                text = line["message"].encode()
                if left <= 0:
                    break
                kept.append({**line, "message": text[:left].decode(errors="ignore")})
                left -= len(text)
        return kept[::-1]

    def _error(self, text: str, at: Millis) -> dict[str, Any]:
        command = self._command
        return {
            "timestamp": iso(at),
            "level": "ERROR",
            "namespace": command.namespace,
            "flowId": command.flow_id,
            "executionId": command.execution_id,
            "taskId": command.task.get("id"),
            "taskRunId": command.task_run_id,
            "attemptNumber": command.attempt,
            "message": text,
        }

    def _line(self, level: str, text: str, at: Millis, number: int) -> Outbound:
        command = self._command
        line = LogLine(
            id=f"{command.task_run_id}-{command.attempt}-{command.dispatch}-{number}",
            tenant=command.tenant,
            namespace=command.namespace,
            flow_id=command.flow_id,
            execution_id=command.execution_id,
            level=level,
            text=text,
            at=at,
            task_id=command.task.get("id"),
            task_run_id=command.task_run_id,
            attempt=command.attempt,
            thread=threading.current_thread().name,
            index=number,
        )
        return Outbound(Topic.LOGS, command.execution_id, line.to_bytes())
