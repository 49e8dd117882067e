"""Rendering with the pruned context gives what rendering with everything gives."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from shared.expressions import MemoryOutside, Renderer, RenderError, reach
from tests.unit.expressions.conformance import cases, outside_of, value_of

NAMES = ("a", "b", "t", "v1", "v2", "x", "value")
ROOTS = ("inputs", "outputs", "taskrun", "parents", "parent", "vars", "tasks", "flow", "missing")

scalars = st.one_of(
    st.none(), st.booleans(), st.integers(-3, 3), st.sampled_from([*NAMES, "", "0", "{", "{{ inputs.a }}"])
)
values = st.recursive(
    scalars,
    lambda inner: st.one_of(st.dictionaries(st.sampled_from(NAMES), inner, max_size=4), st.lists(inner, max_size=3)),
    max_leaves=12,
)
maps = st.dictionaries(st.sampled_from(NAMES), values, max_size=5)

paths = st.deferred(
    lambda: st.one_of(
        st.sampled_from(ROOTS),
        st.builds("{}.{}".format, paths, st.sampled_from(NAMES)),
        st.builds("{}['{}']".format, paths, st.sampled_from(NAMES)),
        st.builds("{}[{}]".format, paths, st.integers(0, 2)),
        st.builds("{}[{}]".format, paths, paths),
    )
)
expressions = st.deferred(
    lambda: st.one_of(
        paths,
        paths,
        st.sampled_from(["'a'", "1", "null", "printContext() | length", "taskrun.value", "inputs.a"]),
        st.builds("({} ?? {})".format, expressions, expressions),
        st.builds("({} is defined ? {} : {})".format, expressions, expressions, expressions),
        st.builds("({} ~ {})".format, expressions, expressions),
        st.builds("({} | {})".format, expressions, st.sampled_from(["upper", "length", "toJson", "keys", "first"])),
        st.builds("currentEachOutput({})".format, paths),
        st.builds("render({})".format, paths),
        st.builds("renderOnce({})".format, paths),
        st.builds("render(vars.{})".format, st.sampled_from(NAMES)),
        st.builds("parentOutput({})".format, st.sampled_from(["", "0", "1"])),
        st.builds("[{}, {}]".format, expressions, expressions),
        st.builds("{{'k': {}}}".format, expressions),
        st.builds("{}.get('a')".format, paths),
        st.builds("(outputs.t[{} | default('a')])".format, expressions),
    )
)
pieces = st.deferred(
    lambda: st.one_of(
        st.builds("{{{{ {} }}}}".format, expressions),
        st.builds("{{{{ {} }}}}".format, expressions),
        st.sampled_from(["text ", "{", "}", " "]),
        st.builds("{{% if {} %}}{}{{% else %}}{}{{% endif %}}".format, expressions, pieces, pieces),
        st.builds(
            "{{% for {} in {} %}}{}{{% endfor %}}".format,
            st.sampled_from(["a", "inputs", "taskrun"]),
            expressions,
            pieces,
        ),
        st.builds("{{% set {} = {} %}}{}".format, st.sampled_from(["a", "outputs", "parents"]), expressions, pieces),
    )
)
templates = st.lists(pieces, min_size=1, max_size=3).map("".join)
contexts = st.builds(
    lambda inputs, outputs, variables, value, outer, tasks, extra: {
        "inputs": inputs,
        "outputs": outputs,
        "vars": variables,
        "taskrun": {"id": "r", "value": value},
        "parents": [{"taskrun": {"value": outer}, "outputs": extra}, {"outputs": extra}],
        "parent": {"taskrun": {"value": outer}, "outputs": extra},
        "tasks": tasks,
        "flow": {"id": "f", "namespace": "n", "revision": 1},
    },
    maps,
    maps,
    st.dictionaries(st.sampled_from(NAMES), st.one_of(values, templates), max_size=5),
    st.sampled_from(NAMES),
    st.sampled_from(NAMES),
    maps,
    maps,
)


def outcome(template: Any, variables: Any, *, recursive: bool = False, outside: MemoryOutside | None = None) -> Any:
    """Render, and give the result or the error."""
    renderer = Renderer(outside or MemoryOutside(), recursive=recursive)
    try:
        return renderer.render_value(template, variables)
    except RenderError as error:
        return type(error), str(error), error.line, error.column


@given(template=templates, variables=contexts, recursive=st.booleans())
def test_pruned_context_renders_the_same(template: str, variables: dict[str, Any], recursive: bool) -> None:
    """A random template gives the same text, or the same error, with the pruned context."""
    # given
    whole = outcome(template, variables, recursive=recursive)
    found = reach([template], vars=variables["vars"], recursive=recursive)
    # when
    pruned = found.prune(variables)
    # then
    assert outcome(template, pruned, recursive=recursive) == whole
    assert found.everything or found.rendered or found.looping or pruned.keys() <= found.roots


@given(template=templates, variables=contexts)
def test_reach_without_the_variables_of_the_flow(template: str, variables: dict[str, Any]) -> None:
    """Where `vars` isn't known beforehand, the templates in it are followed when the context is pruned."""
    pruned = reach([template]).prune(variables)
    assert outcome(template, pruned) == outcome(template, variables)


def test_corpus_renders_the_same_with_the_pruned_context() -> None:
    """Every template of the corpus gives the same with the pruned context."""
    for case in cases():
        # given
        variables = value_of(case["vars"])
        recursive = case.get("config", {}).get("recursive_rendering", False)
        if any(chance in str(case["template"]) for chance in ("id()", "randomInt", "encrypt")):
            continue
        # when
        pruned = reach([case["template"]], vars=variables.get("vars"), recursive=recursive).prune(variables)
        # then
        whole = outcome(case["template"], variables, recursive=recursive, outside=outside_of(case))
        assert outcome(case["template"], pruned, recursive=recursive, outside=outside_of(case)) == whole, case
