"""Calendar: the conditions that look at a date, `{{ trigger.date }}` where none is written.

A date without an offset is one of UTC, a time without an offset has the date's. The rules are Kestra's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, time, timedelta
from typing import Any, Final

DAYS: Final = ("MONDAY", "TUESDAY", "WEDNESDAY", "THURSDAY", "FRIDAY", "SATURDAY", "SUNDAY")
ORDINALS: Final = ("FIRST", "SECOND", "THIRD", "FOURTH")

Render = Callable[[str], str | None]
"""A template's text. May raise RenderError."""


def knows(kind: str) -> bool:
    """Whether a condition's kind, its type's last part, is one of these."""
    return kind in _HOLDS


def holds(kind: str, condition: Mapping[str, Any], render: Render) -> bool:
    """Whether a condition holds. Raises ValueError for a date or a time that can't be read, and RenderError."""
    text = render(str(condition.get("date") or "{{ trigger.date }}"))
    return _HOLDS[kind](_moment(text or ""), condition, render)


def _between_moments(date: datetime, condition: Mapping[str, Any], render: Render) -> bool:
    after, before = (_text(condition, name, render) for name in ("after", "before"))
    return (after is None or date > _moment(after)) and (before is None or date < _moment(before))


def _between_times(date: datetime, condition: Mapping[str, Any], render: Render) -> bool:
    after, before = (_text(condition, name, render) for name in ("after", "before"))
    return (after is None or date > _at(date, after)) and (before is None or date < _at(date, before))


def _day_of_week(date: datetime, condition: Mapping[str, Any], render: Render) -> bool:
    return DAYS[date.weekday()] == _text(condition, "dayOfWeek", render)


def _day_in_month(date: datetime, condition: Mapping[str, Any], render: Render) -> bool:
    wanted = _text(condition, "dayInMonth", render)
    if not _day_of_week(date, condition, render):
        return False
    if wanted == "LAST":
        return (date + timedelta(days=7)).month != date.month
    return wanted in ORDINALS and ORDINALS.index(wanted) == (date.day - 1) // 7


def _weekend(date: datetime, condition: Mapping[str, Any], render: Render) -> bool:
    del condition, render
    return date.weekday() >= DAYS.index("SATURDAY")


_HOLDS: Final[dict[str, Callable[[datetime, Mapping[str, Any], Render], bool]]] = {
    "DateTimeBetween": _between_moments,
    "TimeBetween": _between_times,
    "DayWeek": _day_of_week,
    "DayWeekInMonth": _day_in_month,
    "Weekend": _weekend,
}


def _text(condition: Mapping[str, Any], name: str, render: Render) -> str | None:
    written = condition.get(name)
    return None if written is None else render(str(written))


def _moment(text: str) -> datetime:
    found = datetime.fromisoformat(text.partition("[")[0])
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)


def _at(date: datetime, text: str) -> datetime:
    """The written time on the date's day, in the time's own offset."""
    at = time.fromisoformat(text)
    offset = at.tzinfo or date.tzinfo
    return datetime.combine(date.astimezone(offset).date(), at.replace(tzinfo=offset))
