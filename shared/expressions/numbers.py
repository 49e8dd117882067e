"""Numbers in expressions: `number`, `numberFormat`, `abs`, `max()`, `min()`, `range()`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from decimal import ROUND_HALF_EVEN, Context, Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any

import regex

from shared.expressions import operators
from shared.expressions.errors import Refusal
from shared.expressions.registry import calling, filtering
from shared.expressions.values import (
    INTEGER_RANGE,
    LONG_RANGE,
    BigInteger,
    Float32,
    class_name,
    float_text,
    is_number,
)

if TYPE_CHECKING:
    from shared.expressions.evaluation import Evaluation

_DECIMAL = regex.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d{1,3})?")
_WHOLE = regex.compile(r"-?(?:0[xX][0-9a-fA-F]+|\d+)")
#: Precision that holds every double and every number that `number` reads.
_WIDE = Context(prec=4 * 1000)
#: Digits of a number in a text; more only cost time.
_DIGITS = 1000


def _refused(text: str) -> Refusal:
    return Refusal(f"'{text[:100]}' is not a valid number")


def _whole(text: str, within: range | None) -> int:
    if not _WHOLE.fullmatch(text) or len(text) > _DIGITS:
        raise _refused(text)
    digits = text.removeprefix("-")
    # As Java's `decode`: a leading 0 means octal.
    base = 16 if digits[:2] in ("0x", "0X") else 8 if len(digits) > 1 and digits[0] == "0" else 10
    try:
        number = int(digits, base) * (-1 if text.startswith("-") else 1)
    except ValueError as error:
        raise _refused(text) from error
    if within is not None and number not in within:
        raise _refused(text)
    return number


def _real(text: str) -> Decimal:
    if not _DECIMAL.fullmatch(text.strip()) or len(text) > _DIGITS:
        raise _refused(text)
    try:
        return Decimal(text.strip())
    except InvalidOperation as error:
        raise _refused(text) from error


def _guessed(text: str) -> Any:
    """Choose the smallest type that keeps the value, as commons-lang's `createNumber`."""
    if text[-1:] in ("l", "L") and _WHOLE.fullmatch(text[:-1]):
        return _whole(text[:-1], LONG_RANGE)
    if text[-1:] in ("f", "F") and not text.lower().startswith(("0x", "-0x")):
        return Float32(float(_real(text[:-1])))
    if text[-1:] in ("d", "D") and not text.lower().startswith(("0x", "-0x")):
        return float(_real(text[:-1]))
    if _WHOLE.fullmatch(text):
        number = _whole(text, None)
        return number if number in LONG_RANGE else BigInteger(number)
    exact = _real(text)
    short, double = Float32(float(exact)), float(exact)
    if not math.isinf(short) and (short or not exact) and float_text(short) == float_text(double):
        return short
    if not math.isinf(double) and not (double == 0 and exact != 0) and Decimal(repr(double)) == exact:
        return double
    return exact


@filtering("number", "type")
def number(evaluation: Evaluation, value: Any, given: Mapping[str, Any]) -> Any:
    """Turn a text into a number."""
    del evaluation
    if value is None:
        return None
    if not isinstance(value, str):
        raise Refusal(f"'number' filter can only be applied to String. Actual type was: {class_name(value)}")
    kind = given.get("type", "")
    if kind == "INT":
        return _whole(value, INTEGER_RANGE)
    if kind == "LONG":
        return _whole(value, LONG_RANGE)
    if kind == "BIGINTEGER":
        return BigInteger(_whole(value, None))
    if kind == "FLOAT":
        return Float32(float(_real(value)))
    if kind == "DOUBLE":
        return float(_real(value))
    return _real(value) if kind == "BIGDECIMAL" else _guessed(value)


_PATTERN = regex.compile(r"((?:[^#0,.';]|'[^']*')*)([#0,]*)(?:\.([0#]*))?((?:[^#0,.';]|'[^']*')*)")


