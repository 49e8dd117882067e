"""Whatever is written, reading a flow ends in a flow or in problems that name their place; inputs likewise."""

from __future__ import annotations

import random
import re

import yaml
from hypothesis import given
from hypothesis import strategies as st

from shared.flows.input_types import INPUT_TYPES
from shared.flows.inputs import resolve_inputs
from shared.flows.parser import FlowError, parse_flow
from shared.flows.stored import flow_json
from shared.model.flow import Flow, Input

GOOD = """\
id: shop
namespace: acme
labels: {team: sales}
inputs:
  - {id: n, type: INT, min: 1, defaults: 2}
  - {id: kind, type: SELECT, values: [a, b], dependsOn: {inputs: [n], condition: "{{ true }}"}}
variables: {region: eu}
concurrency: {limit: 2, behavior: CANCEL}
pluginDefaults: [{type: io.kestra.plugin.core.log, values: {level: WARN}, forced: true}]
retry: {type: constant, interval: PT1S, maxAttempt: 3}
sla: [{id: quick, type: MAX_DURATION, behavior: FAIL, duration: PT8H, labels: {a: b}}]
tasks:
  - id: graph
    type: io.kestra.plugin.core.flow.Dag
    tasks:
      - task: {id: f, type: io.kestra.plugin.core.debug.Return, format: 1, timeout: PT1S, workerGroup: {key: g}}
      - task: {id: g, type: io.kestra.plugin.core.log.Log, message: [a, b]}
        dependsOn: [f]
  - id: choose
    type: io.kestra.plugin.core.flow.Switch
    value: x
    cases: {x: [{id: c, type: io.kestra.plugin.core.flow.Pause, onResume: [{id: ok, type: BOOL}]}]}
    errors: [{id: e, type: io.kestra.plugin.core.flow.Subflow, namespace: acme, flowId: other, inputs: {a: 1}}]
triggers:
  - id: hook
    type: io.kestra.plugin.core.trigger.Flow
    preconditions: {id: p, flows: [{namespace: acme, states: [SUCCESS]}]}
    conditions:
      - type: io.kestra.plugin.core.condition.MultipleCondition
        id: m
        window: P1D
        conditions: {one: {type: io.kestra.plugin.core.condition.ExecutionStatus, in: [SUCCESS]}}
listeners: [{tasks: [{id: l, type: io.kestra.plugin.core.debug.Return}]}]
outputs: [{id: out, type: STRING, value: "{{ 1 }}"}]
"""

SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.text(max_size=12)
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3)
)


def read(source: str) -> Flow | None:
    """The flow, or None after its problems were looked at."""
    try:
        return parse_flow(source)
    except FlowError as error:
        problems = error.problems
    lines = len(re.split("\r\n|[\n\r\x85\u2028\u2029]", source)) + 1  # what YAML 1.1 calls line breaks
    assert problems
    for problem in problems:
        assert problem.message
        assert 1 <= problem.line <= lines
        assert problem.column >= 1
    return None


def test_the_flow_to_be_changed_is_good():
    """Else the tests below would only look at refusals."""
    assert read(GOOD) is not None


@given(st.text(max_size=200))
def test_any_text(source):
    """No text makes the parser raise anything but FlowError."""
    read(source)


@given(st.integers(0, len(GOOD)), st.integers(0, 30), st.text(alphabet=" \n:-[]{}\"'&*!|>%@abc1.", max_size=5))
def test_damaged_text(position, length, insert):
    """A flow with some characters replaced is read or refused."""
    read(GOOD[:position] + insert + GOOD[position + length :])


@given(st.randoms(use_true_random=False), VALUES)
def test_any_value_anywhere(chance: random.Random, value):
    """Any value in the place of any part of a flow is read or refused; what is read can be shown."""
    tree = yaml.safe_load(GOOD)
    place = tree
    while True:
        keys = list(place) if isinstance(place, dict) else range(len(place))
        key = chance.choice(list(keys))
        if isinstance(place[key], dict | list) and place[key] and chance.random() < 0.8:
            place = place[key]
            continue
        place[key] = value
        break

    flow = read(yaml.safe_dump(tree, allow_unicode=True))

    if flow is not None:
        assert flow_json(flow)["id"] == flow.id


@given(st.sampled_from(sorted(INPUT_TYPES)), VALUES)
def test_any_value_for_any_input(kind, value):
    """An input takes a value or tells why not; it never raises, and what it takes it takes again."""
    item = Input(
        "x", kind, properties={"values": ["a"], "itemType": "STRING"} if "SELECT" in kind or kind == "ENUM" else {}
    )

    def render(template, variables):
        return template

    (entry,) = resolve_inputs([item], {"x": value}, render=render).entries

    if entry.errors:
        assert entry.errors[0].startswith("Invalid input for `x`, ")
    elif kind not in ("SECRET", "JSON", "YAML"):
        (again,) = resolve_inputs([item], {"x": entry.value}, render=render).entries
        assert again.value == entry.value
