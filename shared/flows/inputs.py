"""Inputs: what was given for a flow's inputs as typed values with every error; and its outputs when it ends.

Pure: templates are rendered by a port, files are URIs that the caller has stored, secrets are left as `Secret` for the
caller to encrypt. Order of work for an input and the message texts are Kestra's.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from shared.flows.coercion import check, coerce, coerce_input, shown
from shared.flows.values import is_template
from shared.model.flow import Input, Output

Render = Callable[[str, Mapping[str, Any]], Any]
"""(template, variables) → the value, typed where the template is one expression. May raise any exception."""

_TEXT_TYPES: Final = frozenset(("STRING", "SELECT", "ENUM", "EMAIL", "URI", "SECRET"))


@dataclass(frozen=True, slots=True)
class Secret:
    """The plain value of a SECRET: to be encrypted before anything is written. Its text never shows it."""

    text: str = field(repr=False)

    def __str__(self) -> str:
        return "********"


class InvalidInputs(ValueError):
    """Inputs or outputs that were refused; one line for each, as `id: message`."""

    def __init__(self, errors: tuple[tuple[str, str], ...]) -> None:
        self.errors = errors
        super().__init__("\n".join(f"{name}: {message}" for name, message in errors))


@dataclass(frozen=True, slots=True)
class ResolvedInput:
    """One input: its value (None where there is none), whether its conditions enable it, and what is wrong.

    `input` has the `values` that its `expression` gave. `is_default`: nothing was given.
    """

    input: Input
    value: Any
    enabled: bool = True
    errors: tuple[str, ...] = ()
    is_default: bool = False


@dataclass(frozen=True, slots=True)
class ResolvedInputs:
    """All inputs of a flow, in its order."""

    entries: tuple[ResolvedInput, ...]

    @property
    def errors(self) -> tuple[tuple[str, str], ...]:
        """(input id, message) of every error."""
        return tuple((entry.input.id, error) for entry in self.entries for error in entry.errors)

    @property
    def values(self) -> dict[str, Any]:
        """The values of enabled inputs, None included; ids with dots are nested maps."""
        return nested({entry.input.id: entry.value for entry in self.entries if entry.enabled})

    def valid(self) -> dict[str, Any]:
        """The values. Raises InvalidInputs with every error: an input whose condition cannot be rendered counts too."""
        if self.errors:
            raise InvalidInputs(self.errors)
        return self.values

    def lenient(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """The values, of an input with an error what was `given`, and what no input is declared for.

        A refused SECRET stays away: its plain text must not be written. So do Kestra's flow triggers give inputs.
        """
        flat = {name: value for name, value in given.items() if name not in {entry.input.id for entry in self.entries}}
        for entry in self.entries:
            if not entry.errors and entry.enabled:
                flat[entry.input.id] = entry.value
            elif entry.errors and entry.input.id in given and entry.input.type != "SECRET":
                flat[entry.input.id] = given[entry.input.id]
        return nested(flat)


def resolve_inputs(
    flow_inputs: Iterable[Input],
    given: Mapping[str, Any],
    *,
    render: Render,
    variables: Mapping[str, Any] | None = None,
    files: Mapping[str, str] | None = None,
) -> ResolvedInputs:
    """What each input is worth. Never raises for bad values: they are in the entries' errors.

    `given`: by input id, as text (forms) or JSON; unknown ids are ignored, null counts as not given. `files`: URI of
    each uploaded file, by input id. `variables`: for templates, beside `inputs`, which holds an input's dependencies.
    """
    return _Resolution(tuple(flow_inputs), {**given, **(files or {})}, render, variables or {}).resolve()


def nested(flat: Mapping[str, Any]) -> dict[str, Any]:
    """`{"a.b": 1}` as `{"a": {"b": 1}}`. Where `a` too has a value, `a.b` stays a key with a dot: neither is lost."""
    result: dict[str, Any] = {}
    for name, value in flat.items():
        parts = name.split(".")
        if any(".".join(parts[:length]) in flat for length in range(1, len(parts))):
            result[name] = value
            continue
        place = result
        for parent in parts[:-1]:
            place = place.setdefault(parent, {})
        place[parts[-1]] = value
    return result


class _Resolution:
    """One resolving of all inputs; dependencies are resolved before what depends on them."""

    def __init__(
        self, inputs: tuple[Input, ...], given: Mapping[str, Any], render: Render, variables: Mapping[str, Any]
    ) -> None:
        self._inputs = {item.id: item for item in reversed(inputs)}  # of a double id the first counts
        self._order = tuple(dict.fromkeys(item.id for item in inputs))
        self._given = given
        self._render = render
        self._variables = variables
        self._done: dict[str, ResolvedInput] = {}
        self._open: set[str] = set()

    def resolve(self) -> ResolvedInputs:
        return ResolvedInputs(tuple(self._entry(name) for name in self._order))

    def _entry(self, name: str) -> ResolvedInput:
        if name not in self._done:
            self._open.add(name)
            self._done[name] = self._resolve(self._inputs[name])
            self._open.discard(name)
        return self._done[name]

    def _resolve(self, item: Input) -> ResolvedInput:
        wanted = (name for name in item.depends_on if name in self._inputs and name not in self._open)
        dependencies = {name: self._entry(name) for name in wanted}
        inputs = nested({name: _shown_to_templates(entry.value) for name, entry in dependencies.items()})
        scope = {**self._variables, "inputs": inputs}
        given = self._given.get(item.id)
        enabled = all(entry.enabled for entry in dependencies.values())
        if enabled and item.condition is not None:
            try:
                enabled = self._render(item.condition, scope) in (True, "true")
            except Exception as error:  # noqa: BLE001 (whatever rendering raises is this input's error)
                return ResolvedInput(item, given, enabled=False, errors=(f"Invalid condition: {error}",))
        if not enabled:
            return ResolvedInput(item, given, enabled=False)
        return self._value(item, given, scope)

    def _value(self, item: Input, given: Any, scope: Mapping[str, Any]) -> ResolvedInput:
        value = given
        try:
            item = self._with_values(item, scope)
            if given is None and item.has_default:
                value = self._default(item, scope)
            if value is None and item.required:
                raise ValueError("missing required input")  # noqa: TRY301 (told as the other errors are)
            typed = coerce_input(item, value)
            check(typed, item)
        except ValueError as error:
            message = f"Invalid input for `{item.id}`, {error}, but received `{_received(item, value)}`"
            return ResolvedInput(item, value, errors=(message,), is_default=given is None)
        if item.type == "SECRET" and typed is not None:
            typed = Secret(typed)
        return ResolvedInput(item, typed, is_default=given is None)

    def _default(self, item: Input, scope: Mapping[str, Any]) -> Any:
        if not is_template(item.default):
            return item.default
        try:
            return _rendered(item.default, self._render, scope)
        except Exception as error:
            raise ValueError(f"Cannot render 'defaults'. Cause: {error}") from error

    def _with_values(self, item: Input, scope: Mapping[str, Any]) -> Input:
        """The input with the values that its `expression` gives."""
        expression = item.properties.get("expression")
        if not expression:
            return item
        try:
            found = self._render(expression, scope)
            if isinstance(found, str) and found.lstrip().startswith("["):
                found = json.loads(found)
        except Exception as error:
            raise ValueError(f"Cannot render 'expression'. Cause: {error}") from error
        if not isinstance(found, list | tuple):
            kind = "<null>" if found is None else type(found).__name__
            message = f"Invalid expression result. Expected a list of strings, but received {kind}"
            raise ValueError(message)  # noqa: TRY004 (told as the other errors are)
        values = [shown(entry) for entry in found if entry is not None]
        return replace(item, properties={**item.properties, "values": values})


def _shown_to_templates(value: Any) -> Any:
    return value.text if isinstance(value, Secret) else value


def _received(item: Input, value: Any) -> str:
    """The refused value in a message: never a secret's."""
    return "********" if item.type == "SECRET" and value is not None else shown(value)


