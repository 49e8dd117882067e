"""What templates reach, and what is left of a context for them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from shared.expressions import Access, MemoryOutside, Renderer, reach

CONTEXT: dict[str, Any] = {
    "flow": {"id": "f", "namespace": "n", "tenantId": "main", "revision": 1},
    "execution": {"id": "e", "startDate": "2024-01-01"},
    "taskrun": {"id": "r", "value": "blue"},
    "parents": [{"taskrun": {"value": "north"}, "outputs": {"big": 1}}, {"outputs": {"big": 2}}],
    "inputs": {"task": "a", "count": 1, "list": [1, 2, 3]},
    "outputs": {
        "a": {"value": 1, "rows": [{"id": 1, "x": 2}, {"id": 3, "x": 4}]},
        "b": {"value": 2},
        "each": {"north": {"blue": {"value": 3}, "red": {"value": 4}}, "south": {}},
    },
    "tasks": {"a": {"state": "SUCCESS"}},
    "vars": {
        "plain": "{{ outputs.b.value }}",
        "nested": "{{ vars.plain }} {{ inputs.count }}",
        "other": "{{ outputs }}",
    },
}
PARENTS = [{"taskrun": {"value": "north"}}, {}]

EXAMPLES: list[tuple[str, dict[str, Any]]] = [
    ("{{ inputs.count }}", {"inputs": {"count": 1}}),
    ("{{ outputs.a.value }}{{ outputs['b'].value }}", {"outputs": {"a": {"value": 1}, "b": {"value": 2}}}),
    ("{{ outputs.a.rows[1].id }}", {"outputs": {"a": {"rows": [None, {"id": 3}]}}}),
    ("{{ outputs[inputs.task].value }}", {"inputs": {"task": "a"}, "outputs": {"a": {"value": 1}}}),
    (
        "{{ outputs.each[parents[0].taskrun.value][taskrun.value].value }}",
        {
            "parents": [{"taskrun": {"value": "north"}}, None],
            "taskrun": {"value": "blue"},
            "outputs": {"each": {"north": {"blue": {"value": 3}}}},
        },
    ),
    (
        "{{ currentEachOutput(outputs.each).value }}",
        {
            "parents": PARENTS,
            "taskrun": {"value": "blue"},
            "outputs": {"each": {"north": {"blue": {"value": 3}}}},
        },
    ),
    (
        "{{ outputs.a.value }}{{ outputs[inputs.task].rows[0].id }}",
        {"inputs": {"task": "a"}, "outputs": {"a": {"value": 1, "rows": [{"id": 1}, None]}}},
    ),
    ("{{ outputs.nothing.value ?? inputs.count }}", {"outputs": {}, "inputs": {"count": 1}}),
    ("{% set x = outputs.b %}{{ x.value }}", {"outputs": {"b": {"value": 2}}}),
    ("{% for i in inputs.list %}{{ i }}{% endfor %}", {"inputs": {"list": [1, 2, 3]}}),
    ("{{ secret('x') }}", {"flow": {"id": "f", "namespace": "n", "tenantId": "main"}, "execution": {"id": "e"}}),
    ("{{ tasksWithState('FAILED') }}", {"tasks": {"a": {"state": "SUCCESS"}}}),
    ("{{ renderOnce(vars.plain) }}", {"vars": {"plain": "{{ outputs.b.value }}"}, "outputs": {"b": {"value": 2}}}),
    (
        "{{ render(vars.nested) }}",
        {
            "vars": {"nested": "{{ vars.plain }} {{ inputs.count }}", "plain": "{{ outputs.b.value }}"},
            "inputs": {"count": 1},
            "outputs": {"b": {"value": 2}},
        },
    ),
    ("{{ render('{{ inputs.count }}') }}", {"inputs": {"count": 1}}),
    ("{{ missing }} {{ 1 + 2 }} text", {}),
    ("{{ broken", {}),
    ("no template", {}),
]


@pytest.mark.parametrize(("template", "left"), EXAMPLES)
@pytest.mark.parametrize("known", [True, False], ids=["vars known", "vars unknown"])
def test_context_is_pruned_to_what_is_read(template: str, left: dict[str, Any], known: bool) -> None:
    """Only what a template reads is left, whether the flow's variables are known beforehand or not."""
    # given
    found = reach([{"message": [template], "level": 1}], vars=CONTEXT["vars"] if known else None)
    # when / then
    assert found.prune(CONTEXT) == left


@pytest.mark.parametrize(
    ("template", "wide"),
    [
        ("{{ outputs }}", {"outputs"}),
        ("{% for t in inputs.list %}{{ outputs[t] }}{% endfor %}", {"outputs"}),
        ("{{ outputs.each[uuid()] }}", {"outputs"}),
        ("{{ outputs[outputs.a.value] }}", {"outputs"}),
        ("{{ outputs.each[taskrun.value] }}", set()),
        ("{% set taskrun = inputs %}{{ outputs.each[taskrun.value] }}", {"outputs", "inputs"}),
    ],
)
def test_roots_read_at_unknown_places_are_wide(template: str, wide: set[str]) -> None:
    """A root is wide where only rendering can tell what is read of it."""
    assert reach([template]).wide - {"t", "taskrun"} == wide


