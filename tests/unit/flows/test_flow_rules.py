"""What Kestra refuses of a flow as a whole, and of its flowables, triggers, retries and defaults."""

from __future__ import annotations

from textwrap import dedent

import pytest

from shared.flows.catalog import Nature, Role, TypeSpec, core_catalog
from shared.flows.parser import FlowError, parse_flow
from shared.flows.rules import find_cycle

RETURN = "type: io.kestra.plugin.core.debug.Return"
ONE = f"tasks: [{{id: one, {RETURN}}}]\n"


def refused(source: str) -> FlowError:
    with pytest.raises(FlowError) as caught:
        parse_flow(source)
    return caught.value


def flow(body: str, head: str = "id: shop\nnamespace: acme\n") -> str:
    return head + dedent(body)


def task(body: str) -> str:
    """A flow of one task; `body` is the inside of its flow mapping."""
    return flow(f"tasks:\n  - {{id: it, {body}}}\n")


@pytest.mark.parametrize(
    ("source", "constraint"),
    [
        (flow(ONE, "namespace: acme\n"), "id: must not be null"),
        (flow(ONE, "id: a\nnamespace: ' '\n"), "namespace: must not be blank"),
        (flow(ONE, "id: a/b\nnamespace: acme\n"), 'id: must match "^[a-zA-Z0-9][a-zA-Z0-9._-]*", found "a/b"'),
        (flow(ONE, "id: a\nnamespace: Acme\n"), 'namespace: must match "^[a-z0-9][a-z0-9._-]*", found "Acme"'),
        (flow(ONE, f"id: {'a' * 101}\nnamespace: acme\n"), "id: size must be between 1 and 100, found 101 characters"),
        (flow(ONE, "id: search\nnamespace: acme\n"), "id: Flow id is a reserved keyword: search"),
        (flow(""), "tasks: must not be empty: expected a list of tasks"),
        (flow("tasks: []\n"), "tasks: must not be empty: expected a list of tasks"),
        (flow("tasks: hello\n"), 'tasks: expected a list of tasks, found the text "hello"'),
        (flow("tasks: [~]\n"), "tasks[0]: must not be null"),
        (
            flow(f"tasks: [{{id: one, {RETURN}}}, {{id: one, {RETURN}}}]\n"),
            ": Invalid Flow: Duplicate task id with name [one] (one in lines 3, 3)",
        ),
        (
            task("type: io.kestra.plugin.core.flow.Subflow, namespace: acme, flowId: shop"),
            ": Invalid Flow: Recursive call to flow [acme.shop]",
        ),
        (
            task(f"type: io.kestra.plugin.core.flow.Dag, tasks: [{{task: {{id: a, {RETURN}}}, dependsOn: [x, y]}}]"),
            "it: Not existing task id in dependency: x, y",
        ),
        (
            task(
                f"type: io.kestra.plugin.core.flow.Dag, tasks: [{{task: {{id: a, {RETURN}}}, dependsOn: [b]}},"
                f" {{task: {{id: b, {RETURN}}}, dependsOn: [a]}}]"
            ),
            "it: Cyclic dependency detected: a, b",
        ),
        (
            task("type: io.kestra.plugin.core.flow.Switch, value: x"),
            "it: No task defined, neither cases or default have any tasks",
        ),
        (task("type: io.kestra.plugin.core.flow.WorkingDirectory"), "it: The 'tasks' property cannot be empty"),
        (
            task(
                "type: io.kestra.plugin.core.flow.WorkingDirectory,"
                " tasks: [{id: a, type: io.kestra.plugin.core.flow.Pause, delay: PT1S}]"
            ),
            "it: Only runnable tasks are allowed as children of a WorkingDirectory task",
        ),
        (
            task(
                f"type: io.kestra.plugin.core.flow.WorkingDirectory, tasks: [{{id: a, {RETURN}, workerGroup: {{key: k}}}}]"
            ),
            "it: Cannot set a Worker Group in any WorkingDirectory sub-tasks",
        ),
        (task(f"{RETURN}, retry: {{type: constant}}"), "tasks[0].retry.interval: must not be null"),
        (
            task(f"{RETURN}, retry: {{type: constant, interval: PT2S, maxDuration: PT1S}}"),
            "tasks[0].retry: 'interval' must be less than 'maxDuration' but is PT2S",
        ),
        (
            task(f"{RETURN}, retry: {{type: constant, interval: PT2S, maxDuration: PT2S}}"),
            "tasks[0].retry: 'interval' must be less than 'maxDuration' but is PT2S",
        ),
        (
            flow(ONE + "triggers: [{id: t, type: io.kestra.plugin.core.trigger.Webhook, key: k, kee: l}]\n"),
            'triggers[0].kee: Unrecognized field "kee" (class io.kestra.plugin.core.trigger.Webhook)',
        ),
        (
            flow(
                ONE + "listeners: [{conditions: [{type: io.kestra.plugin.core.condition.Weekend, day: SUNDAY}],"
                f" tasks: [{{id: two, {RETURN}}}]}}]\n"
            ),
            'listeners[0].conditions[0].day: Unrecognized field "day"',
        ),
        (
            task(f"{RETURN}, retry: {{type: random, minInterval: PT2S, maxInterval: PT1S}}"),
            "tasks[0].retry: 'minInterval' must be less than 'maxInterval' but is PT2S",
        ),
        (
            task(f"{RETURN}, retry: {{type: constant, interval: PT2S, maxAttempt: 0}}"),
            "tasks[0].retry.maxAttempt: must be greater than or equal to 1, found 0",
        ),
        (task(f"{RETURN}, workerGroup: {{fallback: FAIL}}"), "tasks[0].workerGroup.key: must not be null"),
        (
            flow(ONE + "labels: {system.id: me}\n"),
            ": Invalid Flow: System labels can only be set by Kestra itself, offending label: system.id=me",
        ),
        (
            flow(
                ONE
                + "triggers: [{id: t, type: io.kestra.plugin.core.trigger.Webhook, key: k, labels: {system.a: b}}]\n"
            ),
            "triggers[0].labels: System labels can only be set by Kestra itself, offending label: system.a=b",
        ),
        (
            flow(
                ONE + "sla: [{id: a, type: MAX_DURATION, behavior: NONE, duration: PT1S,"
                " labels: [{key: system.a, value: b}]}]\n"
            ),
            "sla[0].labels: System labels can only be set by Kestra itself, offending label: system.a=b",
        ),
        (flow(ONE + "labels: [{key: a}]\n"), "labels[0]: a label must have a key and a value"),
        (flow(ONE + "labels: {a: [1]}\n"), "labels.a: Unsupported type for key: a"),
        (flow(ONE + "sla: [{id: a, type: MAX_DURATION, behavior: FAIL}]\n"), "sla[0].duration: must not be null"),
        (flow(ONE + "sla: [{id: a, type: NEVER, behavior: FAIL}]\n"), "sla[0].type: Invalid type: expected one of"),
        (flow(ONE + "outputs: [{id: a, type: STRING}]\n"), "outputs[0].value: must not be null"),
        (
            flow(ONE + "outputs: [{id: a, type: INT, value: 1}, {id: a, type: INT, value: 2}]\n"),
            ": Invalid Flow: Duplicate output with name [a]",
        ),
        (
            flow(ONE + "triggers: [{id: t, type: io.kestra.plugin.core.trigger.Schedule, cron: every day}]\n"),
            "triggers[0].cron: invalid cron expression 'every day': expected 5 fields or a name such as @daily",
        ),
        (
            flow(
                ONE + "triggers: [{id: t, type: io.kestra.plugin.core.trigger.Webhook, key: k, conditions:"
                " [{type: io.kestra.plugin.core.condition.MultipleCondition, id: m, conditions: {}}]}]\n"
            ),
            "triggers[0]: invalid webhook: conditions of type MultipleCondition are not supported",
        ),
        (
            flow(ONE + "triggers: [{id: t, type: io.kestra.plugin.core.debug.Return}]\n"),
            "triggers[0].type: Invalid type: io.kestra.plugin.core.debug.Return",
        ),
        (flow(ONE + "listeners: [{tasks: []}]\n"), "listeners[0].tasks: must not be empty"),
        (flow(ONE + "listeners: [now]\n"), 'listeners[0]: expected a listener, found the text "now"'),
        (flow(ONE + "triggers: [now]\n"), 'triggers[0]: expected a trigger, found the text "now"'),
        (flow(ONE + "inputs: [now]\n"), 'inputs[0]: expected an input, found the text "now"'),
        (flow(ONE + "outputs: [now]\n"), 'outputs[0]: expected an output, found the text "now"'),
        (flow(ONE + "sla: [now]\n"), 'sla[0]: expected an SLA, found the text "now"'),
        (flow("tasks: [now]\n"), 'tasks[0]: expected a task, found the text "now"'),
        (flow("tasks: [{id: a}]\n"), "tasks[0].type: must not be null"),
        (flow("tasks: [{id: a, type: [b]}]\n"), "tasks[0].type: expected a text, found a list"),
        (flow(ONE + "concurrency: {behavior: FAIL}\n"), "concurrency.limit: must not be null"),
        (flow(ONE + "concurrency: {limit: few}\n"), 'concurrency.limit: expected a whole number, found the text "few"'),
        (
            flow(ONE + "concurrency: {limit: 1, behavior: WAIT}\n"),
            "concurrency.behavior: expected one of QUEUE, CANCEL",
        ),
        (flow(ONE + "variables: [a]\n"), "variables: expected a mapping, found a list"),
        (flow(ONE + "disabled: maybe\n"), 'disabled: expected true or false, found the text "maybe"'),
        (flow(ONE + "description: {a: b}\n"), "description: expected a text, found a mapping"),
        (flow(ONE + "labels: {a: ~}\n"), "labels.a: Unsupported type for key: a, expected a text"),
        (flow(ONE + "labels: [a]\n"), "labels[0]: expected a mapping with key and value"),
        (flow(ONE + "sla: [{type: MAX_DURATION, behavior: FAIL, duration: PT1S}]\n"), "sla[0].id: must not be null"),
        (
            task(f"{RETURN}, retry: {{type: exponential, interval: PT1S, maxInterval: PT2S, delayFactor: big}}"),
            'tasks[0].retry.delayFactor: expected a number, found the text "big"',
        ),
        (task(f"{RETURN}, allowFailure: '{{{{ x }}}}'"), "tasks[0].allowFailure: expected true or false"),
        (
            task("type: io.kestra.plugin.core.flow.Dag, tasks: [{dependsOn: [a]}]"),
            "tasks[0].tasks[0].task: must not be null",
        ),
        (
            task("type: io.kestra.plugin.core.flow.Dag, tasks: [now]"),
            "tasks[0].tasks[0]: expected a mapping with task and",
        ),
        (
            task("type: io.kestra.plugin.core.execution.Count, startDate: a, expression: b, flows: x"),
            "tasks[0].flows: expected a list",
        ),
        (
            task("type: io.kestra.plugin.core.flow.Pause, onResume: [{id: a, type: INT}, {id: a, type: INT}]"),
            ": Invalid Flow: Duplicate input with name [a]",
        ),
        (
            task(
                "type: io.kestra.plugin.core.flow.WorkingDirectory, cache: {ttl: PT1M}, tasks: [{id: a, "
                + RETURN
                + "}]"
            ),
            "tasks[0].cache.patterns: must not be null",
        ),
        (
            flow(
                ONE + "triggers: [{id: t, type: io.kestra.plugin.core.trigger.Flow, preconditions: {id: p, flows:"
                " [{namespace: acme, states: [DONE]}]}}]\n"
            ),
            "triggers[0].preconditions.flows[0].states[0]: expected one of CREATED",
        ),
        (flow(ONE + "inputs: [{id: a, type: MULTISELECT}]\n"), "inputs[0].values: must not be null"),
    ],
)
def test_what_is_refused(source, constraint):
    """One mistake gives its one problem, with the path or subject that Kestra names."""
    error = refused(source)

    assert [problem.constraint for problem in error.problems if problem.constraint.startswith(constraint)] != []
    assert len(error.problems) == 1
    assert error.constraints == f"{error.problems[0].constraint} (line {error.problems[0].line})"


