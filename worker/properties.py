"""Properties: a task's raw properties become the fields of its dataclass, rendered and converted by their annotations.

| annotation | what the flow may give |
| --- | --- |
| `str` | a text; numbers and booleans become their text |
| `bool`, `int`, `float` | the value, or a template of it |
| `timedelta` | an ISO 8601 duration |
| `list[T]`, `dict[str, T]` | the collection, item by item; or a template that gives it, or its JSON |
| `Literal["A", "B"]` | one of the texts, in any case |
| `Any` | anything; texts within are rendered to texts |
| `Typed` | as `Any`, but a text that is one expression gives that expression's value |
| `Raw[T]` | what the flow says, not rendered |

The property of a field is its name in camelCase (`error_message`: `errorMessage`, `from_`: `from`).
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from typing import Annotated, Any, Final, Literal, TypeVar

import orjson

from shared.expressions.errors import RenderError
from shared.expressions.renderer import Renderer, is_template
from shared.model.moment import parse_duration


class _Marker:
    """What an annotation says beyond its type."""


RAW: Final = _Marker()
TYPED: Final = _Marker()
T = TypeVar("T")
Raw = Annotated[T, RAW]
Typed = Annotated[Any, TYPED]


class PropertyError(ValueError):
    """A property that is missing or isn't what the task needs; the text names it."""


@dataclass(frozen=True, slots=True)
class Rendering:
    """A renderer with the variables of one attempt."""

    renderer: Renderer
    variables: Mapping[str, Any]

    def text(self, value: Any) -> str | None:
        """The text of a value; collections become JSON."""
        if value is None or isinstance(value, str):
            return self.renderer.render(value, self.variables)
        if isinstance(value, bool):
            return "true" if value else "false"
        if isinstance(value, (dict, list)):
            return orjson.dumps(self.nested(value), option=orjson.OPT_NON_STR_KEYS).decode()
        return str(value)

    def typed(self, value: Any) -> Any:
        """A text that is one expression gives its value."""
        if isinstance(value, str):
            return self.renderer.render_typed(value, self.variables)
        return self.nested(value)

    def nested(self, value: Any) -> Any:
        """A value with all texts in it rendered."""
        return self.renderer.render_value(value, self.variables)


Converter = Callable[[Any, Rendering], Any]


def _text(raw: Any, rendering: Rendering) -> Any:
    return rendering.text(raw)


def _boolean(raw: Any, rendering: Rendering) -> bool:
    value = rendering.typed(raw)
    if isinstance(value, str):
        found = {"true": True, "false": False}.get(value.strip().lower())
        value = value if found is None else found
    if not isinstance(value, bool):
        raise PropertyError(f"expected true or false, found {value!r}")
    return value


def _integer(raw: Any, rendering: Rendering) -> int:
    value = rendering.typed(raw)
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        raise PropertyError(f"expected a whole number, found {value!r}")
    try:
        return int(value)
    except ValueError:
        raise PropertyError(f"expected a whole number, found {value!r}") from None


def _number(raw: Any, rendering: Rendering) -> float:
    value = rendering.typed(raw)
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise PropertyError(f"expected a number, found {value!r}")
    try:
        return float(value)
    except ValueError:
        raise PropertyError(f"expected a number, found {value!r}") from None


def _duration(raw: Any, rendering: Rendering) -> timedelta:
    value = rendering.typed(raw)
    if isinstance(value, timedelta):
        return value
    try:
        return timedelta(milliseconds=parse_duration(str(value)))
    except ValueError as error:
        raise PropertyError(str(error)) from None


def _collection(raw: Any, rendering: Rendering, kind: type, what: str) -> Any:
    """The list or map that is given as such, by an expression, or as JSON text."""
    if isinstance(raw, kind):
        return raw
    value = rendering.typed(raw)
    if isinstance(value, str):
        try:
            value = orjson.loads(value)
        except orjson.JSONDecodeError:
            raise PropertyError(f"expected {what} or its JSON, found the text {value[:200]!r}") from None
    if isinstance(value, tuple):
        value = list(value)
    if not isinstance(value, kind):
        raise PropertyError(f"expected {what}, found {value!r}")
    return value


def _list(item: Converter) -> Converter:
    def convert(raw: Any, rendering: Rendering) -> Any:
        values = _collection(raw, rendering, list, "a list")
        return [None if value is None else item(value, rendering) for value in values]

    return convert


def _map(item: Converter) -> Converter:
    def convert(raw: Any, rendering: Rendering) -> Any:
        values = _collection(raw, rendering, dict, "a map")
        return {rendering.text(key): None if value is None else item(value, rendering) for key, value in values.items()}

    return convert


