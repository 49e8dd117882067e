"""Values: nodes of a document as the values that properties want; what does not fit goes to the report."""

from __future__ import annotations

import re
from collections.abc import Mapping
from collections.abc import Sequence as List
from typing import Any, Final

from shared.flows.catalog import Kind, Property
from shared.flows.document import Node, Scalar, Sequence, Table, describe, is_null, plain
from shared.flows.problem import START, Report
from shared.model.moment import Millis, parse_duration

_SLUG: Final = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_-]*\Z")
_DOTTED_SLUG: Final = re.compile(r"[a-zA-Z0-9][.a-zA-Z0-9_-]*\Z")
SLUG: Final = (_SLUG, "^[a-zA-Z0-9][a-zA-Z0-9_-]*")
"""Ids of tasks and triggers: the pattern, and how Kestra writes it in its messages."""
DOTTED_SLUG: Final = (_DOTTED_SLUG, "^[a-zA-Z0-9][.a-zA-Z0-9_-]*")
"""Ids of inputs and outputs."""


def is_template(value: Any) -> bool:
    """Whether a text, or any text within a list or map, is to be rendered before the value is known."""
    if isinstance(value, str):
        return "{{" in value or "{%" in value
    if isinstance(value, dict):
        return any(is_template(item) for item in value.values())
    return isinstance(value, list | tuple) and any(is_template(item) for item in value)


def system_labels(labels: Mapping[str, str]) -> list[str]:
    """What is to be said of labels that only the server sets: `system.*`, but for `system.readOnly`."""
    return [
        f"System labels can only be set by Kestra itself, offending label: {key}={value}"
        for key, value in labels.items()
        if key.startswith("system.") and key != "system.readOnly"
    ]


