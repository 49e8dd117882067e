"""Pattern: regular expressions of flows, which are Java's, for Python's `re`."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

_CLASSES: Final = {
    "Lower": "a-z", "Upper": "A-Z", "Alpha": "a-zA-Z", "Digit": "0-9", "Alnum": "a-zA-Z0-9", "XDigit": "0-9a-fA-F",
    "Punct": r"!-/:-@\[-`{-~", "Blank": r" \t", "Cntrl": r"\x00-\x1f\x7f", "ASCII": r"\x00-\x7f", "Space": r"\s",
    "Graph": "!-~", "Print": " -~",
    "L": r"^\W\d_", "IsAlphabetic": r"^\W\d_", "N": r"\d", "Nd": r"\d", "IsDigit": r"\d",
}  # fmt: skip
_WIDE: Final = (r"\p{L}", r"\p{IsAlphabetic}", r"\p{N}", r"\p{Nd}", r"\p{IsDigit}")
"""Classes of all of Unicode."""
_PROPERTY: Final = re.compile(r"\\p\{(\w+)\}")
_GROUP: Final = re.compile(r"\(\?<(?=[a-zA-Z])")
_BACK_REFERENCE: Final = re.compile(r"\\k<(\w+)>")
_ESCAPED: Final = re.compile(r"\\.", re.DOTALL)
_NESTED: Final = re.compile(r"\[\^?\]?[^\]]*(\[|&&)")
"""Java's unions and intersections of classes, which mean something else to Python."""
_QUOTED: Final = re.compile(r"\\Q(.*?)(?:\\E|\Z)", re.DOTALL)


@lru_cache(maxsize=1024)
def compile_java(pattern: str) -> re.Pattern[str]:
    r"""The Java pattern for Python; `\d`, `\w` and `\s` are ASCII, as in Java. Raises ValueError."""
    text = _QUOTED.sub(lambda found: re.escape(found.group(1)), pattern)
    if _NESTED.search(_ESCAPED.sub("", text)):
        raise ValueError(f"invalid pattern [{pattern}]: a character class within another is not supported")
    text = _GROUP.sub("(?P<", text)
    text = _BACK_REFERENCE.sub(r"(?P=\1)", text).replace(r"\z", r"\Z")
    wide = any(name in text for name in _WIDE)
    text = _PROPERTY.sub(_character_class, text)
    try:
        return re.compile(text, 0 if wide else re.ASCII)
    except re.error as error:
        raise ValueError(f"invalid pattern [{pattern}]: {error}") from error


def _character_class(found: re.Match[str]) -> str:
    name = found.group(1)
    if name not in _CLASSES:
        raise ValueError(f"invalid pattern [{found.string}]: the character class {found.group(0)} is not supported")
    content = _CLASSES[name]
    within = found.string.rfind("[", 0, found.start()) > found.string.rfind("]", 0, found.start())
    if within and content.startswith("^"):
        raise ValueError(f"invalid pattern [{found.string}]: {found.group(0)} is not supported within [ ]")
    return content if within else f"[{content}]"


def matches(pattern: str, text: str) -> bool:
    """Whether the whole text matches, as Java's `Pattern.matches`."""
    return compile_java(pattern).fullmatch(text) is not None
