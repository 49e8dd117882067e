"""Lucene: `q`, the text of a search, read and checked into the syntax tree that both document stores translate.

Supported: `field:value`, words and "phrases", AND, OR, NOT, `+`, `-`, groups, `field:(a OR b)`, ranges
`[a TO b]`, `{a TO b}`, `>=`, `<`, wildcards `*` and `?`, `field:*` (has a value).

- Terms without an operator must all match.
- A text without a field is looked for in all fields that the catalogue marks as free: keywords as a whole, texts by
  word.
- Wildcards: anywhere in a keyword; in text and labels only at the end. A leading one is refused where nearly every
  document has another value (ids), since it would read them all.
- Refused, with a message that says so: fuzzy and proximity (`~`), boosts (`^`), regular expressions (`/…/`), and the
  signs `&&`, `||`, `!` for AND, OR, NOT.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from typing import Any, Final, NoReturn

from luqum import tree
from luqum.exceptions import ParseError
from luqum.thread import parse as parse_lucene

from shared.model.document import Kind
from shared.model.moment import Millis
from shared.model.query import QueryError
from shared.query import dates
from shared.query.ast import All, And, Equals, Exists, Node, Not, Or, Pattern, Range, Wild, Words
from shared.query.fields import CATALOGUE, Field, FieldType, field_of

MAX_LENGTH: Final = 4000
"""Characters of a query: what fits an address line; a longer one is a program's mistake."""
MAX_CONDITIONS: Final = 400
"""Conditions of one query, as compiled: a bound for what one request can cost."""
MAX_DEPTH: Final = 50
"""Groups within groups."""

_ALIASES: Final = {
    "state": "state.current",
    "startDate": "state.startDate",
    "endDate": "state.endDate",
    "duration": "state.duration",
}
"""Short names, accepted where the kind has the long one."""

_NUMBERS: Final = 2.0**63
"""Numbers lie below this and above its negative: both stores hold integers of 64 bits."""
_SURROGATE: Final = re.compile("[\ud800-\udfff]")
"""Half of a UTF-16 pair: JSON can carry one, no document holds it, and it cannot be encoded."""

_WORD: Final = re.compile(r"[^\W_]+")
_OPERATORS: Final = {"&&": "AND", "||": "OR"}


@dataclass(frozen=True, slots=True)
class Checked:
    """A query that can be answered: its text without surrounding space, and what it means."""

    text: str
    tree: Node


