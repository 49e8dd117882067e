"""Running: `runyard run`, from the flow's file to the exit status."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from runyard.client import ApiError, Client, FlowRefused

TERMINATED: Final = frozenset({"SUCCESS", "WARNING", "FAILED", "KILLED", "CANCELLED", "RETRIED", "SKIPPED"})
STATUS: Final = {"SUCCESS": 0, "WARNING": 0, "SKIPPED": 0}
"""Exit status by state; every other is 1. A warning is a success with a remark, as in Kestra."""

LOGS_SETTLE: Final = 1.5
"""Seconds to wait for log lines: the documented lag of searches, 1.3 s, and a little."""

COLORS: Final = {
    "SUCCESS": "green",
    "WARNING": "yellow",
    "FAILED": "red",
    "KILLED": "red",
    "CANCELLED": "red",
    "RUNNING": "blue",
    "RETRYING": "magenta",
    "PAUSED": "cyan",
}


def run(client: Client, files: Sequence[Path], inputs: Mapping[str, str], labels: list[str], console: Console) -> int:
    """Register the flows, run the first, follow it; print its task runs and their log lines. Returns the exit status.

    Raises ApiError, naming the file where a flow is refused, and OSError where one cannot be read.
    """
    flow, *_ = [register(client, file) for file in files]
    execution = client.create_execution(flow["namespace"], flow["id"], inputs, labels)
    console.print(f"execution [bold]{execution['id']}[/] of {flow['namespace']}.{flow['id']}")
    ended = follow(client, execution["id"], console)
    show(client, ended, console)
    return STATUS.get(ended["state"]["current"], 1)


def register(client: Client, file: Path) -> dict[str, Any]:
    """Store the flow of a file, as its next revision where it is there already."""
    try:
        return client.put_flow(file.read_text(encoding="utf-8"))
    except UnicodeDecodeError as error:
        msg = f"{file}: not UTF-8 text: {error.reason} at byte {error.start}"
        raise FlowRefused(msg) from None
    except FlowRefused as error:
        msg = f"{file}: {error}"
        raise FlowRefused(msg) from None


def follow(client: Client, execution_id: str, console: Console) -> dict[str, Any]:
    """Show the progress until the execution has ended; returns it as it ended."""
    columns = SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn()
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        line = progress.add_task("waiting")
        latest: dict[str, Any] = {}
        while latest.get("state", {}).get("current") not in TERMINATED:
            try:
                for latest in client.follow(execution_id):
                    progress.update(line, description=_summary(latest))
            except ApiError:
                time.sleep(0.5)  # the stream broke: ask whether the server is still there
            latest = client.execution(execution_id)
    return latest


def _summary(execution: dict[str, Any]) -> str:
    counts = Counter(run["state"]["current"] for run in execution.get("taskRunList") or ())
    parts = ", ".join(f"{count} {state}" for state, count in sorted(counts.items()))
    return f"{execution['state']['current']}  {parts}"


def colored(state: str) -> str:
    color = COLORS.get(state)
    return f"[{color}]{state}[/]" if color else state


def show(client: Client, execution: dict[str, Any], console: Console) -> None:
    """The task runs as a table, the log lines, the outcome."""
    console.print(task_run_table(execution.get("taskRunList") or ()))
    for entry in settled_logs(client, execution["id"]):
        if entry["level"] != "TRACE":
            console.print(
                f"{entry['level']:5} {entry.get('taskId') or ''}: {entry['message']}", markup=False, highlight=False
            )
    state = execution["state"]
    console.print(f"{colored(state['current'])} in {state.get('duration', '')}")
    if execution.get("outputs"):
        console.print_json(data=execution["outputs"])


def settled_logs(client: Client, execution_id: str) -> list[dict[str, Any]]:
    """The log lines once no more come: they are searchable at most about 1.3 s after they were written."""
    lines = client.logs(execution_id)
    until = time.monotonic() + LOGS_SETTLE
    while time.monotonic() < until:
        time.sleep(0.3)
        before, lines = lines, client.logs(execution_id)
        if lines and len(lines) == len(before):
            break
    return lines


def task_run_table(task_runs: Any) -> Table:
    """Task runs, one a row."""
    table = Table(box=None, header_style="dim")
    for name in ("task", "value", "state", "attempts", "duration", "task run"):
        table.add_column(name)
    for task_run in task_runs:
        table.add_row(
            task_run["taskId"],
            task_run.get("value", ""),
            colored(task_run["state"]["current"]),
            str(len(task_run.get("attempts") or ()) or ""),
            task_run["state"].get("duration", ""),
            task_run["id"],
        )
    return table