def test_a_long_chain_of_dependencies_is_no_cycle():
    """A Dag of thousands of tasks in a row is read; closing it to a ring is told."""
    chain = {str(number): [str(number + 1)] for number in range(5000)}

    assert find_cycle(chain) == []
    assert len(find_cycle({**chain, "5000": ["0"]})) == 5001
    assert find_cycle({"a": ["b", "c"], "b": ["d"], "c": ["d"], "d": []}) == []
    assert find_cycle({"a": ["b"], "b": ["c"], "c": ["b"]}) == ["b", "c"]
    assert find_cycle({"a": ["a"]}) == ["a"]


@pytest.mark.parametrize("cron", ["0 0 1 * *", "*/5 8-18 * * MON-FRI", "@daily"])
def test_good_cron_expressions(cron):
    """Five fields, or a name."""
    parse_flow(flow(ONE + f"triggers: [{{id: t, type: io.kestra.plugin.core.trigger.Schedule, cron: '{cron}'}}]\n"))


def test_cron_with_seconds():
    """Six fields with seconds first, when the trigger says so."""
    trigger = "id: t, type: io.kestra.plugin.core.trigger.Schedule, withSeconds: true"

    parse_flow(flow(ONE + f"triggers: [{{{trigger}, cron: '30 0 0 1 * *'}}]\n"))
    assert "expected 6 fields, seconds first" in str(
        refused(flow(ONE + f"triggers: [{{{trigger}, cron: '0 0 1 * *'}}]\n"))
    )


