"""Reads the conformance corpus' template cases: values with markers, outsides, and what is expected."""

from __future__ import annotations

import datetime as dt
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from shared.expressions import MemoryOutside, Renderer, RenderError
from shared.expressions.values import Float32

REPOSITORY = Path(__file__).resolve().parents[3]


def corpus() -> Path | None:
    """Give the corpus' folder: `RUNYARD_CONFORMANCE`, or beside the repository; None where there is none."""
    named = os.environ.get("RUNYARD_CONFORMANCE")
    folder = Path(named) if named else REPOSITORY.parent / "shared" / "conformance"
    return folder if (folder / "expressions.json").is_file() else None


def cases() -> list[dict[str, Any]]:
    """Give the cases, none where there is no corpus."""
    folder = corpus()
    return [] if folder is None else json.loads((folder / "expressions.json").read_text())


def value_of(marked: Any) -> Any:
    """Replace the markers by values."""
    if isinstance(marked, list):
        return [value_of(item) for item in marked]
    if not isinstance(marked, dict):
        return marked
    if len(marked) == 1:
        (name, value), *_ = marked.items()
        match name:
            case "$float32":
                return Float32(value)
            case "$zoned_datetime" | "$local_datetime":
                return dt.datetime.fromisoformat(value)
            case "$instant" | "$java_date":
                return dt.datetime.fromisoformat(value).astimezone(dt.UTC)
            case "$duration":
                return dt.timedelta(seconds=int(value.removeprefix("PT").removesuffix("S")))
            case "$set":
                return frozenset(value)
    return {key: value_of(item) for key, item in marked.items()}


def outside_of(case: Mapping[str, Any]) -> MemoryOutside:
    """Make the outside that a case needs."""
    setup = case.get("setup", {})
    files = {
        (namespace, path.lstrip("/")): text
        for namespace, given in setup.get("namespace_files", {}).items()
        for path, text in given.items()
    }
    return MemoryOutside(
        stored_files=setup.get("storage"),
        namespace_files=files,
        logs=setup.get("logs", ()),
        secrets=setup.get("secrets"),
    )


def rendered(case: Mapping[str, Any]) -> Any:
    """Render a case; an error comes back as `{"error": text}`."""
    recursive = case.get("config", {}).get("recursive_rendering", False)
    renderer = Renderer(outside_of(case), recursive=recursive)
    variables = value_of(case["vars"])
    template = case["template"]
    try:
        match case.get("mode"):
            case "render_map":
                return renderer.render_map(template, variables)
            case "typed":
                return renderer.render_typed(template, variables)
            case "property_list" | "property_map":
                return json.loads(renderer.render(template, variables) or "null")
            case _:
                return renderer.render(template, variables)
    except RenderError as error:
        causes = []
        cause: BaseException | None = error
        while cause is not None:
            causes.append(str(cause))
            cause = cause.__cause__
        return {"error": "\n".join(causes)}


def difference(expected: Any, actual: Any) -> str | None:
    """Say how what was rendered differs from what is expected, None if it doesn't."""
    if not isinstance(expected, dict) or expected.keys() <= {"string", "list", "int", "numbers", "default"}:
        return None if expected == actual else f"expected {expected!r}, got {actual!r}"
    checks = {
        "error": lambda want: isinstance(actual, dict) and want in actual.get("error", "\0"),
        "contains": lambda want: all(part in actual for part in want),
        "starts_with": lambda want: actual.startswith(want),
        "ends_with": lambda want: actual.endswith(want),
        "not": lambda want: actual != want and isinstance(actual, str),
        "not_empty": lambda _: isinstance(actual, str) and actual != "",
        "int_between": lambda want: want[0] <= int(actual) <= want[1],
        "comma_parts": lambda want: len(actual.split(",")) == want,
        "json_has_items": lambda want: all(item in json.loads(actual) for item in want),
    }
    if not expected.keys() <= checks.keys():
        return None if expected == actual else f"expected {expected!r}, got {actual!r}"
    for name, want in expected.items():
        if (isinstance(actual, dict) and name != "error") or not checks[name](want):
            return f"expected {name} {want!r}, got {actual!r}"
    return None
