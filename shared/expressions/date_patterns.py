"""Java's date patterns (`java.time.format.DateTimeFormatter`), for writing and reading."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import NamedTuple
from zoneinfo import ZoneInfo

import regex

from shared.expressions.errors import Refusal
from shared.expressions.values import offset_text

MONTHS = (
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
)
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
#: Longest pattern that is read: longer ones have no use.
LONGEST = 200


class Field(NamedTuple):
    """A part of a pattern: a letter and how often it stands, or literal text with letter ``'``."""

    letter: str
    times: int
    text: str = ""


@lru_cache(maxsize=256)
def fields(pattern: str) -> tuple[Field, ...]:
    """Take a pattern apart; `[` and `]` stay as fields.

    Raises:
        Refusal: the pattern has an unknown letter or an open quote.
    """
    if len(pattern) > LONGEST:
        raise Refusal(f"The date pattern is longer than {LONGEST} characters")
    return tuple(_fields(pattern))


def _fields(pattern: str) -> Iterator[Field]:
    at = 0
    while at < len(pattern):
        character = pattern[at]
        if character == "'":
            end = at + 1
            text = ""
            while True:
                close = pattern.find("'", end)
                if close < 0:
                    raise Refusal(f"Pattern ends with an incomplete string literal: {pattern}")
                text += pattern[end:close]
                if pattern.startswith("''", close) and close > at:
                    text += "'"
                    end = close + 2
                    continue
                break
            yield Field("'", 1, text if close > at + 1 else "'")
            at = close + 1
        elif character.isascii() and character.isalpha():
            end = at
            while end < len(pattern) and pattern[end] == character:
                end += 1
            if character not in _WRITERS:
                raise Refusal(f"Unknown pattern letter: {character}")
            yield Field(character, end - at)
            at = end
        elif character in "[]":
            yield Field(character, 1)
            at += 1
        elif character in "{}#":
            raise Refusal(f"Pattern includes reserved character: '{character}'")
        else:
            yield Field("'", 1, character)
            at += 1


def written(moment: dt.datetime, pattern: str) -> str:
    """Write an aware date-time by a pattern.

    Raises:
        Refusal: the pattern isn't one.
    """
    parts = []
    for field in fields(pattern):
        if field.letter == "'":
            parts.append(field.text)
        elif field.letter not in "[]":
            parts.append(_WRITERS[field.letter](moment, field.times))
    return "".join(parts)


def _number(value: int, count: int) -> str:
    return f"{value:0{count}d}"


def _year(moment: dt.datetime, count: int) -> str:
    return f"{moment.year % 100:02d}" if count == 2 else _number(moment.year, count)


def _month(moment: dt.datetime, count: int) -> str:
    name = MONTHS[moment.month - 1]
    if count <= 2:
        return _number(moment.month, count)
    return {3: name[:3], 4: name}.get(count, name[0])


def _day(moment: dt.datetime, count: int) -> str:
    name = DAYS[moment.weekday()]
    return name[:3] if count <= 3 else name if count == 4 else name[0]


def _local_day(moment: dt.datetime, count: int) -> str:
    # Weeks begin on Sunday in Java's default locale.
    return _number(moment.isoweekday() % 7 + 1, count) if count <= 2 else _day(moment, count)


def _quarter(moment: dt.datetime, count: int) -> str:
    quarter = (moment.month + 2) // 3
    if count <= 2:
        return _number(quarter, count)
    return f"Q{quarter}" if count == 3 else ("1st", "2nd", "3rd", "4th")[quarter - 1] + " quarter"


def _fraction(moment: dt.datetime, count: int) -> str:
    return f"{moment.microsecond:06d}000"[:count].ljust(count, "0")


def _offset(moment: dt.datetime, count: int, zero: str | None) -> str:
    text = offset_text(moment)
    if text == "Z":
        if zero is not None:
            return zero
        text = "+00:00"
    if count == 1:
        return text[:3] if text[4:6] == "00" else text.replace(":", "")[:5]
    return text.replace(":", "") if count in (2, 4) else text


