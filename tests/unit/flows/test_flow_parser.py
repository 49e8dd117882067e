"""Reading a flow: what a good one becomes, and what is told about a bad one."""

from __future__ import annotations

from textwrap import dedent

import pytest

from shared.flows.parser import FlowError, parse_flow
from shared.model.flow import ConcurrencyBehavior, Fallback, RetryBehavior, RetryType

HEAD = "id: shop\nnamespace: acme.sales\n"


def read(body: str, **options):
    return parse_flow(HEAD + dedent(body), **options)


def problems(source: str) -> list[str]:
    with pytest.raises(FlowError) as caught:
        parse_flow(source, file="shop.yaml")
    return [str(problem) for problem in caught.value.problems]


def problems_of(body: str) -> list[str]:
    return problems(HEAD + dedent(body))


TASKS = """\
tasks:
  - id: one
    type: io.kestra.plugin.core.log.Log
    message: hello
"""


def test_a_small_flow():
    """A task has its canonical type, its properties without the common ones, and the flow what it was given."""
    flow = read(TASKS, tenant="east", revision=4)

    assert (flow.tenant, flow.namespace, flow.id, flow.revision) == ("east", "acme.sales", "shop", 4)
    assert flow.uid == "east/acme.sales/shop"
    (task,) = flow.tasks
    assert (task.id, task.type, task.properties) == ("one", "io.kestra.plugin.core.log.Log", {"message": "hello"})
    assert flow.source == HEAD + TASKS


def test_common_properties_become_fields():
    """What every task may have is read into fields, not left among the type's properties."""
    flow = read("""\
        tasks:
          - id: one
            type: io.kestra.plugin.core.debug.Return
            format: 1.10
            disabled: "true"
            runIf: "{{ inputs.go }}"
            allowFailure: true
            allowWarning: true
            timeout: PT10S
            logLevel: WARN
            workerGroup: {key: gpu, fallback: CANCEL}
            retry: {type: exponential, interval: PT1S, maxInterval: PT1M, delayFactor: 3, maxAttempt: 5,
                    maxDuration: PT1H, warningOnRetry: true, behavior: CREATE_NEW_EXECUTION}
        """)

    (task,) = flow.tasks
    assert task.properties == {"format": "1.10"}
    assert (task.disabled, task.run_if, task.allow_failure, task.allow_warning) == (True, "{{ inputs.go }}", True, True)
    assert (task.timeout, task.log_level) == ("PT10S", "WARN")
    assert task.worker_group is not None
    assert (task.worker_group.key, task.worker_group.fallback) == ("gpu", Fallback.CANCEL)
    retry = task.retry
    assert retry is not None
    assert (retry.type, retry.interval, retry.max_interval, retry.delay_factor) == (
        RetryType.EXPONENTIAL,
        1000,
        60_000,
        3.0,
    )
    assert (retry.max_attempt, retry.max_duration, retry.warning_on_retry) == (5, 3_600_000, True)
    assert retry.behavior is RetryBehavior.CREATE_NEW_EXECUTION


def test_retry_defaults():
    """What a retry does not say: no limits, the failed task again, success stays success."""
    flow = read(TASKS + "    retry: {type: constant, interval: PT2S, maxAttempts: 4}\n")

    retry = flow.tasks[0].retry
    assert retry is not None
    assert (retry.interval, retry.max_attempt, retry.max_duration, retry.warning_on_retry) == (2000, 4, None, False)
    assert retry.behavior is RetryBehavior.RETRY_FAILED_TASK


def test_branches():
    """Child tasks stand under the property they were written in, cases under their value."""
    flow = read("""\
        tasks:
          - id: choose
            type: io.kestra.plugin.core.flow.Switch
            value: "{{ inputs.kind }}"
            cases:
              1: [{id: a, type: io.kestra.plugin.core.debug.Return}]
              yes: [{id: b, type: io.kestra.plugin.core.debug.Return}]
            defaults: [{id: c, type: io.kestra.plugin.core.debug.Return}]
            errors: [{id: d, type: io.kestra.plugin.core.debug.Return}]
            finally: [{id: e, type: io.kestra.plugin.core.debug.Return}]
          - id: graph
            type: io.kestra.plugin.core.flow.Dag
            tasks:
              - task: {id: f, type: io.kestra.plugin.core.debug.Return}
              - task: {id: g, type: io.kestra.plugin.core.debug.Return}
                dependsOn: [f]
        """)

    choose, graph = flow.tasks
    assert {name: [t.id for t in tasks] for name, tasks in choose.branches.items()} == {
        "cases.1": ["a"], "cases.yes": ["b"], "defaults": ["c"], "errors": ["d"], "finally": ["e"],
    }  # fmt: skip
    assert choose.properties == {"value": "{{ inputs.kind }}"}
    assert [(t.id, t.depends_on) for t in graph.branches["tasks"]] == [("f", ()), ("g", ("f",))]
    assert [task.id for task in flow.walk()] == ["choose", "a", "b", "c", "d", "e", "graph", "f", "g"]


