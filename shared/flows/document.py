"""Document: a YAML text as a tree of nodes that know their line, with scalars as Jackson reads them.

PyYAML follows YAML 1.1, where `on`, `yes` and `2024-01-01` are booleans and a date. Kestra reads YAML with Jackson:
dates stay text, and a property that wants a text gets the scalar as it was written (`1.10` stays `1.10`), so a scalar
keeps both.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import yaml

from shared.flows.problem import START, Mark, Report

_INTEGER: Final = re.compile(r"[-+]?[0-9][0-9_]*\Z")
_RADIX: Final = re.compile(r"([-+]?)(0x[0-9a-fA-F_]+|0b[01_]+|0o[0-7_]+)\Z")
_FLOAT: Final = re.compile(r"[-+]?([0-9][0-9_]*\.[0-9_]*|\.[0-9][0-9_]*|[0-9][0-9_]*(?=[eE]))([eE][-+]?[0-9]+)?\Z")
_NULLS: Final = frozenset(("", "~", "null", "Null", "NULL"))
_BOOLEANS: Final = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_TEXT_TAG: Final = "tag:yaml.org,2002:str"
_KNOWN_TAGS: Final = frozenset(
    f"tag:yaml.org,2002:{name}" for name in ("str", "int", "float", "bool", "null", "seq", "map")
)

MAX_NODES: Final = 200_000
"""Nodes of one document, aliases counted each time: a few anchors of anchors ("billion laughs") would fill the memory.
Far above any flow that people write (Kestra's largest test flow has about 2,000)."""
MAX_DEPTH: Final = 100
"""Lists and mappings within each other. Tasks take two levels each: 48 flowables deep. What is deeper would meet limits
later and less clearly: Python's stack, and 254 levels of JSON in messages."""

_TOO_DEEP: Final = "nesting depth"
"""In libyaml's message (from PyYAML 6.0.4 on) about a text of 1,000 levels, which its scanner meets before we do."""


@dataclass(frozen=True, slots=True)
class Scalar:
    """A text, number, boolean or null. `text` is what was written, `value` what Jackson makes of it."""

    mark: Mark
    value: str | int | float | bool | None
    text: str


@dataclass(frozen=True, slots=True)
class Sequence:
    """A list."""

    mark: Mark
    items: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Table:
    """A mapping of texts to nodes; `keys` has the place of each key."""

    mark: Mark
    entries: Mapping[str, Node]
    keys: Mapping[str, Mark]

    def get(self, key: str) -> Node | None:
        """The value at `key`; None when it is absent or null, which Jackson does not tell apart."""
        node = self.entries.get(key)
        return None if node is None or is_null(node) else node

    def mark_of(self, key: str) -> Mark:
        """Where `key` stands, or the mapping itself when the key is absent."""
        return self.keys.get(key, self.mark)


Node = Scalar | Sequence | Table


def is_null(node: Node) -> bool:
    """Whether it is a YAML null."""
    return isinstance(node, Scalar) and node.value is None


def plain(node: Node) -> Any:
    """The node as JSON-like Python values."""
    if isinstance(node, Scalar):
        return node.value
    if isinstance(node, Sequence):
        return [plain(item) for item in node.items]
    return {key: plain(value) for key, value in node.entries.items()}


def describe(node: Node) -> str:
    """What was found, for a message: `a list`, `the text "abc"`, `the number 5`."""
    if isinstance(node, Sequence):
        return "a list"
    if isinstance(node, Table):
        return "a mapping"
    if node.value is None:
        return "nothing"
    shown = node.text if len(node.text) <= 60 else node.text[:57] + "..."
    if isinstance(node.value, bool):
        return f"the boolean {shown}"
    return f'the text "{shown}"' if isinstance(node.value, str) else f"the number {shown}"


def read_document(source: str, report: Report) -> Node | None:
    """The document's tree, or None when it is not one YAML document (the report says why)."""
    try:
        documents = _Composer(source, report).documents()
    except yaml.MarkedYAMLError as error:
        context = f" ({error.context})" if error.context else ""
        mark = _mark(error.problem_mark or error.context_mark)
        report.add(mark, "", f"Illegal flow source: not valid YAML: {error.problem}{context}")
        return None
    except (yaml.YAMLError, ValueError) as error:
        report.add(START, "", f"Illegal flow source: not valid YAML: {error}")
        return None
    if report.problems and not documents:
        return None
    if not documents or (len(documents) == 1 and is_null(documents[0])):
        report.add(START, "", "must not be empty: expected a flow, found an empty text")
        return None
    if len(documents) > 1:
        report.add(documents[1].mark, "", "Illegal flow source: expected one document, found another after `---`")
    return documents[0]


def read_value(source: str) -> Any:
    """Any YAML text as JSON-like values (a YAML input). Raises ValueError."""
    report = Report()
    try:
        documents = _Composer(source, report).documents()
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from error
    if report.problems:
        raise ValueError("; ".join(problem.message for problem in report.problems))
    return plain(documents[0]) if documents else None


def _mark(mark: Any) -> Mark:
    return START if mark is None else Mark(mark.line + 1, mark.column + 1)


@dataclass(slots=True)
class _Open:
    """A list or mapping whose end has not come yet."""

    mark: Mark
    path: str
    anchor: str | None
    is_table: bool
    items: list[Node]
    entries: dict[str, Node]
    keys: dict[str, Mark]
    key: str | None = None  #: of the value that comes next; None: a key comes next
    ignored: bool = False  #: that value is dropped: its key was refused
    size: int = 1
    depth: int = 1

    def next_path(self) -> str:
        if not self.is_table:
            return f"{self.path}[{len(self.items)}]"
        if self.key is None:
            return self.path
        return f"{self.path}.{self.key}" if self.path else self.key


class _Composer:
    """Makes trees of PyYAML's events, without recursion: PyYAML's own composing of a deep text can end the process.

    An alias shares the tree of its anchor, whose nodes count again. Raises yaml.YAMLError.
    """

    def __init__(self, source: str, report: Report) -> None:
        self._events = yaml.parse(source, Loader=yaml.CSafeLoader)
        self._report = report
        self._stack: list[_Open] = []
        self._anchors: dict[str, tuple[Node, int, int]] = {}  # with its size and depth
        self._count = 0  #: nodes so far
        self._deepest = 0  #: most levels so far
        self._documents: list[Node] = []

    def documents(self) -> list[Node]:
        """Every document of the text. Ends early, with a problem, where there is too much."""
        try:
            return self._composed()
        except yaml.MarkedYAMLError as error:
            if _TOO_DEEP not in str(error.problem):
                raise
            self._refuse(_mark(error.problem_mark), f"{MAX_DEPTH} levels")
            return []

    def _composed(self) -> list[Node]:
        for event in self._events:
            if isinstance(event, yaml.DocumentStartEvent):
                self._anchors.clear()
            elif isinstance(event, yaml.AliasEvent):
                self._alias(event)
            elif isinstance(event, yaml.ScalarEvent):
                self._scalar(event)
            elif isinstance(event, yaml.CollectionStartEvent):
                self._start(event)
            elif isinstance(event, yaml.CollectionEndEvent):
                self._end()
            if self._deepest > MAX_DEPTH or self._count > MAX_NODES:
                limit = f"{MAX_DEPTH} levels" if self._deepest > MAX_DEPTH else f"{MAX_NODES} nodes, aliases counted"
                self._refuse(_mark(event.start_mark), limit)
                return []
        return self._documents

    def _refuse(self, mark: Mark, limit: str) -> None:
        self._report.add(mark, self._path(), f"a flow must not have more than {limit}")

    def _path(self) -> str:
        return self._stack[-1].next_path() if self._stack else ""

    def _start(self, event: yaml.CollectionStartEvent) -> None:
        self._count += 1
        mark = _mark(event.start_mark)
        is_table = isinstance(event, yaml.MappingStartEvent)
        opened = _Open(mark, self._path(), event.anchor, is_table, [], {}, {})
        if event.tag is not None and event.tag not in _KNOWN_TAGS:
            self._report.add(mark, opened.path, f"unknown YAML tag {event.tag}")
        self._stack.append(opened)
        self._deepest = max(self._deepest, len(self._stack))

    def _end(self) -> None:
        closed = self._stack.pop()
        node: Node
        if closed.is_table:
            node = Table(closed.mark, closed.entries, closed.keys)
        else:
            node = Sequence(closed.mark, tuple(closed.items))
        if closed.anchor is not None:
            self._anchors[closed.anchor] = (node, closed.size, closed.depth)
        self._put(node, closed.size, closed.depth)

    def _alias(self, event: yaml.AliasEvent) -> None:
        mark = _mark(event.start_mark)
        if any(opened.anchor == event.anchor for opened in self._stack):
            self._report.add(mark, self._path(), "an alias must not contain itself")
            self._put(Scalar(mark, None, ""), 1, 0)
        elif event.anchor not in self._anchors:
            self._report.add(mark, self._path(), f"undefined alias {event.anchor}")
            self._put(Scalar(mark, None, ""), 1, 0)
        else:
            node, size, depth = self._anchors[event.anchor]
            self._count += size
            self._deepest = max(self._deepest, len(self._stack) + depth)
            if self._deepest <= MAX_DEPTH and self._count <= MAX_NODES:
                self._put(node, size, depth)

    def _scalar(self, event: yaml.ScalarEvent) -> None:
        self._count += 1
        mark, text = _mark(event.start_mark), str(event.value)
        if event.tag is not None and event.tag not in _KNOWN_TAGS and event.tag != "!":
            self._report.add(mark, self._path(), f"unknown YAML tag {event.tag}")
        is_plain = event.implicit[0] if event.tag is None else event.tag in _KNOWN_TAGS - {_TEXT_TAG}
        node = Scalar(mark, resolve(text) if is_plain else text, text)
        if event.anchor is not None:
            self._anchors[event.anchor] = (node, 1, 0)
        self._put(node, 1, 0)

    def _put(self, node: Node, size: int, depth: int) -> None:
        """Into the list or mapping that is open, as item, key or value; or as a document."""
        if not self._stack:
            self._documents.append(node)
            return
        into = self._stack[-1]
        into.size += size
        into.depth = max(into.depth, depth + 1)
        if not into.is_table:
            into.items.append(node)
        elif into.key is None:
            self._key(into, node)
        else:
            if not into.ignored:
                into.entries[into.key] = node
            into.key, into.ignored = None, False

    def _key(self, into: _Open, node: Node) -> None:
        if not isinstance(node, Scalar):
            self._report.add(node.mark, into.path, "a key must be a text, found a list or a mapping")
            into.key, into.ignored = "", True
            return
        into.key, into.ignored = node.text, node.text in into.keys
        if into.ignored:
            first = into.keys[node.text].line
            self._report.add(
                node.mark, into.next_path(), f"Duplicate field '{node.text}', first written in line {first}"
            )
        else:
            into.keys[node.text] = node.mark


def resolve(text: str) -> str | int | float | bool | None:
    """What a scalar without quotes is: null, `true` and `false`, integers, decimals; all else is text."""
    if text in _NULLS:
        return None
    if text in _BOOLEANS:
        return _BOOLEANS[text]
    if _INTEGER.match(text):
        digits = text.replace("_", "")
        bare = digits.lstrip("+-")
        if len(bare) > 1 and bare[0] == "0":  # YAML 1.1: a leading zero is octal; 08 and 09 are not numbers
            return int(digits, 8) if all(digit in "01234567" for digit in bare) else text
        return int(digits)
    radix = _RADIX.match(text)
    if radix:
        value = int(radix.group(2).replace("_", ""), 0)
        return -value if radix.group(1) == "-" else value
    if _FLOAT.match(text):
        return float(text.replace("_", ""))
    return text
