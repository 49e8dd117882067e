"""Moments and durations: epoch milliseconds inside, ISO 8601 outside."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final

Millis = int
"""Epoch milliseconds (a moment) or milliseconds (a length of time)."""

_DURATION: Final = re.compile(
    r"^(?P<sign>[-+])?P(?:(?P<weeks>\d+)W)?(?:(?P<days>\d+)D)?"
    r"(?:T(?:(?P<hours>\d+)H)?(?:(?P<minutes>\d+)M)?(?:(?P<seconds>\d+(?:[.,]\d{1,9})?)S)?)?$",
    re.IGNORECASE,
)
_AGE: Final = re.compile(r"^(\d+)([smhdw])$")
_UNITS: Final = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}
_MILLIS: Final = tuple(f".{number:03d}Z" for number in range(1000))


@lru_cache(maxsize=4096)
def _second(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def iso(at: Millis) -> str:
    """`2026-11-23T17:53:49.383Z`; the second's text is cached, since moments come in bursts."""
    seconds, millis = divmod(at, 1000)
    return _second(seconds) + _MILLIS[millis]


def from_iso(text: str) -> Millis:
    """The inverse of `iso`, for any ISO 8601 date-time; without an offset it is UTC. Raises ValueError."""
    parsed = datetime.fromisoformat(text)
    if parsed.tzinfo is None:
        parsed = parsed.replace(tzinfo=UTC)
    return round(parsed.timestamp() * 1000)


def parse_duration(text: str) -> Millis:
    """Milliseconds of an ISO 8601 duration as Java's `Duration.parse` reads it. Raises ValueError."""
    found = _DURATION.match(text.strip())
    if found is None or not any(found.group(name) for name in ("weeks", "days", "hours", "minutes", "seconds")):
        msg = f"'{text}' is not an ISO 8601 duration such as PT5S or P1DT2H"
        raise ValueError(msg)
    weeks, days, hours, minutes = (int(found.group(n) or 0) for n in ("weeks", "days", "hours", "minutes"))
    seconds = float((found.group("seconds") or "0").replace(",", "."))
    millis = round((((weeks * 7 + days) * 24 + hours) * 60 + minutes) * 60_000 + seconds * 1000)
    return -millis if found.group("sign") == "-" else millis


def parse_age(text: str) -> Millis:
    """Milliseconds of `90s`, `45m`, `12h`, `30d` or `2w`, or of an ISO 8601 duration. Raises ValueError."""
    found = _AGE.match(text.strip())
    if found is not None:
        return int(found.group(1)) * _UNITS[found.group(2)]
    try:
        return parse_duration(text)
    except ValueError:
        msg = f"'{text}' is neither a number of s, m, h, d or w, such as 30d, nor an ISO 8601 duration, such as P30D"
        raise ValueError(msg) from None


def format_duration(millis: Millis) -> str:
    """`PT1H2M0.5S`, as Java prints a Duration."""
    if millis == 0:
        return "PT0S"
    sign, millis = ("-", -millis) if millis < 0 else ("", millis)
    hours, rest = divmod(millis, 3_600_000)
    minutes, rest = divmod(rest, 60_000)
    seconds = f"{rest // 1000}" + (f".{rest % 1000:03d}".rstrip("0") if rest % 1000 else "")
    text = (f"{hours}H" if hours else "") + (f"{minutes}M" if minutes else "") + (f"{seconds}S" if rest else "")
    return f"{sign}PT{text}"