def test_read_only_label_is_the_users():
    """`system.readOnly` may be written."""
    assert parse_flow(flow(ONE + "labels: {system.readOnly: true}\n")).labels == (("system.readOnly", "true"),)


def test_labels_as_a_list():
    """Labels may be a list; the first of a key counts."""
    source = flow(ONE + "labels: [{key: a, value: 1}, {key: b, value: x}, {key: a, value: 2}]\n")

    assert parse_flow(source).labels == (("a", "1"), ("b", "x"))


# ------------------------------------------------------------------ plugin defaults


def defaulted(defaults: str, tasks: str):
    return parse_flow(flow(dedent(defaults) + dedent(tasks)))


LOG = "io.kestra.plugin.core.log.Log"


def test_defaults_fill_what_is_not_written():
    """A default gives what a task lacks, required properties too; what is written wins; nested tasks have them too."""
    read = defaulted(
        f"pluginDefaults: [{{type: {LOG}, values: {{level: WARN, message: hello, timeout: PT5S}}}}]\n",
        f"""\
        tasks:
          - {{id: a, type: {LOG}}}
          - id: b
            type: io.kestra.plugin.core.flow.Sequential
            tasks: [{{id: c, type: {LOG}, message: mine, level: ERROR}}]
        """,
    )

    a, c = read.tasks[0], read.tasks[1].branches["tasks"][0]
    assert (a.properties, a.timeout) == ({"level": "WARN", "message": "hello"}, "PT5S")
    assert (c.properties, c.timeout) == ({"level": "ERROR", "message": "mine"}, "PT5S")
    assert read.tasks[1].timeout is None


