"""Servers: Runyard as a user has it, as processes, embedded or on Kafka and Elasticsearch."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from benchmarks.stack import Stack

RUNYARD = [sys.executable, "-m", "runyard.cli"]
READY = "Runyard is ready: "
PATIENCE = 60.0
"""Seconds to wait for what comes; far more than it takes, for busy machines."""


def plain_environment(settings: Mapping[str, str] | None = None) -> dict[str, str]:
    """This process's environment without its settings of Runyard, and with `settings`."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RUNYARD_")}
    return {**kept, "COLUMNS": "200", **(settings or {})}


def command(*arguments: str, environment: Mapping[str, str] | None = None, cwd: Path | None = None) -> Any:
    """A runyard command, run to its end."""
    return subprocess.run(
        [*RUNYARD, *arguments],
        env=plain_environment(environment),
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


@dataclass
class Standalone:
    """`runyard standalone` on a data directory; it may be killed and started again."""

    data: Path
    settings: dict[str, str] = field(default_factory=dict)
    url: str = ""
    arguments: tuple[str, ...] = ()
    process: subprocess.Popen[str] | None = None

    @property
    def log(self) -> Path:
        return self.data.with_name(self.data.name + ".log")

    def start(self) -> None:
        """Returns once it listens, on a port of its own choice."""
        with self.log.open("ab") as errors:
            self.process = subprocess.Popen(
                [*RUNYARD, "standalone", "--port", "0", "--data", str(self.data), *self.arguments],
                env=plain_environment(self.settings),
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line.startswith(READY), f"it did not start: {line}{self.log.read_text()[-2000:]}"
        self.url = line.removeprefix(READY).strip()

    def kill(self) -> None:
        """kill -9."""
        self._end(signal.SIGKILL)

    def stop(self) -> int:
        """SIGTERM; the exit status."""
        return self._end(signal.SIGTERM)

    def _end(self, number: signal.Signals) -> int:
        assert self.process is not None
        self.process.send_signal(number)
        status = self.process.wait(PATIENCE)
        assert self.process.stdout is not None
        self.process.stdout.close()
        return status


class Server:
    """One way in: the API and the command line against a running Runyard."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.http = httpx.Client(base_url=f"{url}/api/v1/main", timeout=PATIENCE)

    def close(self) -> None:
        self.http.close()

    def run(self, *arguments: str) -> Any:
        """A command that is a client of this server."""
        return command(*arguments, environment={"RUNYARD_SERVER": self.url})

    def put_flow(self, source: str) -> httpx.Response:
        return self.http.post("/flows", content=source, headers={"Content-Type": "application/x-yaml"})

    def execute(self, flow: str, inputs: Mapping[str, str] | None = None, namespace: str = "company.team") -> Any:
        """Starts an execution of a stored flow and gives it as it ended; or the answer that refused it."""
        files = [(name, (None, value)) for name, value in (inputs or {}).items()] or [("", (None, ""))]
        answer = self.http.post(f"/executions/{namespace}/{flow}", files=files, params={"wait": "true"})
        return answer.json() if answer.is_success else answer

    def searched(self, execution_id: str, count: int) -> list[dict[str, Any]]:
        """The execution's task runs as the search finds them, oldest first, once there are `count` that have ended."""
        until = time.monotonic() + PATIENCE
        while True:
            query = {"q": f"executionId:{execution_id}", "size": "500", "sort": "state.startDate:asc"}
            found = self.http.get("/taskruns/search", params=query).raise_for_status().json()["results"]
            if len(found) == count and all("endDate" in run["state"] for run in found):
                return found
            assert time.monotonic() < until, f"{len(found)} of {count} task runs are searchable"
            time.sleep(0.1)

    def logs(self, execution_id: str, count: int) -> list[dict[str, Any]]:
        """The execution's log lines, once there are `count`."""
        until = time.monotonic() + PATIENCE
        while True:
            lines = self.http.get(f"/logs/{execution_id}").raise_for_status().json()
            if len(lines) >= count:
                return lines
            assert time.monotonic() < until, f"{len(lines)} of {count} log lines"
            time.sleep(0.1)

    def indexed(self, execution_id: str, count: int) -> list[dict[str, Any]]:
        """The documents of the execution's task runs, as whoever reads the search store itself finds them."""
        raise NotImplementedError


class EmbeddedServer(Server):
    """On SQLite: nobody else reads the store, so that the search is all there is."""

    def indexed(self, execution_id: str, count: int) -> list[dict[str, Any]]:
        return self.searched(execution_id, count)


class ClusterServer(Server):
    """On Kafka and Elasticsearch: two executors, two workers, one indexer."""

    def __init__(self, stack: Stack, elasticsearch: str) -> None:
        super().__init__(stack.url)
        self.stack = stack
        self.alias = f"{elasticsearch}/{stack.index_prefix}task-runs"

    def indexed(self, execution_id: str, count: int) -> list[dict[str, Any]]:
        self.searched(execution_id, count)
        answer = httpx.post(
            f"{self.alias}/_search",
            json={"query": {"term": {"executionId": execution_id}}, "size": 500, "sort": ["state.startDate"]},
            timeout=PATIENCE,
        )
        return [hit["_source"] for hit in answer.raise_for_status().json()["hits"]["hits"]]
