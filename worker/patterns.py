"""Patterns: file names that match a glob, as Java's `PathMatcher` has it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache


def matches(name: str, patterns: Iterable[str]) -> bool:
    """Whether a relative path matches one of the patterns; a slash in front of either doesn't count."""
    return any(_compiled(pattern).fullmatch(name.lstrip("/")) for pattern in patterns)


@lru_cache(maxsize=1024)
def _compiled(pattern: str) -> re.Pattern[str]:
    """`*` stands for anything but a slash, `**` for anything, `?` for one character, `{a,b}` for one of several."""
    text = pattern.lstrip("/")
    result: list[str] = []
    depth = at = 0
    while at < len(text):
        character = text[at]
        at += 1
        if character == "*" and text[at : at + 1] == "*":
            at += 1
            result.append(".*")
        elif character == "*":
            result.append("[^/]*")
        elif character == "?":
            result.append("[^/]")
        elif character == "{" and "}" in text[at:]:
            depth += 1
            result.append("(?:")
        elif character == "}" and depth:
            depth -= 1
            result.append(")")
        elif character == "," and depth:
            result.append("|")
        elif character == "[" and (end := text.find("]", at + 1)) > 0:
            inside = text[at:end].replace("\\", "\\\\")
            result.append(f"[^{inside[1:]}]" if inside[0] in "!^" else f"[{inside}]")
            at = end + 1
        else:
            result.append(re.escape(character))
    return re.compile("".join(result) + ")" * depth, re.DOTALL)
