"""Format: values of documents as people read them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from shared.model.moment import Millis, from_iso, iso

_FINE: Final = 30 * 60_000
"""Milliseconds of a span of time whose moments minutes tell apart."""

_UNITS: Final = ((86_400, "d"), (3_600, "h"), (60, "min"))


def date(text: str | None) -> str:
    """`2026-11-23 17:53:49.383`, in UTC; empty for nothing."""
    return "" if not text else text.replace("T", " ").removesuffix("Z")


def moment(at: Millis, span: Millis = _FINE) -> str:
    """`2026-11-23 17:53`, in UTC; with seconds where it is one moment of a short span."""
    return iso(at)[: 16 if span >= _FINE else 19].replace("T", " ")


def seconds(length: float) -> str:
    """`12 ms`, `3.2 s`, `4 min 5 s`, `2 d 3 h`: two units at most."""
    if length < 1:
        return f"{round(length * 1000)} ms"
    if length < 60:
        return f"{length:.1f} s".replace(".0 s", " s")
    rest = round(length)
    for size, unit in _UNITS:
        if rest >= size:
            whole, below = divmod(rest, size)
            smaller, name = {"d": (below // 3_600, "h"), "h": (below // 60, "min"), "min": (below, "s")}[unit]
            return f"{whole} {unit} {smaller} {name}" if smaller else f"{whole} {unit}"
    return f"{rest} s"


def duration(state: Mapping[str, Any], now: Millis) -> str:
    """How long a state has lasted: to its end, or until now with an ellipsis."""
    if "duration" in state:
        return seconds(state["duration"])
    return f"{seconds(max(0, now - from_iso(state['startDate'])) / 1000)} …"


def short(identifier: str) -> str:
    """The end of an id: ids of one time begin alike."""
    return f"…{identifier[-8:]}" if len(identifier) > 12 else identifier


def bytes_text(count: int) -> str:
    """`512 B`, `1.5 KiB`, `3.0 MiB`."""
    size, unit = float(count), "B"
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024 or unit == "GiB":
            break
        size /= 1024
    return f"{count} B" if unit == "B" else f"{size:.1f} {unit}"