def parse(q: str, kind: Kind, now: Millis | None = None) -> Checked:
    """Read and check a query; `now`: epoch ms that `now-1d` counts from, the clock by default.

    Raises QueryError naming the place and what is supported.
    """
    text = q.strip()
    if not text:
        return Checked(text, All())
    if len(text) > MAX_LENGTH:
        raise QueryError(f"q has {len(text)} characters, {MAX_LENGTH} at most are supported")
    if (broken := _SURROGATE.search(text)) is not None:
        raise QueryError(f"q, position {broken.start() + 1}: half of a character; use UTF-8 text")
    try:
        parsed = parse_lucene(text)
    except ParseError as error:
        raise QueryError(f"q is not a Lucene query, {_reason(error, len(text))}") from error
    except (ArithmeticError, ValueError) as error:  # luqum reads what follows ~ or ^ as a number, and some are none
        raise QueryError(
            "q is not a Lucene query: a number after ~ or ^ cannot be read, and neither is supported"
        ) from error
    reader = _Reader(kind, time.time_ns() // 1_000_000 if now is None else now)
    return Checked(text, reader.node(parsed, None, 0))


def words_of(text: str) -> tuple[str, ...]:
    """The words of a text: runs of letters and digits in lower case, as text fields hold them."""
    return tuple(_WORD.findall(text.lower()))


def _reason(error: ParseError, length: int) -> str:
    """Where, what, and what is understood instead."""
    text = str(error).rstrip("!").replace("Syntax error in input : ", "").removesuffix(" at the end")
    what, found, place = text.rpartition(" at position ")
    position = int(place) + 1 if found else length + 1  # luqum counts from 0
    what = " ".join((what or text).split())
    return (
        f'position {position}: {what}; supported are words, "phrases", field:value, AND, OR, NOT, groups, ranges such'
        ' as [1 TO 5], wildcards * and ?; a literal \\ + - : ( ) [ ] { } " / needs a \\ before it, or the value quotes'
    )


class _Reader:
    """Turns luqum's tree into ours."""

    def __init__(self, kind: Kind, now: Millis) -> None:
        self._kind = kind
        self._now = now
        self._conditions = 0

    def node(self, item: Any, field: str | None, depth: int) -> Node:
        """`field`: the name that stands before the group, None outside of one."""
        if depth > MAX_DEPTH:
            raise QueryError(f"q has more than {MAX_DEPTH} groups within each other")
        deeper = depth + 1
        if isinstance(item, tree.SearchField):
            if field is not None:
                self._refuse(item, f"'{item.name}:' within the value of '{field}:'", "quotes around the value")
            if isinstance(item.expr, tree.Prohibit) and isinstance(item.expr.a, tree.Word):
                # `seq:-5`: directly after the colon it is the value's sign, not an operator.
                return self._value(tree.Word(f"-{item.expr.a.value}", pos=item.expr.pos), _unescape(item.name))
            return self.node(item.expr, _unescape(item.name), deeper)
        if isinstance(item, tree.Group | tree.FieldGroup | tree.Plus):
            return self.node(item.children[0], field, deeper)
        if isinstance(item, tree.Not | tree.Prohibit):
            return Not(self.node(item.children[0], field, deeper))
        if isinstance(item, tree.OrOperation):
            return Or(tuple(self.node(child, field, deeper) for child in item.children))
        if isinstance(item, tree.AndOperation | tree.UnknownOperation):
            return And(tuple(self.node(child, field, deeper) for child in item.children))
        return self._value(item, field)

    def _value(self, item: Any, field: str | None) -> Node:
        if isinstance(item, tree.Word):
            self._check_word(item)
        elif isinstance(item, tree.Fuzzy):
            self._refuse(item, "fuzzy search (~)", "wildcards: * and ?")
        elif isinstance(item, tree.Proximity):
            self._refuse(item, 'words near each other ("…"~n)', 'phrases: "…"')
        elif isinstance(item, tree.Boost):
            self._refuse(item, "a boost (^)", "sorting; results have no score")
        elif isinstance(item, tree.Regex):
            self._refuse(item, "a regular expression (/…/)", 'wildcards: * and ?; a literal / in quotes: "a/b"')
        elif not isinstance(item, tree.Phrase | tree.Range | tree.From | tree.To):
            self._refuse(item, type(item).__name__, "words, phrases, ranges, groups and wildcards")
        if field is None:
            return self._free(item)
        return self._fielded(item, self._field(item, field), self._name(field))

    def _check_word(self, item: Any) -> None:
        operator = _OPERATORS.get(item.value) or ("NOT" if item.value.startswith("!") else None)
        if operator is not None:
            self._refuse(item, item.value, operator)

    def _free(self, item: Any) -> Node:
        """A value without a field: in any field that is free."""
        if isinstance(item, tree.Range | tree.From | tree.To):
            self._refuse(item, "a range without a field", "a range of a field: state.startDate:[2026-01-01 TO now]")
        if isinstance(item, tree.Word) and item.value == "*":
            return All()
        nodes = []
        for field in CATALOGUE[self._kind].values():
            if not field.free:
                continue
            if field.type is FieldType.TEXT and not self._suits_text(item):
                continue
            if field.type is FieldType.KEYWORD and field.many and isinstance(item, tree.Word) and item.value[0] in "*?":
                continue
            nodes.append(self._fielded(item, field, field.name))
        if not nodes:
            self._refuse(item, f"'{item}' without a field", "a word, or a field before it")
        return Or(tuple(nodes))

    def _suits_text(self, item: Any) -> bool:
        """Whether a free value can be looked for by word: it has words, and at most a wildcard at the end."""
        parts = _parts(item)
        text = "".join(part for part in parts if isinstance(part, str))
        wild = [index for index, part in enumerate(parts) if isinstance(part, Wild)]
        return bool(words_of(text)) and (not wild or (wild == [len(parts) - 1] and parts[-1] is Wild.ANY))

    def _name(self, name: str) -> str:
        """The full name of a short one."""
        fields = CATALOGUE[self._kind]
        full = _ALIASES.get(name, name)
        return full if full in fields else name

    def _field(self, item: Any, name: str) -> Field:
        found = field_of(self._kind, self._name(name))
        if found is None:
            known = ", ".join(
                f"{field.name}.<key>" if field.type is FieldType.FLATTENED else field.name
                for field in CATALOGUE[self._kind].values()
            )
            raise QueryError(
                f"q, position {_position(item)}: {self._kind.value} have no field '{name}'; they have {known}"
            )
        return found

    def _fielded(self, item: Any, field: Field, name: str) -> Node:
        self._conditions += 1
        if self._conditions > MAX_CONDITIONS:
            raise QueryError(
                f"q has more than {MAX_CONDITIONS} conditions; a word without a field counts once per field"
            )
        if isinstance(item, tree.Word) and item.value == "*":
            return Exists(name)
        if isinstance(item, tree.Range | tree.From | tree.To):
            return self._range(item, field, name)
        match field.type:
            case FieldType.TEXT:
                return self._words(item, name)
            case FieldType.DATE:
                first, last = self._date(item, _literal(item), name)
                return Range(name, first, last)
            case FieldType.NUMBER:
                return Equals(name, self._number(item, _literal(item), name))
            case FieldType.BOOLEAN:
                text = _literal(item)
                if text not in ("true", "false"):
                    self._refuse(item, f"'{text}' for {name}", "true or false")
                return Equals(name, text == "true")
            case _:
                return self._keyword(item, field, name)

    def _keyword(self, item: Any, field: Field, name: str) -> Node:
        parts = _parts(item)
        if all(isinstance(part, str) for part in parts):
            return Equals(name, "".join(map(str, parts)))
        pattern = Pattern(name, parts)
        if field.type is FieldType.FLATTENED and (pattern.prefix is None or name == field.name):
            self._refuse(item, f"this wildcard for {name}", f"{field.name}.<key> with one * at the end")
        if field.many and isinstance(parts[0], Wild):
            self._refuse(item, f"a leading wildcard for {name}", "a wildcard after the beginning")
        return pattern

    def _words(self, item: Any, name: str) -> Words:
        parts = _parts(item)
        prefix = isinstance(item, tree.Word) and parts[-1] is Wild.ANY
        if prefix:
            parts = parts[:-1]
        if any(isinstance(part, Wild) for part in parts):
            self._refuse(item, f"a wildcard in {name} but at the end of a word", "word*")
        text = "".join(map(str, parts))
        words = words_of(text)
        if not words:
            self._refuse(item, f"'{item}' for {name}", "words: letters or digits")
        if prefix and not _WORD.match(text[-1]):
            prefix = False  # `a-*`: what follows is another word, about which nothing is said
        return Words(name, words, prefix)

    def _range(self, item: Any, field: Field, name: str) -> Range:
        if field.type in (FieldType.TEXT, FieldType.BOOLEAN, FieldType.FLATTENED):
            self._refuse(item, f"a range of {name}", "ranges of keywords, dates and numbers")
        low: Any = item.low if isinstance(item, tree.Range) else item.a if isinstance(item, tree.From) else None
        high: Any = item.high if isinstance(item, tree.Range) else item.a if isinstance(item, tree.To) else None
        low_included = item.include_low if isinstance(item, tree.Range) else bool(getattr(item, "include", True))
        high_included = item.include_high if isinstance(item, tree.Range) else bool(getattr(item, "include", True))
        low_text, high_text = self._bound(low), self._bound(high)
        match field.type:
            case FieldType.DATE:
                return self._date_range(item, name, (low_text, low_included), (high_text, high_included))
            case FieldType.NUMBER:
                return Range(
                    name,
                    None if low_text is None else self._number(item, low_text, name),
                    None if high_text is None else self._number(item, high_text, name),
                    low_included,
                    high_included,
                )
            case _:
                return Range(name, low_text, high_text, low_included, high_included)

    def _date_range(self, item: Any, name: str, low: tuple[str | None, bool], high: tuple[str | None, bool]) -> Range:
        """In whole milliseconds, both ends included: `>2026-01-01` is after that day, `<=2026-01-01` includes it."""
        first: Millis | None = None
        last: Millis | None = None
        if low[0] is not None:
            start, end = self._date(item, low[0], name)
            first = start if low[1] else end + 1
        if high[0] is not None:
            start, end = self._date(item, high[0], name)
            last = end if high[1] else start - 1
        return Range(name, first, last)

    def _bound(self, item: Any) -> str | None:
        """The text of a range's end; None for an open one."""
        if item is None:
            return None
        if isinstance(item, tree.Prohibit):
            return f"-{_literal(item.a)}"
        return None if isinstance(item, tree.Word) and item.value == "*" else _literal(item)

    def _date(self, item: Any, text: str, name: str) -> tuple[Millis, Millis]:
        try:
            return dates.interval(text, self._now)
        except (ValueError, OverflowError):
            self._refuse(item, f"'{text}' for {name}", dates.EXPECTED)

    def _number(self, item: Any, text: str, name: str) -> float:
        try:
            number = float(text)
        except ValueError:
            number = float("nan")
        if not -_NUMBERS < number < _NUMBERS:
            self._refuse(item, f"'{text}' for {name}", "a number of 64 bits")
        return int(number) if number.is_integer() else number

    def _refuse(self, item: Any, what: str, supported: str) -> NoReturn:
        raise QueryError(f"q, position {_position(item)}: {what} is not supported; use {supported}")


def _position(item: Any) -> int:
    """Counted from 1."""
    return int(getattr(item, "pos", None) or 0) + 1


def _unescape(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text)


def _literal(item: Any) -> str:
    """The text of a word or phrase where wildcards have no meaning."""
    text = item.value[1:-1] if isinstance(item, tree.Phrase) else str(item.value)
    return _unescape(text)


def _parts(item: Any) -> tuple[str | Wild, ...]:
    """Text and wildcards of a word; a phrase has no wildcards. Runs of * are one."""
    if isinstance(item, tree.Phrase):
        return (_literal(item),)
    parts: list[str | Wild] = []
    text = ""
    escaped = False
    for character in item.value:
        if not escaped and character in "*?":
            if text:
                parts.append(text)
                text = ""
            if not (character == "*" and parts and parts[-1] is Wild.ANY):
                parts.append(Wild(character))
        elif not escaped and character == "\\":
            escaped = True
            continue
        else:
            text += character
        escaped = False
    if text or not parts:
        parts.append(text)
    return tuple(parts)