def test_forced_defaults_win():
    """A forced default wins over what is written; the first of several forced ones wins."""
    read = defaulted(
        f"""\
        pluginDefaults:
          - {{type: {LOG}, forced: true, values: {{level: WARN}}}}
          - {{type: {LOG}, forced: true, values: {{level: DEBUG, message: second}}}}
          - {{type: {LOG}, values: {{message: third}}}}
        """,
        f"tasks: [{{id: a, type: {LOG}, level: ERROR, message: mine}}]\n",
    )

    assert read.tasks[0].properties == {"level": "WARN", "message": "second"}


def test_defaults_by_prefix_and_alias():
    """A prefix reaches every type below it that knows the property; aliases count on both sides; the first default wins."""
    read = defaulted(
        """\
        pluginDefaults:
          - {type: io.kestra.core.tasks.log.Log, values: {level: WARN}}
          - {type: io.kestra.plugin.core, values: {level: DEBUG, disabled: true}}
        """,
        f"""\
        tasks:
          - {{id: a, type: {LOG}, message: x}}
          - {{id: b, type: io.kestra.core.tasks.log.Log, message: x}}
          - {{id: c, {RETURN}}}
        """,
    )

    assert [t.properties.get("level") for t in read.tasks] == ["WARN", "WARN", None]
    assert [t.type for t in read.tasks][:2] == [LOG, LOG]
    assert [t.disabled for t in read.tasks] == [True, True, True]


