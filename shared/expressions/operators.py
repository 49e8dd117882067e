"""Arithmetic, comparison and truth as Pebble has them on Java's numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from decimal import Context, Decimal, InvalidOperation
from typing import Any

from shared.expressions.errors import Refusal
from shared.expressions.limits import Budget
from shared.expressions.values import Float32, class_name, is_number, java_text

#: Java's MathContext.DECIMAL128.
_DECIMAL128 = Context(prec=34)
_LONG_BITS = 64


def truth(value: Any) -> bool:
    """Say what a condition is: booleans, numbers other than 0, and non-empty texts are true.

    Raises:
        Refusal: the value is null or of another type; Pebble is strict here.
    """
    if value is True or value is False:
        return bool(value)
    if value is None:
        raise Refusal("null value used in a condition and strict variables is set to true")
    if isinstance(value, str):
        return value != ""
    if is_number(value):
        return not (isinstance(value, float) and math.isnan(value)) and value != 0
    raise Refusal(f"Unsupported value type {class_name(value)}. Expected Boolean, String, Number in a condition")


def add(left: Any, right: Any, budget: Budget) -> Any:
    """Add numbers, join texts, extend lists. A text on either side makes it a text."""
    if isinstance(left, str) or isinstance(right, str):
        first, second = java_text(left, budget), java_text(right, budget)
        budget.text(len(first) + len(second))
        return first + second
    if isinstance(left, (list, tuple)):
        if isinstance(right, (list, tuple, AbstractSet)):
            budget.items(len(left) + len(right))
            return [*left, *right]
        budget.items(len(left) + 1)
        return [*left, right]
    return _arithmetic("addition", left, right)


def subtract(left: Any, right: Any, budget: Budget) -> Any:
    """Subtract numbers, or take items out of a list."""
    if isinstance(left, (list, tuple)):
        budget.items(len(left))
        if isinstance(right, (list, tuple, AbstractSet)):
            return [item for item in left if not any(equal(item, other) for other in right)]
        rest = list(left)
        for position, item in enumerate(rest):
            if equal(item, right):
                del rest[position]
                break
        return rest
    return _arithmetic("subtraction", left, right)


def multiply(left: Any, right: Any, budget: Budget) -> Any:
    """Multiply numbers."""
    del budget
    return _arithmetic("multiplication", left, right)


def divide(left: Any, right: Any, budget: Budget) -> Any:
    """Divide numbers; two integers give an integer, towards zero."""
    del budget
    return _arithmetic("division", left, right)


def modulo(left: Any, right: Any, budget: Budget) -> Any:
    """Give the rest of a division, with the sign of the dividend."""
    del budget
    return _arithmetic("modulus", left, right)


def _arithmetic(operation: str, left: Any, right: Any) -> Any:
    if not is_number(left) or not is_number(right):
        raise Refusal(f"Could not perform {operation}: invalid operands {class_name(left)} and {class_name(right)}")
    if isinstance(left, Decimal) or isinstance(right, Decimal):
        return _decimal(operation, Decimal(left), Decimal(right))
    if isinstance(left, float) or isinstance(right, float):
        result = _floating(operation, float(left), float(right))
        doubles = any(isinstance(side, float) and not isinstance(side, Float32) for side in (left, right))
        return result if doubles else Float32(result)
    return _integer(operation, int(left), int(right))


def _decimal(operation: str, left: Decimal, right: Decimal) -> Decimal:
    work = {
        "addition": _DECIMAL128.add,
        "subtraction": _DECIMAL128.subtract,
        "multiplication": _DECIMAL128.multiply,
        "division": _DECIMAL128.divide,
        "modulus": _DECIMAL128.remainder,
    }[operation]
    try:
        return work(left, right)
    except (InvalidOperation, ZeroDivisionError) as error:
        raise Refusal(f"Could not perform {operation}: / by zero") from error


def _floating(operation: str, left: float, right: float) -> float:
    try:
        if operation == "addition":
            return left + right
        if operation == "subtraction":
            return left - right
        if operation == "multiplication":
            return left * right
        if operation == "division":
            return left / right
        return math.fmod(left, right)
    except (ZeroDivisionError, ValueError):
        # Java's doubles divide by zero.
        if operation == "modulus" or left == 0 or math.isnan(left):
            return math.nan
        return math.copysign(math.inf, left) * math.copysign(1, right)


def _integer(operation: str, left: int, right: int) -> int:
    if operation == "addition":
        return _long(left + right)
    if operation == "subtraction":
        return _long(left - right)
    if operation == "multiplication":
        return _long(left * right)
    if right == 0:
        raise Refusal(f"Could not perform {operation}: / by zero")
    quotient = abs(left) // abs(right)
    if (left < 0) != (right < 0):
        quotient = -quotient
    return _long(quotient) if operation == "division" else left - right * quotient


def _long(number: int) -> int:
    """Wrap as a Java `long` does; it also keeps numbers from growing without end."""
    half = 1 << (_LONG_BITS - 1)
    if -half <= number < half:
        return number
    return (number + half) % (1 << _LONG_BITS) - half


def equal(left: Any, right: Any) -> bool:
    """Compare as `==` does: numbers by value, everything else by type and value."""
    if is_number(left) and is_number(right):
        return bool(left == right)
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    if is_number(left) or is_number(right):
        return False
    if isinstance(left, (list, tuple)) and isinstance(right, (list, tuple)):
        return len(left) == len(right) and all(map(equal, left, right))
    try:
        return bool(left == right)
    except RecursionError as error:
        raise Refusal("The values are nested too deep to compare") from error


def compare(operator: str, left: Any, right: Any) -> bool:
    """Compare two numbers, or two texts, by `<`, `>`, `<=` or `>=`; null on a side gives false.

    Raises:
        Refusal: the sides are of other types.
    """
    if left is None or right is None:
        return False
    texts = isinstance(left, str) and isinstance(right, str)
    if not texts and not (is_number(left) and is_number(right)):
        raise Refusal(
            f"invalid operands for mathematical comparison [{operator}]: {class_name(left)} and {class_name(right)}"
        )
    if operator == "<":
        return bool(left < right)
    if operator == ">":
        return bool(left > right)
    return bool(left <= right) if operator == "<=" else bool(left >= right)


def contains(left: Any, right: Any, budget: Budget) -> bool:
    """Say whether a list has an item (or all items of a list), a map a key, or a text a part."""
    if left is None:
        return False
    if isinstance(left, Mapping):
        return isinstance(right, (str, int, float, bool)) and right in left
    if isinstance(left, (list, tuple, AbstractSet)):
        wanted = right if isinstance(right, (list, tuple, AbstractSet)) else [right]
        budget.step(len(left) * len(wanted))
        return all(any(equal(item, one) for item in left) for one in wanted)
    if isinstance(left, str):
        return java_text(right, budget) in left
    raise Refusal(
        f"Contains operator can only be used on Collections, Maps and arrays. Actual type was: {class_name(left)}"
    )
