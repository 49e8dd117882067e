"""What the renderer promises its callers: types, nested values, errors, limits, and that nothing escapes."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from typing import Any

import pytest

from shared.expressions import (
    LimitError,
    Limits,
    MemoryOutside,
    NoOutside,
    NotFoundError,
    Renderer,
    RenderError,
    is_template,
    truthy,
)
from shared.expressions.values import Float32

RENDERER = Renderer(MemoryOutside())


def refused(template: str, variables: Mapping[str, Any] | None = None, renderer: Renderer = RENDERER) -> RenderError:
    """Give the error that a template must end with."""
    with pytest.raises(RenderError) as caught:
        renderer.render(template, variables or {})
    return caught.value


class TestTyped:
    """`render_typed`."""

    @pytest.mark.parametrize(
        ("template", "value"),
        [
            ("{{ a }}", {"b": [1]}),
            ("{{ a.b[0] }}", 1),
            ("{{ 1 < 2 }}", True),
            ("{{ null }}", None),
            ("{{ 1.5 }}", 1.5),
            ("{{ a.b[0] }} ", "1 "),
            ("{{ 1 }}{{ 2 }}", "12"),
            ("text", "text"),
            ("{% if true %}1{% endif %}", "1"),
            ("{% raw %}{{ a }}{% endraw %}", "{{ a }}"),
        ],
    )
    def test_sole_expression_keeps_its_type(self, template: str, value: Any) -> None:
        """One expression and nothing else gives its value, anything more gives a text."""
        assert RENDERER.render_typed(template, {"a": {"b": [1]}}) == value

    def test_other_values_stay(self) -> None:
        """What is no text is given back."""
        assert RENDERER.render_typed(5, {}) == 5


class TestNested:
    """`render_value` and `render_map`."""

    def test_keys_and_values_are_templates(self) -> None:
        """Keys and texts are rendered, other values stay as they are, and so does the order."""
        # given
        value = {"{{ k }}": "{{ v }}", "n": 1, "f": 1.5, "x": None, "l": ["{{ v }}", {"{{ v }}": True}]}
        # when
        rendered = RENDERER.render_map(value, {"k": "key", "v": [1]})
        # then
        assert rendered == {"key": "[1]", "n": 1, "f": 1.5, "x": None, "l": ["[1]", {"[1]": True}]}
        assert list(rendered) == ["key", "n", "f", "x", "l"]

    def test_first_of_equal_keys_wins(self) -> None:
        """Of two keys that become equal the first one stays, as Kestra's `putIfAbsent`."""
        assert RENDERER.render_map({"{{ k }}": 1, "a": 2}, {"k": "a"}) == {"a": 1}

    def test_list(self) -> None:
        """A list is rendered item by item."""
        assert RENDERER.render_value(["{{ a }}", 2], {"a": "x"}) == ["x", 2]

    def test_input_is_not_changed(self) -> None:
        """Neither the value nor the context is changed."""
        value, context = {"a": ["{{ b | sort }}"]}, {"b": [2, 1]}
        RENDERER.render_value(value, context)
        RENDERER.render("{% set b = 5 %}{% for c in b..6 %}{% set b = c %}{% endfor %}", context)
        assert (value, context) == ({"a": ["{{ b | sort }}"]}, {"b": [2, 1]})


