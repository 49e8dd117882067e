"""Whatever a template looks like, rendering gives a text or our own error, within its limits.

`RUNYARD_FUZZ_SECONDS=600 pytest tests/property/test_expressions_fuzz.py` fuzzes for ten minutes.
"""

from __future__ import annotations

import contextlib
import os
import random
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.expressions import Limits, MemoryOutside, Renderer, RenderError, reach
from shared.expressions.registry import FILTERS, FUNCTIONS, TESTS

#: Small limits: fuzzing should not wait for templates that are refused anyway.
LIMITS = Limits(seconds=2.0, characters=200_000, steps=20_000)
VARIABLES: dict[str, Any] = {
    "a": {"b": [1, 2.5, None, "x"], "c": {"d": "e"}},
    "outputs": {"t": {"v": {"value": "{{ a.c.d }}"}}},
    "taskrun": {"value": "v"},
    "parents": [{"taskrun": {"value": "w"}}],
    "flow": {"id": "f", "namespace": "n"},
    "execution": {"id": "e"},
    "s": "2024-02-29T12:00:00Z",
    "n": -7,
}
#: What isn't fuzzed: a process of its own for each program would take most of the time.
SLOW = {"jq"}
FRAGMENTS = [
    *("{{", "}}", "{%", "%}", "{#", "#}", "{{-", "-}}", "{%-", "-%}", "#{", "}", "{", "(", ")", "[", "]"),
    *(" ", " ", "\n", "\t", "'", '"', "\\", "\\'", ",", ":", ".", "..", "?", "??", "???", "=", "|", "~", "+", "-"),
    *("*", "/", "%", "<", ">=", "==", "!=", "and", "or", "not", "is", "is not", "contains", "matches", "equals"),
    *("if", "endif", "else", "elseif", "for", "in", "endfor", "set", "macro", "endmacro", "block", "endblock"),
    *(
        "filter",
        "endfilter",
        "raw",
        "endraw",
        "verbatim",
        "endverbatim",
        "loop",
        "null",
        "true",
        "1",
        "0",
        "99999999999",
    ),
    *(
        "1.5",
        "3L",
        "a",
        "a.b",
        "a.c.d",
        "outputs",
        "s",
        "n",
        "missing",
        "'x'",
        '"y"',
        "é",
        "\u2028",
        "\x00",
        "\ud800",
        "𝔘",
    ),
    *(
        "__class__",
        "'__class__'",
        "_context",
        "self",
        "true",
        "'a'..'e'",
        "{'k': 1}",
        "[1, 2]",
        "'(a+)+$'",
        "regexp=true",
    ),
    *(name for name in FILTERS if name not in SLOW),
    *(f"{name}(" for name in FUNCTIONS),
    *TESTS,
]


def assert_tame(template: str) -> None:
    """Render in every way; nothing but our error may come out."""
    renderer = Renderer(MemoryOutside(), LIMITS)
    for render in (renderer.render, renderer.render_typed, Renderer(MemoryOutside(), LIMITS, recursive=True).render):
        with contextlib.suppress(RenderError):
            render(template, VARIABLES)
    reach([template], vars=VARIABLES).prune(VARIABLES)


@given(st.text(alphabet=st.characters(), max_size=60))
def test_any_text(text: str) -> None:
    """Any text inside and outside of tags is rendered or refused."""
    assert_tame(text)
    assert_tame("{{" + text + "}}")
    assert_tame("{%" + text + "%}")


@given(st.lists(st.sampled_from(FRAGMENTS), max_size=25).map(" ".join))
def test_any_fragments(text: str) -> None:
    """Fragments of the grammar in any order are rendered or refused."""
    assert_tame(text)
    assert_tame("{{ " + text + " }}")


arguments = st.lists(
    st.sampled_from(
        ["1", "-1", "0", "'x'", "''", "null", "true", "a", "a.b", "s", "[1]", "{'k': 'v'}", "1.5", "'UTC'", "'DAYS'"]
    ),
    max_size=4,
).map(", ".join)
operands = st.sampled_from(
    ["a", "a.b", "'text'", "''", "null", "1", "-2.5", "true", "s", "[3, 1, 2]", "{}", "[[1], 'x']", "'e30='", "'[1'"]
)


@given(operands, st.sampled_from(sorted(set(FILTERS) - SLOW)), arguments)
def test_any_filter(operand: str, name: str, given_: str) -> None:
    """A filter takes or refuses whatever it is given."""
    assert_tame(f"{{{{ {operand} | {name}({given_}) }}}}")


@given(st.sampled_from(sorted(FUNCTIONS)), arguments)
def test_any_function(name: str, given_: str) -> None:
    """A function takes or refuses whatever it is given."""
    assert_tame(f"{{{{ {name}({given_}) }}}}")


@given(
    operands,
    operands,
    st.sampled_from(["+", "-", "*", "/", "%", "~", "..", "??", "==", "<", ">=", "contains", "matches", "and"]),
)
def test_any_operator(left: str, right: str, operator: str) -> None:
    """An operator takes or refuses whatever it is given."""
    assert_tame(f"{{{{ {left} {operator} {right} }}}}")


@pytest.mark.timeout(0)
def test_for_some_time() -> None:
    """Random fragments for as long as `RUNYARD_FUZZ_SECONDS` says, a second by default."""
    seconds = float(os.environ.get("RUNYARD_FUZZ_SECONDS", "1"))
    seed = int(os.environ.get("RUNYARD_FUZZ_SEED", "0")) or random.randrange(2**32)
    chance = random.Random(seed)
    end = time.monotonic() + seconds
    count, slowest = 0, (0.0, "")
    while time.monotonic() < end:
        words = [chance.choice(FRAGMENTS) for _ in range(chance.randrange(1, 30))]
        template = chance.choice(["", " "]).join(words)
        if chance.random() < 0.7:
            template = "{{ " + template + " }}"
        began = time.monotonic()
        try:
            assert_tame(template)
        except BaseException:
            print(f"seed {seed}, template {template!r}")
            raise
        slowest = max(slowest, (time.monotonic() - began, template))
        count += 1
    print(f"{count} templates, seed {seed}, slowest {slowest[0]:.3f} s: {slowest[1]!r}")