def _zone(moment: dt.datetime, count: int) -> str:
    del count
    key = getattr(moment.tzinfo, "key", None)
    return key or offset_text(moment)


def _zone_name(moment: dt.datetime, count: int) -> str:
    del count
    name = moment.tzname() or ""
    return name if name.isalpha() else offset_text(moment)


def _zone_offset(moment: dt.datetime, count: int) -> str:
    if count <= 3:
        return offset_text(moment).replace(":", "").replace("Z", "+0000")
    text = offset_text(moment).replace("Z", "")
    return text or "Z" if count == 5 else f"GMT{text}"


def _week(moment: dt.datetime, count: int) -> str:
    # Java's default locale: weeks begin on Sunday, the first one holds January 1st.
    first = moment.replace(month=1, day=1)
    return _number((moment.timetuple().tm_yday - 1 + first.isoweekday() % 7) // 7 + 1, count)


def _week_of_month(moment: dt.datetime, count: int) -> str:
    first = moment.replace(day=1)
    return _number((moment.day - 1 + first.isoweekday() % 7) // 7 + 1, count)


def _milli_of_day(moment: dt.datetime) -> int:
    seconds = moment.hour * 3600 + moment.minute * 60 + moment.second
    return seconds * 1000 + moment.microsecond // 1000


def _short_gmt(moment: dt.datetime, count: int) -> str:
    text = offset_text(moment).replace("Z", "")
    if count == 1 and text:
        hours, minutes = text[1:].split(":")[:2]
        text = f"{text[0]}{int(hours)}" + (f":{minutes}" if minutes != "00" else "")
    return f"GMT{text}"


_WRITERS: dict[str, Callable[[dt.datetime, int], str]] = {
    "y": _year,
    "u": _year,
    "Y": _year,
    "G": lambda _, count: "Anno Domini" if count == 4 else "AD",
    "M": _month,
    "L": _month,
    "d": lambda moment, count: _number(moment.day, count),
    "D": lambda moment, count: _number(moment.timetuple().tm_yday, count),
    "E": _day,
    "e": _local_day,
    "c": _local_day,
    "Q": _quarter,
    "q": _quarter,
    "w": _week,
    "W": _week_of_month,
    "F": lambda moment, count: _number((moment.day - 1) // 7 + 1, count),
    "a": lambda moment, _: "AM" if moment.hour < 12 else "PM",
    "h": lambda moment, count: _number(moment.hour % 12 or 12, count),
    "K": lambda moment, count: _number(moment.hour % 12, count),
    "H": lambda moment, count: _number(moment.hour, count),
    "k": lambda moment, count: _number(moment.hour or 24, count),
    "m": lambda moment, count: _number(moment.minute, count),
    "s": lambda moment, count: _number(moment.second, count),
    "S": _fraction,
    "n": lambda moment, count: _number(moment.microsecond * 1000, count),
    "N": lambda moment, count: _number(_milli_of_day(moment) * 1_000_000, count),
    "A": lambda moment, count: _number(_milli_of_day(moment), count),
    "V": _zone,
    "v": _zone_name,
    "z": _zone_name,
    "X": lambda moment, count: _offset(moment, count, "Z"),
    "x": lambda moment, count: _offset(moment, count, None),
    "Z": _zone_offset,
    "O": _short_gmt,
}


# Reading

_OFFSET = r"Z|[+-]\d{2}(?::?\d{2}(?::?\d{2})?)?"
_NAMES = {
    "M": "|".join([*MONTHS, *(name[:3] for name in MONTHS)]),
    "E": "|".join([*DAYS, *(name[:3] for name in DAYS)]),
}


def read(text: str, pattern: str) -> dt.datetime | dt.date:
    """Read a text by a pattern: an aware or a local date-time, or a date, as much as the pattern has.

    Raises:
        Refusal: the text doesn't fit, or has no date.
    """
    found = _reader(pattern).fullmatch(text)
    if found is None:
        raise Refusal(f"Text '{text[:100]}' could not be parsed by the pattern '{pattern}'")
    given = {name: value for name, value in found.groupdict().items() if value is not None}
    try:
        return _moment(given)
    except (ValueError, KeyError) as error:
        raise Refusal(f"Text '{text[:100]}' could not be parsed: {error}") from error


@lru_cache(maxsize=256)
def _reader(pattern: str) -> regex.Pattern[str]:
    parts = []
    seen: set[str] = set()
    for field in fields(pattern):
        if field.letter == "[":
            parts.append("(?:")
        elif field.letter == "]":
            parts.append(")?")
        elif field.letter == "'":
            parts.append(regex.escape(field.text))
        else:
            parts.append(_read_field(field, seen))
    try:
        return regex.compile("".join(parts), regex.IGNORECASE)
    except regex.error as error:
        raise Refusal(f"The date pattern can't be read: {pattern}") from error


def _read_field(field: Field, seen: set[str]) -> str:
    letter = {"u": "y", "Y": "y", "L": "M", "x": "X", "Z": "X", "O": "X"}.get(field.letter, field.letter)
    name = letter
    if letter == "M" and field.times > 2:
        expression, name = _NAMES["M"], "Mn"
    elif letter in "Ee":
        expression = _NAMES["E"]
    elif letter == "a":
        expression = "AM|PM"
    elif letter == "X":
        expression = rf"{_OFFSET}|GMT(?:[+-]\d{{1,2}}(?::\d{{2}})?)?"
    elif letter in "Vzv":
        expression, name = r"[A-Za-z][A-Za-z0-9/_+\-]*", "V"
    elif letter == "y" and field.times == 2:
        expression, name = r"\d{2}", "yy"
    elif letter == "S":
        expression = rf"\d{{{field.times}}}"
    else:
        expression = rf"\d{{{field.times}}}" if field.times > 1 else r"\d{1,19}"
    if name in seen:
        return f"(?:{expression})"
    seen.add(name)
    return f"(?P<{name}>{expression})"


def _moment(given: dict[str, str]) -> dt.datetime | dt.date:
    year = int(given["y"]) if "y" in given else 2000 + int(given["yy"])
    month = _month_number(given)
    if "D" in given and month is None:
        day = dt.date(year, 1, 1) + dt.timedelta(days=int(given["D"]) - 1)
    else:
        day = dt.date(year, month or 1, int(given.get("d", "1")))
    if not {"H", "h", "K", "k"} & given.keys():
        return day
    moment = dt.datetime.combine(day, _time(given))
    if "X" in given:
        return moment.replace(tzinfo=zone(given["X"]))
    return moment.replace(tzinfo=zone(given["V"])) if "V" in given else moment


def _month_number(given: dict[str, str]) -> int | None:
    if "Mn" in given:
        return [name[:3].lower() for name in MONTHS].index(given["Mn"][:3].lower()) + 1
    return int(given["M"]) if "M" in given else None


def _time(given: dict[str, str]) -> dt.time:
    hour = int(given.get("H") or given.get("k") or given.get("h") or given.get("K") or 0)
    if "a" in given:
        hour = hour % 12 + (12 if given["a"].upper() == "PM" else 0)
    micros = int(given.get("S", "0").ljust(6, "0")[:6])
    return dt.time(hour % 24, int(given.get("m", "0")), int(given.get("s", "0")), micros)


_FIXED = regex.compile(r"(?:UTC|GMT|UT)?([+-])(\d{1,2}):?(\d{2})?(?::?(\d{2}))?")


@lru_cache(maxsize=256)
def zone(name: str) -> dt.tzinfo:
    """Give the time zone of a name or offset: `Europe/Paris`, `UTC`, `Z`, `+02:00`.

    Raises:
        Refusal: there is none.
    """
    if name == "Z":
        return dt.UTC
    fixed = _FIXED.fullmatch(name)
    if fixed:
        sign, hours, minutes, seconds = fixed.groups()
        offset = dt.timedelta(hours=int(hours), minutes=int(minutes or 0), seconds=int(seconds or 0))
        if offset <= dt.timedelta(hours=18):
            return dt.timezone(-offset if sign == "-" else offset) if offset else dt.UTC
        raise Refusal(f"Zone offset not in valid range: {name}")
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:
        raise Refusal(f"Unknown time-zone ID: {name}") from error
