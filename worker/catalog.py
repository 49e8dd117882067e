"""Catalog: the task types that a worker can run, by name. Packages add theirs by entry points."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from importlib.metadata import entry_points
from typing import Final

from worker.properties import fields_of
from worker.task import Task

GROUP: Final = "runyard.tasks"
"""Entry-point group: each names a callable that gives an iterable of `Task` classes."""


class TaskCatalog:
    """Task types by name and alias. Immutable."""

    def __init__(self, tasks: Iterable[type[Task]] = ()) -> None:
        """Raises TypeError for a class that isn't a usable task, ValueError when two have the same name."""
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

    def with_tasks(self, tasks: Iterable[type[Task]]) -> TaskCatalog:
        """A catalog that also has these."""
        return TaskCatalog((*self, *tasks))

    @classmethod
    def installed(cls) -> TaskCatalog:
        """The types of all installed packages. Raises what a package's entry point raises, with a note naming it."""
        found: list[type[Task]] = []
        for point in sorted(entry_points(group=GROUP), key=lambda point: point.name):
            try:
                found.extend(point.load()())
            except Exception as error:
                error.add_note(f"while loading the task types of '{point.name}' ({point.value})")
                raise
        return cls(found)


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
