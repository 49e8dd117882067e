"""Throw-away: a standalone in this process for as long as one command lasts, in a directory that goes with it."""

from __future__ import annotations

import logging
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Final, NoReturn

import typer

from runyard import logs
from runyard.standalone import Standalone
from shared.settings import Settings

NOTICE: Final = "runyard: no --server given: this runs on a throw-away one, which is gone at the end with all it stored"


@contextmanager
def throwaway(settings: Settings) -> Iterator[str]:
    """The address of a standalone of its own, on a free port, that ends with the block however that ends.

    What runs then is stopped, without the worker's grace. Raises OSError or StorageError when it cannot start.
    """
    logs.configure(settings.log_format, "WARNING")
    typer.echo(NOTICE, err=True)
    at_once = settings.model_copy(update={"worker": settings.worker.model_copy(update={"grace": 0.0})})
    with (
        _ending_signals(),
        tempfile.TemporaryDirectory(prefix="runyard-", ignore_cleanup_errors=True) as directory,
        Standalone(at_once, Path(directory)) as stack,
    ):
        try:
            yield stack.listen("127.0.0.1", 0)
        finally:
            logging.disable(logging.WARNING)  # that work is handed back concerns nobody any more


@contextmanager
def _ending_signals() -> Iterator[None]:
    """SIGTERM and SIGHUP end the block as Ctrl-C does, so that it cleans up; the exit status names the signal."""

    def end(number: int, frame: FrameType | None) -> NoReturn:
        del frame
        sys.exit(128 + number)

    before = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
