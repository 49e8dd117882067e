"""Defaults: `pluginDefaults` (once `taskDefaults`) merged into the tasks, triggers and conditions that they name.

Kestra's rules: a default applies to its type, to types that its type is a prefix of, and through aliases. What is
written wins, unless the default is `forced`; of several defaults the first wins. Maps are merged, lists are joined (the
default's items first, or last if forced).
"""

from __future__ import annotations

from collections.abc import Sequence as List
from dataclasses import dataclass

from shared.flows.catalog import Catalog, Role, TypeSpec
from shared.flows.document import Node, Scalar, Sequence, Table, is_null
from shared.flows.types.terms import COMMON_TASK, COMMON_TRIGGER
from shared.flows.values import Values

_OWN = ("pluginDefaults", "taskDefaults")


@dataclass(frozen=True, slots=True)
class PluginDefault:
    """One entry of `pluginDefaults`."""

    type: str
    forced: bool
    values: Table

    def matches(self, written: str, catalog: Catalog) -> bool:
        """Whether it applies to a type, by either of their names."""
        canonical = catalog.canonical(written)
        return any(
            name.startswith(own) for own in {self.type, catalog.canonical(self.type)} for name in {written, canonical}
        )


def known_properties(spec: TypeSpec) -> tuple[str, ...]:
    """The names of the properties that a type accepts, with those that all of its role have."""
    common = {Role.TASK: COMMON_TASK, Role.TRIGGER: COMMON_TRIGGER, Role.CONDITION: COMMON_TASK[1:2]}[spec.role]
    own = tuple(p.name for p in spec.properties)
    return own + tuple(p.name for p in common if p.name not in own)


def read_defaults(values: Values, flow: Table, catalog: Catalog) -> tuple[PluginDefault, ...]:
    """The flow's defaults, most important first."""
    found: list[PluginDefault] = []
    for key in _OWN:
        for node, path in values.items(flow.entries.get(key), key):
            table = values.table(node, path, "a mapping with type and values")
            default = None if table is None else _read_default(values, table, path, catalog)
            if default is not None:
                found.append(default)
    return tuple(found)


def _read_default(values: Values, table: Table, path: str, catalog: Catalog) -> PluginDefault | None:
    values.only(table, path, ("type", "forced", "values"), "PluginDefault")
    type_node, values_node, forced_node = table.get("type"), table.get("values"), table.get("forced")
    name = values.text(type_node, f"{path}.type") if type_node else None
    if name is None:
        values.report.add(table.mark, path, "Invalid Plugin Default: No 'type' provided")
    content = values.table(values_node, f"{path}.values") if values_node else None
    if values_node is None:
        values.report.add(table.mark, path, "Invalid Plugin Default: No 'values' provided")
    forced = values.boolean(forced_node, f"{path}.forced", default=False) if forced_node else False
    if name is None or content is None:
        return None
    spec = catalog.find(name)
    for key, value in content.entries.items():
        below = f"{path}.values.{key}"
        if is_null(value):
            values.report.add(content.mark_of(key), below, f"Invalid Plugin Default: No value provided for key '{key}'")
        elif spec is not None and not spec.is_open and key not in known_properties(spec):
            values.report.add(
                content.mark_of(key), below, f"Invalid Plugin Default: No property '{key}' exists in plugin '{name}'"
            )
    return PluginDefault(name, forced, content)


def apply_defaults(flow: Table, defaults: List[PluginDefault], catalog: Catalog) -> Table:
    """The flow with its defaults merged into every mapping that has a `type`."""
    if not defaults:
        return flow
    entries = {key: node if key in _OWN else _apply(node, defaults, catalog) for key, node in flow.entries.items()}
    return Table(flow.mark, entries, flow.keys)


def _apply(node: Node, defaults: List[PluginDefault], catalog: Catalog) -> Node:
    if isinstance(node, Sequence):
        return Sequence(node.mark, tuple(_apply(item, defaults, catalog) for item in node.items))
    if not isinstance(node, Table):
        return node
    table = Table(node.mark, {key: _apply(value, defaults, catalog) for key, value in node.entries.items()}, node.keys)
    type_node = table.get("type")
    if not isinstance(type_node, Scalar) or not isinstance(type_node.value, str):
        return table
    matching = [default for default in defaults if default.matches(type_node.text, catalog)]
    spec = catalog.find(type_node.text)
    for default in (d for d in matching if not d.forced):
        table = _merge(_applicable(default.values, spec), table, node)
    for default in (d for d in reversed(matching) if d.forced):
        table = _merge(table, _applicable(default.values, spec), node)
    return table


def _applicable(values: Table, spec: TypeSpec | None) -> Table:
    """What the type accepts of a default's values: a prefix's values need not suit every type below it."""
    if spec is None or spec.is_open:
        return values
    known = known_properties(spec)
    return Table(values.mark, {key: node for key, node in values.entries.items() if key in known}, values.keys)


def _merge(below: Table, above: Table, place: Node) -> Table:
    """`above` over `below`; a null does not hide a value."""
    entries = dict(below.entries)
    for key, node in above.entries.items():
        lower = entries.get(key)
        if lower is None or is_null(lower):
            entries[key] = node
        elif isinstance(node, Table) and isinstance(lower, Table):
            entries[key] = _merge(lower, node, node)
        elif isinstance(node, Sequence) and isinstance(lower, Sequence):
            entries[key] = Sequence(node.mark, lower.items + node.items)
        elif not is_null(node):
            entries[key] = node
    return Table(place.mark, entries, {**below.keys, **above.keys})