class Values:
    """Reads values of one document into one report."""

    def __init__(self, report: Report) -> None:
        self.report = report

    def expected(self, node: Node, path: str, what: str) -> None:
        """Tells that `what` was expected in place of the node."""
        self.report.add(node.mark, path, f"expected {what}, found {describe(node)}")

    def text(self, node: Node, path: str) -> str | None:
        """A scalar as written: `1.10` is the text 1.10."""
        if isinstance(node, Scalar):
            return None if node.value is None else node.text
        self.expected(node, path, "a text")
        return None

    def boolean(self, node: Node, path: str, default: bool) -> bool:
        """true or false, as a boolean or the text of one (Jackson takes both)."""
        if isinstance(node, Scalar):
            if node.value is None:
                return default
            if node.text.lower() in ("true", "false"):
                return node.text.lower() == "true"
        self.expected(node, path, "true or false")
        return default

    def integer(self, node: Node, path: str, minimum: int | None = None) -> int | None:
        """A whole number, as a number or the text of one."""
        if is_null(node):
            return None
        if isinstance(node, Scalar) and not isinstance(node.value, bool):
            value = node.value
            if isinstance(value, str) and re.fullmatch(r"[-+]?\d+", value):
                value = int(value)
            if isinstance(value, int):
                if minimum is not None and value < minimum:
                    self.report.add(node.mark, path, f"must be greater than or equal to {minimum}, found {value}")
                    return None
                return value
        self.expected(node, path, "a whole number")
        return None

    def number(self, node: Node, path: str) -> float | None:
        if is_null(node):
            return None
        if isinstance(node, Scalar) and not isinstance(node.value, bool):
            try:
                return float(node.text)
            except ValueError:
                pass
        self.expected(node, path, "a number")
        return None

    def millis(self, node: Node, path: str) -> Millis | None:
        """An ISO 8601 duration in milliseconds."""
        if is_null(node):
            return None
        if isinstance(node, Scalar):
            try:
                return parse_duration(node.text)
            except ValueError:
                pass
        self.expected(node, path, "an ISO 8601 duration such as PT5S or P1DT2H")
        return None

    def choice(self, node: Node, path: str, values: List[str]) -> str | None:
        """One of some texts."""
        text = self.text(node, path)
        if text is not None and text not in values:
            self.report.add(node.mark, path, f'expected one of {", ".join(values)}, found "{text}"')
            return None
        return text

    def table(self, node: Node, path: str, what: str = "a mapping") -> Table | None:
        if isinstance(node, Table):
            return node
        if not is_null(node):
            self.expected(node, path, what)
        return None

    def items(self, node: Node | None, path: str, what: str = "a list") -> tuple[tuple[Node, str], ...]:
        """The items of a list with the path of each; nothing for null. An item that is null is told and left out."""
        if node is None or is_null(node):
            return ()
        if isinstance(node, Sequence):
            found = tuple((item, f"{path}[{index}]") for index, item in enumerate(node.items))
            for item, below in found:
                if is_null(item):
                    self.report.add(item.mark, below, "must not be null")
            return tuple((item, below) for item, below in found if not is_null(item))
        self.expected(node, path, what)
        return ()

    def texts(self, node: Node | None, path: str) -> tuple[str, ...]:
        """A list of texts."""
        found = (self.text(item, below) for item, below in self.items(node, path, "a list of texts"))
        return tuple(text for text in found if text is not None)

    def user_labels(self, node: Node | None, path: str) -> dict[str, str]:
        """Labels, none of them the server's."""
        found = self.labels(node, path)
        for message in system_labels(found):
            self.report.add(START if node is None else node.mark, path, message)
        return found

    def labels(self, node: Node | None, path: str) -> dict[str, str]:
        """A map of labels, or a list of {key, value}; the first of a key wins."""
        if node is None or is_null(node):
            return {}
        found: dict[str, str] = {}
        if isinstance(node, Table):
            for key, value in node.entries.items():
                self._label(found, key, value, f"{path}.{key}")
            return found
        for item, place in self.items(node, path, "a map of labels or a list of {key, value}"):
            entry = self.table(item, place, "a mapping with key and value")
            if entry is None:
                continue
            self.only(entry, place, ("key", "value"), "Label")
            key_node, value_node = entry.get("key"), entry.get("value")
            name = self.text(key_node, f"{place}.key") if key_node else None
            if name is None or value_node is None:
                self.report.add(entry.mark, place, "a label must have a key and a value")
                continue
            self._label(found, name, value_node, f"{place}.value")
        return found

    def _label(self, found: dict[str, str], key: str, node: Node, path: str) -> None:
        if not isinstance(node, Scalar) or node.value is None:
            self.report.add(
                node.mark,
                path,
                f"Unsupported type for key: {key}, expected a text, number or boolean, found {describe(node)}",
            )
            return
        found.setdefault(key, str(node.value).lower() if isinstance(node.value, bool) else node.text)

    def identifier(
        self, table: Table, key: str, path: str, rule: tuple[re.Pattern[str], str], length: int | None = None
    ) -> str | None:
        """A required id that keeps to the rule."""
        below = f"{path}.{key}" if path else key
        node = table.get(key)
        if node is None:
            self.report.add(table.mark_of(key), below, "must not be null")
            return None
        text = self.text(node, below)
        if text is None:
            return None
        if not text.strip():
            self.report.add(node.mark, below, "must not be blank")
            return None
        pattern, shown = rule
        if not pattern.match(text):
            self.report.add(node.mark, below, f'must match "{shown}", found "{text}"')
            return None
        if length is not None and len(text) > length:
            self.report.add(node.mark, below, f"size must be between 1 and {length}, found {len(text)} characters")
            return None
        return text

    def only(
        self, table: Table, path: str, known: List[str], owner: str, ignored: frozenset[str] = frozenset()
    ) -> None:
        """Tells of every key that is not known. The words are Jackson's, which users of Kestra have met."""
        for key in table.entries:
            if key not in known and key not in ignored:
                self.report.add(
                    table.mark_of(key),
                    f"{path}.{key}" if path else key,
                    f'Unrecognized field "{key}" (class {owner}), not marked as ignorable; '
                    f"known are: {', '.join(sorted(known))}",
                )

    def property(self, node: Node, prop: Property, path: str) -> Any:
        """A property without child tasks, conditions or inputs, as a JSON-like value."""
        if is_null(node):
            return None
        if prop.dynamic and isinstance(node, Scalar) and is_template(node.value):
            return node.text
        match prop.kind:
            case Kind.STRING:
                return self.choice(node, path, prop.values) if prop.values else self.text(node, path)
            case Kind.BOOLEAN:
                return self.boolean(node, path, bool(prop.default))
            case Kind.INTEGER:
                return self.integer(node, path, prop.minimum)
            case Kind.NUMBER:
                return self.number(node, path)
            case Kind.DURATION:
                return None if self.millis(node, path) is None else self.text(node, path)
            case Kind.MAP:
                found = self.table(node, path)
                return None if found is None else plain(found)
            case Kind.LIST:
                if not isinstance(node, Sequence):
                    self.expected(node, path, "a list")
                return plain(node)
            case Kind.STRINGS:
                return self._strings(node, prop, path)
            case Kind.LABELS:
                return self.user_labels(node, path)
            case Kind.OBJECT:
                return self._object(node, prop, path)
            case Kind.OBJECTS:
                return [self._object(item, prop, below) for item, below in self.items(node, path)]
            case _:
                return plain(node)

    def _strings(self, node: Node, prop: Property, path: str) -> list[str]:
        texts: list[str] = []
        for item, below in self.items(node, path, "a list of texts"):
            text = self.text(item, below)
            if text is not None and prop.values and text not in prop.values and not is_template(text):
                self.report.add(item.mark, below, f'expected one of {", ".join(prop.values)}, found "{text}"')
            elif text is not None:
                texts.append(text)
        return texts

    def _object(self, node: Node, prop: Property, path: str) -> dict[str, Any] | None:
        table = self.table(node, path)
        if table is None:
            return None
        self.only(table, path, [field.name for field in prop.fields], prop.name)
        found: dict[str, Any] = {}
        for field in prop.fields:
            below = f"{path}.{field.name}"
            value = table.get(field.name)
            if value is not None:
                found[field.name] = self.property(value, field, below)
            elif field.required:
                self.report.add(table.mark_of(field.name), below, "must not be null")
        return found
