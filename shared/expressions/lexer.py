"""Pebble's tokens, as a lexer for Jinja2's parser.

The differences to Jinja2's own: words such as `contains` and `is not` are operators, texts keep their
backslashes and may hold `#{…}`, `-` trims whitespace only where whitespace follows, a `raw` block is text.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Self

import regex
from jinja2.exceptions import TemplateSyntaxError
from jinja2.lexer import Lexer, Token, TokenStream


class Position(int):
    """A line number that also knows its column; Jinja2 carries it from token to node as the line."""

    column: int

    def __new__(cls, line: int, column: int) -> Self:
        """Make a position; both count from 1."""
        position = int.__new__(cls, line)
        position.column = column
        return position


#: Token type of an operator, symbol or word; the value is the operator.
OPERATOR = "operator"
INTERPOLATION_BEGIN = "interpolation_begin"
INTERPOLATION_END = "interpolation_end"

_WORDS = ("contains", "matches", "equals", "and", "not", "or", "is")
_SYMBOLS = ("???", "??", "==", "!=", ">=", "<=", "..", ">", "<", "+", "-", "*", "/", "%", "|", "~")
_OPERATOR = regex.compile(
    r"is\s+not(?![a-zA-Z0-9_])|(?:" + "|".join(_WORDS) + r")(?![a-zA-Z0-9_])|" + "|".join(map(regex.escape, _SYMBOLS))
)
_NAME = regex.compile(r"[\p{L}_][\p{L}\p{Nd}_]*")
_NUMBER = regex.compile(r"[0-9]+L|[0-9]+(?:\.[0-9]+)?")
_SINGLE = regex.compile(r"'([^'\\]*+(?:\\.[^'\\]*+)*+)'", regex.DOTALL)
_DOUBLE = regex.compile(r'"([^#"\\]*+(?:\\.[^#"\\]*+)*+)"', regex.DOTALL)
_DOUBLE_PART = regex.compile(r'[^#"\\]*+(?:(?:\\.|#(?!\{))[^#"\\]*+)*+', regex.DOTALL)
_SPACE = regex.compile(r"\s*+")
_START = regex.compile(r"\{\{|\{%|\{#")
_TRIM_BEFORE = regex.compile(r"-\s+")
_TRIM_BEHIND = regex.compile(r"\s-$")
_TRIM_AFTER = regex.compile(r"\s*+-(?:\}\}|%\})")
_CLOSE = {"{{": regex.compile(r"\s*+-?\}\}"), "{%": regex.compile(r"\s*+-?%\}")}
_RAW_OPEN = regex.compile(r"\{%-*\s*+raw\s*+-*%\}")
_RAW_CLOSE = regex.compile(r"\{%-*\s*+endraw\s*+-*%\}")
_VERBATIM_OPEN = regex.compile(r"\{%-?\s*+verbatim\s*+-?%\}")
_VERBATIM_CLOSE = regex.compile(r"\{%(-)?\s*+endverbatim\s*+(-)?%\}")
_BRACKETS = {"(": ")", "[": "]", "{": "}"}
_PUNCTUATION = {
    "(": "lparen",
    ")": "rparen",
    "[": "lbracket",
    "]": "rbracket",
    "{": "lbrace",
    "}": "rbrace",
    "?": "question",
    ":": "colon",
    ".": "dot",
    ",": "comma",
    "=": "assign",
}


class PebbleLexer(Lexer):
    """Gives Jinja2's parser the tokens of a Pebble template."""

    def tokenize(
        self,
        source: str,
        name: str | None = None,
        filename: str | None = None,
        state: str | None = None,
    ) -> TokenStream:
        """Make the stream of tokens; `state` has no use here.

        Raises:
            TemplateSyntaxError: the template ends within something, or has a character that has no meaning.
        """
        del state
        return TokenStream(_Scanner(source).tokens(), name, filename)