class TestText:
    """`render`."""

    def test_null_stays_null(self) -> None:
        """Null is given back as null, not as a text."""
        assert RENDERER.render(None, {}) is None

    @pytest.mark.parametrize("text", ["", "plain", "{", "}}", "{ {", '{"json": {"a": 1}}', "a % b", "#}"])
    def test_text_without_marks_is_given_back(self, text: str) -> None:
        """A text without `{{`, `{%` and `{#` isn't touched."""
        assert not is_template(text)
        assert RENDERER.render(text, {}) is text

    @pytest.mark.parametrize(
        ("value", "text"),
        [
            (Float32(1.1), "1.1"),
            (1e-5, "1.0E-5"),
            (123456789.0, "1.23456789E8"),
            (-0.0, "-0.0"),
            (float("inf"), "Infinity"),
            (Decimal("1E+3"), "1000"),
            (2**70, "1180591620717411303424"),
            (dt.timedelta(days=1, seconds=90.5), "PT24H1M30.5S"),
            (dt.timedelta(0), "PT0S"),
            (dt.timedelta(hours=-6), "PT-6H"),
            (dt.datetime(2024, 1, 2, 3, 4), "2024-01-02T03:04"),
            (dt.datetime(2024, 1, 2, 3, 4, tzinfo=dt.UTC), "2024-01-02T03:04:00Z"),
            (
                dt.datetime(2024, 1, 2, 3, 4, 5, 6000, tzinfo=dt.timezone(dt.timedelta(hours=-5))),
                "2024-01-02T03:04:05.006-05:00",
            ),
            (dt.date(2024, 1, 2), "2024-01-02"),
            (b"bytes", "bytes"),
            (
                {"a": dt.datetime(2024, 1, 2, tzinfo=dt.UTC), "d": dt.timedelta(seconds=5)},
                '{"a":"2024-01-02T00:00:00Z","d":5.000000000}',
            ),
            (["é", "\n", '"', "\u2028"], '["é","\\n","\\"","\u2028"]'),
            ({1: "a", "b": None}, '{"1":"a"}'),
        ],
    )
    def test_values_print_as_in_java(self, value: Any, text: str) -> None:
        """Values are printed as Java's `toString` and Jackson print them."""
        assert RENDERER.render("{{ v }}", {"v": value}) == text

    def test_lazy_maps_work(self) -> None:
        """A context whose maps load what is asked for is as good as a dictionary."""

        class Loading(Mapping[str, Any]):
            def __getitem__(self, key: str) -> Any:
                if key != "t":
                    raise KeyError(key)
                return {"value": 1}

            def __iter__(self) -> Iterator[str]:
                return iter(["t"])

            def __len__(self) -> int:
                return 1

        context = {"outputs": Loading()}
        assert (
            RENDERER.render("{{ outputs.t.value }} {{ outputs }} {{ outputs.x ?? 0 }}", context)
            == '1 {"t":{"value":1}} 0'
        )

    @pytest.mark.parametrize(
        ("template", "text"),
        [
            ("a {{- 'b' -}} c", "abc"),
            ("a {{-1}}", "a -1"),
            ("a {#- c -#} b", "ab"),
            ("a {# c-#} b", "a  b"),
            ("a\n{% if true -%}\n b\n{%- endif %}\nc", "a\nb\nc"),
            ("{% verbatim %}  {{ x }} {% endverbatim -%} c", "{{ x }} c"),
        ],
    )
    def test_whitespace(self, template: str, text: str) -> None:
        """`-` takes whitespace away as Pebble does, and newlines behind tags stay."""
        assert RENDERER.render(template, {}) == text

    def test_rendered_values_see_the_variables_of_the_template(self) -> None:
        """`render()` sees what the template has set, before the context."""
        template = (
            "{% set a = 'set' %}{% for i in [1, 2] %}{{ render(t) }}{% endfor %}{{ printContext() | keys | length }}"
        )
        assert RENDERER.render(template, {"a": "context", "b": "B", "t": "{{ a }}{{ b }}{{ i }} "}) == "setB1 setB2 3"

    def test_recursive_rendering(self) -> None:
        """A recursive renderer renders until nothing changes, and has no `render()`."""
        renderer = Renderer(recursive=True)
        assert renderer.render("{{ a }}", {"a": "{{ b }}", "b": "c"}) == "c"
        assert "Function or Macro [render] does not exist" in str(refused("{{ render(a) }}", {"a": 1}, renderer))

    @pytest.mark.parametrize(
        ("rendered", "holds"),
        [
            (None, False),
            ("", False),
            ("false", False),
            ("0", False),
            ("-0", False),
            ("False", True),
            (" false", True),
            ("no", True),
        ],
    )
    def test_truth(self, rendered: str | None, holds: bool) -> None:
        """Only Kestra's own words are false."""
        assert truthy(rendered) is holds


