"""The examples of docs/expressions.md are true, and every name has one."""

from __future__ import annotations

import datetime as dt
import json
import re
from pathlib import Path
from typing import Any

import pytest

from shared.expressions import MemoryOutside, Renderer, RenderError
from shared.expressions.parser import PRECEDENCE
from shared.expressions.registry import FILTERS, FUNCTIONS, TESTS

TEXT = (Path(__file__).resolve().parents[3] / "docs" / "expressions.md").read_text()
CONTEXT: dict[str, Any] = json.loads(re.findall(r"```json\n(.*?)```", TEXT, re.DOTALL)[0])
LINES = [line for block in re.findall(r"```text\n(.*?)```", TEXT, re.DOTALL) for line in block.splitlines()]
OUTSIDE = MemoryOutside(
    now=dt.datetime(2024, 2, 29, 12, 34, 56, 789000, tzinfo=dt.UTC),
    secrets={"API_KEY": "s3cr3t", "JSON_KEY": '{"user": "ada"}'},
    kv={("company.team", "limit"): {"max": 10}},
    namespace_files={("company.team", "query.sql"): "select 1"},
    stored_files={CONTEXT["outputs"]["fetch"]["uri"]: "some data"},
    logs=[{"executionId": "7aXb", "level": "ERROR", "message": "it broke"}],
)


@pytest.mark.parametrize("line", LINES)
def test_example(line: str) -> None:
    """An example gives what the documentation says."""
    # given
    template, sign, expected = re.split(r"\s+([→✗]) ?", line.replace("⏎", "\n"), maxsplit=1)
    renderer = Renderer(OUTSIDE)
    if sign == "✗":
        # when
        with pytest.raises(RenderError) as refused:
            renderer.render(template, CONTEXT)
        # then
        assert expected in str(refused.value)
        return
    # when
    actual = renderer.render(template, CONTEXT)
    # then
    assert (actual or "").rstrip(" ") == expected


def test_every_name_has_an_example() -> None:
    """Each filter, function, test and operator stands in an example that is run."""
    examples = "\n".join(LINES)
    missing = [f"| {name}" for name in FILTERS if not re.search(rf"\| {name}\b", examples)]
    missing += [f"{name}()" for name in FUNCTIONS if not re.search(rf"\b{name}\(", examples)]
    missing += [f"is {name}" for name in TESTS if not re.search(rf"is (not )?{name}\b", examples)]
    missing += [
        operator for operator in PRECEDENCE if f" {operator} " not in examples and f"{operator}" not in examples
    ]
    assert missing == []
