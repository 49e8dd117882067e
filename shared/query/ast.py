"""Syntax tree of a checked query: what both document stores translate, so that `q` means the same in both.

A condition on a field that a document lacks does not hold, and its negation does.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TypeAlias


class Wild(Enum):
    """A wildcard within a pattern."""

    ANY = "*"  #: any characters, or none
    ONE = "?"  #: exactly one character


@dataclass(frozen=True, slots=True)
class All:
    """Every document."""


@dataclass(frozen=True, slots=True)
class Exists:
    """The field has a value."""

    field: str


@dataclass(frozen=True, slots=True)
class Equals:
    """A keyword is this text (of a flattened root: one of its values is), a number this number, a boolean this one."""

    field: str
    value: str | float | bool


@dataclass(frozen=True, slots=True)
class Pattern:
    """A keyword as a whole matches a pattern; case counts."""

    field: str
    parts: tuple[str | Wild, ...]

    @property
    def prefix(self) -> str | None:
        """The text that values begin with, where the pattern says no more than that."""
        if len(self.parts) == 2 and isinstance(self.parts[0], str) and self.parts[1] is Wild.ANY:
            return self.parts[0]
        return None


@dataclass(frozen=True, slots=True)
class Range:
    """A value between two bounds; None is open. Dates are epoch milliseconds; keywords compare by code point."""

    field: str
    low: str | float | None
    high: str | float | None
    low_included: bool = True
    high_included: bool = True


@dataclass(frozen=True, slots=True)
class Words:
    """A text field holds these words one after the other (lower case); `prefix`: the last one may go on."""

    field: str
    words: tuple[str, ...]
    prefix: bool = False


@dataclass(frozen=True, slots=True)
class And:
    """All of these hold."""

    nodes: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Or:
    """At least one of these holds."""

    nodes: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Not:
    """This does not hold."""

    node: Node


Node: TypeAlias = All | Exists | Equals | Pattern | Range | Words | And | Or | Not
