"""The catalog of types, what plugins add to it, and the document that lists it."""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import ClassVar

import pytest

from shared.flows.catalog import BRANCH_KINDS, Nature, Role, TypeSpec, UnknownTypeError, core_catalog
from shared.flows.parser import FLOW_PROPERTIES
from shared.flows.plugins import TASKS, TYPES, task_spec, with_plugins
from shared.flows.reference import written_anew
from shared.flows.types import CORE_TYPES

CORE = "io.kestra.plugin.core"
DOCUMENT = Path(__file__).parents[3] / "docs" / "flows.md"


@dataclass(frozen=True)
class Ship:
    """A task class as a worker's plugin has it."""

    type: ClassVar[str] = "org.acme.Ship"
    aliases: ClassVar[tuple[str, ...]] = ("org.acme.Send",)

    from_: str
    tracking_number: str = ""
    tags: list[str] = field(default_factory=list)


def ships():
    return [Ship]


def broken():
    raise RuntimeError("no ships")


@pytest.mark.parametrize(
    ("name", "nature", "branches"),
    [
        ("flow.Sequential", Nature.FLOWABLE, ["tasks", "errors", "finally"]),
        ("flow.If", Nature.FLOWABLE, ["then", "else", "errors", "finally"]),
        ("flow.Switch", Nature.FLOWABLE, ["cases", "defaults", "errors", "finally"]),
        ("flow.LoopUntil", Nature.FLOWABLE, ["tasks", "errors", "finally"]),
        ("flow.ForEachItem", Nature.FLOWABLE, ["errors", "finally"]),
        ("flow.Subflow", Nature.SUBFLOW, []),
        ("execution.Labels", Nature.UPDATE, []),
        ("debug.Echo", Nature.RUNNABLE, []),
    ],
)
def test_natures_and_branches(name, nature, branches):
    """Each type says who runs it and where its child tasks stand."""
    spec = core_catalog().get(f"{CORE}.{name}", Role.TASK)

    assert (spec.nature, [branch.name for branch in spec.branches]) == (nature, branches)


@pytest.mark.parametrize(
    ("alias", "name"),
    [
        ("io.kestra.core.tasks.flows.Worker", "flow.WorkingDirectory"),
        ("io.kestra.core.tasks.flows.Flow", "flow.Subflow"),
        ("io.kestra.core.tasks.executions.Counts", "execution.Count"),
        ("io.kestra.plugin.fs.http.Request", "http.Request"),
        ("io.kestra.core.models.conditions.types.VariableCondition", "condition.Expression"),
        ("io.kestra.plugin.core.condition.ExpressionCondition", "condition.Expression"),
        ("io.kestra.core.models.triggers.types.Schedule", "trigger.Schedule"),
    ],
)
def test_aliases(alias, name):
    """Old names lead to the type of today."""
    assert core_catalog().canonical(alias) == f"{CORE}.{name}"


def test_names_are_unique():
    """No name or alias means two types, and no type has a property twice."""
    names = [name for spec in CORE_TYPES for name in (spec.name, *spec.aliases)]

    assert len(names) == len(set(names))
    for spec in CORE_TYPES:
        own = [prop.name for prop in spec.properties]
        assert len(own) == len(set(own)), spec.name


def test_only_what_the_executor_runs_has_child_tasks():
    """A type has branches only if it is flowable."""
    for spec in CORE_TYPES:
        assert spec.is_flowable or not any(prop.kind in BRANCH_KINDS for prop in spec.properties), spec.name


def test_near_matches():
    """An unknown type names those like it, of the role that is wanted."""
    with pytest.raises(UnknownTypeError) as caught:
        core_catalog().get(f"{CORE}.flow.ForEeach", Role.TASK)
    assert caught.value.near[0] == f"{CORE}.flow.ForEach"

    with pytest.raises(UnknownTypeError):
        core_catalog().get(f"{CORE}.log.Log", Role.TRIGGER)


def test_a_catalog_with_more_types_is_another_one():
    """Adding types leaves the first catalog as it was; a type of the same name is replaced."""
    log = TypeSpec(f"{CORE}.log.Log", Role.TASK, Nature.RUNNABLE, is_open=True)

    more = core_catalog().with_types([log, TypeSpec("org.acme.Ship", Role.TASK, Nature.RUNNABLE)])

    assert (len(more), len(core_catalog())) == (len(CORE_TYPES) + 1, len(CORE_TYPES))
    assert more.find(f"{CORE}.log.Log") is log
    assert core_catalog().find("org.acme.Ship") is None


def test_a_workers_task_class_is_a_type():
    """Its fields are its properties, in camelCase; those without a default are required."""
    spec = task_spec(Ship)

    assert (spec.name, spec.nature, spec.aliases) == ("org.acme.Ship", Nature.RUNNABLE, ("org.acme.Send",))
    assert [(prop.name, prop.required) for prop in spec.properties] == [
        ("from", True),
        ("trackingNumber", False),
        ("tags", False),
    ]


def test_types_of_entry_points():
    """Task classes and specs are taken in; the product's own tasks are known already and not loaded."""
    module = __name__
    points = [
        EntryPoint("core", "worker.tasks:core_tasks", TASKS),
        EntryPoint("ships", f"{module}:ships", TASKS),
        EntryPoint("corpus", "tests.unit.flows.corpus_types:corpus_types", TYPES),
    ]

    catalog, failures = with_plugins(core_catalog(), points)

    assert catalog.find("org.acme.Ship") is not None
    assert catalog.find("io.kestra.core.tasks.test.Read") is not None
    assert failures == ()


def test_a_broken_entry_point_costs_its_own_types():
    """A package that raises is named with what it raised, as a dead letter of who met it; the others' types are there."""
    points = [EntryPoint("bad", f"{__name__}:broken", TASKS), EntryPoint("ships", f"{__name__}:ships", TASKS)]

    catalog, (failure,) = with_plugins(core_catalog(), points)

    assert catalog.find("org.acme.Ship") is not None
    letter = failure.letter("executor", 1)
    assert letter.origin == "entry-point/runyard.tasks/bad/executor"
    assert letter.reason == f"{__name__}:broken: RuntimeError: no ships"


def test_the_document_lists_every_type_and_property():
    """docs/flows.md says what the catalog says."""
    written = DOCUMENT.read_text(encoding="utf-8")

    assert written == written_anew(written)
    missing = [name for name in FLOW_PROPERTIES if f"`{name}`" not in written]
    assert missing == []
