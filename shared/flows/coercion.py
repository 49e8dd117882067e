"""Coercion: a given value as the typed value of an input or output, and whether its validators accept it.

Message texts are Kestra's. Moments stay ISO 8601 text, as they are in JSON; a FILE is its URI.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from datetime import UTC, date, datetime, time
from typing import Any, Final

from shared.flows import document, pattern
from shared.model.flow import Input
from shared.model.moment import format_duration, parse_duration

_URI: Final = re.compile(
    r"[a-z]+://(?:www\.)?[-a-zA-Z0-9@:%._+~#=]{1,256}\.[a-zA-Z0-9()]{1,6}\b[-a-zA-Z0-9()@:%_+.~#?&/=]*", re.ASCII
)
"""What Kestra calls a URI: a scheme, a host with a dot."""
_EMAIL: Final = re.compile(r"|[a-zA-Z0-9_!#$%&’*+/=?`{|}~^.-]+@[a-zA-Z0-9.-]+")  # noqa: RUF001 (Kestra's pattern has it)
_INT: Final = re.compile(r"[-+]?\d+", re.ASCII)
STORED_FILES: Final = ("kestra://", "nsfile://")
"""How the URI of a stored file, or of a file of the namespace, begins."""
INT_RANGE: Final = (-(2**31), 2**31 - 1)
"""Java's Integer."""
_MISSING_DOT: Final = re.compile(r"\.(\d+)")


def coerce(value: Any, kind: str, item_type: str | None = None) -> Any:
    """The value as the type wants it. Raises ValueError with Kestra's words."""
    if value is None:
        return None
    if kind in ("ARRAY", "MULTISELECT"):
        return _array(value, item_type)
    convert = _CONVERSIONS.get(kind)
    if convert is None:
        return value
    try:
        return convert(value)
    except _Refused as error:
        raise ValueError(str(error)) from error
    except (ValueError, TypeError, OverflowError) as error:
        received = "********" if kind == "SECRET" else shown(value)
        raise ValueError(f"Expected `{kind}` but received `{received}` with errors:\n```\n{error}\n```") from error


def _bounded(value: Any, levels: int = document.MAX_DEPTH) -> Any:
    """The value, unless it is nested deeper than messages can carry."""
    if levels == 0:
        raise ValueError(f"a value must not have more than {document.MAX_DEPTH} levels")
    if isinstance(value, dict):
        for item in value.values():
            _bounded(item, levels - 1)
    elif isinstance(value, list | tuple):
        for item in value:
            _bounded(item, levels - 1)
    return value


def coerce_input(item: Input, value: Any) -> Any:
    """The value as the input wants it. Raises ValueError."""
    item_type = item.properties.get("itemType")
    if item_type is None and item.type == "MULTISELECT":
        item_type = "STRING"
    return coerce(value, item.type, item_type)


class _Refused(ValueError):
    """Whose message is shown as it is."""


def shown(value: Any) -> str:
    """A value as messages show it: text as it is, the rest as JSON; a list of texts as Java prints it."""
    if isinstance(value, str):
        return value
    if value is None:
        return "null"
    return json.dumps(value, ensure_ascii=False, default=str)


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return str(value)
    raise ValueError(f"a text is needed, not {type(value).__name__}")


def _integer(value: Any) -> int:
    if isinstance(value, bool) or (isinstance(value, str) and not _INT.fullmatch(value)):
        raise ValueError(f'For input string: "{shown(value)}"')
    if isinstance(value, float) and not value.is_integer():
        raise ValueError(f'For input string: "{value}"')
    number = int(value)
    if not INT_RANGE[0] <= number <= INT_RANGE[1]:
        raise ValueError(f"{number} is out of the range of an INT, {INT_RANGE[0]} to {INT_RANGE[1]}")
    return number


def _float(value: Any) -> float:
    number = float(shown(value))  # a boolean's text is no number
    if number in (float("inf"), float("-inf")) or number != number:  # noqa: PLR0124 (NaN; JSON has none of these)
        raise ValueError(f"{value} is not a finite number")
    return number


def _boolean(value: Any) -> bool:
    """Anything but the text `true` is false, as Java's `Boolean.valueOf` has it."""
    return value if isinstance(value, bool) else _text(value).strip().lower() == "true"


def _datetime(value: Any) -> str:
    text = _text(value)
    moment = datetime.fromisoformat(text)
    if "T" not in text.upper() or moment.tzinfo is None:
        raise ValueError(f"Text '{text}' could not be parsed: an instant such as 2024-01-31T12:00:00Z is needed")
    utc = moment.astimezone(UTC)
    base = utc.strftime("%Y-%m-%dT%H:%M:%S")
    fraction = f"{utc.microsecond:06d}".rstrip("0")
    return (
        base
        + (f".{fraction.ljust(3, '0') if len(fraction) <= 3 else fraction.ljust(6, '0')}" if fraction else "")
        + "Z"
    )


def _date(value: Any) -> str:
    text = _text(value)
    if not re.fullmatch(r"\d{4}-\d{2}-\d{2}", text):
        raise ValueError(f"Text '{text}' could not be parsed: a date such as 2024-01-31 is needed")
    return date.fromisoformat(text).isoformat()


def _time(value: Any) -> str:
    text = _text(value)
    if not re.fullmatch(r"\d{2}:\d{2}(:\d{2}(\.\d{1,9})?)?", text):
        raise ValueError(f"Text '{text}' could not be parsed: a time such as 18:27:49 is needed")
    time.fromisoformat(_MISSING_DOT.sub(lambda found: f".{found.group(1)[:6]}", text))
    return text if len(text) > 5 else f"{text}:00"


