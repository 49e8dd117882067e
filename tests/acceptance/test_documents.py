"""The documents say what is there: settings, links, commands."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel
from typer.main import get_command

from runyard.cli import app
from shared.adapters.kafka.topics import CONFIGS
from shared.settings import Settings
from tests.acceptance.servers import EmbeddedServer

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])


def settings_of(model: type[BaseModel], above: str = "") -> Iterator[tuple[str, Any]]:
    """Every setting's name with its default."""
    for name, field in model.model_fields.items():
        default = field.get_default(call_default_factory=True)
        if isinstance(default, BaseModel):
            yield from settings_of(type(default), f"{above}{name}.")
        else:
            yield above + name, default


def written(default: Any) -> str:
    if default == "":
        return "empty"
    return "none" if default is None or default in ([], {}) else f"`{default}`"


def test_every_setting_is_listed_with_its_default() -> None:
    """The table of docs/operations.md has each setting once, with the default of shared/settings.py and a meaning."""
    text = (ROOT / "docs" / "operations.md").read_text()
    table = text[text.index("| setting |") :].split("\n\n", 1)[0]

    rows = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in table.splitlines()[2:]]

    assert [(name.strip("`"), default) for name, default, _ in rows] == [
        (name, written(default)) for name, default in settings_of(Settings)
    ]
    assert [name for name, _, meaning in rows if len(meaning) < 10] == []


def test_every_topic_is_listed() -> None:
    """The table of topics in docs/operations.md names each topic that Runyard creates."""
    text = (ROOT / "docs" / "operations.md").read_text()
    table = text[text.index("| topic ") :].split("\n\n", 1)[0]

    assert set(re.findall(r"`([a-z-]+)`", "".join(line.split("|")[1] for line in table.splitlines()[2:]))) == set(
        CONFIGS
    )


def test_every_command_is_in_the_readme() -> None:
    """README.md names each command of the command line."""
    readme = (ROOT / "README.md").read_text()
    names = set(get_command(app).commands)  # type: ignore[attr-defined]  # it is a group

    assert {"kill", "bulk", "purge"} <= names
    assert [name for name in sorted(names) if not re.search(rf"`(runyard )?{name}[ `]", readme)] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    """Each relative link of a page names a file that is there."""
    links = re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text())

    assert [link for link in links if not (page.parent / link).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_paths_in_the_text_exist(page: Path) -> None:
    """What a page names by its path in the repository is there."""
    named = re.findall(
        r"`((?:shared|executor|worker|indexer|runyard|tests|examples|docs|benchmarks)/[\w/.-]+)`", page.read_text()
    )

    assert [path for path in named if not (ROOT / path).exists()] == []


def test_the_metrics_of_the_table_exist() -> None:
    """Each metric that docs/operations.md recommends an alarm for is one that a service counts."""
    text = (ROOT / "docs" / "operations.md").read_text()
    code = json.dumps(
        [file.read_text() for folder in ("executor", "worker", "indexer") for file in (ROOT / folder).rglob("*.py")]
    )

    named = set(re.findall(r"`(runyard_(?:executor|worker|indexer)_[a-z_]+)", text))

    assert len(named) >= 8
    assert [name for name in named if f'\\"{name.removesuffix("_total")}\\"' not in code] == []


def test_every_path_of_the_api_is_described(embedded: EmbeddedServer) -> None:
    """docs/api.md has each word of the paths in /openapi.json."""
    spans = re.findall(r"`[^`]+`", (ROOT / "docs" / "api.md").read_text())
    paths = embedded.http.get(f"{embedded.url}/openapi.json").json()["paths"]

    words = {word for path in paths for word in path.split("/") if word and not word.startswith("{")}

    assert len(words) > 40
    assert words - {word for span in spans for word in re.findall(r"[\w-]+", span)} == set()


def test_a_standalone_shows_the_numbers_of_all_its_services(embedded: EmbeddedServer) -> None:
    """`/metrics` of a standalone has the executor's, the worker's, the indexer's and the API's numbers."""
    text = embedded.http.get(f"{embedded.url}/metrics").text

    for name in ("executor_leases", "worker_running", "indexer_lag_records", "api_commands"):
        assert f"\nrunyard_{name}" in text