class _Scanner:
    """Walks once through a template."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._at = 0
        self._line = 1
        self._line_start = 0
        self._counted = 0
        self._trim_next = False

    def tokens(self) -> Iterator[Token]:
        while self._at < len(self._source):
            yield from self._data()

    def _position(self) -> Position:
        """Give the place of the next character; newlines are counted as it goes."""
        newlines = self._source.count("\n", self._counted, self._at)
        if newlines:
            self._line += newlines
            self._line_start = self._source.rindex("\n", self._counted, self._at) + 1
        self._counted = self._at
        return Position(self._line, self._at - self._line_start + 1)

    def _fail(self, message: str) -> TemplateSyntaxError:
        return TemplateSyntaxError(message, self._position())

    def _text(self, text: str, position: Position) -> Iterator[Token]:
        if self._trim_next:
            text = text.lstrip()
            self._trim_next = False
        if text:
            yield Token(position, "data", text)

    def _data(self) -> Iterator[Token]:
        position = self._position()
        start = _START.search(self._source, self._at)
        if start is None:
            text, self._at = self._source[self._at :], len(self._source)
            yield from self._text(text, position)
            return
        text, opening = self._source[self._at : start.start()], start.group()
        raw = _RAW_OPEN.match(self._source, start.start()) if opening == "{%" else None
        if raw:
            yield from self._text(text, position)
            yield from self._raw(raw.start(), raw.end())
            return
        verbatim = _VERBATIM_OPEN.match(self._source, start.start()) if opening == "{%" else None
        self._at = start.end()
        before = _TRIM_BEFORE.match(self._source, self._at)
        if before:
            text = text.rstrip()
            self._at = before.end()
        yield from self._text(text, position)
        if verbatim:
            self._at = verbatim.end()
            yield from self._verbatim()
        elif opening == "{#":
            self._comment()
        else:
            yield from self._tag(opening)

    def _raw(self, start: int, inside: int) -> Iterator[Token]:
        """A raw block stays as it is, tags included: Kestra takes the tags away after the last pass."""
        close = _RAW_CLOSE.search(self._source, inside)
        if close is None:
            raise self._fail("Unclosed raw tag.")
        self._at = start
        position = self._position()
        self._at = close.end()
        self._trim_next = False
        yield Token(position, "data", self._source[start : close.end()])

    def _verbatim(self) -> Iterator[Token]:
        close = _VERBATIM_CLOSE.search(self._source, self._at)
        if close is None:
            raise self._fail("Unclosed verbatim tag.")
        position = self._position()
        # Pebble takes leading whitespace away, whether asked to or not.
        text = self._source[self._at : close.start()].lstrip()
        if close.group(1):
            text = text.rstrip()
        self._at = close.end()
        self._trim_next = close.group(2) is not None
        if text:
            yield Token(position, "data", text)

    def _comment(self) -> None:
        close = self._source.find("#}", self._at)
        if close < 0:
            raise self._fail("Unclosed comment.")
        self._trim_next = _TRIM_BEHIND.search(self._source, self._at, close) is not None
        self._at = close + 2

    def _tag(self, opening: str) -> Iterator[Token]:
        kind = "variable" if opening == "{{" else "block"
        yield Token(self._position(), f"{kind}_begin", opening)
        brackets: list[str] = []
        while True:
            if not brackets:
                close = _CLOSE[opening].match(self._source, self._at)
                if close:
                    self._trim_next = _TRIM_AFTER.match(self._source, self._at) is not None
                    yield Token(self._position(), f"{kind}_end", close.group())
                    self._at = close.end()
                    return
            yield from self._expression(brackets)

    def _expression(self, brackets: list[str]) -> Iterator[Token]:
        """Give the next token of an expression; a text with `#{…}` gives several."""
        space = _SPACE.match(self._source, self._at)
        assert space is not None
        self._at = space.end()
        if self._at >= len(self._source):
            raise self._fail(f'Unclosed "{brackets[-1]}"' if brackets else "Unexpected end of template.")
        position = self._position()
        for pattern, kind in ((_OPERATOR, OPERATOR), (_NAME, "name"), (_NUMBER, "number")):
            found = pattern.match(self._source, self._at)
            if found:
                self._at = found.end()
                yield self._word(position, kind, found.group())
                return
        character = self._source[self._at]
        if character in _PUNCTUATION:
            self._bracket(character, brackets)
            self._at += 1
            yield Token(position, _PUNCTUATION[character], character)
            return
        for pattern, quote in ((_SINGLE, "'"), (_DOUBLE, '"')):
            found = pattern.match(self._source, self._at)
            if found:
                self._at = found.end()
                yield Token(position, "string", found.group(1).replace("\\" + quote, quote))
                return
        if character == '"':
            yield from self._interpolated(position)
            return
        raise self._fail(f"Unexpected character [{character}]")

    def _word(self, position: Position, kind: str, text: str) -> Token:
        if kind == OPERATOR and text.startswith("is") and text != "is":
            return Token(position, OPERATOR, "is not")
        if kind == "number":
            if "." in text:
                return Token(position, "float", text)
            return Token(position, "integer", text.removesuffix("L"))
        return Token(position, kind, text)

    def _bracket(self, character: str, brackets: list[str]) -> None:
        if character in _BRACKETS:
            brackets.append(character)
        elif character in ")]}":
            if not brackets:
                raise self._fail(f'Unexpected "{character}"')
            expected = _BRACKETS[brackets.pop()]
            if expected != character:
                raise self._fail(f'Unclosed "{expected}"')

    def _interpolated(self, position: Position) -> Iterator[Token]:
        """A text in double quotes that holds `#`: parts, and expressions in `#{…}`."""
        self._at += 1
        empty = True
        while True:
            part = _DOUBLE_PART.match(self._source, self._at)
            if part and part.group():
                self._at = part.end()
                empty = False
                yield Token(position, "string", part.group())
            if self._source.startswith("#{", self._at):
                yield Token(self._position(), INTERPOLATION_BEGIN, "#{")
                self._at += 2
                empty = False
                yield from self._inside()
            elif self._source.startswith('"', self._at):
                self._at += 1
                if empty:
                    yield Token(position, "string", "")
                return
            else:
                raise self._fail('Unclosed "')

    def _inside(self) -> Iterator[Token]:
        brackets: list[str] = []
        while True:
            space = _SPACE.match(self._source, self._at)
            assert space is not None
            if not brackets and self._source.startswith("}", space.end()):
                self._at = space.end()
                yield Token(self._position(), INTERPOLATION_END, "}")
                self._at += 1
                return
            yield from self._expression(brackets)
