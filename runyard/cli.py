"""The command line: `runyard …`."""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from runyard import bulk, commands, dead_letters, logs
from runyard.options import (
    EXECUTIONS,
    LOCAL,
    OPERATING,
    RUNNING,
    SERVICES,
    Config,
    DataDirectory,
    FlowId,
    Host,
    Inputs,
    Labels,
    Namespace,
    Port,
    Query,
    Server,
    Since,
    SkipExecutions,
    SkipFlows,
    SkipNamespaces,
    States,
    Synchronous,
    TenantName,
    check_data,
    connected,
    failed,
    label_pairs,
    named_values,
    read_settings,
    since_as_duration,
    skips,
    told,
)

app = typer.Typer(
    help="Runyard: an open, distributed executor for Kestra flows on Kafka and Elasticsearch.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

app.add_typer(dead_letters.app, rich_help_panel=OPERATING)
app.add_typer(commands.app)


def main() -> None:
    """Console entry point."""
    app()


# ------------------------------------------------------------------ services


@app.command(rich_help_panel=SERVICES)
def executor(
    config: Config = None,
    host: Host = "127.0.0.1",
    port: Port = 8081,
    skip_executions: SkipExecutions = None,
    skip_flows: SkipFlows = None,
    skip_namespaces: SkipNamespaces = None,
) -> None:
    """Run an executor: it decides what runs, and sends it to workers."""
    from runyard import services  # noqa: PLC0415 -- each command imports what it needs, so that --help is quick
    from runyard.backends import ServerBackends  # noqa: PLC0415

    settings = read_settings(config, executor=skips(skip_executions, skip_flows, skip_namespaces))
    with told():
        services.run_executor(ServerBackends(settings), settings, host, port)


@app.command(rich_help_panel=SERVICES)
def worker(
    config: Config = None,
    concurrency: Annotated[int | None, typer.Option(min=1, help="task runs at the same time")] = None,
    group: Annotated[str | None, typer.Option(help="worker group")] = None,
    host: Host = "127.0.0.1",
    port: Port = 8082,
) -> None:
    """Run a worker: it takes task runs and runs them."""
    from runyard import services  # noqa: PLC0415
    from runyard.backends import ServerBackends  # noqa: PLC0415

    settings = read_settings(config, worker={"concurrency": concurrency, "group": group})
    with told():
        services.run_worker(ServerBackends(settings), settings, host, port)


@app.command(rich_help_panel=SERVICES)
def indexer(config: Config = None, host: Host = "127.0.0.1", port: Port = 8080) -> None:
    """Run an indexer: it projects events into Elasticsearch and serves the API and the pages."""
    from runyard import services  # noqa: PLC0415
    from runyard.backends import ServerBackends  # noqa: PLC0415

    settings = read_settings(config)
    with told():
        services.run_indexer(ServerBackends(settings), settings, host, port)


@app.command(rich_help_panel=SERVICES)
def topics(config: Config = None) -> None:
    """Create the topics, index templates and indices; does nothing where they are there."""
    from runyard.backends import ServerBackends  # noqa: PLC0415
    from shared.ports import JournalError  # noqa: PLC0415

    settings = read_settings(config)
    try:
        ServerBackends(settings).prepare()
    except (JournalError, OSError, RuntimeError) as error:
        raise failed(str(error)) from None
    typer.echo("topics and index templates are ready")


@app.command(rich_help_panel=SERVICES)
def standalone(
    config: Config = None,
    host: Host = "127.0.0.1",
    port: Port = 8080,
    data: Annotated[Path, typer.Option(help="directory of the database and the files")] = Path("data"),
    synchronous: Annotated[
        Synchronous,
        typer.Option(case_sensitive=False, help="NORMAL survives kills of the process, FULL a loss of power, too"),
    ] = Synchronous.NORMAL,
    skip_executions: SkipExecutions = None,
    skip_flows: SkipFlows = None,
    skip_namespaces: SkipNamespaces = None,
) -> None:
    """Run everything in one process, on one SQLite file: no server needed."""
    from runyard.standalone import Standalone  # noqa: PLC0415
    from shared.adapters.sqlite import StorageError  # noqa: PLC0415

    settings = read_settings(config, executor=skips(skip_executions, skip_flows, skip_namespaces))
    try:
        stack = Standalone(settings, data, synchronous=synchronous)
    except StorageError as error:
        raise failed(str(error)) from None
    try:
        with stack:
            stack.serve(host, port, lambda address: typer.echo(f"Runyard is ready: {address}"))
    except (OSError, RuntimeError) as error:
        raise failed(str(error)) from None


# ------------------------------------------------------------------ use


@app.command(rich_help_panel=RUNNING)
def run(
    flows: Annotated[
        list[Path],
        typer.Argument(
            metavar="FLOW",
            exists=True,
            dir_okay=False,
            help="the flow's YAML file; further ones are registered too: its subflows",
        ),
    ],
    server: Annotated[
        str | None,
        typer.Option(
            envvar="RUNYARD_SERVER",
            help="address of an indexer or a standalone; without it a throw-away standalone starts in this process, "
            "in a temporary directory that is removed at the end",
            show_default=False,
        ),
    ] = None,
    tenant: TenantName = "main",
    inputs: Inputs = None,
    labels: Annotated[list[str] | None, typer.Option("--label", "-l", help="key:value, may be repeated")] = None,
) -> None:
    """Register a flow, run it, and follow it to its end; the exit status follows from its state."""
    from runyard import running  # noqa: PLC0415

    given = named_values("--input", inputs)
    label_pairs(labels)
    try:
        with told(), _server(server) as address, connected(address, tenant) as client:
            status = running.run(client, flows, given, labels or [], Console())
    except KeyboardInterrupt:
        if server:
            typer.echo(f"runyard: interrupted; what was started goes on at {server}", err=True)
        raise
    raise typer.Exit(status)


def _server(named: str | None) -> AbstractContextManager[str]:
    """The named server's address, or that of one that ends with the block."""
    if named:
        return nullcontext(named)
    from runyard.throwaway import throwaway  # noqa: PLC0415

    return throwaway(read_settings(None))


@app.command(rich_help_panel=RUNNING)
def taskruns(
    server: Server = LOCAL,
    tenant: TenantName = "main",
    query: Query = None,
    namespace: Namespace = None,
    flow: FlowId = None,
    state: States = None,
    label: Labels = None,
    since: Since = None,
    sort: Annotated[str, typer.Option(help="field:asc or field:desc")] = "state.startDate:desc",
    page: Annotated[int, typer.Option(min=1, help="page of the results")] = 1,
    size: Annotated[int, typer.Option(min=1, max=1000, help="task runs on a page")] = 25,
    as_json: Annotated[bool, typer.Option("--json", help="print the server's JSON")] = False,
) -> None:
    """Search task runs."""
    import json  # noqa: PLC0415

    from runyard import running  # noqa: PLC0415

    with connected(server, tenant) as client:
        found = client.task_runs(
            q=query,
            namespace=namespace,
            flowId=flow,
            state=state,
            labels=label,
            timeRange=since_as_duration(since),
            sort=sort,
            page=page,
            size=size,
        )
    if as_json:
        typer.echo(json.dumps(found, indent=1))
        return
    console = Console()
    console.print(running.task_run_table(found["results"]))
    console.print(f"{len(found['results'])} of {found['total']}")


@app.command(rich_help_panel=RUNNING)
def render(
    template: Annotated[
        str, typer.Argument(metavar="TEMPLATE", help="a template, such as '{{ inputs.name | upper }}'")
    ],
    variables: Annotated[
        Path | None, typer.Option("--vars", exists=True, dir_okay=False, help="JSON file of the variables")
    ] = None,
) -> None:
    """Render a template and print the text, or the error and exit status 1. Needs no server."""
    import json  # noqa: PLC0415

    from shared.expressions import Renderer, RenderError  # noqa: PLC0415

    try:
        given = json.loads(variables.read_text()) if variables is not None else {}
    except ValueError as error:
        raise failed(f"{variables}: not JSON: {error}") from None
    if not isinstance(given, dict):
        raise failed(f"{variables}: expected a JSON object of variables")
    try:
        typer.echo(Renderer().render(template, given) or "")
    except RenderError as error:
        raise failed(str(error)) from None


@app.command(rich_help_panel=RUNNING)
def demo(
    once: Annotated[bool, typer.Option("--once", help="end after printing")] = False,
    host: Host = "127.0.0.1",
    port: Port = 8080,
    data: Annotated[Path, typer.Option(help="directory of the database and the files")] = Path(".cache/demo"),
) -> None:
    """Run the example flows on the embedded stack, print their task runs and the page's address."""
    from runyard import demo as tour  # noqa: PLC0415
    from shared.adapters.sqlite import StorageError  # noqa: PLC0415

    settings = read_settings(None)
    logs.configure(settings.log_format, "WARNING")
    try:
        tour.run(settings, data, host, port, Console(), once=once)
    except (StorageError, OSError, RuntimeError) as error:
        raise failed(str(error)) from None


app.add_typer(bulk.app, rich_help_panel=EXECUTIONS)
app.command(rich_help_panel=OPERATING)(bulk.purge)


# ------------------------------------------------------------------ operate


def _busy(what: str) -> AbstractContextManager[object]:
    """Shows on a terminal that something takes its time."""
    return Console(stderr=True).status(what)


@app.command("verify-index", rich_help_panel=OPERATING)
def verify_index(
    config: Config = None,
    data: DataDirectory = None,
) -> None:
    """Compare the log with the search store, document by document; exit status 1 when they differ."""
    from indexer.verify import verify_index as verify  # noqa: PLC0415
    from runyard.backends import EmbeddedBackends, ServerBackends  # noqa: PLC0415
    from shared.ports import JournalError  # noqa: PLC0415

    settings = read_settings(config)
    if data is not None:
        check_data(data)
    differences = 0
    try:
        embedded = EmbeddedBackends(data) if data is not None else None
        backends = embedded or ServerBackends(settings)
        log, store = backends.event_log(), backends.documents()
        with _busy("comparing the log with the search store"):
            for difference in verify(log, store):
                differences += 1
                typer.echo(str(difference))
        log.close()
        store.close()
        if embedded is not None:
            embedded.close()
    except (JournalError, OSError, RuntimeError) as error:
        raise failed(str(error)) from None
    typer.echo(f"{differences} differences")
    sys.exit(1 if differences else 0)


@app.command(rich_help_panel=OPERATING)
def reindex(config: Config = None) -> None:
    """Build the index of task runs and executions anew from the log, beside the one in use, and switch to it."""
    from indexer.reindex import reindex as rebuild  # noqa: PLC0415
    from runyard.backends import ServerBackends  # noqa: PLC0415
    from shared.adapters.elasticsearch import ElasticsearchDocumentStore  # noqa: PLC0415
    from shared.ports import JournalError  # noqa: PLC0415

    settings = read_settings(config)
    try:
        log, store = ServerBackends(settings).event_log(), ElasticsearchDocumentStore(settings)
        with _busy("building the new index"):
            rebuilt = rebuild(log, store, settings.indexer)
        log.close()
        store.close()
    except (JournalError, OSError, RuntimeError) as error:
        raise failed(str(error)) from None
    for refused in rebuilt.refused:
        typer.echo(f"left out: {refused}", err=True)
    typer.echo(f"{rebuilt.records} records read, the new index is in use")
    sys.exit(1 if rebuilt.refused else 0)


if __name__ == "__main__":
    main()
