"""Embedded: what a newcomer notices of `runyard standalone`: its start, its memory, and the time of a short execution.

`python -m benchmarks.embedded [executions] [starts]`. Exit status 1 where the best start took 3 s or more, the idle
process needs 150 MB or more, or the median execution took 15 ms or more.
"""

from __future__ import annotations

import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import httpx

FLOW: Final = """
id: one
namespace: company.bench
tasks:
  - {id: return, type: io.kestra.plugin.core.debug.Return, format: "{{ flow.id }}"}
"""
START_LIMIT: Final = 3.0
"""Seconds from the start of the process to the end of its first task run."""
MEMORY_LIMIT: Final = 150.0
"""MB of an idle process."""
MEDIAN_LIMIT: Final = 15.0
"""Milliseconds from the POST of an execution of one task to the answer that it has ended."""
IDLE: Final = 5.0
"""Seconds without work before memory is read."""


@contextmanager
def standalone(data: Path) -> Iterator[tuple[httpx.Client, int]]:
    """A client of a fresh process, and the process id."""
    command = [sys.executable, "-m", "runyard.cli", "standalone", "--port", "0", "--data", str(data)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        address = process.stdout.readline().removeprefix("Runyard is ready: ").strip()
        with httpx.Client(base_url=f"{address}/api/v1/main", timeout=60) as client:
            yield client, process.pid
        process.send_signal(signal.SIGTERM)


def execute(client: httpx.Client) -> float:
    """Milliseconds from the POST of an execution to its end."""
    begun = time.perf_counter()
    answer = client.post("/executions/company.bench/one?wait=true", files=[("", (None, b""))])
    spent = (time.perf_counter() - begun) * 1000
    assert answer.raise_for_status().json()["state"]["current"] == "SUCCESS"
    return spent


def start(data: Path) -> float:
    """Seconds from the start of a process to the end of its first execution."""
    begun = time.perf_counter()
    with standalone(data) as (client, _):
        client.post("/flows", content=FLOW, headers={"Content-Type": "application/x-yaml"}).raise_for_status()
        execute(client)
        return time.perf_counter() - begun


def resident(pid: int) -> float:
    """MB of a process in memory."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) / 1024


def main() -> None:
    """Measure, print, judge."""
    executions = int(sys.argv[1]) if len(sys.argv) > 1 else 300
    starts = int(sys.argv[2]) if len(sys.argv) > 2 else 5
    with tempfile.TemporaryDirectory() as directory:
        spent = [start(Path(directory) / str(number)) for number in range(starts)]
        print(
            f"start to first finished task run: {min(spent):.2f} s, median {statistics.median(spent):.2f} s of {starts}"
        )
        with standalone(Path(directory) / "0") as (client, pid):
            time.sleep(IDLE)
            idle = resident(pid)
            times = sorted(execute(client) for _ in range(executions))
            median, ninth = times[executions // 2], times[executions * 9 // 10]
            print(f"resident memory: idle {idle:.0f} MB, after {executions} executions {resident(pid):.0f} MB")
            print(f"POST of an execution of one task to its end: p50 {median:.1f} ms, p90 {ninth:.1f} ms")
    sys.exit(0 if min(spent) < START_LIMIT and idle < MEMORY_LIMIT and median < MEDIAN_LIMIT else 1)


if __name__ == "__main__":
    main()
