"""Reference: the tables of docs/flows.md, made from the catalog. Run as a module, it writes them anew."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from shared.flows.catalog import Nature, Property, Role, TypeSpec, core_catalog
from shared.flows.input_types import COMMON_INPUT, INPUT_TYPES
from shared.flows.types.terms import COMMON_TASK, COMMON_TRIGGER

DOCUMENT: Final = Path("docs/flows.md")
_BEGIN: Final = "<!-- begin {name}: made by python -m shared.flows.reference -->"
_END: Final = "<!-- end {name} -->"
_HEADER: Final = ("Property", "Value", "Default")


def tables() -> dict[str, str]:
    """The generated parts of the document, by the name between its markers."""
    catalog = core_catalog()
    tasks = catalog.of_role(Role.TASK)
    return {
        "every task": _properties(COMMON_TASK),
        "every trigger": _properties(COMMON_TRIGGER),
        "flowable tasks": _types(spec for spec in tasks if spec.nature in (Nature.FLOWABLE, Nature.SUBFLOW)),
        "execution tasks": _types(spec for spec in tasks if spec.nature is Nature.UPDATE),
        "worker tasks": _types(spec for spec in tasks if spec.nature is Nature.RUNNABLE),
        "triggers": _types(catalog.of_role(Role.TRIGGER)),
        "conditions": _types(catalog.of_role(Role.CONDITION)),
        "every input": _properties(COMMON_INPUT),
        "inputs": _rows(
            ("Type", "Own properties"),
            [(f"`{name}`", _inline(own)) for name, own in INPUT_TYPES.items()],
        ),
        "aliases": _rows(
            ("Written", "Read as"),
            sorted((f"`{alias}`", f"`{spec.name}`") for spec in catalog for alias in spec.aliases),
        ),
    }


def _types(specs: Iterable[TypeSpec]) -> str:
    parts = [f"#### `{spec.name}`\n\n{_properties(spec.properties)}" for spec in specs]
    return "\n\n".join(parts)


def _properties(properties: Sequence[Property]) -> str:
    if not properties:
        return "No properties of its own."
    return _rows(_HEADER, list(_property_rows(properties, "")))


def _property_rows(properties: Sequence[Property], prefix: str) -> Iterable[tuple[str, str, str]]:
    for item in properties:
        name = f"`{prefix}{item.name}`" + (", required" if item.required else "")
        yield name, _value(item), _default(item)
        yield from _property_rows(item.fields, f"{prefix}{item.name}.")


def _inline(properties: Sequence[Property]) -> str:
    return ", ".join(f"`{p.name}`" + (" (required)" if p.required else "") for p in properties) or "none"


def _value(item: Property) -> str:
    if item.values:
        words = "list of " if item.kind.value.startswith("list") else ""
        return f"{words}{', '.join(f'`{value}`' for value in item.values)}"
    return item.kind.value if item.minimum is None else f"{item.kind.value} ≥ {item.minimum}"


def _default(item: Property) -> str:
    if item.default is None:
        return ""
    return (
        f"`{item.default}`"
        if isinstance(item.default, str) and item.default.strip()
        else f"`{json.dumps(item.default)}`"
    )


def _rows(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)


def written_anew(document: str) -> str:
    """The document with its generated parts replaced. Raises ValueError where a marker is missing."""
    for name, table in tables().items():
        begin, end = _BEGIN.format(name=name), _END.format(name=name)
        before, found, rest = document.partition(begin)
        _, closed, after = rest.partition(end)
        if not found or not closed:
            raise ValueError(f"the markers of '{name}' are missing")
        document = f"{before}{begin}\n\n{table}\n\n{end}{after}"
    return document


if __name__ == "__main__":
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else DOCUMENT
    path.write_text(written_anew(path.read_text(encoding="utf-8")), encoding="utf-8")
