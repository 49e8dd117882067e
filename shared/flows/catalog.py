"""Catalog: the task, trigger and condition types that a flow may name, with their properties and aliases.

The product's own types are in `types`, those of installed packages come by `plugins`, and a caller adds some by
`Catalog.with_types`. Sources: the types of Kestra 0.21 (the corpus' version), and for what came later today's
documentation.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache
from typing import Any, Final


class Kind(StrEnum):
    """What the value of a property is."""

    STRING = "string"  #: the scalar as written; most may hold a template
    BOOLEAN = "boolean"
    INTEGER = "integer"
    NUMBER = "number"
    DURATION = "duration"  #: ISO 8601
    MAP = "map"
    LIST = "list"
    STRINGS = "list of strings"
    ANY = "any"
    OBJECT = "object"  #: a map with the properties of `fields`
    OBJECTS = "list of objects"
    LABELS = "labels"  #: a map, or a list of {key, value}
    TASKS = "tasks"
    TASK = "task"
    CASES = "tasks by value"
    DAG = "tasks with dependsOn"
    CONDITIONS = "conditions"
    NAMED_CONDITIONS = "conditions by name"
    INPUTS = "inputs"


BRANCH_KINDS: Final = frozenset((Kind.TASKS, Kind.TASK, Kind.CASES, Kind.DAG))
"""Kinds whose value holds child tasks."""


class Role(StrEnum):
    """Where in a flow a type may stand."""

    TASK = "task"
    TRIGGER = "trigger"
    CONDITION = "condition"


class Nature(StrEnum):
    """Who runs a task."""

    RUNNABLE = "runnable"  #: a worker
    FLOWABLE = "flowable"  #: the executor: it has child tasks
    SUBFLOW = "subflow"  #: the executor: it starts executions
    UPDATE = "update"  #: the executor: it changes the execution


@dataclass(frozen=True, slots=True)
class Property:
    """One property of a type. `dynamic`: a template may stand in place of a boolean, number or duration."""

    name: str
    kind: Kind = Kind.STRING
    required: bool = False
    default: Any = None
    values: tuple[str, ...] = ()  #: the only texts allowed
    dynamic: bool = True
    fields: tuple[Property, ...] = ()
    minimum: int | None = None

    @property
    def is_branch(self) -> bool:
        """Whether child tasks stand in it."""
        return self.kind in BRANCH_KINDS


@dataclass(frozen=True, slots=True)
class TypeSpec:
    """A type that a flow may name."""

    name: str
    role: Role
    nature: Nature | None = None
    properties: tuple[Property, ...] = ()
    aliases: tuple[str, ...] = ()
    calls_flow: bool = False  #: starts executions of the flow in `namespace` and `flowId`
    is_open: bool = False  #: accepts properties that it doesn't list
    _by_name: Mapping[str, Property] = field(default_factory=dict, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_by_name", {p.name: p for p in self.properties})

    def lookup(self, name: str) -> Property | None:
        """The property of that name, or None."""
        return self._by_name.get(name)

    @property
    def branches(self) -> tuple[Property, ...]:
        """The properties in which child tasks stand, in order."""
        return tuple(p for p in self.properties if p.is_branch)

    @property
    def is_flowable(self) -> bool:
        return self.nature is Nature.FLOWABLE

    @property
    def is_runnable(self) -> bool:
        """Whether a worker runs it."""
        return self.nature is Nature.RUNNABLE


class UnknownTypeError(LookupError):
    """A type name that the catalog does not have; `near` are names like it."""

    def __init__(self, name: str, near: tuple[str, ...]) -> None:
        self.name = name
        self.near = near
        super().__init__(f"Invalid type: {name}" + (f"; known types like it: {', '.join(near)}" if near else ""))


class Catalog:
    """An immutable register of types. Equal only to itself, so that it may be a cache's key."""

    __slots__ = ("_aliases", "_types")

    def __init__(self, types: Iterable[TypeSpec] = ()) -> None:
        self._types: dict[str, TypeSpec] = {}
        self._aliases: dict[str, str] = {}
        for spec in types:
            self._types[spec.name] = spec
            for alias in spec.aliases:
                self._aliases[alias] = spec.name

    def __iter__(self) -> Iterator[TypeSpec]:
        return iter(self._types.values())

    def __len__(self) -> int:
        return len(self._types)

    def with_types(self, types: Iterable[TypeSpec]) -> Catalog:
        """A catalog that also has these; a type of the same name is replaced."""
        return Catalog((*self._types.values(), *types))

    def canonical(self, name: str) -> str:
        """The type's name with aliases resolved; a name that is not known stays."""
        return self._aliases.get(name, name)

    def find(self, name: str) -> TypeSpec | None:
        """The type of that name or alias, or None."""
        return self._types.get(self.canonical(name))

    def get(self, name: str, role: Role) -> TypeSpec:
        """The type of that name or alias and role. Raises UnknownTypeError, with near matches."""
        spec = self.find(name)
        if spec is None or spec.role is not role:
            raise UnknownTypeError(name, self.near(name, role))
        return spec

    def near(self, name: str, role: Role) -> tuple[str, ...]:
        """Up to three types of the role whose whole or last name is like `name`, most alike first."""
        candidates = [spec.name for spec in self if spec.role is role]
        by_last = {candidate.rpartition(".")[2].lower(): candidate for candidate in reversed(candidates)}
        last = name.rpartition(".")[2].lower()
        found = [by_last[m] for m in difflib.get_close_matches(last, by_last, n=3, cutoff=0.6)]
        found += [m for m in difflib.get_close_matches(name, candidates, n=3, cutoff=0.85) if m not in found]
        return tuple(found[:3])

    def of_role(self, role: Role) -> tuple[TypeSpec, ...]:
        """The types of a role, by name."""
        return tuple(sorted((spec for spec in self if spec.role is role), key=lambda spec: spec.name))


@lru_cache(maxsize=1)
def core_catalog() -> Catalog:
    """The product's own types."""
    from shared.flows.types import CORE_TYPES  # noqa: PLC0415 (types needs the classes above)

    return Catalog(CORE_TYPES)
