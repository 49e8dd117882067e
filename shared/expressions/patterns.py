"""Regular expressions in Java's way, with a time limit."""

from __future__ import annotations

from typing import Any

import regex

from shared.expressions.errors import Excess, Refusal
from shared.expressions.limits import Budget
from shared.expressions.values import java_text

#: Longest expression; longer ones only cost time.
LONGEST = 10_000
#: Seconds of one use of an expression: a sane one takes microseconds.
SECONDS = 2.0


def _seconds(budget: Budget) -> float:
    """Give the time limit; matching lets other threads run meanwhile (`concurrent`)."""
    return min(SECONDS, budget.left())


def compiled(pattern: str) -> regex.Pattern[str]:
    """Compile a regular expression.

    Raises:
        Refusal: it isn't one.
    """
    if len(pattern) > LONGEST:
        raise Refusal(f"The regular expression has more than {LONGEST} characters")
    try:
        return regex.compile(pattern)
    except (regex.error, RecursionError, OverflowError, MemoryError) as error:
        raise Refusal(f"Invalid regular expression `{pattern}`: {error}") from error


def matches(left: Any, right: Any, budget: Budget) -> bool:
    """Say whether a whole text matches an expression, as `String.matches`."""
    if left is None:
        return False
    expression = compiled(java_text(right, budget))
    try:
        return expression.fullmatch(java_text(left, budget), timeout=_seconds(budget), concurrent=True) is not None
    except TimeoutError as error:
        raise _slow() from error


def _slow() -> Excess:
    return Excess("The regular expression takes too long")


def found(text: str, pattern: str, budget: Budget) -> regex.Match[str] | None:
    """Give the first match, as `Matcher.find`.

    Raises:
        Refusal: the expression isn't one.
        Excess: it takes too long.
    """
    try:
        return compiled(pattern).search(text, timeout=_seconds(budget), concurrent=True)
    except TimeoutError as error:
        raise _slow() from error


_REFERENCE = regex.compile(r"\\(.)|\$(?:(\d)|\{([A-Za-z][A-Za-z0-9]*)\})|(\$|\\$)", regex.DOTALL)


def replaced_all(text: str, pattern: str, replacement: str, budget: Budget) -> str:
    """Replace as Java's `replaceAll`: `$1` and `${name}` stand for groups, a backslash quotes.

    Raises:
        Refusal: the expression isn't one, or the replacement names no group.
        Excess: it takes too long, or gives too much.
    """
    length = 0

    def expanded(found: regex.Match[str]) -> str:
        nonlocal length
        budget.step()
        made = _REFERENCE.sub(lambda reference: _group(found, reference), replacement)
        length += len(made)
        budget.text(length)
        return made

    try:
        return compiled(pattern).sub(expanded, text, timeout=_seconds(budget), concurrent=True)
    except TimeoutError as error:
        raise _slow() from error


def _group(found: regex.Match[str], reference: regex.Match[str]) -> str:
    quoted, number, name, wrong = reference.groups()
    if quoted is not None:
        return str(quoted)
    if wrong is not None:
        raise Refusal("Illegal group reference in the replacement")
    try:
        return found.group(int(number) if number else name) or ""
    except IndexError as error:
        raise Refusal(f"No group {number or name}") from error


def split(text: str, pattern: str, limit: int, budget: Budget) -> list[str]:
    """Split as Java's `split`: with limit 0, empty parts at the end are left out.

    Raises:
        Refusal: the expression isn't one.
        Excess: it takes too long.
    """
    parts: list[str] = []
    start = 0
    try:
        for found in compiled(pattern).finditer(text, timeout=_seconds(budget), concurrent=True):
            budget.step()
            if limit > 0 and len(parts) == limit - 1:
                break
            # An empty match at the start gives no empty part, one at the end no part at all.
            if found.end() == 0 or found.start() == found.end() == len(text):
                continue
            parts.append(text[start : found.start()])
            start = found.end()
    except TimeoutError as error:
        raise _slow() from error
    parts.append(text[start:])
    if limit == 0 and text:
        while parts and not parts[-1]:
            parts.pop()
    return parts
