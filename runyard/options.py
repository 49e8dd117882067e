"""Options: what several commands take, how they reach a server, and how they end when something is wrong."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from pydantic import ValidationError

from runyard import logs
from shared.model.moment import format_duration, parse_age
from shared.settings import Section, Settings, load

if TYPE_CHECKING:
    from runyard.client import Client

LOCAL: Final = "http://127.0.0.1:8080"
"""Where a server of the same machine listens by default."""

SERVICES: Final = "Services"
RUNNING: Final = "Run and search"
EXECUTIONS: Final = "Act on executions"
OPERATING: Final = "Operate"
"""Under which heading `runyard --help` lists a command."""

Config = Annotated[Path | None, typer.Option("--config", help="YAML file of settings; the environment wins over it")]
Host = Annotated[str, typer.Option(help="address to listen on")]
Port = Annotated[int, typer.Option(min=0, max=65535, help="port to listen on; 0 takes a free one")]
Server = Annotated[str, typer.Option(envvar="RUNYARD_SERVER", help="address of an indexer or a standalone")]
TenantName = Annotated[str, typer.Option("--tenant", help="tenant")]
Query = Annotated[str | None, typer.Option("--query", "-q", help="Lucene syntax over the fields")]
Namespace = Annotated[str | None, typer.Option(help="this namespace and those below it")]
FlowId = Annotated[str | None, typer.Option("--flow", help="flow id")]
States = Annotated[list[str] | None, typer.Option("--state", help="may be repeated: any of them")]
Labels = Annotated[list[str] | None, typer.Option("--label", "-l", help="key:value, may be repeated: all of them")]
Since = Annotated[str | None, typer.Option(help="started within this time, such as 1h, 30d or PT1H")]
Inputs = Annotated[list[str] | None, typer.Option("--input", "-i", help="name=value, or name=@file, may be repeated")]
DataDirectory = Annotated[
    Path | None,
    typer.Option(
        "--data",
        exists=True,
        file_okay=False,
        help="directory of a standalone that is not running, instead of the servers",
    ),
]

SkipExecutions = Annotated[
    list[str] | None,
    typer.Option("--skip-executions", help="id of an execution to pass over; may be repeated, or a list with commas"),
]
SkipFlows = Annotated[
    list[str] | None,
    typer.Option("--skip-flows", help="flow to pass over: id, namespace.id or tenant/namespace/id; as above"),
]
SkipNamespaces = Annotated[
    list[str] | None, typer.Option("--skip-namespaces", help="namespace to pass over, without those below it; as above")
]


class Synchronous(StrEnum):
    """What a commit of a standalone waits for."""

    NORMAL = "NORMAL"
    FULL = "FULL"


def skips(executions: list[str] | None, flows: list[str] | None, namespaces: list[str] | None) -> dict[str, list[str]]:
    """Settings of the executor out of the options above; what is given replaces what the settings say."""
    given = {"skip_executions": executions, "skip_flows": flows, "skip_namespaces": namespaces}
    return {
        name: [part.strip() for value in values or [] for part in value.split(",")] for name, values in given.items()
    }


def failed(text: str) -> typer.Exit:
    """Say what is wrong; the exit to raise."""
    typer.echo(f"runyard: {text}", err=True)
    return typer.Exit(1)


def read_settings(config: Path | None, **sections: dict[str, Any]) -> Settings:
    """The settings with what the command line gives; a wrong one is named, with its exit."""
    try:
        settings = load(config)
        changes = {name: _changed(name, getattr(settings, name), values) for name, values in sections.items()}
        settings = settings.model_copy(update=changes)
    except ValidationError as error:
        raise _wrong(error) from None
    except OSError as error:
        raise failed(f"the settings file cannot be read: {error}") from None
    logs.configure(settings.log_format, settings.log_level)
    return settings


def _changed(name: str, section: Section, values: dict[str, Any]) -> Section:
    """A section with the options that were given, checked as if they stood in the settings."""
    given = {key: value for key, value in values.items() if value not in (None, [])}
    try:
        return type(section).model_validate({**section.model_dump(), **given})
    except ValidationError as error:
        raise _wrong(error, f"{name}.") from None


def _wrong(error: ValidationError, prefix: str = "") -> typer.Exit:
    lines = [f"{prefix}{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors()]
    return failed("settings are wrong:\n  " + "\n  ".join(lines))


def check_data(data: Path) -> None:
    """End the command where a directory is none of a standalone."""
    if not (data / "runyard.db").is_file():
        raise failed(f"{data} holds no runyard.db: it is no data directory of a standalone")


@contextmanager
def told() -> Iterator[None]:
    """What is wrong around a service (a port in use, a server that does not answer) in one line, with its exit."""
    from shared.ports import JournalError  # noqa: PLC0415 -- as the commands

    try:
        yield
    except (JournalError, OSError) as error:
        raise failed(str(error)) from None


@contextmanager
def connected(server: str, tenant: str = "main", timeout: float = 30.0) -> Iterator[Client]:
    """A client of a server; what is wrong is told in one line, with its exit. `timeout`: seconds of one request."""
    from runyard.client import ApiError, Client  # noqa: PLC0415 -- so that --help is quick

    try:
        with Client(server, tenant, timeout) as client:
            yield client
    except (ApiError, OSError) as error:
        raise failed(str(error)) from None


def since_as_duration(since: str | None) -> str | None:
    """The option `--since` as the API has it: an ISO 8601 duration."""
    return None if since is None else format_duration(age("--since", since))


def age(option: str, text: str) -> int:
    """Milliseconds of an age such as `1h` or `PT1H`."""
    try:
        return parse_age(text)
    except ValueError as error:
        raise failed(f"{option}: {error}") from None


def named_values(option: str, given: Sequence[str] | None) -> dict[str, str]:
    """Values of a repeated `name=value` option."""
    values: dict[str, str] = {}
    for item in given or ():
        name, equals, value = item.partition("=")
        if not equals:
            raise failed(f"{option} {item}: expected name=value")
        values[name] = value
    return values


def label_pairs(given: Sequence[str] | None) -> list[tuple[str, str]]:
    """Key and value of each `--label key:value`."""
    pairs = []
    for item in given or ():
        key, colon, value = item.partition(":")
        if not colon:
            raise failed(f"--label {item}: expected key:value")
        pairs.append((key, value))
    return pairs
