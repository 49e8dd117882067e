"""Attributes and methods of values: only what is listed here can be reached, never a Python attribute."""

from __future__ import annotations

import datetime as dt
import itertools
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from decimal import Decimal
from typing import Any

from shared.expressions import operators, patterns
from shared.expressions.errors import Missing, Refusal
from shared.expressions.limits import Budget
from shared.expressions.values import Entry, class_name, is_number, java_text


def attribute(value: Any, key: Any, budget: Budget) -> Any:
    """Read an attribute or item of a value that isn't null.

    Raises:
        Missing: there is none.
    """
    if isinstance(value, Mapping):
        return _entry(value, key)
    if isinstance(value, Entry):
        if key in ("key", "value"):
            return getattr(value, key)
        raise Missing(java_text(key, budget))
    if isinstance(value, (list, tuple)):
        found = _item(value, key)
        if found is not _NONE:
            return found
    name = java_text(key, budget)
    property_ = _properties(value).get(name)
    if property_ is None:
        raise Missing(name)
    return property_(value)


_NONE = object()


def _entry(value: Mapping[Any, Any], key: Any) -> Any:
    try:
        if key in value:
            return value[key]
    except TypeError:
        pass
    # Pebble turns numbers into the type of the keys where that is a number; keys out of JSON are texts.
    if is_number(key) and str(key) in value:
        return value[str(key)]
    raise Missing("null" if key is None else str(key) if isinstance(key, (str, int)) else class_name(key))


def _item(value: Sequence[Any], key: Any) -> Any:
    if isinstance(key, str):
        digits = key.removeprefix("-")
        if not (digits.isascii() and digits.isdigit()) or len(digits) > 10:
            return _NONE
        key = int(key)
    if not isinstance(key, int) or isinstance(key, bool):
        return _NONE
    if 0 <= key < len(value):
        return value[key]
    raise Missing(str(key))


Property = Callable[[Any], Any]

_COLLECTION: dict[str, Property] = {"size": len, "empty": lambda value: not value}
_LIST: dict[str, Property] = {
    **_COLLECTION,
    "first": lambda value: value[0] if value else _absent("first"),
    "last": lambda value: value[-1] if value else _absent("last"),
}
_TEXT: dict[str, Property] = {
    "length": len,
    "empty": lambda value: not value,
    "blank": lambda value: not value.strip(),
}
_DATE: dict[str, Property] = {
    "year": lambda value: value.year,
    "monthValue": lambda value: value.month,
    "month": lambda value: value.strftime("%B").upper(),
    "dayOfMonth": lambda value: value.day,
    "dayOfYear": lambda value: value.timetuple().tm_yday,
    "dayOfWeek": lambda value: value.strftime("%A").upper(),
}
_TIME: dict[str, Property] = {
    "hour": lambda value: value.hour,
    "minute": lambda value: value.minute,
    "second": lambda value: value.second,
    "nano": lambda value: value.microsecond * 1000,
}


def _absent(name: str) -> Any:
    raise Missing(name)


def _properties(value: Any) -> Mapping[str, Property]:
    """Give Java's getters, which Pebble calls for `value.name`."""
    if isinstance(value, str):
        return _TEXT
    if isinstance(value, (list, tuple)):
        return _LIST
    if isinstance(value, AbstractSet):
        return _COLLECTION
    if isinstance(value, dt.datetime):
        return {**_DATE, **_TIME}
    if isinstance(value, dt.date):
        return _DATE
    return {}


Method = Callable[..., Any]

