"""Typed inputs and outputs: values, validators, conditions, messages."""

from __future__ import annotations

import json
import re

import pytest

from shared.flows.inputs import InvalidInputs, Secret, nested, resolve_inputs, resolve_outputs
from shared.flows.parser import FlowError, parse_flow

FLOW = """\
id: typed
namespace: acme
tasks: [{id: one, type: io.kestra.plugin.core.debug.Return}]
"""


def render(template, variables):
    """`{{ a.b }}` looks up a path, `{{ a.b == x }}` compares it; what is missing raises."""
    expression = template.strip().removeprefix("{{").removesuffix("}}").strip()
    path, compared, wanted = (part.strip() for part in expression.partition("=="))
    value = variables
    for name in path.split("."):
        if name not in value:
            raise LookupError(f"Unable to find `{name}`")
        value = value[name]
    return str(value) == wanted if compared else value


def flow_inputs(text: str):
    return parse_flow(FLOW + "inputs:\n" + "\n".join(f"  - {line}" for line in text.strip().splitlines())).inputs


def resolve(text: str, given, **options):
    return resolve_inputs(flow_inputs(text), given, render=render, **options)


def one(text: str, value):
    """The only entry of a flow with one input `x`."""
    (entry,) = resolve(text, {"x": value}).entries
    return entry


@pytest.mark.parametrize(
    ("kind", "given", "value"),
    [
        ("STRING", "text", "text"),
        ("STRING", 42, "42"),
        ("STRING", True, "true"),
        ("STRING", "{{ secret }}", "{{ secret }}"),
        ("INT", "42", 42),
        ("INT", -7, -7),
        ("FLOAT", "42.5", 42.5),
        ("FLOAT", 3, 3.0),
        ("BOOLEAN", "TRUE", True),
        ("BOOLEAN", "no", False),
        ("BOOL", False, False),
        ("DATETIME", "2019-10-06T18:27:49Z", "2019-10-06T18:27:49Z"),
        ("DATETIME", "2019-10-06T18:27:49.5+02:00", "2019-10-06T16:27:49.500Z"),
        ("DATETIME", "2019-10-06T18:27:49.123456Z", "2019-10-06T18:27:49.123456Z"),
        ("DATETIME", "2019-10-06T18:27:49.1234Z", "2019-10-06T18:27:49.123400Z"),
        ("DATE", "2019-10-06", "2019-10-06"),
        ("TIME", "18:27:49", "18:27:49"),
        ("TIME", "18:27", "18:27:00"),
        ("DURATION", "PT306S", "PT5M6S"),
        ("JSON", '{"a": [1]}', {"a": [1]}),
        ("JSON", "[" * 99 + "]" * 99, json.loads("[" * 99 + "]" * 99)),
        ("JSON", {"a": 1}, {"a": 1}),
        ("YAML", "a: [1, yes]", {"a": [1, "yes"]}),
        ("URI", "https://www.example.com/a?b=c", "https://www.example.com/a?b=c"),
        ("EMAIL", "ann@example.com", "ann@example.com"),
        ("FILE", "kestra:///a/b.csv", "kestra:///a/b.csv"),
        ("SECRET", "hush", Secret("hush")),
        ("ARRAY, itemType: INT", '["1", 2]', [1, 2]),
        ("ARRAY, itemType: JSON", ['{"a": 1}'], [{"a": 1}]),
        ("SELECT, values: [a, b]", "b", "b"),
        ("SELECT, values: [a, b], allowCustomValue: true", "c", "c"),
        ("ENUM, values: [a, 1]", "1", "1"),
        ("MULTISELECT, values: [a, b]", '["b"]', ["b"]),
        ("MULTISELECT, values: ['1', '2'], itemType: INT", "[1]", [1]),
    ],
)
def test_values(kind, given, value):
    """What forms and JSON give becomes the type's value."""
    entry = one(f"{{id: x, type: {kind}}}", given)

    assert (entry.value, type(entry.value), entry.errors) == (value, type(value), ())


