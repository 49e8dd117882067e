"""The types of Kestra's own test code that flows of its corpus name: a catalog extension for tests, not for the product."""

from __future__ import annotations

from shared.flows.catalog import Catalog, Kind, Nature, Property, Role, TypeSpec, core_catalog

_CORE = core_catalog()


def _task(name: str, *properties: Property, aliases: tuple[str, ...] = ()) -> TypeSpec:
    return TypeSpec(f"io.kestra.core.{name}", Role.TASK, Nature.RUNNABLE, properties, aliases)


def _like(name: str, core: str, *properties: Property) -> TypeSpec:
    """A type that behaves as one of the product's, with some more properties."""
    spec = _CORE.find(f"io.kestra.plugin.core.flow.{core}")
    assert spec is not None
    own = (*spec.properties, *properties)
    return TypeSpec(f"io.kestra.core.{name}", Role.TASK, spec.nature, own, calls_flow=spec.calls_flow)


CORPUS_TYPES = (
    _task("runners.test.TaskThatFail", Property("message")),
    _task("runners.test.TaskWithAlias", Property("message"), aliases=("io.kestra.core.runners.test.task.Alias",)),
    _task("runners.test.WorkerTaskResultTooLarge"),
    _task("runners.ListenersTestTask"),
    _task("tasks.test.DynamicTask", Property("fail", Kind.BOOLEAN)),
    _task("tasks.test.Encrypted", Property("format")),
    _task("tasks.test.NullOutputTask"),
    _task("tasks.test.Read", Property("path", required=True)),
    _like("tasks.test.BadExecutable", "Subflow"),
    _like("tasks.test.BadSequential", "Sequential"),
    *(
        _like(f"runners.PluginDefaultsCaseTest$DefaultSequential{number}", "Sequential", Property("def"))
        for number in (1, 2, 3)
    ),
    TypeSpec(
        "io.kestra.core.runners.test.TriggerWithAlias",
        Role.TRIGGER,
        aliases=("io.kestra.core.runners.test.trigger.Alias",),
    ),
)


def corpus_types() -> tuple[TypeSpec, ...]:
    """As an entry point of the group `runyard.types` would give them."""
    return CORPUS_TYPES


def corpus_catalog() -> Catalog:
    """The product's types and those of Kestra's test code."""
    return _CORE.with_types(CORPUS_TYPES)