def test_defaults_merge_maps_and_join_lists():
    """Maps are merged key by key; a default's list comes before what is written; triggers have defaults too."""
    read = defaulted(
        """\
        taskDefaults:
          - type: io.kestra.plugin.core.flow.Subflow
            values: {inputs: {a: 1, b: {c: 2}}}
          - type: io.kestra.plugin.core.condition.ExecutionStatus
            values: {in: [FAILED]}
        """,
        """\
        tasks:
          - {id: a, type: io.kestra.plugin.core.flow.Subflow, namespace: acme, flowId: other, inputs: {b: {d: 3}}}
        triggers:
          - id: t
            type: io.kestra.plugin.core.trigger.Flow
            conditions: [{type: io.kestra.plugin.core.condition.ExecutionStatus, in: [SUCCESS]}]
        """,
    )

    assert read.tasks[0].properties["inputs"] == {"a": 1, "b": {"c": 2, "d": 3}}
    assert read.triggers[0].properties["conditions"][0]["in"] == ["FAILED", "SUCCESS"]


def test_a_null_does_not_hide_a_default():
    """What is written as null counts as not written."""
    read = defaulted(
        f"pluginDefaults: [{{type: {LOG}, values: {{message: hello, level: WARN}}}}]\n",
        f"tasks: [{{id: a, type: {LOG}, message: ~}}]\n",
    )

    assert read.tasks[0].properties == {"message": "hello", "level": "WARN"}


def test_defaults_are_not_in_what_the_user_wrote():
    """The raw flow stays as it was written."""
    read = defaulted(
        f"pluginDefaults: [{{type: {LOG}, values: {{message: x}}}}]\n", f"tasks: [{{id: a, type: {LOG}}}]\n"
    )

    assert read.raw["tasks"] == [{"id": "a", "type": LOG}]


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("{values: {a: 1}}", "pluginDefaults[0]: Invalid Plugin Default: No 'type' provided"),
        (f"{{type: {LOG}}}", "pluginDefaults[0]: Invalid Plugin Default: No 'values' provided"),
        (f"{{type: {LOG}, values: {{level: ~}}}}", "Invalid Plugin Default: No value provided for key 'level'"),
        (f"{{type: {LOG}, values: {{lovel: INFO}}}}", f"No property 'lovel' exists in plugin '{LOG}'"),
    ],
)
def test_bad_defaults(entry, message):
    """A default without type or values, or with a property that its type does not have, is refused."""
    assert message in str(refused(flow(f"pluginDefaults: [{entry}]\n{ONE}")))


# ------------------------------------------------------------------ types of plugins


def test_a_plugins_types_are_read_and_open_ones_take_any_property():
    """`with_types` adds types; an open one keeps properties that it does not list."""
    catalog = core_catalog().with_types(
        [TypeSpec("org.acme.Ship", Role.TASK, Nature.RUNNABLE, aliases=("org.acme.Send",), is_open=True)]
    )
    source = flow("tasks: [{id: a, type: org.acme.Send, to: [x], timeout: PT1S}]\n")

    read = parse_flow(source, catalog=catalog)

    assert (read.tasks[0].type, read.tasks[0].properties, read.tasks[0].timeout) == (
        "org.acme.Ship",
        {"to": ["x"]},
        "PT1S",
    )
    assert "Invalid type: org.acme.Send" in str(refused(source))
