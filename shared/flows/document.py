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

_PLAIN: Final = "!plain"
_INTEGER: Final = re.compile(r"[-+]?[0-9][0-9_]*\Z")
_RADIX: Final = re.compile(r"([-+]?)(0x[0-9a-fA-F_]+|0b[01_]+|0o[0-7_]+)\Z")
_FLOAT: Final = re.compile(r"[-+]?([0-9][0-9_]*\.[0-9_]*|\.[0-9][0-9_]*|[0-9][0-9_]*(?=[eE]))([eE][-+]?[0-9]+)?\Z")
_NULLS: Final = frozenset(("", "~", "null", "Null", "NULL"))
_BOOLEANS: Final = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_KNOWN_TAGS: Final = frozenset(
    f"tag:yaml.org,2002:{name}" for name in ("str", "int", "float", "bool", "null", "seq", "map")
)

MAX_NODES: Final = 200_000
"""Nodes of one document, aliases counted each time: a few anchors of anchors ("billion laughs") would fill the memory.
Far above any flow that people write (Kestra's largest test flow has about 2,000)."""


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


class _Loader(yaml.CSafeLoader):
    """Composes nodes only; the resolver marks every scalar written without quotes and tag as `!plain`."""


_Loader.yaml_implicit_resolvers = {None: [(_PLAIN, re.compile(""))]}


def read_document(source: str, report: Report) -> Node | None:
    """The document's tree, or None when it is not YAML (the report says why)."""
    try:
        documents = list(yaml.compose_all(source, Loader=_Loader))
    except yaml.MarkedYAMLError as error:
        mark = _mark(error.problem_mark or error.context_mark)
        context = f" ({error.context})" if error.context else ""
        report.add(mark, "", f"Illegal flow source: not valid YAML: {error.problem}{context}")
        return None
    except (yaml.YAMLError, ValueError) as error:
        report.add(START, "", f"Illegal flow source: not valid YAML: {error}")
        return None
    if not documents or documents[0] is None:
        report.add(START, "", "must not be empty: expected a flow, found an empty text")
        return None
    if len(documents) > 1:
        report.add(
            _mark(documents[1].start_mark), "", "Illegal flow source: expected one document, found another after `---`"
        )
    return _Builder(report).build(documents[0], "")


def read_value(source: str) -> Any:
    """Any YAML text as JSON-like values (a YAML input). Raises ValueError."""
    report = Report()
    try:
        documents = list(yaml.compose_all(source, Loader=_Loader))
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from error
    node = _Builder(report).build(documents[0], "") if documents else None
    if report.problems:
        raise ValueError("; ".join(problem.message for problem in report.problems))
    return None if node is None else plain(node)


def _mark(mark: Any) -> Mark:
    return START if mark is None else Mark(mark.line + 1, mark.column + 1)


class _Builder:
    """Makes the tree of PyYAML's nodes; bounded against aliases that expand without end."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._count = 0
        self._open: set[int] = set()

    def build(self, node: yaml.Node, path: str) -> Node:
        self._count += 1
        mark = _mark(node.start_mark)
        if self._count == MAX_NODES:  # told once; what comes after is not built
            self._report.add(mark, path, f"aliases make more than {MAX_NODES} nodes of this document")
        if self._count >= MAX_NODES:
            return Scalar(mark, None, "")
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node, mark, path)
        if id(node) in self._open:
            self._report.add(mark, path, "an alias must not contain itself")
            return Scalar(mark, None, "")
        self._open.add(id(node))
        try:
            if isinstance(node, yaml.SequenceNode):
                items = (self.build(item, f"{path}[{index}]") for index, item in enumerate(node.value))
                return Sequence(mark, tuple(items))
            return self._table(node, mark, path)
        finally:
            self._open.discard(id(node))

    def _table(self, node: yaml.Node, mark: Mark, path: str) -> Table:
        entries: dict[str, Node] = {}
        keys: dict[str, Mark] = {}
        for key_node, value_node in node.value:
            key_mark = _mark(key_node.start_mark)
            if not isinstance(key_node, yaml.ScalarNode):
                self._report.add(key_mark, path, "a key must be a text, found a list or a mapping")
                continue
            key = key_node.value
            below = f"{path}.{key}" if path else key
            if key in entries:
                first = keys[key]
                self._report.add(key_mark, below, f'Duplicate field "{key}", first written in line {first.line}')
                continue
            keys[key] = key_mark
            entries[key] = self.build(value_node, below)
        return Table(mark, entries, keys)

    def _scalar(self, node: yaml.ScalarNode, mark: Mark, path: str) -> Scalar:
        text = str(node.value)
        if node.tag == _PLAIN:
            return Scalar(mark, resolve(text), text)
        if node.tag == "tag:yaml.org,2002:str":
            return Scalar(mark, text, text)
        if node.tag in _KNOWN_TAGS:
            return Scalar(mark, resolve(text), text)
        if node.tag == "!":  # the non-specific tag: a text
            return Scalar(mark, text, text)
        self._report.add(mark, path, f"unknown YAML tag {node.tag}")
        return Scalar(mark, text, text)


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