class TestErrors:
    """`RenderError`."""

    def test_place(self) -> None:
        """An error knows its line and column."""
        error = refused("first\n  {{ a.b.nope }}", {"a": {"b": {}}})
        assert (error.line, error.column) == (2, 10)
        assert str(error) == "Unable to find `nope` used in the expression `first\n  {{ a.b.nope }}` at line 2"
        assert isinstance(error, NotFoundError)

    def test_property(self) -> None:
        """A caller adds the property; the first name given stays, and the kind of error too."""
        error = refused("{{ x }}").with_property("message").with_property("outer")
        assert error.property == "message"
        assert str(error).endswith("(property `message`, line 1, column 4)")
        assert isinstance(error, NotFoundError)

    @pytest.mark.parametrize(
        ("template", "line", "column"),
        [
            ("{{ 'a' | nope }}", 1, 10),
            ("\n{% nope %}", 2, 4),
            ("{{ a b }}", 1, 6),
            ("{{ (1 }}", 1, 7),
            ("a\n\n {{ 1 / 0 }}", 3, 7),
        ],
    )
    def test_syntax_errors_have_a_place(self, template: str, line: int, column: int) -> None:
        """Syntax errors and failing operators are placed as well."""
        error = refused(template, {"a": 1})
        assert (error.line, error.column) == (line, column)

    def test_coalescing_catches_only_what_is_missing(self) -> None:
        """`??` takes the other side for what doesn't exist, and for no other error."""
        assert RENDERER.render("{{ (a.b.c | upper) ?? 'x' }}", {"a": {}}) == "x"
        assert "by zero" in str(refused("{{ (1 / 0) ?? 'x' }}"))
        assert "by zero" in str(refused("{{ (1 / 0) | default('x') }}"))

    def test_what_is_missing_in_a_rendered_value_is_no_reason_for_a_default(self) -> None:
        """An error within `render()` isn't caught by `??`, as in Kestra."""
        error = refused("{{ render(x) ?? 'default' }}", {"x": "{{ nope }}"})
        assert "Unable to find `nope`" in str(error)
        assert not isinstance(error, NotFoundError)

    def test_scopes_are_right_after_a_caught_error(self) -> None:
        """What a macro or loop had begun when it failed is gone when `??` goes on."""
        template = (
            "{% macro m(a) %}{% for i in [1] %}{{ nope }}{% endfor %}{% endmacro %}{{ m('in') ?? a }}{{ i ?? '-' }}"
        )
        assert RENDERER.render(template, {"a": "out"}) == "out-"

    def test_macros_see_only_their_arguments(self) -> None:
        """A macro doesn't see the context, as in Pebble."""
        assert RENDERER.render("{% macro m(x) %}{{ x }}{{ a ?? '?' }}{% endmacro %}{{ m(1) }}", {"a": "A"}) == "1?"

    def test_services_that_are_absent(self) -> None:
        """Without an outside, functions say what they need; the clock and chance work."""
        renderer = Renderer(NoOutside())
        assert "secret store" in str(refused("{{ secret('A') }}", renderer=renderer))
        assert "key-value store" in str(refused("{{ kv('A') }}", renderer=renderer))
        assert len(renderer.render("{{ uuid() }}", {}) or "") == 36


