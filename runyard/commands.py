"""Commands: what an operator can do to executions from the command line, each answered with what became of it.

All are clients of the REST API: they say in one line for each execution what happened, or why not. The exit status is
1 when any was refused.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from runyard.options import EXECUTIONS, LOCAL, Inputs, Server, TenantName, connected, label_pairs, named_values

if TYPE_CHECKING:
    from runyard.client import Client

app = typer.Typer()

Executions = Annotated[list[str], typer.Argument(metavar="EXECUTION_ID", help="ids of executions")]
Execution = Annotated[str, typer.Argument(metavar="EXECUTION_ID", help="id of the execution")]
Revision = Annotated[int | None, typer.Option(min=1, help="revision of the flow: the result is a new execution")]
State = Annotated[str, typer.Argument(metavar="STATE", help="SUCCESS, WARNING, FAILED, KILLED, CANCELLED or SKIPPED")]


@app.command(rich_help_panel=EXECUTIONS)
def kill(
    executions: Executions,
    cascade: Annotated[bool, typer.Option(help="kill their subflows, too")] = True,
    server: Server = LOCAL,
    tenant: TenantName = "main",
) -> None:
    """Kill executions: nothing further begins, and what runs is interrupted."""
    parameters = {"isOnKillCascade": str(cascade).lower()}
    _each(server, tenant, executions, lambda client, name: client.act(name, "kill", params=parameters))


@app.command(rich_help_panel=EXECUTIONS)
def pause(executions: Executions, server: Server = LOCAL, tenant: TenantName = "main") -> None:
    """Pause executions: nothing further begins, and what runs finishes."""
    _each(server, tenant, executions, lambda client, name: client.act(name, "pause"))


@app.command(rich_help_panel=EXECUTIONS)
def resume(
    executions: Executions,
    task_run: Annotated[str | None, typer.Option(help="the Pause's task run; the oldest by default")] = None,
    inputs: Inputs = None,
    server: Server = LOCAL,
    tenant: TenantName = "main",
) -> None:
    """Resume paused executions, with what their Pause asks for."""
    form = named_values("--input", inputs)
    parameters = {} if task_run is None else {"taskRunId": task_run}
    _each(server, tenant, executions, lambda client, name: client.act(name, "resume", params=parameters, form=form))


@app.command(rich_help_panel=EXECUTIONS)
def restart(
    executions: Executions, revision: Revision = None, server: Server = LOCAL, tenant: TenantName = "main"
) -> None:
    """Restart ended or paused executions: what failed runs again."""
    parameters = {} if revision is None else {"revision": revision}
    _each(server, tenant, executions, lambda client, name: client.act(name, "restart", params=parameters))


@app.command(rich_help_panel=EXECUTIONS)
def replay(
    executions: Executions,
    task_run: Annotated[str | None, typer.Option(help="begin there; at the beginning by default")] = None,
    revision: Revision = None,
    inputs: Inputs = None,
    server: Server = LOCAL,
    tenant: TenantName = "main",
) -> None:
    """Replay executions as new ones, from the beginning or a task run, with the same inputs or others."""
    form = named_values("--input", inputs)
    given = {"taskRunId": task_run, "revision": revision}
    parameters = {name: value for name, value in given.items() if value is not None}
    path = "replay-with-inputs" if form else "replay"
    _each(server, tenant, executions, lambda client, name: client.act(name, path, params=parameters, form=form or None))


@app.command("change-state", rich_help_panel=EXECUTIONS)
def change_state(
    execution: Execution,
    task_run: Annotated[str, typer.Argument(metavar="TASK_RUN_ID", help="id of the task run")],
    state: State,
    server: Server = LOCAL,
    tenant: TenantName = "main",
) -> None:
    """Change a task run's state by hand; the execution goes on from there."""
    body = {"taskRunId": task_run, "state": state}
    _each(server, tenant, [execution], lambda client, name: client.act(name, "change-state", json=body))


@app.command("change-status", rich_help_panel=EXECUTIONS)
def change_status(
    state: State,
    executions: Executions,
    server: Server = LOCAL,
    tenant: TenantName = "main",
) -> None:
    """Change the status of ended executions by hand."""
    parameters = {"status": state}
    _each(server, tenant, executions, lambda client, name: client.act(name, "change-status", params=parameters))


@app.command("force-run", rich_help_panel=EXECUTIONS)
def force_run(executions: Executions, server: Server = LOCAL, tenant: TenantName = "main") -> None:
    """Run executions now: past a queue, a schedule date or a pause."""
    _each(server, tenant, executions, lambda client, name: client.act(name, "force-run"))


@app.command(rich_help_panel=EXECUTIONS)
def unqueue(
    executions: Executions,
    state: Annotated[str, typer.Option(help="RUNNING, CANCELLED or FAILED")] = "RUNNING",
    server: Server = LOCAL,
    tenant: TenantName = "main",
) -> None:
    """Take executions out of the queue of their flow's concurrency limit."""
    parameters = {"state": state}
    _each(server, tenant, executions, lambda client, name: client.act(name, "unqueue", params=parameters))


@app.command("set-labels", rich_help_panel=EXECUTIONS)
def set_labels(
    executions: Executions,
    labels: Annotated[list[str], typer.Option("--label", "-l", help="key:value, may be repeated")],
    server: Server = LOCAL,
    tenant: TenantName = "main",
) -> None:
    """Replace the labels of executions; those of the system stay."""
    body = [{"key": key, "value": value} for key, value in label_pairs(labels)]
    _each(server, tenant, executions, lambda client, name: client.act(name, "labels", json=body))


@app.command(rich_help_panel=EXECUTIONS)
def delete(
    executions: Executions,
    logs: Annotated[bool, typer.Option(help="delete their logs and metrics, too")] = True,
    files: Annotated[bool, typer.Option(help="delete their files, too")] = True,
    server: Server = LOCAL,
    tenant: TenantName = "main",
) -> None:
    """Delete ended executions with their task runs."""
    kept = {"deleteLogs": logs, "deleteMetrics": logs, "deleteStorage": files}
    parameters = {name: str(value).lower() for name, value in kept.items()}
    _each(server, tenant, executions, lambda client, name: client.delete_execution(name, parameters))


def _each(
    server: str,
    tenant: str,
    executions: Sequence[str],
    ask: Callable[[Client, str], Mapping[str, Any] | None],
) -> None:
    """Ask for one execution after the other, and say what became of each."""
    from runyard.client import NotFound, Refused  # noqa: PLC0415 -- imported where it is used, as in `cli`

    refused = 0
    with connected(server, tenant) as client:
        for execution_id in executions:
            try:
                typer.echo(f"{execution_id}: {_told(client, execution_id, ask(client, execution_id))}")
            except (NotFound, Refused) as error:
                refused += 1
                typer.echo(f"{execution_id}: refused: {error}")
    if refused:
        raise typer.Exit(1)


def _told(client: Client, execution_id: str, answer: Mapping[str, Any] | None) -> str:
    """What happened: the state that it has now, or the new execution's."""
    if answer is None:
        found = client.find_execution(execution_id)
        return "deleted" if found is None else str(found["state"]["current"])
    if "state" not in answer:  # accepted, and not decided yet
        return str(answer.get("message", "accepted"))
    state = answer["state"]["current"]
    return f"{state}" if answer["id"] == execution_id else f"new execution {answer['id']} is {state}"
