"""Bulk: `runyard bulk …` and `runyard purge`, actions on many executions as jobs of the server."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
import yaml
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from runyard.options import (
    LOCAL,
    FlowId,
    Labels,
    Namespace,
    Query,
    Server,
    Since,
    States,
    TenantName,
    age,
    connected,
    failed,
    named_values,
    since_as_duration,
)
from shared.model.moment import iso

if TYPE_CHECKING:
    from runyard.client import Client

app = typer.Typer(
    name="bulk",
    help="Act on every execution that a search finds, as a job.",
    no_args_is_help=True,
)

On = Annotated[str, typer.Option(help="what the filters are about: executions or taskruns")]
TaskId = Annotated[str | None, typer.Option("--task", help="task id (with --on taskruns)")]
Options = Annotated[list[str] | None, typer.Option("--option", "-o", help="name=value of the action, may be repeated")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="count, show the first ones, and do nothing")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="do not ask")]
Wait = Annotated[bool, typer.Option("--wait/--no-wait", help="show the progress until the job has ended")]

REFUSED_SHOWN: Final = 50
"""Executions that did not accept, shown in the summary; `runyard bulk show` counts them all."""

LOOK: Final = 0.3
"""Seconds between two looks at a job's progress."""

PATIENCE: Final = 120.0
"""Seconds for which a server may be away, as for a service that waits for its own servers."""

ACTIONS: Final = {
    "restart": "Run again what failed. Options: revision=NUMBER (as new executions).",
    "replay": "Run again as new executions, with --on taskruns from the found task run on."
    " Options: from=start|taskRun, latestRevision=true.",
    "kill": "Stop them. Options: cascade=false (not their subflows).",
    "pause": "Start nothing new in them.",
    "resume": "Go on after a pause.",
    "force-run": "Run now: past a queue, a schedule date or a pause.",
    "unqueue": "Leave the concurrency queue. Options: state=RUNNING|CANCELLED|FAILED.",
    "change-state": "Change the state of the found task runs by hand (with --on taskruns). Options: state=STATE.",
    "change-status": "Change the status of ended executions by hand. Options: status=STATE.",
    "set-labels": "Add labels; those with the same key are replaced. Options: labels=[{key: team, value: blue}].",
    "delete": "Delete ended executions. Options: deleteLogs=false, deleteStorage=false.",
}
"""What each action does, and what options it has."""


@dataclass(frozen=True)
class _Way:
    """How a job is asked for and followed."""

    server: str
    tenant: str
    dry_run: bool
    yes: bool
    wait: bool


# ------------------------------------------------------------------ starting a job


def _command(action: str) -> Callable[..., None]:
    def act(
        server: Server = LOCAL,
        tenant: TenantName = "main",
        on: On = "executions",
        task: TaskId = None,
        query: Query = None,
        namespace: Namespace = None,
        flow: FlowId = None,
        state: States = None,
        label: Labels = None,
        since: Since = None,
        option: Options = None,
        dry_run: DryRun = False,
        yes: Yes = False,
        wait: Wait = True,
    ) -> None:
        filters = {
            "taskId": task,
            "q": query,
            "namespace": namespace,
            "flowId": flow,
            "state": state,
            "labels": label,
            "timeRange": since_as_duration(since),
        }
        _start(_Way(server, tenant, dry_run, yes, wait), action, on, filters, _options(option or []))

    return act


def _options(given: list[str]) -> dict[str, Any]:
    options = {}
    for name, value in named_values("--option", given).items():
        try:
            options[name] = yaml.safe_load(value)
        except yaml.YAMLError:
            raise failed(f"--option {name}={value}: the value is not YAML") from None
    return options


for _name, _help in ACTIONS.items():
    app.command(_name, help=_help)(_command(_name))


def purge(
    server: Server = LOCAL,
    tenant: TenantName = "main",
    before: Annotated[str | None, typer.Option(help="ended at this date (ISO 8601) or earlier")] = None,
    older_than: Annotated[
        str | None, typer.Option("--older-than", help="ended so long ago, such as 30d or P30D")
    ] = None,
    namespace: Namespace = None,
    flow: FlowId = None,
    state: States = None,
    dry_run: DryRun = False,
    yes: Yes = False,
    wait: Wait = True,
) -> None:
    """Delete ended executions by age, namespace, flow and state, with their task runs, logs, metrics and files."""
    if (before is None) == (older_than is None):
        raise failed("one of --before and --older-than is needed")
    if older_than is not None:
        before = iso(time.time_ns() // 1_000_000 - age("--older-than", older_than))
    elif before is not None:
        try:
            moment = datetime.fromisoformat(before)
        except ValueError:
            raise failed(f"--before: '{before}' is not a date or date and time as ISO 8601 has it") from None
        before = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).isoformat()
    filters = {"endedBefore": before, "namespace": namespace, "flowId": flow, "state": state}
    _start(_Way(server, tenant, dry_run, yes, wait), "delete", "executions", filters, {})


