"""Windows: how long a flow trigger remembers which of its conditions have held.

A MultipleCondition, or a trigger's `preconditions`, holds when all its named conditions have held for executions
within one window of time. Windows lie on the clock of UTC. The rules are Kestra's.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, time, timedelta
from typing import Any, Final, Self

from executor.engine.conditions import Seen, holds
from shared.expressions import truthy
from shared.model.flow import Trigger
from shared.model.moment import Millis, parse_duration

DAY: Final = 86_400_000
HOUR: Final = 3_600_000
MINUTE: Final = 60_000

LONGEST: Final = DAY
"""Milliseconds of a window without a length (Kestra's default)."""


@dataclass(frozen=True, slots=True)
class TimeWindow:
    """When a window begins and ends."""

    type: str = "DURATION_WINDOW"
    length: Millis = LONGEST
    advance: Millis = 0
    begin: Millis = 0  #: after midnight, of a DAILY_TIME_WINDOW
    until: Millis = DAY  #: after midnight, of a DAILY_TIME_WINDOW or a DAILY_TIME_DEADLINE

    @classmethod
    def of(cls, written: Mapping[str, Any]) -> Self:
        """As written in `timeWindow`. Raises ValueError for a time or a length that can't be read."""
        kind = str(written.get("type") or "DURATION_WINDOW")
        until = written.get("deadline" if kind == "DAILY_TIME_DEADLINE" else "endTime")
        return cls(
            type=kind,
            length=_length(written.get("window"), LONGEST),
            advance=_length(written.get("windowAdvance"), 0),
            begin=_of_day(written["startTime"]) if written.get("startTime") else 0,
            until=_of_day(until) if until else DAY,
        )

    def around(self, now: Millis) -> tuple[Millis, Millis]:
        """Begin and end of the window that a first condition opens at `now`; a daily one may not hold `now`."""
        midnight = now - now % DAY
        if self.type == "SLIDING_WINDOW":
            return now, now + self.length
        if self.type == "DAILY_TIME_DEADLINE":
            return midnight, midnight + self.until
        if self.type == "DAILY_TIME_WINDOW":
            return midnight + self.begin, midnight + self.until
        begin = self._aligned(now, midnight) + self.advance
        return begin, begin + self.length - 1

    def _aligned(self, now: Millis, midnight: Millis) -> Millis:
        """Windows of days begin at midnight, of hours at the full hour, of minutes at a multiple of their length."""
        if self.length >= DAY:
            return midnight
        hour = now - now % HOUR
        if self.length >= HOUR:
            return hour
        if self.length >= MINUTE:
            step = self.length - self.length % MINUTE
            return hour + (now - hour) // step * step
        return now - now % 1000


@dataclass(frozen=True, slots=True)
class Multiple:
    """A MultipleCondition, or the preconditions of a trigger: conditions by name, all of which have to hold."""

    id: str
    conditions: Mapping[str, Mapping[str, Any]]
    window: TimeWindow = field(default_factory=TimeWindow)
    resets: bool = True

    def met(self, seen: Seen) -> list[str]:
        """The names of the conditions that hold for an execution. Raises RenderError."""
        return [name for name, condition in self.conditions.items() if _holds(seen, condition)]


def multiples(trigger: Trigger) -> tuple[Multiple, ...]:
    """What of a trigger needs a window. Raises ValueError for a window that can't be read."""
    found = [
        Multiple(
            id=str(condition["id"]),
            conditions=condition.get("conditions") or {},
            window=TimeWindow.of(
                condition.get("timeWindow")
                or {name: condition[name] for name in ("window", "windowAdvance") if name in condition}
            ),
            resets=condition.get("resetOnSuccess") is not False,
        )
        for condition in trigger.properties.get("conditions") or ()
        if is_multiple(condition)
    ]
    preconditions = trigger.properties.get("preconditions")
    if preconditions is not None:
        parts = [*(preconditions.get("flows") or ()), *(preconditions.get("where") or ())]
        found.append(
            Multiple(
                id=str(preconditions["id"]),
                conditions={f"condition_{number}": part for number, part in enumerate(parts, 1)},
                window=TimeWindow.of(preconditions.get("timeWindow") or {}),
                resets=preconditions.get("resetOnSuccess") is not False,
            )
        )
    return tuple(found)


def is_multiple(condition: Mapping[str, Any]) -> bool:
    """Whether a condition needs a window."""
    return str(condition.get("type", "")).endswith(".MultipleCondition")


@dataclass(frozen=True, slots=True)
class Remembered:
    """One window of one trigger, as the flow's gate keeps it."""

    begin: Millis = 0
    end: Millis = 0
    met: tuple[str, ...] = ()
    outputs: Mapping[str, Any] = field(default_factory=dict)  #: of the executions for which they held, merged
    last: str = ""  #: the state change that was taken in last: taking it in again changes nothing

    @classmethod
    def from_data(cls, data: Mapping[str, Any] | None) -> Self:
        return cls() if data is None else cls(**{**data, "met": tuple(data["met"])})

    def to_data(self) -> dict[str, Any]:
        met, outputs = list(self.met), dict(self.outputs)
        return {"begin": self.begin, "end": self.end, "met": met, "outputs": outputs, "last": self.last}

    def take(
        self, multiple: Multiple, met: Iterable[str], outputs: Mapping[str, Any], at: Millis, change: str
    ) -> tuple[Self, bool]:
        """The window with what holds now, and whether all its conditions have held in it."""
        if change == self.last:
            return self, False
        begin, end = (self.begin, self.end) if self.begin <= at < self.end else multiple.window.around(at)
        same = (begin, end) == (self.begin, self.end)
        if not begin <= at < end:
            return type(self)(last=change), False
        new = [name for name in met if name in multiple.conditions]
        held = tuple(dict.fromkeys([*(self.met if same else ()), *new]))
        kept = {**(self.outputs if same else {}), **(outputs if new else {})}
        return type(self)(begin, end, held, kept, change), set(held) >= set(multiple.conditions)

    def reset(self) -> Self:
        """The same window, in which nothing has held yet."""
        return type(self)(self.begin, self.end, (), {}, self.last)


# ------------------------------------------------------------------ the parts of `preconditions`


def _holds(seen: Seen, condition: Mapping[str, Any]) -> bool:
    if "filters" in condition:
        every = all if condition.get("operand", "AND") == "AND" else any
        return every(_passes(seen, part) for part in condition["filters"])
    return _upstream(seen, condition) if "type" not in condition else holds(seen, condition)


def _upstream(seen: Seen, wanted: Mapping[str, Any]) -> bool:
    """One of `preconditions.flows`: all that is written has to fit."""
    execution = seen.execution
    labels = wanted.get("labels") or {}
    return (
        wanted.get("namespace", execution.namespace) == execution.namespace
        and wanted.get("flowId", execution.flow_id) == execution.flow_id
        and (not wanted.get("states") or execution.state.current.value in wanted["states"])
        and all((str(key), str(value)) in execution.labels for key, value in labels.items())
    )


def _passes(seen: Seen, part: Mapping[str, Any]) -> bool:
    """One filter of `preconditions.where`. An EXPRESSION is its `value`, rendered."""
    execution, written = seen.execution, part.get("value")
    found: str | None = {
        "FLOW_ID": execution.flow_id,
        "NAMESPACE": execution.namespace,
        "STATE": execution.state.current.value,
    }.get(part["field"])
    if part["field"] == "EXPRESSION":
        found = seen.render(str(written), {})
    text, value, values = found or "", str(written), part.get("values") or ()
    answers = {
        "EQUAL_TO": lambda: found == value,
        "NOT_EQUAL_TO": lambda: found != value,
        "IN": lambda: found in values,
        "NOT_IN": lambda: found not in values,
        "IS_TRUE": lambda: truthy(found),
        "IS_FALSE": lambda: not truthy(found),
        "IS_NULL": lambda: not found,
        "IS_NOT_NULL": lambda: bool(found),
        "STARTS_WITH": lambda: text.startswith(value),
        "ENDS_WITH": lambda: text.endswith(value),
        "REGEX": lambda: re.fullmatch(value, text) is not None,
        "CONTAINS": lambda: value in text,
    }
    return answers[part["type"]]()


def _length(written: Any, default: Millis) -> Millis:
    if written is None:
        return default
    return written if isinstance(written, int) else parse_duration(str(written))


def _of_day(written: Any) -> Millis:
    """Milliseconds after UTC's midnight of `09:30:00`, or of `09:30:00+02:00`."""
    at = time.fromisoformat(str(written))
    moment = datetime.combine(datetime(2000, 1, 2, tzinfo=UTC).date(), at.replace(tzinfo=at.tzinfo or UTC))
    midnight = moment.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return round((moment - midnight) / timedelta(milliseconds=1))