def test_wide_access_takes_only_what_is_below() -> None:
    """A dynamic subscript takes what it stands on as a whole, and nothing beside it."""
    assert reach(["{{ outputs.each[uuid()] }}"]).prune(CONTEXT) == {"outputs": {"each": CONTEXT["outputs"]["each"]}}


@pytest.mark.parametrize(
    "template",
    [
        "{{ printContext() }}",
        "{{ fetchContext() }}",
        "{{ render('{' ~ '{ outputs }}') }}",
        "{{ render(read('f')) }}",
        "{% set inputs = outputs %}{{ render(inputs.a) }}",
    ],
)
def test_everything(template: str) -> None:
    """Printing the context, and rendering what is made on the way, may read everything."""
    found = reach([template])
    assert found.everything
    assert found.prune(CONTEXT) == CONTEXT


def test_values_that_become_templates_are_followed() -> None:
    """Where rendering goes on until nothing changes, values that hold templates are templates too."""
    # given
    context = {**CONTEXT, "inputs": {"text": "{{ outputs.b.value }}", "count": 1}, "vars": {"x": "{{ inputs.text }}"}}
    # when
    pruned = reach(["{{ render(vars.x) }}"], vars=context["vars"]).prune(context)
    # then
    assert pruned == {
        "vars": context["vars"],
        "inputs": {"text": "{{ outputs.b.value }}"},
        "outputs": {"b": {"value": 2}},
    }
    assert Renderer(MemoryOutside()).render("{{ render(vars.x) }}", pruned) == "2"


def test_what_stands_behind_a_dynamic_subscript_is_no_key_before_it() -> None:
    """`outputs[x].value` doesn't read `outputs.value`: all of `outputs` is left."""
    found = reach(["{% for t in inputs.list %}{{ outputs[t].value }}{% endfor %}"])
    assert found.prune(CONTEXT) == {"inputs": {"list": [1, 2, 3]}, "outputs": CONTEXT["outputs"]}


@pytest.mark.parametrize("known", [True, False])
def test_variables_covered_by_the_caller_of_render(known: bool) -> None:
    """A template that sets `taskrun` and renders another one that has it in a subscript may read everything."""
    # given
    variables = {"t": "{{ outputs.each.north[taskrun.value].value }}"}
    context = {**CONTEXT, "vars": variables}
    template = "{% set taskrun = {'value': 'red'} %}{{ renderOnce(vars.t) }}"
    # when
    pruned = reach([template], vars=variables if known else None).prune(context)
    # then
    assert Renderer().render(template, pruned) == Renderer().render(template, context) == "4"


@pytest.mark.parametrize("text", ["{", "ends with { ", "{{ open"])
def test_values_that_may_join_to_templates_take_everything(text: str) -> None:
    """A value that could become a part of a template mark makes everything reachable, where it is rendered again."""
    context = {**CONTEXT, "inputs": {"text": text}, "vars": {"x": "{{ inputs.text }}{ outputs.b }}"}}
    assert reach(["{{ render(vars.x) }}"], vars=context["vars"]).prune(context) == context


def test_recursive_renderer() -> None:
    """With a recursive renderer, values of any template become templates."""
    context = {"inputs": {"a": "{{ outputs.b }}", "c": 1}, "outputs": {"b": 2, "d": 3}}
    assert reach(["{{ inputs.a }}"], recursive=True).prune(context) == {
        "inputs": {"a": "{{ outputs.b }}"},
        "outputs": {"b": 2},
    }
    assert reach(["{{ inputs.a }}"]).prune(context) == {"inputs": {"a": "{{ outputs.b }}"}}


def test_tree() -> None:
    """The roots and the tree of keys can be looked at."""
    found = reach(["{{ outputs.a.value }} {{ flow.id }}"])
    assert found.roots == {"outputs", "flow"}
    assert found.tree["outputs"] == Access(keys={"a": Access(keys={"value": Access(whole=True)})})
    assert not found.everything


def test_only_what_is_read_is_loaded() -> None:
    """A mapping that loads its values is asked for those that are read, and isn't iterated."""
    asked: list[str] = []

    class Loading(Mapping[str, Any]):
        def __getitem__(self, key: str) -> Any:
            asked.append(key)
            return {"value": key}

        def __iter__(self) -> Iterator[str]:
            raise AssertionError("iterated")

        def __len__(self) -> int:
            raise AssertionError("counted")

    pruned = reach(["{{ outputs.a.value }}"]).prune({"outputs": Loading()})
    assert pruned == {"outputs": {"a": {"value": "a"}}}
    assert set(asked) == {"a"}