def _start(way: _Way, action: str, on: str, filters: dict[str, Any], options: dict[str, Any]) -> None:
    console = Console()
    given = {name: value for name, value in filters.items() if value}
    asked = {"action": action, "on": on, "filters": given, "options": options}
    with connected(way.server, way.tenant) as client:
        counted = client.start_bulk_action({**asked, "dryRun": True})
        count = counted.get("count")
        what = f"the executions of {counted['found']} task runs"
        if count is not None:
            what = f"{count} {'execution' if count == 1 else 'executions'}"
        console.print(f"{action}: {what}", highlight=False)
        if way.dry_run:
            console.print(_items_table(counted["examples"]))
            return
        if not count and count is not None:
            return
        if not way.yes and not typer.confirm("Go on?"):
            raise typer.Exit(1)
        job = client.start_bulk_action(asked)
        console.print(f"bulk action [bold]{job['id']}[/]")
        if way.wait:
            job = _follow(client, job, console)
            raise typer.Exit(_summary(client, job, console))


def _follow(client: Client, job: dict[str, Any], console: Console) -> dict[str, Any]:
    """Show the progress until the job has ended. Raises ApiError when the server does not answer for long."""
    from runyard.client import ApiError  # noqa: PLC0415

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        line = progress.add_task(job["state"], total=None)
        answered = time.monotonic()
        while "endedAt" not in job:
            time.sleep(LOOK)
            try:
                job = client.bulk_action(job["id"])
                answered = time.monotonic()
            except ApiError as error:  # the job goes on without us: the server may be starting again
                if time.monotonic() - answered > PATIENCE:
                    raise ApiError(f"{error}; `runyard bulk show {job['id']}` tells how it goes on") from None
            total = job["total"] if job["state"] != "LISTING" else None
            progress.update(line, description=job["state"], completed=job["done"], total=total)
    return job


def _summary(client: Client, job: dict[str, Any], console: Console) -> int:
    """What became of a job; returns the exit status."""
    counts = ", ".join(f"{job[name]} {name}" for name in ("accepted", "refused", "unknown"))
    left = job["total"] - job["done"]
    reason = f": {job['reason']}" if job.get("reason") else ""
    console.print(f"{job['state']}{reason}: {counts}" + (f", {left} left" if left else ""), highlight=False)
    if job["refused"] or job["unknown"]:
        items = client.bulk_items(job["id"], ["refused", "unknown"], REFUSED_SHOWN)
        console.print(_items_table(items["results"]))
        if items["total"] > len(items["results"]):
            console.print(f"and {items['total'] - len(items['results'])} more", highlight=False)
    return 0 if job["state"] == "SUCCESS" else 1


def _items_table(items: list[dict[str, Any]]) -> Table:
    table = Table(box=None, header_style="dim")
    for name in ("execution", "flow", "task run", "result", "reason"):
        table.add_column(name, overflow="fold")
    for item in items:
        runs = item.get("taskRunIds") or [""]
        table.add_row(
            item["executionId"],
            f"{item['namespace']}.{item['flowId']}",
            runs[0] if len(runs) == 1 else f"{len(runs)} task runs",
            item["result"],
            item.get("reason", ""),
        )
    return table


# ------------------------------------------------------------------ jobs that are there


@app.command("list")
def list_jobs(server: Server = LOCAL, tenant: TenantName = "main") -> None:
    """List the jobs, the latest first."""
    table = Table(box=None, header_style="dim")
    for name in ("id", "action", "state", "done", "total", "refused", "requested", "by"):
        table.add_column(name)
    with connected(server, tenant) as client:
        for job in client.bulk_actions():
            numbers = (str(job[name]) for name in ("done", "total", "refused"))
            table.add_row(job["id"], job["action"], job["state"], *numbers, job["requestedAt"], job["origin"])
    Console().print(table)


@app.command()
def show(
    job_id: Annotated[str, typer.Argument(metavar="ID")], server: Server = LOCAL, tenant: TenantName = "main"
) -> None:
    """Show a job with what it was asked for, its counts, and the executions that refused."""
    console = Console()
    with connected(server, tenant) as client:
        job = client.bulk_action(job_id)
        console.print_json(data=job)
        _summary(client, job, console)


@app.command()
def abort(
    job_id: Annotated[str, typer.Argument(metavar="ID")], server: Server = LOCAL, tenant: TenantName = "main"
) -> None:
    """Stop a job before its next page; what was done stays done."""
    with connected(server, tenant) as client:
        client.abort_bulk_action(job_id)
    typer.echo(f"bulk action {job_id} stops")