class TestSafety:
    """What a template can't do."""

    @pytest.mark.parametrize(
        "expression",
        [
            "''.__class__.__mro__[1].__subclasses__()",
            "a.__init__.__globals__",
            "a['__class__']",
            "a.__getattribute__('x')",
            "''['__class__']",
            "f.__globals__",
            "f.__code__",
            "f()",
            "g.gi_frame",
            "self.__init__",
            "context",
            "environment",
            "cycler.__init__.__globals__",
            "lipsum.__globals__",
            "joiner",
            "namespace()",
            "request",
            "''.format",
            "'{0.__class__}'.format(a)",
            "''.getClass()",
            "''.getClass().forName('java.lang.Runtime')",
            "a.getClass()",
            "o.secret",
            "o['secret']",
            "loop.__class__",
            "_context",
            "'x' | attr('__class__')",
            "'x' | map(attribute='__class__')",
            "render.__globals__",
            "secret.__globals__",
            "[] | jq('env')",
            "[] | jq('$ENV.PATH')",
            "[] | jq('import \"a\" as a; 1')",
            "[] | jq('input')",
            "[] | jq('\"\\(env)\"')",
        ],
    )
    def test_python_is_out_of_reach(self, expression: str) -> None:
        """Known ways out of sandboxes, Jinja2's and Pebble's, lead to an error."""

        class Opaque:
            secret = "told"

        variables = {"a": {"x": 1}, "f": lambda: "called", "g": (n for n in ()), "o": Opaque()}
        refused("{{ " + expression + " }}", variables)

    def test_unknown_objects_tell_only_that_they_are_objects(self) -> None:
        """A Python object in the context is printed as a Java object, without its address."""
        assert RENDERER.render("{{ o }}{{ [o] }}", {"o": object()}) == 'java.lang.Object["java.lang.Object"]'

    @pytest.mark.parametrize(
        "template",
        [
            "{% for i in 1..9 %}{% for j in 1..9999 %}{% for k in 1..9999 %}{% endfor %}{% endfor %}{% endfor %}",
            "{{ range(0, 99999999999) }}",
            "{% set s = 'x' %}{% for i in 1..60 %}{% set s = s ~ s %}{% endfor %}",
            "{% set s = 'x' %}{% for i in 1..60 %}{% set s = s + s %}{% endfor %}",
            "{% set l = [1] %}{% for i in 1..60 %}{% set l = l + l %}{% endfor %}",
            "{% set l = [1] %}{% for i in 1..60 %}{% set l = [l, l] %}{% endfor %}{{ l }}",
            "{% set l = [1] %}{% for i in 1..60 %}{% set l = [l, l] %}{% endfor %}{{ l | toIon }}",
            "{% set l = [1] %}{% for i in 1..60 %}{% set l = [l, l] %}{% endfor %}{{ l | yaml }}",
            "{% set l = [1] %}{% for i in 1..60 %}{% set l = [l, l] %}{% endfor %}{{ l ~ '' }}",
            "{% set l = [1] %}{% for i in 1..60 %}{% set l = {'a': l, 'b': l} %}{% endfor %}{{ l | escapeChar('single') }}",
            "{{ yaml(bomb) }}",
            "{{ 'a\nb' | indent(999999999) }}",
            "{{ 'x' | indent(999999999) }}",
            "{{ 'x'.repeat(999999999) }}",
            "{{ 'aaaa' | replace({'a': big}) | replace({'x': big}) | replace({'x': big}) }}",
            "{{ nanoId(99999999) }}",
            "{{ 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab' matches '((a+)+)+c' ? 1 : big | replace({'(x+x+)+y': ''}, regexp=true) }}",
            "{% macro m(x) %}{{ m(x) }}{% endmacro %}{{ m(1) }}",
            "{% block b %}{{ block('b') }}{% endblock %}",
            "{{ render(self) }}",
            "{{ 1" + " + 1" * 500 + " }}",
            "{{ " + "(" * 500 + "1" + ")" * 500 + " }}",
            "{{ " + "[" * 500 + "]" * 500 + " }}",
            "{{ " + "not " * 500 + "true }}",
            "{{ a" + ".b" * 500 + " }}",
            "{% if true %}" * 200 + "{% endif %}" * 200,
            "{% for i in [1] %}" * 50 + "{% endfor %}" * 50,
            "{{ 1 }}" * 20_000,
            "{{ [1] | jq('[range(1; 1000000000)] | length') }}",
            "{{ fromJson(deep) }}",
        ],
        ids=range(30),
    )
    def test_limits(self, template: str) -> None:
        """What would take too much ends with an error."""
        renderer = Renderer(limits=Limits(seconds=2.0, characters=5_000_000, steps=200_000))
        variables = {
            "bomb": "a: &a [x,x,x,x,x,x,x,x,x]\n"
            + "".join(f"{chr(98 + n)}: &{chr(98 + n)} [{','.join([f'*{chr(97 + n)}'] * 9)}]\n" for n in range(9)),
            "big": "x" * 3000,
            "self": "{{ render(self) }}",
            "deep": "[" * 100_000,
        }
        refused(template, variables, renderer)

    def test_limits_are_not_caught(self) -> None:
        """No operator goes on after a limit."""
        error = refused("{{ range(0, 99999999999) ?? 'x' }}{% if range(0, 99999999999) %}{% endif %}")
        assert isinstance(error, LimitError)

    def test_long_texts_of_one_kind_are_fine(self) -> None:
        """Long but linear work isn't refused."""
        items = list(range(50_000))
        assert len(RENDERER.render("{% for i in items %}{{ i }}{% endfor %}", {"items": items}) or "") == sum(
            len(str(i)) for i in items
        )
        assert json.loads(RENDERER.render("{{ items }}", {"items": items}) or "") == items
        assert RENDERER.render("{{ 'a'" + " ~ 'a'" * 3000 + " }}", {}) == "a" * 3001


