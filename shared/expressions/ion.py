"""Amazon Ion text, as Kestra's Jackson writes it, and as much of it read as Kestra's files have."""

from __future__ import annotations

import base64
import binascii
import datetime as dt
import math
from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from decimal import Decimal
from typing import Any, Final

import regex

from shared.expressions.dates import moment_of
from shared.expressions.errors import Excess, Refusal
from shared.expressions.json_text import READ_DEPTH, iso_text
from shared.expressions.limits import Budget
from shared.expressions.values import Entry, scalar_text

_SYMBOL = regex.compile(r"[A-Za-z_$][A-Za-z0-9_$]*")
_KEYWORDS = frozenset({"null", "true", "false", "nan"})
_ESCAPED = {
    '"': '\\"',
    "\\": "\\\\",
    "\n": "\\n",
    "\r": "\\r",
    "\t": "\\t",
    "\0": "\\0",
    "\a": "\\a",
    "\b": "\\b",
    "\f": "\\f",
    "\v": "\\v",
}


def to_ion(value: Any, budget: Budget) -> str:
    """Write a value as Ion text on one line.

    Raises:
        Excess: the text would be too long, or the value is nested too deep.
    """
    parts: list[str] = []
    _write(value, parts, [0], budget, 0)
    return "".join(parts)


def _write(value: Any, parts: list[str], length: list[int], budget: Budget, depth: int) -> None:
    if isinstance(value, Entry):
        value = {value.key: value.value}
    if isinstance(value, (Mapping, list, tuple, AbstractSet)):
        if depth > READ_DEPTH:
            raise Excess(f"The value nests more than {READ_DEPTH} levels deep")
        pairs: Iterable[tuple[Any, Any]]
        if isinstance(value, Mapping):
            opening, closing, pairs = "{", "}", value.items()
        else:
            opening, closing, pairs = "[", "]", ((None, item) for item in value)
        parts.append(opening)
        for number, (key, item) in enumerate(pairs):
            parts.append("," if number else "")
            if opening == "{":
                name = _name(key if isinstance(key, str) else scalar_text(key) or "null")
                length[0] += len(name)
                parts.append(f"{name}:")
            _write(item, parts, length, budget, depth + 1)
        parts.append(closing)
        return
    text = _scalar(value)
    length[0] += len(text) + 1
    budget.step()
    budget.text(length[0])
    parts.append(text)


def _name(key: str) -> str:
    if _SYMBOL.fullmatch(key) and key not in _KEYWORDS:
        return key
    return "'" + _escaped(key).replace('\\"', '"').replace("'", "\\'") + "'"


def _escaped(text: str) -> str:
    return "".join(
        _ESCAPED.get(letter) or (f"\\x{ord(letter):02x}" if ord(letter) < 32 or ord(letter) == 127 else letter)
        for letter in text
    )


