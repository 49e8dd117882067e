"""Stack: the services as processes on the real servers that the environment names, for benchmarks and chaos tests."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import httpx

RUNYARD = [sys.executable, "-m", "runyard.cli"]
TICK = os.sysconf("SC_CLK_TCK")


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def cpu_of(pid: int) -> float:
    """CPU seconds of a process; 0 when it is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / TICK


@dataclass
class Process:
    """One service process."""

    role: str
    name: str
    arguments: list[str]
    environment: dict[str, str]
    log: Path
    port: int
    popen: subprocess.Popen[bytes] | None = None
    spent: float = 0.0  #: CPU seconds of earlier lives

    def start(self) -> None:
        with self.log.open("ab") as out:
            self.popen = subprocess.Popen(
                [*RUNYARD, *self.arguments], stdout=out, stderr=out, env=self.environment, start_new_session=True
            )

    @property
    def pid(self) -> int:
        assert self.popen is not None
        return self.popen.pid

    def cpu(self) -> float:
        """CPU seconds so far, of all lives."""
        return self.spent + cpu_of(self.pid)

    def send(self, number: int) -> None:
        os.kill(self.pid, number)

    def kill(self) -> None:
        """SIGKILL."""
        self.spent += cpu_of(self.pid)
        self.send(signal.SIGKILL)
        assert self.popen is not None
        self.popen.wait()

    def stop(self, timeout: float = 30.0) -> int | None:
        """SIGTERM, then SIGKILL; the exit status."""
        if self.popen is None or self.popen.poll() is not None:
            return self.popen.returncode if self.popen is not None else None
        self.send(signal.SIGCONT)
        self.popen.terminate()
        try:
            return self.popen.wait(timeout)
        except subprocess.TimeoutExpired:
            self.popen.kill()
            return self.popen.wait()

    def healthy(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/health", timeout=2) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def await_health(self, timeout: float = 60.0) -> None:
        until = time.monotonic() + timeout
        while not self.healthy():
            if time.monotonic() > until or (self.popen is not None and self.popen.poll() is not None):
                raise RuntimeError(f"{self.name} is not healthy:\n{self.log.read_text()[-3000:]}")
            time.sleep(0.1)


@dataclass
class Stack:
    """Executors, workers and indexers with their own topics and indices."""

    executors: int = 1
    workers: int = 1
    indexers: int = 1
    concurrency: int = 16
    settings: dict[str, str] = field(default_factory=dict)
    processes: list[Process] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="runyard-"))
        prefix = f"b{uuid.uuid4().hex[:8]}"
        self.environment = {
            **os.environ,
            "RUNYARD_TOPICS__PREFIX": f"{prefix}.",
            "RUNYARD_ELASTICSEARCH__PREFIX": f"{prefix}-",
            "RUNYARD_TOPICS__PARTITIONS": "8",
            "RUNYARD_TOPICS__INBOX_PARTITIONS": "8",
            "RUNYARD_BLOBS__DIRECTORY": str(self.directory / "blobs"),
            **self.settings,
        }
        self.index_prefix = f"{prefix}-"

    def __enter__(self) -> Self:
        subprocess.run([*RUNYARD, "topics"], check=True, env=self.environment, stdout=subprocess.DEVNULL)
        for role, count in (("indexer", self.indexers), ("executor", self.executors), ("worker", self.workers)):
            for number in range(count):
                self.add(role, number)
        try:
            for process in self.processes:
                process.start()
            for process in self.processes:
                process.await_health()
        except BaseException:
            self.__exit__()
            raise
        return self

    def add(self, role: str, number: int) -> Process:
        """One more service, not started yet."""
        port = free_port()
        arguments = [role, "--port", str(port)]
        if role == "worker":
            arguments += ["--concurrency", str(self.concurrency)]
        name = f"{role}-{number}"
        environment = dict(self.environment)
        if role == "executor":
            environment.setdefault("RUNYARD_EXECUTOR__INSTANCE", f"{self.index_prefix}{name}")
        process = Process(role, name, arguments, environment, self.directory / f"{name}.log", port)
        self.processes.append(process)
        return process

    def __exit__(self, *_: object) -> None:
        for process in self.processes:
            if process.popen is not None and process.popen.poll() is None:
                process.send(signal.SIGCONT)
                process.popen.terminate()
        for process in self.processes:
            process.stop()
        hosts = self.environment.get("RUNYARD_ELASTICSEARCH__HOSTS", "http://127.0.0.1:9200")
        names = httpx.get(f"{hosts}/_cat/indices/{self.index_prefix}*?h=index&expand_wildcards=all", timeout=30).text
        for name in names.split():
            httpx.delete(f"{hosts}/{name}", timeout=30)

    def of(self, role: str) -> list[Process]:
        return [process for process in self.processes if process.role == role]

    @property
    def url(self) -> str:
        """Address of the first API."""
        return f"http://127.0.0.1:{self.of('indexer')[0].port}"

    @property
    def urls(self) -> list[str]:
        return [f"http://127.0.0.1:{process.port}" for process in self.of("indexer")]

    def cpu(self) -> dict[str, float]:
        """CPU seconds by role."""
        spent: dict[str, float] = {}
        for process in self.processes:
            spent[process.role] = spent.get(process.role, 0.0) + process.cpu()
        return spent

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """A runyard command with this stack's settings."""
        return subprocess.run([*RUNYARD, *arguments], env=self.environment, capture_output=True, text=True, check=False)

    def logs(self, role: str, pattern: str) -> list[str]:
        """Lines of the role's logs that match."""
        found = re.compile(pattern)
        return [
            line
            for process in self.of(role)
            for line in process.log.read_text(errors="replace").splitlines()
            if found.search(line)
        ]


def java_cpu() -> dict[str, float]:
    """CPU seconds of the broker and the search node, found by their command lines."""
    spent: dict[str, Any] = {}
    for directory in Path("/proc").iterdir():
        if not directory.name.isdigit():
            continue
        try:
            line = (directory / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        for name, mark in (("broker", "kafka.Kafka"), ("search node", "org.elasticsearch.server/")):
            if mark in line and "java" in line.split(" ")[0]:
                spent[name] = spent.get(name, 0.0) + cpu_of(int(directory.name))
    return spent