@filtering("numberFormat", "format")
def number_format(evaluation: Evaluation, value: Any, given: Mapping[str, Any]) -> Any:
    """Format a number by a `DecimalFormat` pattern, or with commas and up to 3 decimals."""
    del evaluation
    if value is None:
        return None
    if not is_number(value):
        raise Refusal("The input for the 'NumberFormat' filter has to be a number.")
    pattern = given.get("format")
    if pattern is None:
        pattern = "#,##0.###"
    if not isinstance(pattern, str) or len(pattern) > _DIGITS:
        raise Refusal("The argument 'format' must be a String of a reasonable length.")
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else ("-∞" if value < 0 else "∞")
    exact = Decimal(value)
    positive, _, negative = pattern.partition(";")
    if exact < 0 and negative:
        affixes = _PATTERN.fullmatch(negative)
        shape = _PATTERN.fullmatch(positive)
        if affixes is None or shape is None:
            raise Refusal(f'Malformed pattern "{pattern}"')
        return _unquoted(affixes[1]) + _digits(-exact, shape) + _unquoted(affixes[4])
    shape = _PATTERN.fullmatch(positive)
    if shape is None:
        raise Refusal(f'Malformed pattern "{pattern}"')
    digits = _digits(abs(exact), shape)
    # As in Java, what is rounded to zero keeps its sign.
    sign = "-" if exact.is_signed() else ""
    return sign + _unquoted(shape[1]) + digits + _unquoted(shape[4])


def _unquoted(affix: str) -> str:
    return affix.replace("''", "\0").replace("'", "").replace("\0", "'").replace("¤", "$")


def _digits(exact: Decimal, shape: regex.Match[str]) -> str:
    affixes = shape[1] + shape[4]
    exact = exact * 100 if "%" in affixes else exact * 1000 if "‰" in affixes else exact
    whole, fraction = shape[2], shape[3] or ""
    group = len(whole) - whole.rindex(",") - 1 if "," in whole else 0
    least, most = fraction.count("0"), len(fraction)
    text = format(exact.quantize(Decimal(1).scaleb(-most), ROUND_HALF_EVEN, _WIDE), "f")
    integer, _, decimals = text.partition(".")
    decimals = decimals.rstrip("0").ljust(least, "0")
    # A pattern with a point and without any 0 still writes the 0 before the point.
    pointed = shape[3] is not None and "0" not in whole + fraction
    integer = integer.lstrip("0").rjust(max(whole.count("0"), int(pointed)), "0")
    if not integer and not decimals:
        integer = "0"
    if group:
        head = len(integer) % group
        parts = [integer[:head]] if head else []
        parts += [integer[at : at + group] for at in range(head, len(integer), group)]
        integer = ",".join(parts)
    return f"{integer}.{decimals}" if decimals else integer


@filtering("abs")
def absolute(evaluation: Evaluation, value: Any, given: Mapping[str, Any]) -> Any:
    """Give the absolute value."""
    del evaluation, given
    if value is None:
        raise Refusal('Can not pass null value to "abs" filter.')
    if not is_number(value):
        raise Refusal("The 'abs' filter does require as input a number.")
    return Float32(abs(value)) if isinstance(value, Float32) else abs(value)


def _extreme(operator: str, given: Mapping[str, Any]) -> Any:
    best = None
    for place in range(len(given)):
        candidate = given.get(str(place))
        if best is None or operators.compare(operator, candidate, best):
            best = candidate
    return best


@calling("max")
def maximum(evaluation: Evaluation, given: Mapping[str, Any]) -> Any:
    """Give the largest argument."""
    del evaluation
    return _extreme(">", given)


@calling("min")
def minimum(evaluation: Evaluation, given: Mapping[str, Any]) -> Any:
    """Give the smallest argument."""
    del evaluation
    return _extreme("<", given)


@calling("range", "start", "end", "increment")
def range_of(evaluation: Evaluation, given: Mapping[str, Any]) -> list[Any]:
    """List the numbers or letters from start to end, both included."""
    start, end, increment = given.get("start"), given.get("end"), given.get("increment")
    step = 1 if increment is None else increment
    if not is_number(step):
        raise Refusal(f"The increment of the range function must be a number {class_name(step)}")
    step = int(step)
    if step == 0:
        raise Refusal("The increment of the range function must be different than 0")
    letters = isinstance(start, str) and isinstance(end, str) and len(start) == len(end) == 1
    if not letters and not (is_number(start) and is_number(end)):
        raise Refusal("Arguments of range function must be of type Number or String with a length of 1")
    first, last = (ord(start), ord(end)) if letters else (int(start), int(end))  # type: ignore[arg-type]
    numbers = range(first, last + (1 if step > 0 else -1), step)
    evaluation.budget.items(max(0, (numbers.stop - numbers.start) // numbers.step))
    return list(map(chr, numbers)) if letters else list(numbers)