def test_pause():
    """A Pause's inputs are typed inputs among its properties, its task to run at once is a branch."""
    flow = read("""\
        tasks:
          - id: wait
            type: io.kestra.plugin.core.flow.Pause
            delay: "{{ inputs.delay }}"
            timeout: PT1H
            onResume: [{name: reason, type: string}]
            onPause: {id: tell, type: io.kestra.plugin.core.debug.Return}
        """)

    (task,) = flow.tasks
    assert (task.properties["delay"], task.timeout) == ("{{ inputs.delay }}", "PT1H")
    assert [(item.id, item.type, item.required) for item in task.properties["onResume"]] == [("reason", "STRING", True)]
    assert [child.id for child in task.branches["onPause"]] == ["tell"]


def test_values_of_properties():
    """Numbers and booleans may be texts of them; a template stays a text; objects are read in depth."""
    flow = read("""\
        tasks:
          - id: loop
            type: io.kestra.plugin.core.flow.LoopUntil
            condition: true
            checkFrequency: {maxIterations: "5", interval: PT1S}
            failOnMaxReached: "true"
            tasks: [{id: split, type: io.kestra.plugin.core.storage.Split, from: x, rows: "{{ inputs.rows }}"}]
        triggers:
          - id: after
            type: io.kestra.plugin.core.trigger.Flow
            states: [SUCCESS]
            labels: {a: 1}
            preconditions:
              id: p
              flows: [{namespace: acme, flowId: other, states: [FAILED]}]
              where: [{id: w, filters: [{field: FLOW_ID, type: IN, values: [a, 1]}]}]
        """)

    (loop,) = flow.tasks
    assert loop.properties == {
        "condition": "true",
        "checkFrequency": {"maxIterations": 5, "interval": "PT1S"},
        "failOnMaxReached": True,
    }
    assert loop.branches["tasks"][0].properties == {"from": "x", "rows": "{{ inputs.rows }}"}
    assert flow.triggers[0].properties == {
        "states": ["SUCCESS"],
        "labels": {"a": "1"},
        "preconditions": {
            "id": "p",
            "flows": [{"namespace": "acme", "flowId": "other", "states": ["FAILED"]}],
            "where": [{"id": "w", "filters": [{"field": "FLOW_ID", "type": "IN", "values": ["a", "1"]}]}],
        },
    }


def test_flow_properties():
    """Labels, variables, concurrency, SLA, outputs, triggers, listeners and the ends of a flow are read."""
    flow = read(
        TASKS
        + dedent("""\
        labels: {team: sales, size: 3, vip: true}
        variables: {region: eu, nested: {on: yes}}
        concurrency: {limit: 2, behavior: CANCEL}
        sla:
          - {id: quick, type: MAX_DURATION, behavior: FAIL, duration: PT8H}
          - {id: sure, type: EXECUTION_ASSERTION, behavior: NONE, assert: "{{ true }}", labels: {sla: broken}}
        outputs: [{id: total, type: INT, value: "{{ outputs.one.value }}"}]
        triggers:
          - id: hook
            type: io.kestra.core.models.triggers.types.Webhook
            key: secret
            conditions: [{type: io.kestra.plugin.core.condition.ExpressionCondition, expression: "{{ true }}"}]
        listeners:
          - conditions: [{type: io.kestra.plugin.core.condition.ExecutionStatus, in: [FAILED]}]
            tasks: [{id: tell, type: io.kestra.plugin.core.debug.Return}]
        errors: [{id: on-error, type: io.kestra.plugin.core.debug.Return}]
        finally: [{id: always, type: io.kestra.plugin.core.debug.Return}]
        afterExecution: [{id: after, type: io.kestra.plugin.core.debug.Return}]
        disabled: true
        """)
    )

    assert flow.labels == (("team", "sales"), ("size", "3"), ("vip", "true"))
    assert flow.variables == {"region": "eu", "nested": {"on": "yes"}}
    assert flow.concurrency is not None
    assert (flow.concurrency.limit, flow.concurrency.behavior) == (2, ConcurrencyBehavior.CANCEL)
    assert [(s.id, s.type, s.duration, s.assertion, s.labels) for s in flow.sla] == [
        ("quick", "MAX_DURATION", 28_800_000, None, ()),
        ("sure", "EXECUTION_ASSERTION", None, "{{ true }}", (("sla", "broken"),)),
    ]
    assert [(o.id, o.type, o.value) for o in flow.outputs] == [("total", "INT", "{{ outputs.one.value }}")]
    (trigger,) = flow.triggers
    assert (trigger.type, trigger.properties["key"]) == ("io.kestra.plugin.core.trigger.Webhook", "secret")
    assert trigger.properties["conditions"] == (
        {"type": "io.kestra.plugin.core.condition.Expression", "expression": "{{ true }}"},
    )
    assert flow.listeners[0].conditions[0]["in"] == ["FAILED"]
    assert [task.id for task in flow.walk()] == ["one", "on-error", "always", "after", "tell"]
    assert flow.disabled


