"""Values as Java has them: number types that Python lacks, class names, and `toString()`."""

from __future__ import annotations

import datetime as dt
import math
import struct
from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from decimal import Decimal
from typing import Any, NamedTuple, Self

from shared.expressions.errors import Excess
from shared.expressions.limits import Budget


class Float32(float):
    """A Java `Float`: prints the shortest text that gives the same 32 bits back."""

    __slots__ = ()

    def __new__(cls, value: float | str) -> Self:
        """Round to 32 bits; what is too large becomes infinite."""
        number = float(value)
        try:
            return float.__new__(cls, struct.unpack("f", struct.pack("f", number))[0])
        except OverflowError:
            return float.__new__(cls, math.copysign(math.inf, number))


class BigInteger(int):
    """A Java `BigInteger`, which `number('BIGINTEGER')` gives."""

    __slots__ = ()


class Entry(NamedTuple):
    """A Java `Map.Entry`: what a loop over a map gives."""

    key: Any
    value: Any


#: Bounds outside which Java prints doubles with an exponent (`Double.toString`).
PLAIN_FROM, PLAIN_TO = 1e-3, 1e7
#: Range of a Java `Integer` and a `Long`.
INTEGER_RANGE = range(-(2**31), 2**31)
LONG_RANGE = range(-(2**63), 2**63)

_CLASS_NAMES: tuple[tuple[type, str], ...] = (
    (str, "java.lang.String"),
    (bool, "java.lang.Boolean"),
    (BigInteger, "java.math.BigInteger"),
    (Float32, "java.lang.Float"),
    (float, "java.lang.Double"),
    (Decimal, "java.math.BigDecimal"),
    (Entry, "java.util.Map$Entry"),
    (Mapping, "java.util.LinkedHashMap"),
    (list, "java.util.ArrayList"),
    (tuple, "java.util.ArrayList"),
    (AbstractSet, "java.util.LinkedHashSet"),
    (dt.datetime, "java.time.ZonedDateTime"),
    (dt.date, "java.time.LocalDate"),
    (dt.time, "java.time.LocalTime"),
    (dt.timedelta, "java.time.Duration"),
)


def class_name(value: Any) -> str:
    """Give the name of the Java class that Kestra would have for the value."""
    if value is None:
        return "null"
    if type(value) is int:
        if value in INTEGER_RANGE:
            return "java.lang.Integer"
        return "java.lang.Long" if value in LONG_RANGE else "java.math.BigInteger"
    if isinstance(value, dt.datetime) and value.tzinfo is None:
        return "java.time.LocalDateTime"
    for kind, name in _CLASS_NAMES:
        if isinstance(value, kind):
            return name
    return "java.lang.Object"


def is_number(value: Any) -> bool:
    """Say whether the value is a number; booleans aren't."""
    return isinstance(value, (int, float, Decimal)) and not isinstance(value, bool)