@pytest.mark.parametrize(
    ("kind", "given", "message"),
    [
        ("INT", "4.2", "Expected `INT` but received `4.2`"),
        ("INT", "9999999999", "out of the range of an INT"),
        ("INT", True, "Expected `INT`"),
        ("FLOAT", "much", "Expected `FLOAT` but received `much`"),
        ("FLOAT", "nan", "not a finite number"),
        ("DATETIME", "2019-10-06", "Expected `DATETIME`"),
        ("DATETIME", "2019-10-06T10:00:00", "an instant such as"),
        ("DATE", "06.10.2019", "Expected `DATE`"),
        ("TIME", "25:00:00", "Expected `TIME`"),
        ("DURATION", "5 minutes", "Expected `DURATION`"),
        ("JSON", "{a", "Expected `JSON`"),
        ("JSON", "[NaN]", "NaN is not JSON"),
        ("JSON", "[" * 101 + "]" * 101, "must not have more than 100 levels"),
        ("JSON", '{"a":' * 101 + "1" + "}" * 101, "must not have more than 100 levels"),
        ("JSON", "[" * 100_000 + "]" * 100_000, "Expected `JSON`"),
        ("YAML", "[" * 100_000 + "]" * 100_000, "must not have more than 100 levels"),
        ("YAML", "a: [", "Expected `YAML`"),
        ("URI", "not a uri", "Expected `URI` but received `not a uri`, but received `not a uri`"),
        ("EMAIL", "ann at home", "The input must be a valid email"),
        ("FILE", "/etc/passwd", "is not the URI of a stored file"),
        ("FILE", "file:///etc/passwd", "is not the URI of a stored file"),
        ("FILE", "report.csv", "is not the URI of a stored file"),
        ("ARRAY, itemType: INT", '["s1"]', 'Unable to parse array element as `INT` on `s1`, but received `["s1"]`'),
        ("ARRAY, itemType: INT", "5", "Expected `ARRAY` but received `5`"),
        ("ENUM, values: [A, B]", "C", "it must match the values `[A, B]`, but received `C`"),
        ("SELECT, values: [A, B]", "C", "it must match the values `[A, B]`"),
        ("MULTISELECT, values: [A, B]", '["A", "C"]', "it must match the values `[A, B]`"),
        ("STRING, validator: 'A\\d+'", "B1", "it must match the pattern `A\\d+`, but received `B1`"),
        ("STRING, validator: 'A\\d+'", "xA1", "it must match the pattern"),
        ("INT, min: 10, max: 20", "9", "it must be more than `10`, but received `9`"),
        ("INT, min: 10, max: 20", "21", "it must be less than `20`, but received `21`"),
        ("FLOAT, min: 0.1", "0.01", "it must be more than `0.1`, but received `0.01`"),
        ("DATE, after: 2023-01-01", "2022-01-01", "it must be after `2023-01-01`, but received `2022-01-01`"),
        ("TIME, after: '01:00:00'", "00:00:01", "it must be after `01:00`, but received `00:00:01`"),
        (
            "DATETIME, before: '2023-12-31T23:59:59Z'",
            "2024-01-01T00:00:00Z",
            "it must be before `2023-12-31T23:59:59Z`",
        ),
        ("DURATION, min: PT10S", "PT1S", "It must be more than `PT10S`, but received `PT1S`"),
        ("DURATION, max: PT20S", "PT30S", "It must be less than `PT20S`, but received `PT30S`"),
        ("FILE, allowedFileExtensions: [csv]", "kestra:///a.txt", "it must have one of the file extensions `[.csv]`"),
        ("STRING", None, "missing required input, but received `null`"),
    ],
)
def test_refused_values(kind, given, message):
    """A value that does not fit is told in Kestra's words, and is not changed."""
    entry = one(f"{{id: x, type: {kind}}}", given)

    (error,) = entry.errors
    assert error.startswith("Invalid input for `x`, ")
    assert message in error
    assert entry.value == given


def test_all_errors_at_once():
    """Every bad input is told, each with its id."""
    resolved = resolve("{id: a, type: INT}\n{id: b, type: STRING}\n{id: c, type: DATE, required: false}", {"a": "x"})

    with pytest.raises(InvalidInputs) as caught:
        resolved.valid()
    assert [name for name, _ in caught.value.errors] == ["a", "b"]
    assert re.match(
        r"a: Invalid input for `a`, [\s\S]+\nb: Invalid input for `b`, missing required input", str(caught.value)
    )


def test_defaults():
    """A default stands in for what is not given, typed and rendered; an empty text is a value."""
    resolved = resolve(
        "{id: a, type: INT, defaults: 3}\n{id: b, type: STRING, defaults: ''}\n"
        "{id: c, type: STRING, defaults: '{{ flow.id }}'}\n{id: d, type: STRING, required: false}\n"
        "{id: e, type: STRING, defaults: 1.10}\n"
        "{id: f, type: STRING, defaults: '{{ inputs.a }}', dependsOn: {inputs: [a]}}",
        {"a": None, "unknown": 1},
        variables={"flow": {"id": "typed"}},
    )

    assert resolved.valid() == {"a": 3, "b": "", "c": "typed", "d": None, "e": "1.10", "f": "3"}
    assert all(entry.is_default for entry in resolved.entries)


def test_what_is_given_wins_over_a_default():
    """Also where it is refused: the default does not stand in for a bad value."""
    resolved = resolve("{id: a, type: INT, defaults: 3}\n{id: b, type: INT, defaults: 3}", {"a": "5", "b": "many"})

    assert [(entry.value, entry.is_default) for entry in resolved.entries] == [(5, False), ("many", False)]
    assert [name for name, _ in resolved.errors] == ["b"]