def _scalar(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        if not math.isfinite(value):
            return "nan" if math.isnan(value) else ("+inf" if value > 0 else "-inf")
        text = repr(float(value)).replace("e+", "e")
        return text if "e" in text else f"{text}e0"
    if isinstance(value, Decimal):
        text = format(value, "f")
        return text if "." in text else f"{text}."
    if isinstance(value, int):
        return scalar_text(value) or "0"
    if isinstance(value, dt.datetime):
        kind = "LocalDateTime" if value.tzinfo is None else "ZonedDateTime"
        return f'{kind}::"{iso_text(value)}"'
    if isinstance(value, dt.date):
        return f'LocalDate::"{value.isoformat()}"'
    if isinstance(value, bytes):
        return "{{" + base64.b64encode(value).decode() + "}}"
    return '"' + _escaped(scalar_text(value) or "") + '"'


def from_ion(text: str) -> Any:
    """Read the first value of an Ion text.

    Raises:
        Refusal: the text isn't Ion.
    """
    reader = _Reader(text)
    reader.space()
    if reader.done():
        raise Refusal("Invalid ion: no value")
    try:
        return reader.value(0)
    except RecursionError as error:
        raise Refusal("Invalid ion: nested too deep") from error


_SPACE = regex.compile(r"(?:\s|//[^\n]*|/\*.*?\*/)*+", regex.DOTALL)
_TIMESTAMP = regex.compile(
    r"\d{4}-\d{2}-\d{2}(?:T(?:\d{2}:\d{2}(?::\d{2}(?:\.\d+)?)?(?:Z|[+-]\d{2}:\d{2}))?)?|\d{4}(?:-\d{2})?T"
)
_NUMBER = regex.compile(r"-?(?:0[xX][0-9a-fA-F_]+|0[bB][01_]+|(?:0|[1-9][0-9_]*)(\.[0-9_]*)?(?:([eEdD])[+-]?[0-9]+)?)")
_END = regex.compile(r"[\s,\]\}\)\"':\[\{(/]|$")
_TYPE_NAMES = "null|bool|int|float|decimal|timestamp|string|symbol|blob|clob|struct|list|sexp"
_NULL = regex.compile(rf"null(?:\.(?:{_TYPE_NAMES}))?(?![A-Za-z0-9_$.])")
_SHORT = regex.compile(r'"((?:[^"\\\n]|\\.)*+)"', regex.DOTALL)
_LONG = regex.compile(r"'''((?:[^'\\]|\\.|'(?!''))*+)'''", regex.DOTALL)
_QUOTED = regex.compile(r"'((?:[^'\\\n]|\\.)*+)'", regex.DOTALL)
_ESCAPE = regex.compile(r"\\(x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|\r\n|.)", regex.DOTALL)
_OPERATORS = regex.compile(r"[!#%&*+\-./;<=>?@^`|~]+")
_UNESCAPED: Final = {
    "0": "\0",
    "a": "\a",
    "b": "\b",
    "t": "\t",
    "n": "\n",
    "f": "\f",
    "r": "\r",
    "v": "\v",
    "\n": "",
    "\r\n": "",
}


class _Reader:
    """Reads values from a text, one after the other."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0

    def done(self) -> bool:
        return self._at >= len(self._text)

    def space(self) -> None:
        found = _SPACE.match(self._text, self._at)
        assert found is not None
        self._at = found.end()

    def _fail(self, message: str) -> Refusal:
        return Refusal(f"Invalid ion: {message} at character {self._at + 1}")

    def _take(self, pattern: regex.Pattern[str]) -> regex.Match[str] | None:
        found = pattern.match(self._text, self._at)
        if found is not None:
            self._at = found.end()
        return found

    def _starts(self, mark: str) -> bool:
        if not self._text.startswith(mark, self._at):
            return False
        self._at += len(mark)
        return True

    def value(self, depth: int) -> Any:
        """Read a value; annotations are skipped, as Jackson does for plain objects."""
        self.space()
        if depth > READ_DEPTH:
            raise self._fail("nested too deep")
        if self.done():
            raise self._fail("unexpected end")
        if self._starts("{{"):
            return self._lob()
        if self._starts("{"):
            return self._struct(depth)
        if self._starts("["):
            return self._sequence("]", ",", depth)
        if self._starts("("):
            return self._sequence(")", "", depth)
        long = self._long_text()
        if long is not None:
            return long
        if self._text.startswith("'''", self._at):
            raise self._fail("unclosed text")
        short = self._take(_SHORT)
        if short:
            return self._unescaped(short[1])
        timestamp = self._take(_TIMESTAMP)
        if timestamp:
            return self._timestamp(timestamp.group())
        number = _NUMBER.match(self._text, self._at)
        if number and _END.match(self._text, number.end()):
            self._at = number.end()
            return self._number(number)
        return self._symbol_value(depth)

    def _symbol_value(self, depth: int) -> Any:
        for name, number in (("nan", math.nan), ("+inf", math.inf), ("-inf", -math.inf)):
            if self._text.startswith(name, self._at) and _END.match(self._text, self._at + len(name)):
                self._at += len(name)
                return number
        if self._take(_NULL):
            return None
        bare = self._take(_SYMBOL)
        quoted = None if bare else self._take(_QUOTED)
        if bare is None and quoted is None:
            raise self._fail(f"unexpected `{self._text[self._at : self._at + 1]}`")
        name = bare.group() if bare else self._unescaped(quoted[1] if quoted else "")
        before = self._at
        self.space()
        if self._starts("::"):
            return self.value(depth)
        self._at = before
        return {"true": True, "false": False}.get(name, name) if bare else name

    def _long_text(self) -> str | None:
        parts = []
        while True:
            before = self._at
            self.space()
            found = self._take(_LONG)
            if found is None:
                self._at = before
                break
            parts.append(self._unescaped(found[1]))
        return "".join(parts) if parts else None

    def _unescaped(self, text: str) -> str:
        if "\\" not in text:
            return text

        def letter(found: regex.Match[str]) -> str:
            code = found[1]
            if len(code) > 2:
                number = int(code[1:], 16)
                if number > 0x10FFFF:
                    raise self._fail("unknown character")
                return chr(number)
            return _UNESCAPED.get(code, code)

        return _ESCAPE.sub(letter, text)

    def _number(self, found: regex.Match[str]) -> Any:
        text = found.group().replace("_", "")
        exponent = found[2]
        if exponent in ("e", "E"):
            return float(text)
        if exponent or found[1] is not None:
            return Decimal(text.lower().replace("d", "e"))
        digits = text.removeprefix("-")
        base = {"0x": 16, "0b": 2}.get(digits[:2].lower(), 10)
        if len(digits) > 1000:
            raise self._fail("the number is too long")
        return int(digits, base) * (-1 if text.startswith("-") else 1)

    def _timestamp(self, text: str) -> Any:
        date = text.removesuffix("T")
        if len(date) < len("2024-01-01"):
            return date
        return moment_of(date, dt.UTC)

    def _lob(self) -> Any:
        end = self._text.find("}}", self._at)
        if end < 0:
            raise self._fail("unclosed blob")
        inside = self._text[self._at : end].strip()
        self._at = end + 2
        if inside.startswith(('"', "'")):
            return from_ion(inside)
        try:
            return base64.b64decode(inside, validate=True)
        except (binascii.Error, ValueError) as error:
            raise self._fail("wrong base64") from error

    def _struct(self, depth: int) -> dict[str, Any]:
        result: dict[str, Any] = {}
        while True:
            self.space()
            if self._starts("}"):
                return result
            name = self._field()
            self.space()
            if not self._starts(":"):
                raise self._fail("expected `:`")
            result[name] = self.value(depth + 1)
            self.space()
            if not self._starts(",") and not self._text.startswith("}", self._at):
                raise self._fail("expected `,` or `}`")

    def _field(self) -> str:
        long = self._long_text()
        if long is not None:
            return long
        bare = self._take(_SYMBOL)
        if bare:
            return bare.group()
        found = self._take(_QUOTED) or self._take(_SHORT)
        if found is None:
            raise self._fail("expected a field name")
        return self._unescaped(found[1])

    def _sequence(self, closing: str, separator: str, depth: int) -> list[Any]:
        result: list[Any] = []
        while True:
            self.space()
            if self._starts(closing):
                return result
            operator = None if separator else self._take(_OPERATORS)
            result.append(operator.group() if operator else self.value(depth + 1))
            self.space()
            if separator and not self._starts(separator) and not self._text.startswith(closing, self._at):
                raise self._fail(f"expected `,` or `{closing}`")
            if self.done():
                raise self._fail("unexpected end")
