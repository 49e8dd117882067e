"""Demo: the embedded stack with the example flows, their task runs as a table, the page's address."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from runyard.client import Client
from runyard.running import STATUS, TERMINATED, colored
from runyard.standalone import Standalone
from shared.settings import Settings

EXAMPLES: Final = Path(__file__).resolve().parent.parent / "examples"
"""The demo runs from a checkout: the flows are for reading as much as for running."""
VISIBLE: Final = 10.0
"""Seconds to wait until every task run is searchable; it takes about one."""


def run(settings: Settings, directory: Path, host: str, port: int, console: Console, *, once: bool) -> None:
    """Start, run the examples, print; then serve until Ctrl-C, or end where `once`."""
    with Standalone(settings, directory) as stack:
        ready = threading.Event()
        address: list[str] = []
        problem: list[BaseException] = []

        def tour() -> None:
            ready.wait()
            try:
                _tour(address[0], console)
                console.print(f"\nTask runs: [bold]{address[0]}/ui/main/taskruns[/]")
                if not once:
                    console.print("Ctrl-C ends it.")
            except BaseException as error:  # noqa: BLE001 -- told by the main thread
                problem.append(error)
            if once or problem:
                stack.end()

        def listening(at: str) -> None:
            address.append(at)
            ready.set()

        thread = threading.Thread(target=tour, name="demo", daemon=True)
        thread.start()
        stack.serve(host, port, listening)
        thread.join(5)
        if problem:
            raise problem[0]


def _tour(address: str, console: Console) -> None:
    begun = time.monotonic()
    with Client(address) as client:
        executions: dict[str, str] = {}
        for file in sorted(EXAMPLES.glob("*.yaml")):
            flow = client.put_flow(file.read_text())
            executions[client.create_execution(flow["namespace"], flow["id"], {}, [])["id"]] = file.name
        ended: dict[str, dict[str, Any]] = {}
        while len(ended) < len(executions):
            for execution_id in executions.keys() - ended.keys():
                execution = client.execution(execution_id)
                if execution["state"]["current"] in TERMINATED:
                    ended[execution_id] = execution
            time.sleep(0.05)
        console.print(f"{len(ended)} example flows ended in {time.monotonic() - begun:.1f} s\n")
        task_runs = sum(len(execution["taskRunList"]) for execution in ended.values())
        found = _searchable(client, executions, task_runs)
    table = Table(box=None, header_style="dim")
    for name in ("flow", "task", "value", "state", "attempts", "duration"):
        table.add_column(name)
    for task_run in found:
        table.add_row(
            task_run["flowId"],
            task_run["taskId"],
            task_run.get("value", ""),
            colored(task_run["state"]["current"]),
            str(task_run.get("attemptsCount") or ""),
            task_run["state"].get("duration", ""),
        )
    console.print(table)
    for execution_id, execution in ended.items():
        if STATUS.get(execution["state"]["current"]) is None:
            console.print(f"{executions[execution_id]}: {colored(execution['state']['current'])}, as it is meant to")


def _searchable(client: Client, executions: dict[str, str], expected: int) -> list[dict[str, Any]]:
    """The examples' task runs, as the search finds them."""
    until = time.monotonic() + VISIBLE
    while True:
        results = client.task_runs(size=500, sort="state.startDate:desc")["results"]
        found = [run for run in results if run["executionId"] in executions]
        settled = len(found) >= expected and all(run["state"]["current"] in TERMINATED for run in found)
        if settled or time.monotonic() > until:
            return list(reversed(found))
        time.sleep(0.1)
