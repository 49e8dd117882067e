"""Catalog: the task types that a worker can run, by name. Packages add theirs by entry points."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from importlib.metadata import entry_points
from typing import Final

from shared.flows.plugins import PluginFailure
from worker.properties import fields_of
from worker.task import Task

GROUP: Final = "runyard.tasks"
"""Entry-point group: each names a callable that gives an iterable of `Task` classes."""


class TaskCatalog:
    """Task types by name and alias. Immutable."""

    def __init__(self, tasks: Iterable[type[Task]] = (), failures: Iterable[PluginFailure] = ()) -> None:
        """`failures`: packages whose types are lacking.

        Raises TypeError for a class that isn't a usable task, ValueError when two have the same name.
        """
        self.failures = tuple(failures)
        self._tasks: dict[str, type[Task]] = {}
        for task in tasks:
            _check(task)
            for name in (task.type, *task.aliases):
                other = self._tasks.setdefault(name, task)
                if other is not task:
                    raise ValueError(f"{name} is the type of both {_name(other)} and {_name(task)}")

    def __iter__(self) -> Iterator[type[Task]]:
        return iter(dict.fromkeys(self._tasks.values()))

    def find(self, name: str) -> type[Task] | None:
        """The type of that name or alias, or None."""
        return self._tasks.get(name)

    def lacking(self) -> str:
        """The end of a sentence about a type that isn't there: the packages that may have it."""
        if not self.failures:
            return ""
        return f"; these packages could not be loaded: {', '.join(f.value for f in self.failures)}"

    def with_tasks(self, tasks: Iterable[type[Task]]) -> TaskCatalog:
        """A catalog that also has these."""
        return TaskCatalog((*self, *tasks), self.failures)

    @classmethod
    def installed(cls) -> TaskCatalog:
        """The types of all installed packages; one whose entry point raises or whose types are unusable has none."""
        catalog = cls()
        failures: list[PluginFailure] = []
        for point in sorted(entry_points(group=GROUP), key=lambda point: point.name):
            try:
                catalog = catalog.with_tasks(point.load()())
            except Exception as error:  # noqa: BLE001 - whatever a package raises, the worker runs the others' types
                failures.append(PluginFailure.of(point, error))
        return cls(catalog, failures)


def _check(task: type[Task]) -> None:
    if not (isinstance(task, type) and issubclass(task, Task)):
        raise TypeError(f"{task!r} is no Task class")
    if not isinstance(getattr(task, "type", None), str):
        raise TypeError(f"{_name(task)} has no `type`")
    try:
        fields_of(task)
    except TypeError as error:
        raise TypeError(f"{_name(task)}: {error}; is it a dataclass?") from error


def _name(task: type[Task]) -> str:
    return f"{task.__module__}.{task.__qualname__}"