def float_text(value: float) -> str:
    """Print a float as Java does: `1.0`, `1.0E10`, `NaN`."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    text = _shortest32(value) if isinstance(value, Float32) else repr(value)
    if value == 0 or PLAIN_FROM <= abs(value) < PLAIN_TO:
        return text if "e" not in text else format(Decimal(text), "f")
    sign, digits, exponent = Decimal(text).as_tuple()
    assert isinstance(exponent, int)
    number = "".join(map(str, digits)).rstrip("0") or "0"
    power = exponent + len(digits) - 1
    return f"{'-' if sign else ''}{number[0]}.{number[1:] or '0'}E{power}"


def _shortest32(value: Float32) -> str:
    for precision in range(1, 10):
        text = f"{value:.{precision}g}"
        if Float32(text) == value:
            return repr(float(text))
    return repr(float(value))


def date_text(value: dt.datetime) -> str:
    """Print a date-time as `ZonedDateTime.toString()` or `LocalDateTime.toString()`.

    Java leaves out zero seconds. A date-time in `dt.UTC` is printed as an `Instant`, which doesn't.
    """
    text = value.strftime("%Y-%m-%dT%H:%M").rjust(16, "0")
    if value.second or value.microsecond or value.tzinfo is dt.UTC:
        text += f":{value.second:02d}"
    if value.microsecond:
        fraction = f"{value.microsecond:06d}"
        text += "." + (fraction[:3] if fraction.endswith("000") else fraction)
    if value.tzinfo is None:
        return text
    text += offset_text(value)
    zone = getattr(value.tzinfo, "key", None)
    return f"{text}[{zone}]" if zone and zone != "UTC" else text


def offset_text(value: dt.datetime) -> str:
    """Print the offset from UTC: `Z` or `+02:00`."""
    offset = value.utcoffset() or dt.timedelta()
    seconds = int(offset.total_seconds())
    if not seconds:
        return "Z"
    sign, seconds = ("-", -seconds) if seconds < 0 else ("+", seconds)
    text = f"{sign}{seconds // 3600:02d}:{seconds // 60 % 60:02d}"
    return f"{text}:{seconds % 60:02d}" if seconds % 60 else text


def duration_text(value: dt.timedelta) -> str:
    """Print a duration as `Duration.toString()`: `PT1H30M`, `PT-6H`, `PT0S`."""
    micros = (value.days * 86_400 + value.seconds) * 1_000_000 + value.microseconds
    if not micros:
        return "PT0S"
    negative, rest = micros < 0, abs(micros)
    hours, rest = divmod(rest, 3_600_000_000)
    minutes, rest = divmod(rest, 60_000_000)
    sign = "-" if negative else ""
    seconds = f"{rest // 1_000_000}" + (f".{rest % 1_000_000:06d}".rstrip("0") if rest % 1_000_000 else "")
    parts = [f"{sign}{hours}H" if hours else "", f"{sign}{minutes}M" if minutes else ""]
    parts.append(f"{sign}{seconds}S" if rest else "")
    return "PT" + "".join(parts)


def scalar_text(value: Any) -> str | None:
    """Print what isn't a collection as `toString()` does, None for a collection or null."""
    kind = type(value)
    if kind is str:
        return str(value)
    if kind is bool:
        return "true" if value else "false"
    if kind is int:
        return str(value)
    if value is None or isinstance(value, (Mapping, list, tuple, AbstractSet)):
        return None
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, float):
        return float_text(value)
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, int):
        return int.__repr__(value)
    if isinstance(value, dt.datetime):
        return date_text(value)
    if isinstance(value, (dt.date, dt.time)):
        return value.isoformat()
    if isinstance(value, dt.timedelta):
        return duration_text(value)
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    # No other type comes out of JSON, YAML or Ion: never print a Python object, it may tell too much.
    return class_name(value)


def java_text(value: Any, budget: Budget) -> str:
    """Print a value as Java's `String.valueOf`: `null`, `[1, 2]`, `{a=1}`.

    Raises:
        Excess: the text would be too long, or the value is nested too deep.
    """
    text = scalar_text(value)
    if text is not None:
        return text
    if value is None:
        return "null"
    parts: list[str] = []
    _java_parts(value, parts, [0], budget, 0)
    return "".join(parts)


def _java_parts(value: Any, parts: list[str], length: list[int], budget: Budget, depth: int) -> None:
    text = "null" if value is None else scalar_text(value)
    if text is not None:
        length[0] += len(text)
        budget.text(length[0])
        budget.step()
        parts.append(text)
        return
    if depth > budget.limits.depth:
        raise Excess(f"The value nests more than {budget.limits.depth} levels deep")
    pairs: Iterable[tuple[str, Any]]
    if isinstance(value, Entry):
        _java_parts(value.key, parts, length, budget, depth + 1)
        parts.append("=")
        _java_parts(value.value, parts, length, budget, depth + 1)
        return
    if isinstance(value, Mapping):
        opening, closing = "{", "}"
        pairs = ((f"{java_text(key, budget)}=", item) for key, item in value.items())
    else:
        opening, closing = "[", "]"
        pairs = (("", item) for item in value)
    parts.append(opening)
    for number, (label, item) in enumerate(pairs):
        parts.append(f", {label}" if number else label)
        length[0] += len(label) + 2
        _java_parts(item, parts, length, budget, depth + 1)
    parts.append(closing)
