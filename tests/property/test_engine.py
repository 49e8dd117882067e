"""Whatever happens to random flows: state follows from events, everything ends, and nothing happens twice."""

from __future__ import annotations

from collections import Counter
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

from shared import messages as m
from tests.property.engine_world import COVERAGE, QUICK, World
from tests.property.flow_strategies import FLOWABLES, depths, flows, source

DEPTHS: Final[Counter[str]] = Counter()
"""How deep each type of flowable was nested, and how many flows there were."""
CHILD = {
    "id": "child",
    "namespace": "test.random",
    "tasks": [{"id": "ok1", "type": "io.kestra.plugin.core.log.Log", "message": "m"}],
}

at_random = settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large], phases=QUICK)
"""As many examples as the profile says: 100, or 5,000 with `make fuzz`."""
seeds = st.integers(0, 2**32 - 1)
children = st.one_of(st.just(CHILD), flows("child", 2, subflows=False))


def world_of(flow: dict[str, Any], child: dict[str, Any], seed: int, **options: Any) -> World:
    world = World(seed, **options)
    DEPTHS["flows"] += 1
    for kind, depth in depths(flow).items():
        DEPTHS[kind] = max(DEPTHS[kind], depth)
    note(source(flow))
    note(source(child))
    world.add(source(child))
    world.add(source(flow))
    return world


@at_random
@given(flows(), children, seeds)
def test_every_flow_ends(flow: dict[str, Any], child: dict[str, Any], seed: int) -> None:
    """Random flows end, with repeated, reordered and dropped messages and with workers that are lost."""
    world = world_of(flow, child, seed)
    try:
        for _ in range(1 + seed % 3):
            world.create("main")
        world.run(3000)
        world.finish()
    finally:
        note("\n".join(world.trace[-60:]))


@at_random
@given(flows(), children, seeds)
def test_a_kill_ends_everything(flow: dict[str, Any], child: dict[str, Any], seed: int) -> None:
    """A kill at any moment ends the execution, its task runs and its subflows."""
    world = world_of(flow, child, seed)
    try:
        execution_id = world.create("main")
        world.run(seed % 120)
        world.operate(m.KillExecution(execution_id=execution_id, command_id="kill", at=world.now))
        world.finish()
    finally:
        note("\n".join(world.trace[-60:]))


@at_random
@given(flows(), children, flows(), seeds)
def test_commands_at_any_moment(
    flow: dict[str, Any], child: dict[str, Any], following: dict[str, Any], seed: int
) -> None:
    """Operators' commands at any moment have one answer each, which is true, and nothing sticks."""
    world = world_of(flow, child, seed)
    note(source(following))
    world.add(source(following), revision=2)
    world.add(source(child), revision=2)
    try:
        for _ in range(1 + seed % 2):
            world.create("main")
        world.run(400, operator=0.05)
        world.finish()
    finally:
        note("\n".join(world.trace[-60:]))


def test_coverage(capsys: pytest.CaptureFixture[str]) -> None:
    """The examples above met flowables at depth three and more, and every kind of fault."""
    deep = sorted(kind for kind in FLOWABLES if DEPTHS[kind] >= 3)
    faults = sorted({name.split()[0] for name in COVERAGE})
    with capsys.disabled():
        print(
            f"\nengine: {DEPTHS['flows']} flows; {len(deep)} of {len(FLOWABLES)} flowables at depth 3 or more;"
            f" {len(COVERAGE)} pairs of fault and message: {', '.join(sorted(COVERAGE))}"
        )
    if DEPTHS["flows"] >= 3 * 500:
        assert deep == sorted(FLOWABLES)
        assert faults == ["crash", "loss", "operator", "repeat"]
        assert len(COVERAGE) >= 30
