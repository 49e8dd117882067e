"""Dead letters on the command line: list, show, replay, through a server, on Kafka, or on a standalone's file."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Protocol

import typer
from rich.console import Console
from rich.table import Table

from runyard.options import (
    Config,
    DataDirectory,
    check_data,
    connected,
    failed,
    read_settings,
    since_as_duration,
)

app = typer.Typer(
    name="dead-letters",
    help="What could not be handled: list it, show it, and send it again. Found through --server, else in the file of "
    "--data, else on Kafka as the settings say.",
    no_args_is_help=True,
)

Address = Annotated[
    str | None, typer.Option("--server", envvar="RUNYARD_SERVER", help="address of an indexer or a running standalone")
]
AsJson = Annotated[bool, typer.Option("--json", help="print JSON")]

REFUSED = frozenset({"not replayed", "unknown"})
"""Outcomes of a letter that is as open as before."""


class Source(Protocol):
    """Where dead letters are read and replayed; what it gives is as the API has it."""

    def letters(
        self, *, service: str | None, since: str | None, reason: str | None, limit: int, settled: bool
    ) -> dict[str, Any]: ...
    def letter(self, origin: str) -> dict[str, Any] | None: ...
    def replay(self, origins: list[str] | None, *, dry_run: bool) -> Iterator[dict[str, Any]]: ...


@app.command("list")
def list_letters(
    config: Config = None,
    server: Address = None,
    data: DataDirectory = None,
    service: Annotated[str | None, typer.Option(help="executor, worker or indexer")] = None,
    since: Annotated[str | None, typer.Option(help="written within this time, such as 1h, 30d or PT1H")] = None,
    reason: Annotated[str | None, typer.Option(help="a part of the reason, in any case")] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="newest first")] = 100,
    settled: Annotated[bool, typer.Option("--all", help="also those that were replayed")] = False,
    as_json: AsJson = False,
) -> None:
    """List dead letters that are open, newest first."""
    within = since_as_duration(since)
    with _source(config, server, data) as source:
        found = source.letters(service=service, since=within, reason=reason, limit=limit, settled=settled)
    if as_json:
        typer.echo(json.dumps(found, indent=1))
        return
    console = Console()
    table = Table("origin", "at", "service", "execution/task run", "reason", box=None, pad_edge=False)
    table.columns[0].overflow = table.columns[3].overflow = "fold"  # they are copied from here
    table.columns[1].no_wrap = table.columns[2].no_wrap = True
    for letter in found["results"]:
        about = "/".join(filter(None, (letter["executionId"], letter["taskRunId"])))
        replayed = letter["replayed"]
        remark = "" if replayed is None else f" [{replayed['at']} {replayed['outcome']}]"
        service = letter["service"].partition("/")[0]
        table.add_row(letter["origin"], letter["at"][:19], service, about, f"{letter['reason']}{remark}")
    console.print(table, markup=False) if found["results"] else None
    console.print(f"{len(found['results'])} of {found['total']}")


@app.command()
def show(
    origin: Annotated[str, typer.Argument(metavar="ORIGIN", help="as the list names it: topic/partition/offset")],
    config: Config = None,
    server: Address = None,
    data: DataDirectory = None,
) -> None:
    """Show all of a dead letter: where it came from, why, and what it holds."""
    with _source(config, server, data) as source:
        found = source.letter(origin)
    if found is None:
        raise failed(f"there is no dead letter of origin {origin}")
    typer.echo(json.dumps(found, indent=1, ensure_ascii=False))


@app.command()
def replay(
    origins: Annotated[
        list[str] | None, typer.Argument(metavar="ORIGIN", help="origins, as the list names them")
    ] = None,
    config: Config = None,
    server: Address = None,
    data: DataDirectory = None,
    everything: Annotated[bool, typer.Option("--all", help="all that are open")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="say what would be done, and do nothing")] = False,
    as_json: AsJson = False,
) -> None:
    """Send dead letters again, after what was wrong is mended; exit status 1 where one of them stays open."""
    if everything == bool(origins):
        raise failed("give origins, or --all")
    counts: dict[str, int] = {}
    done: list[dict[str, Any]] = []
    with _source(config, server, data) as source:
        for each in source.replay(None if everything else origins, dry_run=dry_run):
            counts[each["outcome"]] = counts.get(each["outcome"], 0) + 1
            done.append(each)
            if not as_json:
                would = "would be " if dry_run and each["outcome"] not in REFUSED else ""
                typer.echo(f"{each['origin']}: {would}{each['outcome']}: {each['detail']}")
    if as_json:
        typer.echo(json.dumps({"results": done, "dryRun": dry_run}, indent=1))
    else:
        told = ", ".join(f"{count} {outcome}" for outcome, count in counts.items()) or "no dead letter is open"
        typer.echo(f"nothing was done: {told}" if dry_run else told)
    raise typer.Exit(1 if REFUSED & counts.keys() else 0)


@contextmanager
def _source(config: Path | None, server: str | None, data: Path | None) -> Iterator[Source]:
    """A file that is named goes before a server, which the environment may name. What is wrong is told in one line."""
    from runyard.client import ApiError  # noqa: PLC0415 -- each command imports what it needs
    from runyard.letter_sources import Remote  # noqa: PLC0415
    from shared.ports import JournalError  # noqa: PLC0415

    elsewhere = "" if data else "; --server asks an indexer or a standalone that runs, --data reads a standalone's file"
    try:
        if data is None and server is not None:
            with connected(server, timeout=600.0) as client:
                yield Remote(client)
        else:
            with _direct(config, data) as direct:
                yield direct
    except typer.Exit:  # a RuntimeError that was told
        raise
    except JournalError as error:
        raise failed(f"{error}{elsewhere}") from None
    except (ApiError, OSError, RuntimeError) as error:
        raise failed(str(error)) from None


@contextmanager
def _direct(config: Path | None, data: Path | None) -> Iterator[Source]:
    from runyard.backends import EmbeddedBackends, ServerBackends  # noqa: PLC0415
    from runyard.letter_sources import Direct  # noqa: PLC0415
    from shared.adapters.sqlite import StorageError  # noqa: PLC0415

    settings = read_settings(config)
    if data is not None:
        check_data(data)
    try:
        embedded = EmbeddedBackends(data) if data is not None else None
    except StorageError as error:
        raise failed(f"{error}; a standalone that runs is asked by runyard dead-letters --server") from None
    backends = embedded or ServerBackends(settings)
    log = backends.event_log()
    source = Direct(log, backends.documents, settings.indexer)
    try:
        yield source
    finally:
        source.close()
        log.close()
        if embedded is not None:
            embedded.close()