def test_defaults_are_rendered_in_depth():
    """Texts within a list or map are rendered too."""
    resolved = resolve(
        "{id: a, type: JSON, defaults: {b: ['{{ flow.id }}', 1]}}\n"
        "{id: c, type: ARRAY, itemType: STRING, defaults: ['{{ flow.id }}']}",
        {},
        variables={"flow": {"id": "typed"}},
    )

    assert resolved.valid() == {"a": {"b": ["typed", 1]}, "c": ["typed"]}


def test_a_default_of_a_rendered_choice_is_checked_when_its_values_are_known():
    """The flow is read; the value must be one of those that the expression gives."""
    text = "{id: a, type: SELECT, expression: '{{ flow.names }}', defaults: x}"

    assert resolve(text, {}, variables={"flow": {"names": ["x"]}}).valid() == {"a": "x"}
    assert "it must match the values `[y]`" in str(resolve(text, {}, variables={"flow": {"names": ["y"]}}).errors)


def test_a_default_that_cannot_be_rendered_is_an_error():
    """The reason is in the message."""
    (entry,) = resolve("{id: a, type: STRING, defaults: '{{ nothing.here }}'}", {}).entries

    assert "Cannot render 'defaults'. Cause: Unable to find `nothing`" in entry.errors[0]


def test_conditions():
    """A false condition disables an input and what depends on it; one that cannot be rendered is an error too."""
    text = (
        "{id: a, type: STRING}\n"
        "{id: b, type: STRING, dependsOn: {inputs: [a], condition: '{{ inputs.a == yes }}'}}\n"
        "{id: c, type: STRING, dependsOn: {inputs: [b]}}\n"
        "{id: d, type: STRING, dependsOn: {inputs: [a], condition: '{{ inputs.other == yes }}'}}"
    )
    given = {"a": "yes", "b": "2", "c": "3", "d": "4"}

    enabled = resolve(text, given)
    assert [(entry.enabled, entry.value) for entry in enabled.entries[:3]] == [(True, "yes"), (True, "2"), (True, "3")]
    assert enabled.entries[3].errors == ("Invalid condition: Unable to find `other`",)
    assert not enabled.entries[3].enabled

    disabled = resolve(text, given | {"a": "no"})
    assert [entry.enabled for entry in disabled.entries] == [True, False, False, False]
    assert [entry.errors for entry in disabled.entries[:3]] == [(), (), ()]
    assert disabled.values == {"a": "no"}


def test_a_disabled_required_input_is_not_missed():
    """Nothing has to be given for an input that its condition turns off."""
    resolved = resolve(
        "{id: a, type: STRING}\n{id: b, type: INT, dependsOn: {inputs: [a], condition: '{{ inputs.a == yes }}'}}",
        {"a": "no"},
    )

    assert resolved.valid() == {"a": "no"}


def test_expressions_give_the_values_of_a_choice():
    """The values may be rendered of what the input depends on; anything but a list is an error."""
    text = "{{id: a, type: JSON}}\n{{id: b, type: {kind}, expression: '{{{{ inputs.a.names }}}}', dependsOn: {{inputs: [a]}}}}"

    good = resolve(text.format(kind="SELECT"), {"a": {"names": ["x", 1]}, "b": "1"})
    assert good.valid()["b"] == "1"
    assert good.entries[1].input.properties["values"] == ["x", "1"]

    bad = resolve(text.format(kind="MULTISELECT"), {"a": {"names": ["x"]}, "b": ["y"]})
    assert "it must match the values `[x]`" in bad.entries[1].errors[0]
    odd = resolve(text.format(kind="SELECT"), {"a": {"names": 5}, "b": "y"})
    assert "Invalid expression result. Expected a list of strings, but received int" in odd.entries[1].errors[0]


def test_files_are_the_uris_of_uploads():
    """An upload stands in for the input of its name, whatever the form says."""
    resolved = resolve("{id: a, type: FILE}", {"a": "report.csv"}, files={"a": "kestra:///x/report.csv"})

    assert resolved.valid() == {"a": "kestra:///x/report.csv"}


def test_dotted_ids_are_nested():
    """`a.b` is a map; where `a` has a value too, neither is lost."""
    resolved = resolve(
        "{id: a.b, type: INT}\n{id: a.c.d, type: INT}\n{id: e, type: INT}", {"a.b": 1, "a.c.d": 2, "e": 3}
    )

    assert resolved.valid() == {"a": {"b": 1, "c": {"d": 2}}, "e": 3}
    assert nested({"a.b": 1, "a": 5, "a.b.c": 2}) == {"a": 5, "a.b": 1, "a.b.c": 2}


