"""Dates in queries: `2026`, `2026-11-23`, `2026-11-23T10:00:00Z`, `now-1d`, each the interval that it names."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Final

from shared.model.moment import Millis, from_iso

EXPECTED: Final = "a date such as 2026-11-23, 2026-11-23T10:00:00Z, now or now-1d (units: s, m, h, d, w)"

_PARTIAL: Final = re.compile(r"(\d{4})(?:-(\d{2})(?:-(\d{2}))?)?")
_CLOCK: Final = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}(?::(\d{2})(?::(\d{2})(?:\.(\d{1,6}))?)?)?(?:Z|[+-]\d{2}:?\d{2})?")
_NOW: Final = re.compile(r"now((?:[+-]\d{1,6}[smhdw])*)")
_STEP: Final = re.compile(r"([+-]\d+)([smhdw])")
_UNITS: Final = {"s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}


def interval(text: str, now: Millis) -> tuple[Millis, Millis]:
    """First and last millisecond of what the text names; UTC where it has no offset. Raises ValueError."""
    if found := _NOW.fullmatch(text):
        at = now + sum(int(number) * _UNITS[unit] for number, unit in _STEP.findall(found.group(1)))
        return at, at
    if found := _PARTIAL.fullmatch(text):
        year, month, day = (int(part) if part else None for part in found.groups())
        start = datetime(year or 1, month or 1, day or 1, tzinfo=UTC)
        if day is not None:
            end = start + timedelta(days=1)
        elif month is not None:
            end = (start + timedelta(days=31)).replace(day=1)
        else:
            end = start.replace(year=start.year + 1)
        return round(start.timestamp() * 1000), round(end.timestamp() * 1000) - 1
    found = _CLOCK.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is not {EXPECTED}")
    minutes, seconds, fraction = found.groups()
    start_at = from_iso(text)
    length = 3_600_000 if minutes is None else 60_000 if seconds is None else 1000 if fraction is None else 1
    return start_at, start_at + length - 1