_ANY_METHODS: dict[str, Method] = {
    "toString": lambda budget, value: java_text(value, budget),
    "equals": lambda _, value, other: class_name(value) == class_name(other) and operators.equal(value, other),
}
_TEXT_METHODS: dict[str, Method] = {
    "length": lambda _, value: len(value),
    "isEmpty": lambda _, value: not value,
    "isBlank": lambda _, value: not value.strip(),
    "toUpperCase": lambda _, value: value.upper(),
    "toLowerCase": lambda _, value: value.lower(),
    "trim": lambda _, value: value.strip(),
    "strip": lambda _, value: value.strip(),
    "contains": lambda _, value, part: _text(part) in value,
    "startsWith": lambda _, value, part: value.startswith(_text(part)),
    "endsWith": lambda _, value, part: value.endswith(_text(part)),
    "indexOf": lambda _, value, part: value.find(_text(part)),
    "lastIndexOf": lambda _, value, part: value.rfind(_text(part)),
    "equalsIgnoreCase": lambda _, value, other: isinstance(other, str) and value.lower() == other.lower(),
    "charAt": lambda _, value, position: value[_index(position, len(value) - 1)],
    "concat": lambda budget, value, other: operators.add(value, _text(other), budget),
    "matches": lambda budget, value, pattern: patterns.matches(value, _text(pattern), budget),
    "split": lambda budget, value, pattern, limit=0: patterns.split(value, _text(pattern), int(limit), budget),
    "replaceAll": lambda budget, value, pattern, new: patterns.replaced_all(value, _text(pattern), _text(new), budget),
    "substring": lambda _, value, start, end=None: _part(value, start, end),
    "replace": lambda budget, value, old, new: _replaced(budget, value, _text(old), _text(new)),
    "repeat": lambda budget, value, count: _repeated(budget, value, count),  # noqa: PLW0108 - it comes below
}
_LIST_METHODS: dict[str, Method] = {
    "size": lambda _, value: len(value),
    "isEmpty": lambda _, value: not value,
    "get": lambda _, value, position: value[_index(position, len(value) - 1)],
    "contains": lambda budget, value, item: operators.contains(value, item, budget),
    "indexOf": lambda _, value, item: next(
        (place for place, other in enumerate(value) if operators.equal(other, item)), -1
    ),
    "subList": lambda _, value, start, end: _part(value, start, end),
    "getFirst": lambda _, value: value[_index(0, len(value) - 1)],
    "getLast": lambda _, value: value[_index(len(value) - 1, len(value) - 1)],
}
_MAP_METHODS: dict[str, Method] = {
    "size": lambda _, value: len(value),
    "isEmpty": lambda _, value: not value,
    "get": lambda _, value, key: value.get(_key(key)),
    "getOrDefault": lambda _, value, key, default: value.get(_key(key), default),
    "containsKey": lambda _, value, key: _key(key) in value,
    "containsValue": lambda budget, value, item: operators.contains(list(value.values()), item, budget),
    "keySet": lambda _, value: list(value),
    "values": lambda _, value: list(value.values()),
    "entrySet": lambda _, value: list(itertools.starmap(Entry, value.items())),
}
_ENTRY_METHODS: dict[str, Method] = {
    "getKey": lambda _, value: value.key,
    "getValue": lambda _, value: value.value,
}
_NUMBER_METHODS: dict[str, Method] = {
    "intValue": lambda _, value: int(value),
    "longValue": lambda _, value: int(value),
    "doubleValue": lambda _, value: float(value),
    "floatValue": lambda _, value: float(value),
}


def method(value: Any, name: str, arguments: Sequence[Any], budget: Budget) -> Any:
    """Call one of Java's methods that change nothing and give nothing away.

    Raises:
        Missing: there is none of that name.
        Refusal: the arguments don't fit.
    """
    work = _methods(value).get(name) or _ANY_METHODS.get(name)
    if work is None:
        raise Missing(name)
    try:
        return work(budget, value, *arguments)
    except TypeError as error:
        raise Refusal(f"Could not call {name} of {class_name(value)} with these arguments") from error


def _methods(value: Any) -> Mapping[str, Method]:
    if isinstance(value, str):
        return _TEXT_METHODS
    if isinstance(value, Entry):
        return _ENTRY_METHODS
    if isinstance(value, (list, tuple)):
        return _LIST_METHODS
    if isinstance(value, AbstractSet):
        return {name: _LIST_METHODS[name] for name in ("size", "isEmpty", "contains")}
    if isinstance(value, Mapping):
        return _MAP_METHODS
    if is_number(value) and not isinstance(value, Decimal):
        return _NUMBER_METHODS
    return {}


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise Refusal(f"A String is needed. Actual type was: {class_name(value)}")
    return value


def _key(value: Any) -> Any:
    return value if isinstance(value, (str, int, float, bool)) else None


def _index(position: Any, last: int) -> int:
    if not isinstance(position, int) or not 0 <= position <= last:
        raise Refusal(f"Index {position if isinstance(position, int) else class_name(position)} out of bounds")
    return position


def _part(value: Any, start: Any, end: Any) -> Any:
    last = len(value)
    first = _index(start, last)
    until = last if end is None else _index(end, last)
    if until < first:
        raise Refusal(f"begin {first}, end {until}, length {last}")
    return value[first:until]


def _replaced(budget: Budget, value: str, old: str, new: str) -> str:
    budget.text(len(value) + (value.count(old) if old else len(value) + 1) * len(new))
    return value.replace(old, new)


def _repeated(budget: Budget, value: str, count: Any) -> str:
    if not isinstance(count, int) or count < 0:
        raise Refusal(f"count is negative or no integer: {class_name(count)}")
    budget.text(len(value) * count)
    return value * count