def test_secrets_do_not_show():
    """Neither the marker's text nor an error has the value; a template sees it."""
    entry = one("{id: x, type: SECRET, validator: 'A.*'}", "hush")
    assert "hush" not in entry.errors[0]
    assert "hush" not in one("{id: x, type: SECRET}", {"hush": 1}).errors[0]
    assert "hush" not in repr(Secret("hush")) + str(Secret("hush"))

    resolved = resolve(
        "{id: x, type: SECRET}\n{id: y, type: STRING, defaults: '{{ inputs.x }}', dependsOn: {inputs: [x]}}",
        {"x": "hush"},
    )
    assert resolved.valid() == {"x": Secret("hush"), "y": "hush"}


def test_outputs():
    """Outputs are rendered in depth and typed; a map as text is JSON."""
    flow = parse_flow(
        FLOW
        + "outputs:\n"
        + "  - {id: n, type: INT, value: '{{ outputs.n }}'}\n"
        + "  - {id: list, type: ARRAY, value: ['{{ outputs.n }}', 2]}\n"
        + "  - {id: text, type: STRING, value: '{{ outputs.map }}'}\n"
        + "  - {id: secret, type: SECRET, value: '{{ outputs.n }}'}\n"
        + "  - {id: none, type: STRING, value: '{{ outputs.none }}', required: false}\n"
    )
    variables = {"outputs": {"n": "1", "map": {"a": 1}, "none": None}}

    values = resolve_outputs(flow.outputs, render=render, variables=variables).valid()

    assert values == {"n": 1, "list": ["1", 2], "text": '{"a":1}', "secret": Secret("1"), "none": None}


def test_output_errors():
    """What cannot be rendered, typed or is missing is told for each output."""
    flow = parse_flow(
        FLOW
        + "outputs:\n"
        + "  - {id: a, type: INT, value: '{{ outputs.text }}'}\n"
        + "  - {id: b, type: STRING, value: '{{ outputs.nothing }}'}\n"
        + "  - {id: c, type: STRING, value: '{{ outputs.none }}'}\n"
        + "  - {id: d, type: STRING, value: fine}\n"
        + "  - {id: e, type: SECRET, value: '{{ outputs.none }}'}\n"
    )

    resolved = resolve_outputs(flow.outputs, render=render, variables={"outputs": {"text": "x", "none": None}})

    assert resolved.values == {"d": "fine"}
    messages = dict(resolved.errors)
    assert "Invalid output for `a`, Expected `INT` but received `x`" in messages["a"]
    assert "Unable to find `nothing`" in messages["b"]
    assert messages["e"] == "Invalid output for `e`, missing required output, but received `null`"
    assert messages["c"] == "Invalid output for `c`, missing required output, but received `null`"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{id: x, type: FOO}", "Invalid type: FOO"),
        ("{id: x}", "inputs[0].type: must not be null"),
        ("{type: STRING}", "inputs[0].id: must not be null"),
        ("{id: x, type: STRING, validator: '('}", "inputs[0].validator: invalid pattern [(]"),
        ("{id: x, type: STRING, values: [a]}", 'Unrecognized field "values"'),
        ("{id: x, type: SELECT}", "needs values or an expression"),
        ("{id: x, type: ARRAY}", "inputs[0].itemType: must not be null"),
        ("{id: x, type: ARRAY, itemType: ARRAY}", "inputs[0].itemType: expected one of"),
        ("{id: x, type: FILE, defaults: a.csv}", "no `defaults` can be set for inputs of type 'FILE'"),
        ("{id: x, type: INT, defaults: many}", "inputs[0].defaults: Expected `INT` but received `many`"),
        ("{id: x, type: INT, defaults: 3, min: 5}", "inputs[0].defaults: it must be more than `5`"),
        ("{id: x, type: DATE, after: soon}", "inputs[0].after: Expected `DATE` but received `soon`"),
        ("{id: x, type: STRING, dependsOn: {inputs: [y]}}", "depends on a non-existent input 'y'"),
        ("{id: x, type: STRING, displayName: " + "n" * 65 + "}", "size must be between 0 and 64"),
        ("{id: x, type: INT}\n{id: x, type: INT}", "Duplicate input with name [x] (x in lines 5, 6)"),
        (
            "{id: x, type: INT, dependsOn: {inputs: [y]}}\n{id: y, type: INT, dependsOn: {inputs: [x]}}",
            "Cycle dependency detected for input with id 'x': [x, y]",
        ),
    ],
)
def test_inputs_that_cannot_be(line, message):
    """A flow with an impossible input is refused when it is read."""
    with pytest.raises(FlowError) as caught:
        flow_inputs(line)
    assert message in str(caught.value)
