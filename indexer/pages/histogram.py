"""Histogram: counts by state over time as the rectangles of an SVG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from shared.model.moment import Millis
from shared.model.query import Bucket

WIDTH: Final = 1_000
HEIGHT: Final = 90
"""Of the drawing's own coordinates; the page stretches it to its width."""

_MOST_WIDE: Final = 40
"""A single bar must not look like a wall."""

STACK: Final = (
    "SUCCESS",
    "WARNING",
    "SKIPPED",
    "FAILED",
    "KILLED",
    "CANCELLED",
    "KILLING",
    "RETRYING",
    "RETRIED",
    "RESTARTED",
    "PAUSED",
    "QUEUED",
    "RUNNING",
    "SUBMITTED",
    "CREATED",
)
"""States from the bottom of a bar to its top."""


@dataclass(frozen=True, slots=True)
class Bar:
    """One rectangle."""

    state: str
    count: int
    start: Millis
    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True, slots=True)
class Histogram:
    """The rectangles, the count of each state, and what time they span."""

    bars: tuple[Bar, ...]
    counts: Mapping[str, int]
    start: Millis
    end: Millis
    highest: int
    width: int = WIDTH
    height: int = HEIGHT


def histogram(buckets: Sequence[Bucket]) -> Histogram | None:
    """Bars of equal width; each stands where its interval lies in time. None where there is nothing to show."""
    filled = [bucket for bucket in buckets if any(bucket.counts.values())]
    if not filled:
        return None
    starts = sorted(bucket.start for bucket in buckets)
    step = min((b - a for a, b in pairwise(starts) if b > a), default=1)
    first, last = starts[0], starts[-1] + step
    scale = WIDTH / (last - first)
    width = min(step * scale, _MOST_WIDE)
    highest = max(sum(bucket.counts.values()) for bucket in filled)
    totals: dict[str, int] = {}
    bars: list[Bar] = []
    for bucket in filled:
        top = float(HEIGHT)
        for state in sorted(bucket.counts, key=_rank):
            count = bucket.counts[state]
            if not count:
                continue
            totals[state] = totals.get(state, 0) + count
            height = max(1.0, count / highest * (HEIGHT - 2))
            top = max(0.0, top - height)
            x = (bucket.start - first) * scale
            size = round(width * 0.9, 2), round(height, 2)
            bars.append(Bar(state, count, bucket.start, round(x, 2), round(top, 2), *size))
    ordered = {state: totals[state] for state in sorted(totals, key=_rank)}
    return Histogram(tuple(bars), ordered, first, last, highest)


def _rank(state: str) -> int:
    return STACK.index(state) if state in STACK else len(STACK)