@dataclass(frozen=True, slots=True)
class ResolvedOutputs:
    """The outputs of a flow: typed values by id, and (id, message) of every error."""

    values: Mapping[str, Any]
    errors: tuple[tuple[str, str], ...] = ()

    def valid(self) -> Mapping[str, Any]:
        """The values. Raises InvalidInputs with every error."""
        if self.errors:
            raise InvalidInputs(self.errors)
        return self.values


def resolve_outputs(outputs: Iterable[Output], *, render: Render, variables: Mapping[str, Any]) -> ResolvedOutputs:
    """What each output is worth when the execution ends. Never raises for bad values; a SECRET is a `Secret`."""
    values: dict[str, Any] = {}
    errors: list[tuple[str, str]] = []
    for output in outputs:
        value: Any = None
        try:
            value = _rendered(output.value, render, variables)
            if value is None and output.required:
                raise ValueError("missing required output")  # noqa: TRY301 (told as the other errors are)
            typed = _typed_output(output, value)
        except Exception as error:  # noqa: BLE001 (whatever rendering raises is this output's error)
            received = "********" if output.type == "SECRET" and value is not None else shown(value)
            errors.append((output.id, f"Invalid output for `{output.id}`, {error}, but received `{received}`"))
            continue
        values[output.id] = typed
    return ResolvedOutputs(values, tuple(errors))


def _typed_output(output: Output, value: Any) -> Any:
    if output.type is None or value is None:
        return value
    if output.type in _TEXT_TYPES and isinstance(value, dict | list):
        value = json.dumps(value, ensure_ascii=False, separators=(",", ":"))  # as an expression prints it
    typed = coerce(value, output.type)
    return Secret(typed) if output.type == "SECRET" else typed


def _rendered(value: Any, render: Render, variables: Mapping[str, Any]) -> Any:
    if isinstance(value, str):
        return render(value, variables) if is_template(value) else value
    if isinstance(value, list):
        return [_rendered(item, render, variables) for item in value]
    if isinstance(value, dict):
        return {key: _rendered(item, render, variables) for key, item in value.items()}
    return value
