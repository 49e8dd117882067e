"""How raw properties become the fields of a task."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Literal

import pytest

from shared.expressions import Renderer, RenderError
from worker.catalog import TaskCatalog
from worker.properties import PropertyError, Raw, Rendering, Typed, bind
from worker.task import Task

RENDERING = Rendering(Renderer(), {"a": {"b": [1, "two"]}, "n": 5, "yes": True})


@dataclass(frozen=True)
class Everything:
    """A task's fields of every kind."""

    text: str = ""
    flag: bool = False
    count: int = 0
    part: float = 0.0
    length: timedelta | None = None
    texts: list[str] = field(default_factory=list)
    by_name: dict[str, int] = field(default_factory=dict)
    either: str | list[str] = ""
    choice: Literal["ONE", "TWO"] = "ONE"
    anything: Any = None
    typed: Typed = None
    raw: Raw[str] = ""
    from_: str = "{{ n }}"


@pytest.mark.parametrize(
    ("name", "given", "expected"),
    [
        ("text", "{{ n }}!", "5!"),
        ("text", 5, "5"),
        ("text", True, "true"),
        ("text", {"x": "{{ n }}"}, '{"x":"5"}'),
        ("flag", "{{ yes }}", True),
        ("flag", "False", False),
        ("count", "{{ n + 1 }}", 6),
        ("part", "1.5", 1.5),
        ("length", "PT{{ n }}S", timedelta(seconds=5)),
        ("texts", ["{{ n }}", 2], ["5", "2"]),
        ("texts", "{{ a.b }}", ["1", "two"]),
        ("texts", '["x"]', ["x"]),
        ("byName", {"k{{ n }}": "{{ n }}"}, {"k5": 5}),
        ("either", "one", "one"),
        ("either", ["one", "{{ n }}"], ["one", "5"]),
        ("choice", "two", "TWO"),
        ("anything", [{"x": "{{ n }}"}], [{"x": "5"}]),
        ("typed", "{{ a.b }}", [1, "two"]),
        ("raw", "{{ n }}", "{{ n }}"),
        ("from", "x", "x"),
    ],
)
def test_a_property_is_rendered_and_converted(name: str, given: Any, expected: Any) -> None:
    """Each kind of field takes its value, or a template of it; names are camelCase."""
    made = bind(Everything, {name: given}, RENDERING)

    names = {"byName": "by_name", "from": "from_"}
    assert getattr(made, names.get(name, name)) == expected


def test_a_default_may_be_a_template() -> None:
    """A text's default is rendered too; a null counts as not given; an unknown property is not looked at."""
    made = bind(Everything, {"text": None, "unknown": "{{ missing }}"}, RENDERING)

    assert (made.from_, made.text) == ("5", "")


@pytest.mark.parametrize(
    ("name", "given", "problem"),
    [
        ("flag", "maybe", "property `flag`: expected true or false, found 'maybe'"),
        ("count", "1.5", "property `count`: expected a whole number, found '1.5'"),
        ("count", True, "property `count`: expected a whole number, found True"),
        ("part", "x", "property `part`: expected a number, found 'x'"),
        ("length", "5 s", "property `length`: '5 s' is not an ISO 8601 duration such as PT5S or P1DT2H"),
        ("texts", "one", "property `texts`: expected a list or its JSON, found the text 'one'"),
        ("texts", {"a": 1}, "property `texts`: expected a list, found {'a': 1}"),
        ("choice", "three", "property `choice`: expected one of ONE, TWO, found 'three'"),
    ],
)
def test_a_wrong_value_is_named(name: str, given: Any, problem: str) -> None:
    """The text says which property, what was expected and what was found."""
    with pytest.raises(PropertyError) as raised:
        bind(Everything, {name: given}, RENDERING)

    assert str(raised.value) == problem


def test_a_render_error_names_its_property() -> None:
    """The error of a template says where it stands."""
    with pytest.raises(RenderError) as raised:
        bind(Everything, {"byName": {"x": "{{ nothing }}"}}, RENDERING)

    assert raised.value.property == "byName"


def test_a_catalog_refuses_what_is_no_task() -> None:
    """Two types of one name, a class that is no task, and a field of no known kind are errors that name the class."""

    @dataclass(frozen=True)
    class One(Task):
        type = "test.Same"

        def run(self, context: Any) -> None:
            return None

    @dataclass(frozen=True)
    class Two(One):
        type = "test.Other"
        aliases = ("test.Same",)

    @dataclass(frozen=True)
    class Three(One):
        type = "test.Three"
        bad: bytes = b""

    with pytest.raises(ValueError, match="test.Same is the type of both .*One and .*Two"):
        TaskCatalog((One, Two))
    with pytest.raises(TypeError, match="is no Task class"):
        TaskCatalog((int,))  # type: ignore[list-item]
    with pytest.raises(TypeError, match="Three: .*is no type for a task's property"):
        TaskCatalog((Three,))
    assert TaskCatalog((One,)).with_tasks((One,)).find("test.Same") is One