PATTERNS: list[tuple[str, str]] = [
    ("yyyy-MM-dd'T'HH:mm:ss.SSSXXX", "2024-02-09T03:04:05.678Z"),
    ("yy/M/d H:m:s", "24/2/9 3:4:5"),
    ("EEE, MMM d ''yy", "Fri, Feb 9 '24"),
    ("hh:mm a", "03:04 AM"),
    ("D w W e Q QQQ", "40 6 2 6 1 Q1"),
    ("xxx X Z O z VV", "+00:00 Z +0000 GMT UTC UTC"),
    ("n A SSSSSSSSS", "678901000 11045678 678901000"),
    ("'quoted text' u G", "quoted text 2024 AD"),
]


@pytest.mark.parametrize(("pattern", "text"), PATTERNS)
def test_date_patterns(pattern: str, text: str) -> None:
    """Java's pattern letters are written as in Java."""
    moment = dt.datetime(2024, 2, 9, 3, 4, 5, 678901, tzinfo=dt.UTC)
    assert RENDERER.render("{{ d | date(p, timeZone='UTC') }}", {"d": moment, "p": pattern}) == text


@pytest.mark.parametrize(
    ("text", "pattern", "iso"),
    [
        ("09/02/2024 15:04", "dd/MM/yyyy HH:mm", "2024-02-09T15:04:00Z"),
        ("Feb 9, 2024 3:04 PM", "MMM d, yyyy h:mm a", "2024-02-09T15:04:00Z"),
        ("20240209", "yyyyMMdd", "2024-02-09T00:00:00Z"),
        ("2024-02-09 15:04:05.678 +0200", "yyyy-MM-dd HH:mm:ss.SSS Z", "2024-02-09T13:04:05Z"),
        ("2024-02-09T15:04", "yyyy-MM-dd['T'HH:mm]", "2024-02-09T15:04:00Z"),
        ("2024-02-09 15:04 Europe/Paris", "yyyy-MM-dd HH:mm VV", "2024-02-09T14:04:00Z"),
        ("2024-040", "yyyy-DDD", "2024-02-09T00:00:00Z"),
    ],
)
def test_dates_are_read_by_patterns(text: str, pattern: str, iso: str) -> None:
    """Texts are read by Java's patterns."""
    template = "{{ t | date('iso_sec', existingFormat=p, timeZone='UTC') }}"
    assert RENDERER.render(template, {"t": text, "p": pattern}) == iso