def _duration(value: Any) -> str:
    return format_duration(parse_duration(_text(value)))


def _file(value: Any) -> str:
    """The URI of a stored file. Never a path: a caller must not make the server read its own disk."""
    text = _text(value)
    if not text.startswith(STORED_FILES):
        raise ValueError(f"'{text}' is not the URI of a stored file")
    return text


def _no_number(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _loads(text: str) -> Any:
    try:
        return json.loads(text, parse_constant=_no_number)
    except RecursionError as error:
        raise ValueError("the JSON is nested too deep") from error


def _json(value: Any) -> Any:
    return _bounded(_loads(value) if isinstance(value, str) else value)


def _yaml(value: Any) -> Any:
    return _bounded(document.read_value(value) if isinstance(value, str) else value)


def _uri(value: Any) -> str:
    text = _text(value)
    if not _URI.fullmatch(text):
        raise _Refused(f"Expected `URI` but received `{text}`")
    return text


def _array(value: Any, item_type: str | None) -> list[Any]:
    try:
        items = _bounded(_loads(value) if isinstance(value, str) else value)
    except ValueError as error:
        raise ValueError(f"Expected `ARRAY` but received `{shown(value)}` with errors:\n```\n{error}\n```") from error
    if not isinstance(items, list | tuple):
        raise ValueError(f"Expected `ARRAY` but received `{shown(value)}`")  # noqa: TRY004 (callers know ValueError)
    if item_type is None:
        return list(items)
    return [_element(item, item_type) for item in items]


def _element(item: Any, item_type: str) -> Any:
    try:
        return coerce(item, item_type)
    except ValueError as error:
        raise ValueError(f"Unable to parse array element as `{item_type}` on `{shown(item)}`") from error


_CONVERSIONS: Final[dict[str, Callable[[Any], Any]]] = {
    "STRING": _text,
    "ENUM": _text,
    "SELECT": _text,
    "EMAIL": _text,
    "SECRET": _text,
    "INT": _integer,
    "FLOAT": _float,
    "BOOL": _boolean,
    "BOOLEAN": _boolean,
    "DATETIME": _datetime,
    "DATE": _date,
    "TIME": _time,
    "DURATION": _duration,
    "FILE": _file,
    "JSON": _json,
    "YAML": _yaml,
    "URI": _uri,
}


def check(value: Any, item: Input) -> None:
    """Raises ValueError with Kestra's words where a validator of the input refuses the typed value."""
    if value is None:
        return
    properties = item.properties
    if item.type in ("INT", "FLOAT"):
        _check_range(
            value,
            properties.get("min"),
            properties.get("max"),
            lambda bound: bound,
            "it must be more than",
            "it must be less than",
        )
    elif item.type == "DURATION":
        _check_range(
            value,
            properties.get("min"),
            properties.get("max"),
            parse_duration,
            "It must be more than",
            "It must be less than",
        )
    elif item.type in ("DATE", "TIME", "DATETIME"):
        _check_range(
            value,
            properties.get("after"),
            properties.get("before"),
            _ordered(item.type),
            "it must be after",
            "it must be before",
        )
    elif item.type in ("STRING", "SECRET"):
        validator = properties.get("validator")
        if validator is not None and not pattern.matches(validator, value):
            raise ValueError(f"it must match the pattern `{validator}`")
    elif item.type == "EMAIL" and not _EMAIL.fullmatch(value):
        raise ValueError("The input must be a valid email")
    elif item.type in ("ENUM", "SELECT"):
        allowed = properties.get("values") or []
        if item.required and value not in allowed and not properties.get("allowCustomValue"):
            raise ValueError(f"it must match the values `[{', '.join(allowed)}]`")
    elif item.type == "FILE":
        _check_extension(value, properties.get("allowedFileExtensions") or ())
    elif item.type == "MULTISELECT" and not properties.get("allowCustomValue"):
        allowed = properties.get("values") or properties.get("options") or []
        if any(shown(entry) not in allowed for entry in value):
            raise ValueError(f"it must match the values `[{', '.join(allowed)}]`")


def _check_extension(uri: str, allowed: Iterable[str]) -> None:
    """The file's name must end in one of the extensions, with or without their dot."""
    endings = tuple(f".{extension.lstrip('.').lower()}" for extension in allowed)
    if endings and not uri.lower().endswith(endings):
        raise ValueError(f"it must have one of the file extensions `[{', '.join(endings)}]`")


def _check_range(value: Any, low: Any, high: Any, order: Callable[[Any], Any], under: str, over: str) -> None:
    if low is not None and order(value) < order(low):
        raise ValueError(f"{under} `{_bound(low)}`")
    if high is not None and order(value) > order(high):
        raise ValueError(f"{over} `{_bound(high)}`")


def _bound(value: Any) -> str:
    """A bound as Java prints it: a time without its zero seconds."""
    text = shown(value)
    return text[:5] if re.fullmatch(r"\d{2}:\d{2}:00", text) else text


def _ordered(kind: str) -> Callable[[str], Any]:
    if kind == "DATETIME":
        return lambda text: datetime.fromisoformat(text).timestamp()
    if kind == "DATE":
        return date.fromisoformat
    return lambda text: time.fromisoformat(_MISSING_DOT.sub(lambda found: f".{found.group(1)[:6]}", text))
