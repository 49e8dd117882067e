"""Cold: one bulk action restarts executions that have all left the executor; then the index is held against the log.

`python -m benchmarks.cold [executions]` (1,000 by default) on the embedded stack, a process of its own; with
`--servers`, on Kafka and Elasticsearch that the environment names (`python -m tests.servers python -m benchmarks.cold
--servers`). Each execution has two tasks; the second failed, and would succeed now.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Final

import httpx

from benchmarks.stack import RUNYARD, Stack

NAMESPACE: Final = "company.cold"
FLOW: Final = f"""
id: cold
namespace: {NAMESPACE}
tasks:
  - {{id: first, type: io.kestra.plugin.core.debug.Return, format: "{{{{ execution.id }}}}"}}
  - id: second
    type: io.kestra.plugin.core.execution.Fail
    condition: "{{{{ kv('go', errorOnMissing=false) != 'yes' }}}}"
"""
SETTINGS: Final = {"RUNYARD_EXECUTOR__KEEP_ENDED": "1"}
LEFT: Final = 25.0
"""Seconds after which all have left: one, the ten of an open transaction, a measurement of the lag, and some more."""
PATIENCE: Final = 600.0
GROUP: Final = 50
"""Executions that are started before the first of them is awaited."""

Verify = Callable[[], int]


@contextmanager
def embedded() -> Iterator[tuple[str, Callable[[], Verify]]]:
    """A standalone; its address, and how to stop it and verify its index."""
    with tempfile.TemporaryDirectory() as directory:
        environment = {**os.environ, **SETTINGS}
        process = subprocess.Popen(
            [*RUNYARD, "standalone", "--port", "0", "--data", directory],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

        def stopped() -> Verify:
            process.terminate()
            process.wait(60)
            return lambda: verify(environment, "--data", directory)

        assert process.stdout is not None
        try:
            yield process.stdout.readline().rsplit(" ", 1)[-1].strip(), stopped
        finally:
            if process.poll() is None:
                process.kill()
                process.wait(30)


@contextmanager
def servers() -> Iterator[tuple[str, Callable[[], Verify]]]:
    """An executor, a worker and an indexer; the API's address, and how to verify the index."""
    with Stack(settings=SETTINGS) as stack:
        yield stack.url, lambda: lambda: verify(stack.environment)


def verify(environment: Mapping[str, str], *arguments: str) -> int:
    """`runyard verify-index`; its exit status."""
    return subprocess.run([*RUNYARD, "verify-index", *arguments], env=environment, check=False).returncode


def fail_all(http: httpx.Client, count: int) -> None:
    """So many executions, all of which fail."""
    http.post("/flows", content=FLOW, headers={"Content-Type": "application/x-yaml"}).raise_for_status()
    for start in range(0, count, GROUP):
        for _ in range(min(GROUP, count - start)):
            http.post(f"/executions/{NAMESPACE}/cold", files=[("", (None, b""))]).raise_for_status()
    await_states(http, "FAILED", count)


def await_states(http: httpx.Client, state: str, count: int) -> None:
    """Until so many executions are found in a state."""
    until = time.monotonic() + PATIENCE
    while (found := total(http, state)) < count:
        if time.monotonic() > until:
            raise AssertionError(f"{found} of {count} executions are {state}")
        time.sleep(0.2)


def total(http: httpx.Client, state: str) -> int:
    found = http.get("/executions/search", params={"namespace": NAMESPACE, "state": state, "size": 1})
    count: int = found.raise_for_status().json()["total"]
    return count


def recalls(url: str) -> int:
    """Executions that were brought back, by the API's own count."""
    found = re.search(r"^runyard_api_recalls_total (\S+)", httpx.get(f"{url}/metrics").text, re.MULTILINE)
    return int(float(found[1])) if found else 0


def main() -> None:
    given = [argument for argument in sys.argv[1:] if argument.isdigit()]
    count = int(given[0]) if given else 1000
    with (servers if "--servers" in sys.argv else embedded)() as (url, stopped):
        http = httpx.Client(base_url=f"{url}/api/v1/main", timeout=60)
        fail_all(http, count)
        http.put(f"/namespaces/{NAMESPACE}/kv/go", json="yes").raise_for_status()
        time.sleep(LEFT)
        begun = time.perf_counter()
        filters = ("--on", "taskruns", "--task", "second", "--state", "FAILED", "--namespace", NAMESPACE)
        status = subprocess.run(
            [*RUNYARD, "bulk", "restart", *filters, "--yes"],
            env={**os.environ, "RUNYARD_SERVER": url, "COLUMNS": "120"},
            check=False,
        ).returncode
        accepted = time.perf_counter() - begun
        await_states(http, "SUCCESS", count)
        ended = time.perf_counter() - begun
        print(f"load {os.getloadavg()[0]:.1f}; exit status {status}; {recalls(url)} of {count} executions came back")
        print(f"all accepted after {accepted:.1f} s, all ended SUCCESS after {ended:.1f} s")
        print(f"verify-index: exit status {stopped()()}")


if __name__ == "__main__":
    main()
