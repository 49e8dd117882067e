"""Dates in expressions: `date`, `dateAdd`, `timestamp…`, `now()` and the calendar functions."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import regex

from shared.expressions.date_patterns import DAYS, MONTHS, read, written, zone
from shared.expressions.errors import Refusal
from shared.expressions.registry import calling, filtering, integer_of, needed, text_of
from shared.expressions.values import class_name, offset_text

if TYPE_CHECKING:
    from shared.expressions.evaluation import Evaluation

_DATE_ARGUMENTS = ("format", "timeZone", "existingFormat", "locale")
#: Kestra's names for patterns.
_PATTERNS = {
    "iso": "yyyy-MM-dd'T'HH:mm:ss.SSSSSSXXX",
    "iso_sec": "yyyy-MM-dd'T'HH:mm:ssXXX",
    "sql": "yyyy-MM-dd HH:mm:ss.SSSSSS",
    "sql_seq": "yyyy-MM-dd HH:mm:ss",
    # Java's localized styles in English; Java 21 has a narrow no-break space before AM and PM.
    "full": "EEEE, MMMM d, y 'at' h:mm:ss\u202fa z",
    "long": "MMMM d, y 'at' h:mm:ss\u202fa z",
    "medium": "MMM d, y, h:mm:ss\u202fa",
    "short": "M/d/yy, h:mm\u202fa",
}
_Writer = Callable[[dt.datetime], str]


def _fraction(moment: dt.datetime) -> str:
    return f".{moment.microsecond:06d}".rstrip("0") if moment.microsecond else ""


def _date(moment: dt.datetime) -> str:
    return moment.strftime("%Y-%m-%d").rjust(10, "0")


def _time(moment: dt.datetime) -> str:
    return moment.strftime("%H:%M:%S") + _fraction(moment)


def _zoned(moment: dt.datetime) -> str:
    key = getattr(moment.tzinfo, "key", None)
    return f"{_date(moment)}T{_time(moment)}{offset_text(moment)}" + (f"[{key}]" if key else "")


def _instant(moment: dt.datetime) -> str:
    instant = moment.astimezone(dt.UTC)
    fraction = f"{instant.microsecond:06d}" if instant.microsecond else ""
    if fraction.endswith("000"):
        fraction = fraction[:3]
    return f"{_date(instant)}T{instant:%H:%M:%S}" + (f".{fraction}" if fraction else "") + "Z"


def _rfc_1123(moment: dt.datetime) -> str:
    offset = offset_text(moment).replace(":", "")
    return (
        f"{DAYS[moment.weekday()][:3]}, {moment.day} {MONTHS[moment.month - 1][:3]} {moment.year:04d} "
        f"{moment:%H:%M:%S} {'GMT' if offset == 'Z' else offset}"
    )


def _week_date(moment: dt.datetime) -> str:
    year, week, day = moment.isocalendar()
    return f"{year:04d}-W{week:02d}-{day}{offset_text(moment)}"


#: Java's predefined formatters that no pattern can write.
_WRITERS: dict[str, _Writer] = {
    "iso_date_time": _zoned,
    "iso_zoned_date_time": _zoned,
    "iso_date": lambda moment: _date(moment) + offset_text(moment),
    "iso_time": lambda moment: _time(moment) + offset_text(moment),
    "iso_offset_time": lambda moment: _time(moment) + offset_text(moment),
    "iso_local_date": _date,
    "iso_local_time": _time,
    "iso_local_date_time": lambda moment: f"{_date(moment)}T{_time(moment)}",
    "iso_instant": _instant,
    "iso_ordinal_date": lambda moment: moment.strftime("%Y-%j") + offset_text(moment),
    "iso_week_date": _week_date,
    "rfc_1123_date_time": _rfc_1123,
}

_ISO = regex.compile(
    r"(\d{4})-(\d{2})-(\d{2})"
    r"(?:T(\d{2}):(\d{2})(?::(\d{2})(?:[.,](\d{1,9}))?)?"
    r"(Z|[+-]\d{2}(?::?\d{2}(?::?\d{2})?)?)?(?:\[([A-Za-z0-9/_+\-]+)\])?)?"
)
_RFC_1123 = regex.compile(r"(?:\w{3}, )?(\d{1,2}) (\w{3}) (\d{4}) (\d{2}):(\d{2})(?::(\d{2}))? (GMT|[+-]\d{4})")


def _iso_moment(text: str) -> dt.datetime | dt.date:
    found = _ISO.fullmatch(text)
    if found is None:
        raise Refusal(f"Text '{text[:100]}' could not be parsed as a date")
    year, month, day, hour, minute, second, fraction, offset, region = found.groups()
    try:
        date = dt.date(int(year), int(month), int(day))
        if hour is None:
            return date
        micros = int((fraction or "0").ljust(6, "0")[:6])
        time = dt.time(int(hour), int(minute), int(second or 0), micros)
    except ValueError as error:
        raise Refusal(f"Text '{text[:100]}' could not be parsed: {error}") from error
    moment = dt.datetime.combine(date, time)
    if offset is None:
        return moment
    moment = moment.replace(tzinfo=zone(offset))
    return moment if region is None else moment.astimezone(zone(region))


def _rfc_moment(text: str) -> dt.datetime:
    found = _RFC_1123.fullmatch(text)
    if found is None:
        raise Refusal(f"Text '{text[:100]}' could not be parsed as an RFC 1123 date")
    day, month, year, hour, minute, second, offset = found.groups()
    try:
        number = [name[:3] for name in MONTHS].index(month.capitalize()) + 1
        moment = dt.datetime(  # noqa: DTZ001 - the zone comes next
            int(year), number, int(day), int(hour), int(minute), int(second or 0)
        )
    except ValueError as error:
        raise Refusal(f"Text '{text[:100]}' could not be parsed: {error}") from error
    return moment.replace(tzinfo=dt.UTC if offset == "GMT" else zone(offset))


def moment_of(value: Any, where: dt.tzinfo, existing: str | None = None) -> dt.datetime:
    """Give the aware date-time that a value stands for.

    A date-time or date without a zone is one of `where`; a number counts seconds since 1970.

    Raises:
        Refusal: the value stands for none.
    """
    found: dt.datetime | dt.date
    if isinstance(value, str):
        if existing is None or existing.startswith("iso"):
            found = _iso_moment(value)
        elif existing == "rfc_1123_date_time":
            found = _rfc_moment(value)
        else:
            found = read(value, _PATTERNS.get(existing, existing))
        if not isinstance(found, dt.datetime):
            found = dt.datetime.combine(found, dt.time.min)
    elif isinstance(value, dt.datetime):
        found = value
    elif isinstance(value, dt.date):
        # Kestra takes noon for a date that is no text.
        found = dt.datetime.combine(value, dt.time(12))
    elif isinstance(value, int) and not isinstance(value, bool):
        try:
            return dt.datetime.fromtimestamp(value, where)
        except (ValueError, OverflowError, OSError) as error:
            raise Refusal(f"{value} is too large for a date") from error
    else:
        raise Refusal(f"{class_name(value)} can't be used as a date")
    return found if found.tzinfo is not None else found.replace(tzinfo=where)


def _text(given: Mapping[str, Any], name: str) -> str | None:
    value = given.get(name)
    return None if value is None else text_of(value, f"The argument '{name}'")


def _zone(evaluation: Evaluation, given: Mapping[str, Any]) -> dt.tzinfo:
    name = _text(given, "timeZone")
    return evaluation.renderer.outside.zone() if name is None else zone(name)


def _formatted(evaluation: Evaluation, moment: dt.datetime, given: Mapping[str, Any]) -> str:
    locale = _text(given, "locale") or "en"
    if not locale.lower().startswith("en"):
        raise Refusal(f"The locale `{locale}` is not available, only English ones are")
    format_ = _text(given, "format") or "iso"
    try:
        local = moment.astimezone(_zone(evaluation, given))
    except OverflowError as error:
        raise Refusal("The date is out of range") from error
    writer = _WRITERS.get(format_)
    return written(local, _PATTERNS.get(format_, format_)) if writer is None else writer(local)


@filtering("date", *_DATE_ARGUMENTS)
def date(evaluation: Evaluation, value: Any, given: Mapping[str, Any]) -> Any:
    """Format a date."""
    if value is None:
        return None
    moment = moment_of(value, _zone(evaluation, given), _text(given, "existingFormat"))
    return _formatted(evaluation, moment, given)


#: Units that count time as it passes, in microseconds; the others move the calendar.
_TIME_UNITS = {
    "NANOS": 0.001,
    "MICROS": 1,
    "MILLIS": 1_000,
    "SECONDS": 1_000_000,
    "MINUTES": 60_000_000,
    "HOURS": 3_600_000_000,
    "HALF_DAYS": 43_200_000_000,
}
_DAY_UNITS = {"DAYS": 1, "WEEKS": 7}
_MONTH_UNITS = {"MONTHS": 1, "YEARS": 12, "DECADES": 120, "CENTURIES": 1_200, "MILLENNIA": 12_000}


@filtering("dateAdd", "amount", "unit", *_DATE_ARGUMENTS)
def date_add(evaluation: Evaluation, value: Any, given: Mapping[str, Any]) -> Any:
    """Add an amount of a `ChronoUnit` to a date, and format it."""
    if value is None:
        return None
    amount = integer_of(given.get("amount"), "The argument 'amount'")
    unit = text_of(given.get("unit"), "The argument 'unit'")
    moment = moment_of(value, _zone(evaluation, given), _text(given, "existingFormat"))
    try:
        return _formatted(evaluation, _moved(moment, amount, unit), given)
    except (OverflowError, ValueError) as error:
        raise Refusal("The date is out of range") from error


def _moved(moment: dt.datetime, amount: int, unit: str) -> dt.datetime:
    if unit in _TIME_UNITS:
        passed = dt.timedelta(microseconds=math.trunc(amount * _TIME_UNITS[unit]))
        return (moment.astimezone(dt.UTC) + passed).astimezone(moment.tzinfo)
    if unit in _DAY_UNITS:
        moved = moment + dt.timedelta(days=amount * _DAY_UNITS[unit])
    elif unit in _MONTH_UNITS:
        year, month = divmod(moment.year * 12 + moment.month - 1 + amount * _MONTH_UNITS[unit], 12)
        last = (dt.date(year + (month + 1) // 12, (month + 1) % 12 + 1, 1) - dt.timedelta(1)).day
        moved = moment.replace(year=year, month=month + 1, day=min(moment.day, last))
    else:
        raise Refusal(f"No enum constant java.time.temporal.ChronoUnit.{unit}")
    # A wall-clock time that doesn't exist on that day moves on, as in Java.
    return moved.astimezone(dt.UTC).astimezone(moment.tzinfo)


def _seconds_and_micros(evaluation: Evaluation, value: Any, given: Mapping[str, Any]) -> tuple[int, int]:
    moment = moment_of(value, _zone(evaluation, given), _text(given, "existingFormat"))
    passed = moment - dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
    return passed.days * 86_400 + passed.seconds, passed.microseconds


@filtering("timestamp", "timeZone", "existingFormat")
def timestamp(evaluation: Evaluation, value: Any, given: Mapping[str, Any]) -> Any:
    """Count the seconds since 1970."""
    return None if value is None else _seconds_and_micros(evaluation, value, given)[0]


@filtering("timestampMilli", "timeZone", "existingFormat")
def timestamp_milli(evaluation: Evaluation, value: Any, given: Mapping[str, Any]) -> Any:
    """Count the milliseconds since 1970, as a text."""
    if value is None:
        return None
    seconds, micros = _seconds_and_micros(evaluation, value, given)
    return str(seconds * 1_000 + micros // 1_000)


@filtering("timestampMicro", "timeZone", "existingFormat")
def timestamp_micro(evaluation: Evaluation, value: Any, given: Mapping[str, Any]) -> Any:
    """Give what Kestra gives: nanoseconds of the full seconds plus microseconds (its own test asserts that)."""
    if value is None:
        return None
    seconds, micros = _seconds_and_micros(evaluation, value, given)
    return str(seconds * 1_000_000_000 + micros)


@filtering("timestampNano", "timeZone", "existingFormat")
def timestamp_nano(evaluation: Evaluation, value: Any, given: Mapping[str, Any]) -> Any:
    """Count the nanoseconds since 1970, as a text."""
    if value is None:
        return None
    seconds, micros = _seconds_and_micros(evaluation, value, given)
    return str(seconds * 1_000_000_000 + micros * 1_000)


@calling("now", *_DATE_ARGUMENTS)
def now(evaluation: Evaluation, given: Mapping[str, Any]) -> Any:
    """Format the present."""
    return _formatted(evaluation, evaluation.renderer.outside.now(), given)


def _calendar(name: str, take: Callable[[dt.datetime], Any]) -> None:
    @calling(name, "date", "timeZone")
    def of_date(evaluation: Evaluation, given: Mapping[str, Any]) -> Any:
        value = needed(given, "date", f"The '{name}' function expects an argument 'date'.")
        return None if value is None else take(moment_of(value, _zone(evaluation, given)))


_calendar("isWeekend", lambda moment: moment.isoweekday() > 5)
_calendar("dayOfWeek", lambda moment: DAYS[moment.weekday()].upper())
_calendar("dayOfMonth", lambda moment: moment.day)
_calendar("monthOfYear", lambda moment: moment.month)
_calendar("hourOfDay", lambda moment: moment.hour)

_POSITIONS = ("FIRST", "SECOND", "THIRD", "FOURTH", "LAST")


@calling("isDayWeekInMonth", "date", "dayOfWeek", "position", "timeZone")
def is_day_week_in_month(evaluation: Evaluation, given: Mapping[str, Any]) -> Any:
    """Say whether a date is, say, the first Monday of its month."""
    message = "The 'isDayWeekInMonth' function expects arguments 'date', 'dayOfWeek' and 'position'."
    value = needed(given, "date", message)
    day = text_of(needed(given, "dayOfWeek", message), "The argument 'dayOfWeek'").upper()
    position = text_of(needed(given, "position", message), "The argument 'position'").upper()
    if position not in _POSITIONS or day.capitalize() not in DAYS:
        raise Refusal(f"Unknown day or position: {day}, {position}. Positions are {', '.join(_POSITIONS)}")
    moment = moment_of(value, _zone(evaluation, given))
    if DAYS[moment.weekday()].upper() != day:
        return False
    if position == "LAST":
        return (moment + dt.timedelta(days=7)).month != moment.month
    return (moment.day - 1) // 7 == _POSITIONS.index(position)


def _compared(name: str, *bounds: str) -> None:
    @calling(name, "date", *bounds)
    def call(evaluation: Evaluation, given: Mapping[str, Any]) -> bool:
        moments = []
        for argument in ("date", *bounds):
            value = given.get(argument)
            if value is None:
                raise Refusal(f"The '{name}()' function expects a '{argument}' argument.")
            moments.append(moment_of(value, _zone(evaluation, {})))
        after = bounds[0] != "after" or moments[0] > moments[1]
        return after and (bounds[-1] != "before" or moments[0] < moments[-1])


_compared("isDateAfter", "after")
_compared("isDateBefore", "before")
_compared("isDateBetween", "after", "before")
