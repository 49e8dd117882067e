"""Processes: commands of the operating system run for a task, with their output as log lines, stopped with the task."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Final

from worker.context import Context
from worker.logger import Level

TERMINATE_WITHIN: Final = 2.0
"""Seconds that a process has between SIGTERM and SIGKILL: less than the 5 s after which its task is given up."""


def run_process(
    context: Context,
    command: Sequence[str],
    *,
    directory: Path | None = None,
    environment: Mapping[str, str] | None = None,
    stderr_level: Level = "WARN",
) -> int:
    """Run a command to its end; give its exit status, negative for a signal. Raises OSError when it can't start.

    It gets a process group of its own, which is stopped as a whole when the task is to stop. Lines of its standard
    output are logged as INFO. `directory`: the task's own by default; `environment`: beyond PATH, nothing else is
    inherited, since the worker's environment holds secrets.
    """
    process = subprocess.Popen(  # noqa: S603 - running commands is what it is for
        list(command),
        cwd=directory or context.directory,
        env={"PATH": os.environ.get("PATH", os.defpath), **(environment or {})},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    context.on_cancel(lambda: _stop(process))
    errors = threading.Thread(target=_follow, args=(context, process.stderr, stderr_level), daemon=True)
    errors.start()
    _follow(context, process.stdout, "INFO")
    status = process.wait()
    errors.join()
    return status


def _follow(context: Context, stream: IO[str], level: Level) -> None:
    with stream:
        for line in stream:
            context.logger.log(level, line.rstrip("\n"))


def _stop(process: subprocess.Popen[str]) -> None:
    _signal(process, signal.SIGTERM)
    timer = threading.Timer(TERMINATE_WITHIN, _signal, (process, signal.SIGKILL))
    timer.daemon = True
    timer.start()


def _signal(process: subprocess.Popen[str], number: signal.Signals) -> None:
    """Signal the whole group, also where its first process has ended but children of it live on."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, number)
