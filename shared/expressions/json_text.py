"""JSON as Kestra's Jackson writes and reads it."""

from __future__ import annotations

import datetime as dt
import json
import math
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from decimal import Decimal
from json.encoder import encode_basestring
from typing import Any

import orjson

from shared.expressions.errors import Excess, Refusal
from shared.expressions.limits import Budget
from shared.expressions.values import PLAIN_FROM, PLAIN_TO, Entry, float_text, scalar_text

#: Deepest nesting that is read: Jackson's own bound is 1000, Python's recursion allows less.
READ_DEPTH = 200


def to_json(value: Any, budget: Budget) -> str:
    """Write a value as compact JSON. Null entries of maps are left out, as Kestra's mapper does.

    Raises:
        Excess: the text would be too long, or the value is nested too deep.
    """
    if _is_usual(value, budget):
        try:
            text = orjson.dumps(value, option=_AS_OURS)
        except (orjson.JSONEncodeError, RecursionError):
            text = _UNLIKE_JACKSON
        if _UNLIKE_JACKSON not in text:
            return text.decode()
    parts: list[str] = []
    _write(value, parts, [0], budget, 0)
    return "".join(parts)


#: orjson writes other control characters than Jackson, which has upper-case digits.
_UNLIKE_JACKSON = b"\\u00"
_AS_OURS = orjson.OPT_PASSTHROUGH_DATETIME | orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_PASSTHROUGH_SUBCLASS


def _is_usual(value: Any, budget: Budget) -> bool:
    """Say whether orjson, which is several times faster, writes the value as Jackson does.

    Raises:
        Excess: the value has too many items, or too long texts.
    """
    waiting = [value]
    length = 0
    while waiting:
        container = waiting.pop()
        if type(container) is dict:
            items: Any = container.values()
            null_is_usual = False
        elif type(container) is list:
            items, null_is_usual = container, True
        else:
            return False
        budget.items(len(container))
        for item in items:
            kind = type(item)
            if kind is str:
                length += len(item)
            elif kind is dict or kind is list:
                waiting.append(item)
            elif kind is float:
                if item and not PLAIN_FROM <= abs(item) < PLAIN_TO:
                    return False
            elif not (kind is int or kind is bool or (item is None and null_is_usual)):
                return False
        budget.text(length)
    return True


def _write(value: Any, parts: list[str], length: list[int], budget: Budget, depth: int) -> None:
    kind = type(value)
    if kind is str:
        text = encode_basestring(value)
    elif kind is dict or isinstance(value, Mapping):
        _write_pairs(value.items(), parts, length, budget, depth)
        return
    elif isinstance(value, Entry):
        _write_pairs([(value.key, value.value)], parts, length, budget, depth)
        return
    elif kind is list or isinstance(value, (list, tuple, AbstractSet)):
        _deeper(depth, budget)
        parts.append("[")
        for number, item in enumerate(value):
            if number:
                parts.append(",")
            _write(item, parts, length, budget, depth + 1)
        parts.append("]")
        return
    else:
        text = _scalar(value)
    length[0] += len(text) + 1
    budget.step()
    budget.text(length[0])
    parts.append(text)


def _write_pairs(pairs: Any, parts: list[str], length: list[int], budget: Budget, depth: int) -> None:
    _deeper(depth, budget)
    separator = "{"
    for key, item in pairs:
        if item is None:
            continue
        name = encode_basestring(key if type(key) is str else scalar_text(key) or "null")
        length[0] += len(name) + 2
        parts.append(f"{separator}{name}:")
        separator = ","
        _write(item, parts, length, budget, depth + 1)
    parts.append("{}" if separator == "{" else "}")


def _deeper(depth: int, budget: Budget) -> None:
    budget.step()
    if depth > max(budget.limits.depth, READ_DEPTH):
        raise Excess(f"The value nests more than {max(budget.limits.depth, READ_DEPTH)} levels deep")


def _scalar(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        text = float_text(value)
        return text if math.isfinite(value) else f'"{text}"'
    if isinstance(value, (int, Decimal)):
        return scalar_text(value) or "null"
    if isinstance(value, dt.timedelta):
        # Jackson writes durations as decimal seconds.
        return f"{value.days * 86_400 + value.seconds}.{value.microseconds * 1000:09d}"
    if isinstance(value, dt.datetime):
        return encode_basestring(iso_text(value))
    return encode_basestring(scalar_text(value) or "")


def iso_text(value: dt.datetime) -> str:
    """Print a date-time in ISO 8601 with its seconds, as Jackson's date modules do."""
    text = value.isoformat()
    return text[:-6] + "Z" if text.endswith("+00:00") else text


def plain(value: Any, budget: Budget, *, keep_null: bool = False, depth: int = 0) -> Any:
    """Turn a value into what JSON has: dicts with text keys, lists, text, numbers, booleans, null."""
    if value is None or isinstance(value, (str, bool, int, float)):
        return value
    budget.step()
    if isinstance(value, Entry):
        value = {value.key: value.value}
    if isinstance(value, (Mapping, list, tuple, AbstractSet)):
        _deeper(depth, budget)
    if isinstance(value, Mapping):
        return {
            key if isinstance(key, str) else scalar_text(key) or "null": plain(
                item, budget, keep_null=keep_null, depth=depth + 1
            )
            for key, item in value.items()
            if keep_null or item is not None
        }
    if isinstance(value, (list, tuple, AbstractSet)):
        return [plain(item, budget, keep_null=keep_null, depth=depth + 1) for item in value]
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, dt.datetime):
        return iso_text(value)
    return scalar_text(value)


def from_json(text: str) -> Any:
    """Read JSON.

    Raises:
        Refusal: the text isn't JSON.
    """
    try:
        return json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise Refusal(f"Invalid json: {error}") from error


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} isn't a JSON value")
