"""Directory lock: keeps a second process off a data directory, by an advisory lock that dies with its holder."""

from __future__ import annotations

import contextlib
import fcntl
import os
from pathlib import Path

from shared.adapters.sqlite.errors import StorageError, storage_error


class DirectoryLock:
    """An exclusive `flock` on `<database>.lock`; the file holds the process id of the holder."""

    def __init__(self, database: Path) -> None:
        """Take the lock at once. Raises StorageError naming the holder when it is taken."""
        self._path = database.with_name(database.name + ".lock")
        try:
            self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise storage_error(error, self._path) from error
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.pread(self._descriptor, 32, 0).decode(errors="replace").strip() or "unknown"
            os.close(self._descriptor)
            raise StorageError(
                f"{database} is in use by another process (pid {holder}). "
                "One process at a time can use a data directory: stop the other one, or name another directory"
            ) from error
        with contextlib.suppress(OSError):  # a full disk: the lock holds, only the id for the message is missing
            os.ftruncate(self._descriptor, 0)
            os.pwrite(self._descriptor, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        """Let the next process in; repeatable. The file stays: removing it would race with the next holder."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