def test_yaml_is_read_as_jackson_reads_it():
    """Dates and yes stay text; octal, hexadecimal and underscores are numbers; a text property keeps what was written."""
    flow = read("""\
        variables: {a: 2024-01-01, b: yes, c: 1_000, d: 0x1F, e: 017, f: 08, g: 1.5e3, h: ~, i: 1:30, j: "5", k: True}
        tasks:
          - {id: one, type: io.kestra.plugin.core.debug.Return, format: 007}
        """)

    assert flow.variables == {
        "a": "2024-01-01", "b": "yes", "c": 1000, "d": 31, "e": 15, "f": "08", "g": 1500.0, "h": None, "i": "1:30", "j": "5",
        "k": True,
    }  # fmt: skip
    assert flow.tasks[0].properties == {"format": "007"}


def test_every_problem_is_told_at_once_with_its_place():
    """Problems of ids, types, properties, retries and limits come together, ordered by line, with path and expectation."""
    found = problems_of("""\
        concurrency: {limit: 0}
        colour: red
        tasks:
          - id: bad id
            type: io.kestra.plugin.core.log.Logg
          - id: two
            type: io.kestra.plugin.core.log.Log
            massage: hello
            retry: {type: sometimes}
            timeout: soon
          - id: three
            type: io.kestra.plugin.core.flow.Parallel
            concurrent: many
            tasks: []
        """)

    assert [line.split(": ")[:2] for line in found] == [
        ["shop.yaml:3:22", "concurrency.limit"],
        ["shop.yaml:4:1", "colour"],
        ["shop.yaml:6:9", "tasks[0].id"],
        ["shop.yaml:7:11", "tasks[0].type"],
        ["shop.yaml:8:5", "tasks[1].message"],
        ["shop.yaml:10:5", "tasks[1].massage"],
        ["shop.yaml:11:13", "tasks[1].retry.type"],
        ["shop.yaml:12:14", "tasks[1].timeout"],
        ["shop.yaml:15:17", "tasks[2].concurrent"],
        ["shop.yaml:16:5", "tasks[2].tasks"],
    ]
    assert 'must match "^[a-zA-Z0-9][a-zA-Z0-9_-]*", found "bad id"' in found[2]
    assert (
        "Invalid type: io.kestra.plugin.core.log.Logg; known types like it: io.kestra.plugin.core.log.Log" in found[3]
    )
    assert 'expected constant, exponential or random, found "sometimes"' in found[6]
    assert 'expected an ISO 8601 duration such as PT5S or P1DT2H, found the text "soon"' in found[7]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("", "must not be empty"),
        ("- a\n- b\n", "expected a mapping"),
        ("id: a\n  b: c\n", "not valid YAML"),
        ("id: a\nid: b\n", "Duplicate field 'id', first written in line 1"),
        ("id: &x [*x]\n", "an alias must not contain itself"),
        ("id: !java x\n", "unknown YAML tag !java"),
        ("id: !java [x]\n", "unknown YAML tag !java"),
        ("id: *nothing\n", "undefined alias nothing"),
        ("[a]: b\n", "a key must be a text"),
        ("id: a\n---\nid: b\n", "expected one document"),
    ],
)
def test_what_is_no_flow_at_all(source, message):
    """A text that is not one YAML mapping is refused with the reason and the line."""
    assert any(message in problem for problem in problems(source))


def test_expanding_aliases_are_bounded():
    """Anchors of anchors do not fill the memory: the document is refused."""
    lines = ["a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]

    (problem,) = problems("\n".join(lines))
    assert "a flow must not have more than 200000 nodes, aliases counted" in problem


@pytest.mark.parametrize("levels", [99, 200])
def test_nesting_is_bounded(levels):
    """A text of too many brackets is refused where it gets too deep."""
    (problem,) = problems("variables:\n  - " + "[" * levels + "]" * levels)

    assert problem == f"shop.yaml:2:{5 + 98}: variables[0]{'[0]' * 99}: a flow must not have more than 100 levels"


def test_endless_nesting_is_refused():
    """A text of endless brackets is refused in the same words, and does not end the process."""
    (problem,) = problems("variables:\n  - " + "[" * 200_000 + "]" * 200_000)

    assert problem.startswith("shop.yaml:2:")
    assert problem.endswith(": a flow must not have more than 100 levels")


def test_aliases_share_what_they_stand_for():
    """An alias is what its anchor stands before; also as a scalar, and for a key's value."""
    flow = read("variables: {a: &x [1, {b: 2}], c: *x, d: &y text, e: *y}\n" + TASKS)

    assert flow.variables == {"a": [1, {"b": 2}], "c": [1, {"b": 2}], "d": "text", "e": "text"}


def test_deep_aliases_are_bounded():
    """Aliases do not get around the bound of nesting."""
    lines = ["a0: &a0 [[[[[[[[[[1]]]]]]]]]]"]
    lines += [f"a{n}: &a{n} [*a{n - 1}]" for n in range(1, 95)]

    (problem,) = problems("\n".join(lines))
    assert problem == "shop.yaml:91:12: a90[0]: a flow must not have more than 100 levels"
