"""A server as a process of this machine: started, awaited, stopped, and never left behind."""

import atexit
import ctypes
import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

#: Below the range from which Linux takes the ports of outgoing connections (32768 and up), so that none of
#: these can take a port between the moment it was found free and the moment the server listens on it.
PORTS = range(20_000, 32_000)

#: Seconds between two looks at a starting or stopping server.
_PAUSE = 0.1

#: Lines of the log that an error shows.
_SHOWN = 40

_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)


class ServerFailed(Exception):
    """A server did not start; the message ends with the last lines of its log."""


class Server(ABC):
    """One server process and its directory. Use it as a context manager, or call `start` and `close`.

    After `stop` or `kill`, `start` begins anew on the same data and address. The process ends with this one,
    however this one ends.
    """

    #: What messages call it.
    name: str
    #: Seconds until it must be ready.
    ready_timeout: float
    #: Seconds that it has for an orderly stop; then it is killed.
    stop_timeout = 30.0
    #: User and group that the process runs as, where not this one's.
    user: int | None = None

    def __init__(self, port: int | None = None, directory: Path | None = None) -> None:
        """Choose the address; nothing is started yet.

        Args:
            port: the port to listen on; None for a free one.
            directory: where data and log stay after `close`; None for a temporary one that `close` removes.
        """
        self.port = port or free_port()
        self._temporary = directory is None
        self.directory = directory or Path(tempfile.mkdtemp(prefix=f"runyard-{self.name}-"))
        self.directory.mkdir(parents=True, exist_ok=True)
        self._process: subprocess.Popen[bytes] | None = None
        self._owner = os.getpid()
        atexit.register(self._at_exit)

    @property
    @abstractmethod
    def address(self) -> str:
        """What a client is given."""

    @property
    def log(self) -> Path:
        """The file that takes what the server says."""
        return self.directory / "server.log"

    @property
    def running(self) -> bool:
        """Whether the process is there; it may not be ready yet."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start the server and wait until it answers.

        Raises:
            ServerFailed: where it ends or does not answer in time.
        """
        self.launch()
        self.await_ready()

    def launch(self) -> None:
        """Start the process without waiting; call it from a thread that lives as long as the server should."""
        if self.running:
            return
        command, environment = self._prepare()
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                command,
                cwd=self.directory,
                env={**os.environ, **environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                user=self.user,
                group=self.user,
                extra_groups=None if self.user is None else [],
                start_new_session=True,  # its own process group: Ctrl-C reaches the tests, which then stop it
                preexec_fn=_die_with_parent,
            )

    def await_ready(self) -> None:
        """Wait until the launched server answers.

        Raises:
            ServerFailed: where it ends or does not answer in time.
        """
        deadline = time.monotonic() + self.ready_timeout
        while not self._ready():
            if not self.running:
                status = self._process.returncode if self._process else None
                raise ServerFailed(f"{self.name} ended while starting (status {status})\n{self._tail()}")
            if time.monotonic() > deadline:
                self.kill()
                raise ServerFailed(f"{self.name} did not answer in {self.ready_timeout:.0f} s\n{self._tail()}")
            time.sleep(_PAUSE)

    def stop(self) -> None:
        """Stop in an orderly way; kill what is still there after `stop_timeout`."""
        if self._process is None:
            return
        self._process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(self.stop_timeout)
        self.kill()  # where it has not ended, and whatever else is left in its group

    def kill(self) -> None:
        """End the whole process group at once with SIGKILL."""
        if self._process is None:
            return
        with suppress(ProcessLookupError):  # all of it has ended already
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._process = None

    def close(self) -> None:
        """Stop, and remove the directory where it is a temporary one."""
        self.stop()
        if self._temporary:
            shutil.rmtree(self.directory, ignore_errors=True)
        atexit.unregister(self._at_exit)

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @abstractmethod
    def _prepare(self) -> tuple[Sequence[str], Mapping[str, str]]:
        """Write what the server needs into its directory; return its command and additional environment."""

    @abstractmethod
    def _ready(self) -> bool:
        """Whether a client gets an answer."""

    def _tail(self) -> str:
        lines = self.log.read_text(errors="replace").splitlines() if self.log.exists() else []
        return "\n".join([f"--- the end of {self.log}:", *lines[-_SHOWN:]])

    def _at_exit(self) -> None:
        # A forked child inherits the registration, but the server is not its own to stop.
        if os.getpid() == self._owner:
            self.close()


def free_port() -> int:
    """Return a port of 127.0.0.1 on which nothing listens now."""
    for port in random.sample(PORTS, 100):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise ServerFailed(f"100 ports out of {PORTS} were all taken")


def _die_with_parent() -> None:
    """Have the kernel kill this process when its parent ends, which no handler of a killed parent could do."""
    if _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