def _one_of(texts: tuple[str, ...]) -> Converter:
    by_upper = {text.upper(): text for text in texts}

    def convert(raw: Any, rendering: Rendering) -> Any:
        value = str(rendering.text(raw))
        if value.upper() not in by_upper:
            raise PropertyError(f"expected one of {', '.join(texts)}, found '{value}'")
        return by_upper[value.upper()]

    return convert


def _first(scalar: Converter, collection: Converter) -> Converter:
    """A union of a text and a collection: what the flow gives decides."""

    def convert(raw: Any, rendering: Rendering) -> Any:
        return (collection if isinstance(raw, (list, dict)) else scalar)(raw, rendering)

    return convert


_SCALARS: Final[dict[Any, Converter]] = {
    str: _text,
    bool: _boolean,
    int: _integer,
    float: _number,
    timedelta: _duration,
    Any: lambda raw, rendering: rendering.nested(raw),
    object: lambda raw, rendering: rendering.nested(raw),
}


def converter(annotation: Any) -> Converter:
    """How a property becomes a field of this type. Raises TypeError for one that isn't in the table above."""
    if annotation in _SCALARS:
        return _SCALARS[annotation]
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Annotated:
        if RAW in arguments:
            return lambda raw, _: raw
        if TYPED in arguments:
            return lambda raw, rendering: rendering.typed(raw)
        return converter(arguments[0])
    if origin in (typing.Union, types.UnionType):
        kinds = [converter(argument) for argument in arguments if argument is not type(None)]
        if len(kinds) == 1:
            return kinds[0]
        if len(kinds) == 2 and str in arguments:
            other = next(argument for argument in arguments if argument not in (str, type(None)))
            return _first(_text, converter(other))
    if annotation is list or origin is list:
        return _list(converter(arguments[0]) if arguments else _SCALARS[Any])
    if annotation in (dict, Mapping) or origin in (dict, Mapping):
        return _map(converter(arguments[1]) if arguments else _SCALARS[Any])
    if origin is Literal:
        return _one_of(arguments)
    raise TypeError(f"{annotation!r} is no type for a task's property")


def property_name(field: str) -> str:
    """`error_message` stands for `errorMessage`, `from_` for `from`."""
    first, *rest = field.rstrip("_").split("_")
    return first + "".join(word.capitalize() for word in rest)


@dataclass(frozen=True, slots=True)
class _Field:
    name: str
    property: str
    convert: Converter
    required: bool


@cache
def fields_of(task: type[Any]) -> tuple[_Field, ...]:
    """The properties that a task's dataclass declares. Raises TypeError for an annotation that has no conversion."""
    hints = typing.get_type_hints(task, include_extras=True)
    return tuple(
        _Field(
            field.name,
            property_name(field.name),
            converter(hints[field.name]),
            field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING,
        )
        for field in dataclasses.fields(task)
        if field.init
    )


def bind(task: type[T], properties: Mapping[str, Any], rendering: Rendering) -> T:
    """Make the task with its properties rendered; a property that it doesn't know is not looked at.

    Raises:
        RenderError: a template fails; its `property` is set.
        PropertyError: a property is missing or of the wrong kind.
    """
    values: dict[str, Any] = {}
    declared: Any = task
    for field in fields_of(declared):
        raw = properties.get(field.property)
        if raw is None:
            if field.required:
                raise PropertyError(f"property `{field.property}` is missing")
            continue
        try:
            value = field.convert(raw, rendering)
        except RenderError as error:
            raise error.with_property(field.property) from error
        except PropertyError as error:
            raise PropertyError(f"property `{field.property}`: {error}") from None
        if value is not None:
            values[field.name] = value
        elif field.required:
            raise PropertyError(f"property `{field.property}` is null")
    return _with_rendered_defaults(task, values, rendering)


def _with_rendered_defaults(task: type[T], values: dict[str, Any], rendering: Rendering) -> T:
    """Defaults may be templates too, such as `{{ flow.namespace }}`."""
    declared: Any = task
    for name, default in _templates_of(declared):
        if name not in values:
            values[name] = rendering.text(default)
    return task(**values)


@cache
def _templates_of(task: type[Any]) -> tuple[tuple[str, str], ...]:
    hints = typing.get_type_hints(task, include_extras=True)
    return tuple(
        (field.name, field.default)
        for field in dataclasses.fields(task)
        if hints[field.name] is str and isinstance(field.default, str) and is_template(field.default)
    )
