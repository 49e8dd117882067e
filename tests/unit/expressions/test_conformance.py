"""The peer's own template cases."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.expressions.conformance import cases, corpus, difference, rendered

CASES = cases()


def test_corpus_is_there() -> None:
    """The corpus is found, or its absence is told."""
    if corpus() is None:
        pytest.skip("no conformance corpus: set RUNYARD_CONFORMANCE to its folder")
    assert len(CASES) >= 189


@pytest.mark.parametrize("case", CASES, ids=lambda case: str(case["id"]))
def test_template(case: dict[str, Any]) -> None:
    """A template gives what it gives in Kestra."""
    # given: the case's variables and outside / when
    actual = rendered(case)
    # then
    assert difference(case["expect"], actual) is None
