"""YAML as Kestra's Jackson writes and reads it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import regex
import yaml

from shared.expressions.errors import Excess, Refusal
from shared.expressions.json_text import plain
from shared.expressions.limits import Budget
from shared.expressions.values import scalar_text

#: Longest text that is read, in characters; one of this length takes a second or two.
LONGEST = 1024 * 1024
if TYPE_CHECKING or not yaml.__with_libyaml__:
    from yaml import SafeLoader
else:
    # Several times faster.
    from yaml import CSafeLoader as SafeLoader


class _Loader(SafeLoader):
    """Reads the types that Jackson reads: dates stay texts, `yes` and `no` too."""


_Loader.yaml_implicit_resolvers = {}
for _tag, _pattern, _first in (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("int", r"[-+]?(?:0|[1-9][0-9_]*)", "-+0123456789"),
    ("float", r"[-+]?(?:[0-9][0-9_]*)?\.?[0-9_]+(?:[eE][-+]?[0-9]+)?|[-+]?[0-9][0-9_]*\.", "-+.0123456789"),
    ("merge", r"<<", "<"),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", regex.compile(f"(?:{_pattern})$"), list(_first))


def from_yaml(text: str) -> Any:
    """Read the first YAML document of a text.

    Raises:
        Refusal: the text isn't YAML.
    """
    if len(text) > LONGEST:
        raise Excess(f"The YAML has more than {LONGEST} characters")
    try:
        # Jackson reads the first document and leaves the others.
        return next(iter(yaml.load_all(text, Loader=_Loader)), None)
    except (yaml.YAMLError, ValueError, RecursionError, TypeError) as error:
        raise Refusal(f"Invalid yaml: {error}") from error


#: Texts that Jackson quotes, since YAML 1.1 reads them as something else; texts of digits it leaves plain.
_RESERVED = regex.compile(
    r"false|False|FALSE|n|N|no|No|NO|null|Null|NULL|on|On|ON|off|Off|OFF|true|True|TRUE|y|Y|yes|Yes|YES|~|"
)
#: What makes Jackson quote a text, and what a plain text may be for its YAML library.
_QUOTABLE = regex.compile(r"[\[\]{},]|(?:^|\s)#|:(?:\s|$)")
_PLAIN = regex.compile(r"(?:[^\s\-?:,\[\]{}#&*!|>'\"%@`]|[\-?:](?=\S))[^\t]*(?<!\s)")
#: What a block can't keep: whitespace at its beginning, and spaces at the end of a line.
_UNFIT = regex.compile(r"\A\s|[ \t](?:\n|$)")
_CONTROL = regex.compile(r"[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff]")


def to_yaml(value: Any, budget: Budget) -> str:
    """Write a value as block YAML with indented lists, quoting only where needed.

    Raises:
        Excess: the text would be too long, or the value is nested too deep.
    """
    lines: list[str] = []
    _Writer(lines, budget).block(plain(value, budget, keep_null=True), 0, "", at_top=True)
    text = "\n".join(lines) + "\n"
    budget.text(len(text))
    return text


class _Writer:
    """Writes line by line, indented as Jackson's `INDENT_ARRAYS` does: one space before a dash."""

    def __init__(self, lines: list[str], budget: Budget) -> None:
        self._lines = lines
        self._budget = budget
        self._length = 0

    def _line(self, text: str) -> None:
        self._length += len(text) + 1
        self._budget.text(self._length)
        self._budget.step()
        self._lines.append(text)

    def block(self, value: Any, indent: int, opening: str, *, at_top: bool = False) -> None:
        """Write a value behind the opening of its line, a key with a colon or a dash."""
        space = " " if opening.strip() else ""
        if isinstance(value, Mapping) and value:
            if opening.strip():
                self._line(opening)
            for key, item in value.items():
                name = _scalar(key, 0)
                child = indent if isinstance(item, list) else indent + 2
                self.block(item, child, f"{' ' * indent}{name}:")
        elif isinstance(value, list) and value:
            if opening.strip():
                self._line(opening)
            for item in value:
                self.block(item, indent + 2, f"{' ' * indent} -")
        elif isinstance(value, Mapping):
            self._line(f"{opening}{space}{{}}")
        elif isinstance(value, list):
            self._line(f"{opening}{space}[]")
        else:
            inner = 2 if at_top else indent
            self._line(f"{opening}{space}{_scalar(value, inner)}")


def _scalar(value: Any, indent: int) -> str:
    if value is None:
        return "null"
    if not isinstance(value, str):
        return scalar_text(value) or "null"
    if (
        _CONTROL.search(value)
        or _RESERVED.fullmatch(value)
        or _QUOTABLE.search(value)
        or ("\n" in value and _UNFIT.search(value))
    ):
        return '"' + "".join(map(_escaped, value)) + '"'
    if "\n" in value:
        return _literal(value, indent)
    return value if _PLAIN.fullmatch(value) else "'" + value.replace("'", "''") + "'"


def _escaped(letter: str) -> str:
    known = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r", "\0": "\\0"}
    code = ord(letter)
    if letter in known:
        return known[letter]
    return letter if 32 <= code != 127 and not 0xD800 <= code <= 0xDFFF else f"\\u{code:04X}"


def _literal(text: str, indent: int) -> str:
    """Write a text of several lines as a block, with the sign for how it ends."""
    body = text.removesuffix("\n")
    chomp = "-" if body == text else "+" if body.endswith("\n") or not body else ""
    if chomp == "+":
        body = text[:-1]
    lines = [f"{' ' * indent}{line}" if line else "" for line in body.split("\n")]
    return "\n".join([f"|{chomp}", *lines])
