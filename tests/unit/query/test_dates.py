"""Dates in queries name intervals."""

import pytest

from shared.model.moment import from_iso, iso
from shared.query import dates

NOW = from_iso("2026-11-23T12:00:00Z")


@pytest.mark.parametrize(
    ("text", "first", "last"),
    [
        ("2026", "2026-01-01T00:00:00.000Z", "2026-12-31T23:59:59.999Z"),
        ("2024-02", "2024-02-01T00:00:00.000Z", "2024-02-29T23:59:59.999Z"),
        ("2026-12", "2026-12-01T00:00:00.000Z", "2026-12-31T23:59:59.999Z"),
        ("2026-11-23", "2026-11-23T00:00:00.000Z", "2026-11-23T23:59:59.999Z"),
        ("2026-11-23T10", "2026-11-23T10:00:00.000Z", "2026-11-23T10:59:59.999Z"),
        ("2026-11-23T10:05Z", "2026-11-23T10:05:00.000Z", "2026-11-23T10:05:59.999Z"),
        ("2026-11-23T10:05:07", "2026-11-23T10:05:07.000Z", "2026-11-23T10:05:07.999Z"),
        ("2026-11-23T10:05:07.123Z", "2026-11-23T10:05:07.123Z", "2026-11-23T10:05:07.123Z"),
        ("2026-11-23T10:05:07+02:00", "2026-11-23T08:05:07.000Z", "2026-11-23T08:05:07.999Z"),
        ("now", "2026-11-23T12:00:00.000Z", "2026-11-23T12:00:00.000Z"),
        ("now-1d", "2026-11-22T12:00:00.000Z", "2026-11-22T12:00:00.000Z"),
        ("now-1w+2h-30m+5s", "2026-11-16T13:30:05.000Z", "2026-11-16T13:30:05.000Z"),
    ],
)
def test_interval_of_a_date(text: str, first: str, last: str) -> None:
    """As exact as it is written: a day is its 24 hours, a moment with milliseconds is one millisecond."""
    assert tuple(map(iso, dates.interval(text, NOW))) == (first, last)


@pytest.mark.parametrize(
    "text", ["", "yesterday", "26-1-1", "2026-13", "2026-02-30", "2026-11-23T25", "now-1y", "now/d", "10:30"]
)
def test_what_is_no_date(text: str) -> None:
    """Anything else raises ValueError."""
    with pytest.raises(ValueError):
        dates.interval(text, NOW)
