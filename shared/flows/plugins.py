"""Plugins: the types that installed packages add to the catalog, by entry points. One that fails costs its own types.

Two groups count. `runyard.tasks` names a callable that gives task classes for the worker (dataclasses with `type` and
`aliases`): their fields are the properties. `runyard.types` names a callable that gives `TypeSpec`s, for types that no
worker runs. The executor and the API read flows too, so a plugin package belongs into their environment as well.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Final

from prometheus_client import Counter

from shared.flows.catalog import Catalog, Kind, Nature, Property, Role, TypeSpec, core_catalog
from shared.messages import DeadLetter
from shared.model.moment import Millis

FAILURES: Final = Counter("runyard_plugin_failures", "Entry points of packages that could not be loaded", ["name"])

TASKS: Final = "runyard.tasks"
TYPES: Final = "runyard.types"
_OWN: Final = "worker.tasks:"
"""The product's own entry point, whose types the core catalog has in more detail; loading it would need the worker."""


_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class PluginFailure:
    """An entry point that raised, or gave what is no type. Its types are not known here; the others are."""

    origin: str  #: entry-point/group/name
    value: str  #: what it names: module:callable
    reason: str

    @classmethod
    def of(cls, point: EntryPoint, error: Exception) -> PluginFailure:
        """Also tells the log and the metrics."""
        _log.error("The types of '%s' (%s) can't be loaded; the others are", point.name, point.value, exc_info=error)
        FAILURES.labels(point.name).inc()
        return cls(f"entry-point/{point.group}/{point.name}", point.value, f"{type(error).__name__}: {error}")

    def letter(self, service: str, at: Millis) -> DeadLetter:
        """The failure as a dead letter of the service that met it."""
        return DeadLetter(f"{self.origin}/{service}", f"{self.value}: {self.reason}", at, service)


@lru_cache(maxsize=1)
def installed_catalog() -> Catalog:
    """The product's own types and those of installed packages, looked up once for the process."""
    return _installed()[0]


def installed_failures() -> tuple[PluginFailure, ...]:
    """The entry points whose types `installed_catalog` lacks."""
    return _installed()[1]


@lru_cache(maxsize=1)
def _installed() -> tuple[Catalog, tuple[PluginFailure, ...]]:
    return with_plugins(core_catalog(), (*entry_points(group=TASKS), *entry_points(group=TYPES)))


def with_plugins(catalog: Catalog, points: Iterable[EntryPoint]) -> tuple[Catalog, tuple[PluginFailure, ...]]:
    """A catalog with the types of entry points, and those that raised: none of these takes the others along."""
    failures: list[PluginFailure] = []
    for point in sorted(points, key=lambda point: (point.group, point.name)):
        if point.value.startswith(_OWN):
            continue
        try:
            given = point.load()()
            catalog = catalog.with_types([item if isinstance(item, TypeSpec) else task_spec(item) for item in given])
        except Exception as error:  # noqa: BLE001 -- whatever a package raises is its own
            failures.append(PluginFailure.of(point, error))
    return catalog, tuple(failures)


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