@pytest.mark.parametrize(
    ("value", "ion"),
    [
        ('a\n"b"', '"a\\n\\"b\\""'),
        ({"a b": 1, "null": 2, "é": 3, "'": 4}, "{'a b':1,'null':2,'é':3,'\\'':4}"),
        ([None, True, 1.5, Decimal(2)], "[null,true,1.5e0,2.]"),
        (1e300, "1e300"),
    ],
)
def test_ion_goes_there_and_back(value: Any, ion: str) -> None:
    """What `toIon` writes, `fromIon` reads."""
    assert RENDERER.render("{{ v | toIon }}", {"v": value}) == ion
    assert RENDERER.render_typed("{{ fromIon(v) }}", {"v": ion}) == value


@pytest.mark.parametrize(
    ("ion", "value"),
    [
        ("/* c */ {a: [1, 2,], 'b c': '''long ''' '''text'''} // end", {"a": [1, 2], "b c": "long text"}),
        ("note::{x: sym, y: (a + 1)}", {"x": "sym", "y": ["a", "+", 1]}),
        ("0x1F", 31),
        ("-1_000", -1000),
        ("2024-04-21", dt.datetime(2024, 4, 21, tzinfo=dt.UTC)),
        ("null.string", None),
        ("{{aGk=}}", b"hi"),
        ('"\\x41\\u00e9"', "Aé"),
    ],
)
def test_ion_is_read(ion: str, value: Any) -> None:
    """Ion's forms of text are understood."""
    assert RENDERER.render_typed("{{ fromIon(v) }}", {"v": ion}) == value


@pytest.mark.parametrize("ion", ["", "{", "{a 1}", "[1 2]", '"open', "'''open", "{{x}}", "]", "1x", "(1"])
def test_wrong_ion_is_refused(ion: str) -> None:
    """What isn't Ion is an error."""
    assert "Invalid ion" in str(refused("{{ fromIon(v) }}", {"v": ion}))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"a": {"b": [1, {"c": None}]}}, "a:\n  b:\n   - 1\n   -\n    c: null\n"),
        ([[1], []], " -\n   - 1\n - []\n"),
        ("a: b", '"a: b"\n'),
        ("yes", '"yes"\n'),
        ("8080", "8080\n"),
        ("- x", "'- x'\n"),
        ("a,b", '"a,b"\n'),
        ("two\nlines\n", "|\n  two\n  lines\n"),
        ("", '""\n'),
        (1.0, "1.0\n"),
    ],
)
def test_yaml_looks_like_jacksons(value: Any, text: str) -> None:
    """YAML is written as Kestra's mapper writes it."""
    assert RENDERER.render("{{ v | yaml }}", {"v": value}) == text


NUMBERS: list[tuple[float, str, str]] = [
    (0.5, "#.##", "0.5"),
    (0.5, "#.00", ".50"),
    (12.345, "0.00", "12.35"),
    (0.125, "0.00", "0.12"),
    (1234.5, "#,###", "1,234"),
    (-3, "0;(0)", "(3)"),
    (5, "'No. '000", "No. 005"),
    (-0.001, "0.0", "-0.0"),
]


@pytest.mark.parametrize(("number", "pattern", "text"), NUMBERS)
def test_number_patterns(number: float, pattern: str, text: str) -> None:
    """`DecimalFormat`'s patterns are written with half-even rounding."""
    assert RENDERER.render("{{ n | numberFormat(p) }}", {"n": number, "p": pattern}) == text


@pytest.mark.parametrize(
    ("template", "work"),
    [("{{ l | sort }}", sorted), ("{{ l | reverse }}", lambda items: items[::-1])],
)
def test_lists_are_copied(template: str, work: Callable[[list[int]], list[int]]) -> None:
    """A filter gives a new list."""
    items = [3, 1, 2]
    assert json.loads(RENDERER.render(template, {"l": items}) or "") == work(items)
    assert items == [3, 1, 2]
