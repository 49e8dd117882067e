"""Plugins: the types that installed packages add to the catalog, by entry points.

Two groups count. `runyard.tasks` names a callable that gives task classes for the worker (dataclasses with `type` and
`aliases`): their fields are the properties. `runyard.types` names a callable that gives `TypeSpec`s, for types that no
worker runs. The executor and the API read flows too, so a plugin package belongs into their environment as well.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from functools import lru_cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Final

from shared.flows.catalog import Catalog, Kind, Nature, Property, Role, TypeSpec, core_catalog

TASKS: Final = "runyard.tasks"
TYPES: Final = "runyard.types"
_OWN: Final = "worker.tasks:"
"""The product's own entry point, whose types the core catalog has in more detail; loading it would need the worker."""


@lru_cache(maxsize=1)
def installed_catalog() -> Catalog:
    """The product's own types and those of installed packages, looked up once for the process."""
    points = (*entry_points(group=TASKS), *entry_points(group=TYPES))
    found = plugin_types(points)
    return core_catalog().with_types(found) if found else core_catalog()


def plugin_types(points: Iterable[EntryPoint]) -> tuple[TypeSpec, ...]:
    """The types of some entry points. Raises what a package raises, with a note naming it: none is lost silently."""
    found: list[TypeSpec] = []
    for point in sorted(points, key=lambda point: (point.group, point.name)):
        if point.value.startswith(_OWN):
            continue
        try:
            given = point.load()()
            found.extend(item if isinstance(item, TypeSpec) else task_spec(item) for item in given)
        except Exception as error:
            error.add_note(f"while loading the types of '{point.name}' ({point.value})")
            raise
    return tuple(found)


def task_spec(task: Any) -> TypeSpec:
    """The type of a worker's task class; its fields take any value, which the worker checks once it is rendered."""
    properties = tuple(
        Property(_property_name(field.name), Kind.ANY, required=_is_required(field))
        for field in dataclasses.fields(task)
    )
    return TypeSpec(task.type, Role.TASK, Nature.RUNNABLE, properties, tuple(task.aliases))


def _is_required(field: dataclasses.Field[Any]) -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def _property_name(name: str) -> str:
    """`error_message` is `errorMessage`, `from_` is `from`."""
    first, *others = name.rstrip("_").split("_")
    return first + "".join(word.capitalize() for word in others)
