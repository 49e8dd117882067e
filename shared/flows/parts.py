"""Parts: the pieces of a flow that are no tasks: inputs, outputs, retry, concurrency, SLAs, worker groups."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from shared.flows import coercion, pattern
from shared.flows.document import Node, Scalar, Table, plain
from shared.flows.input_types import COMMON_INPUT, INPUT_TYPE_NAMES, INPUT_TYPES
from shared.flows.problem import Mark
from shared.flows.values import DOTTED_SLUG, SLUG, Values, is_template
from shared.model.flow import (
    Concurrency,
    ConcurrencyBehavior,
    Fallback,
    Input,
    Output,
    Retry,
    RetryBehavior,
    RetryType,
    Sla,
    WorkerGroup,
)

_RETRY_COMMON: Final = ("type", "maxAttempt", "maxAttempts", "maxDuration", "warningOnRetry", "behavior")
_RETRY_OWN: Final = {
    RetryType.CONSTANT: ("interval",),
    RetryType.EXPONENTIAL: ("interval", "maxInterval", "delayFactor"),
    RetryType.RANDOM: ("minInterval", "maxInterval"),
}
_TEXT_TYPES: Final = frozenset(
    ("STRING", "ENUM", "SELECT", "SECRET", "EMAIL", "URI", "DATETIME", "DATE", "TIME", "DURATION", "FILE")
)
DISPLAY_NAME_LENGTH: Final = 64
"""Longest `displayName`, as in Kestra."""


@dataclass(frozen=True, slots=True)
class Placed:
    """Something that was read, with where it stands."""

    item: Any
    path: str
    mark: Mark


def read_retry(values: Values, node: Node | None, path: str) -> Retry | None:
    """A retry; the interval that its type needs is required, and lengths must be in order."""
    table = None if node is None else values.table(node, path, "a retry")
    if table is None:
        return None
    type_node = table.get("type")
    kind = values.text(type_node, f"{path}.type") if type_node else None
    if kind not in [known.value for known in RetryType]:
        mark = table.mark_of("type")
        found = "nothing" if kind is None else f'"{kind}"'
        values.report.add(
            mark, f"{path}.type", f"Invalid type: expected constant, exponential or random, found {found}"
        )
        return None
    retry_type = RetryType(kind)
    own = _RETRY_OWN[retry_type]
    values.only(table, path, (*_RETRY_COMMON, *own), f"Retry {kind}")
    lengths = {name: _millis(values, table, name, path) for name in (*own, "maxDuration") if name != "delayFactor"}
    for name in own:
        if name != "delayFactor" and table.get(name) is None:
            values.report.add(table.mark_of(name), f"{path}.{name}", "must not be null")
    _in_order(values, table, path, lengths)
    attempts = "maxAttempts" if table.get("maxAttempt") is None else "maxAttempt"
    attempt_node, factor_node, warning = table.get(attempts), table.get("delayFactor"), table.get("warningOnRetry")
    behavior_node = table.get("behavior")
    behavior = values.choice(behavior_node, f"{path}.behavior", list(RetryBehavior)) if behavior_node else None
    factor = values.number(factor_node, f"{path}.delayFactor") if factor_node else None
    return Retry(
        type=retry_type,
        interval=lengths.get("interval") or 0,
        max_interval=lengths.get("maxInterval"),
        min_interval=lengths.get("minInterval"),
        delay_factor=2.0 if factor is None else factor,
        max_attempt=values.integer(attempt_node, f"{path}.{attempts}", 1) if attempt_node else None,
        max_duration=lengths.get("maxDuration"),
        warning_on_retry=values.boolean(warning, f"{path}.warningOnRetry", default=False) if warning else False,
        behavior=RetryBehavior(behavior) if behavior in list(RetryBehavior) else RetryBehavior.RETRY_FAILED_TASK,
    )


def _millis(values: Values, table: Table, name: str, path: str) -> int | None:
    node = table.get(name)
    return None if node is None else values.millis(node, f"{path}.{name}")


def _in_order(values: Values, table: Table, path: str, lengths: dict[str, int | None]) -> None:
    for shorter, longer in (
        ("interval", "maxDuration"),
        ("interval", "maxInterval"),
        ("minInterval", "maxDuration"),
        ("maxInterval", "maxDuration"),
        ("minInterval", "maxInterval"),
    ):
        low, high = lengths.get(shorter), lengths.get(longer)
        if shorter == "maxInterval" and "minInterval" not in lengths:
            continue  # Kestra compares these two for a random retry only
        if low is not None and high is not None and high <= low:
            written = table.get(shorter)
            shown = written.text if isinstance(written, Scalar) else str(low)
            values.report.add(table.mark_of(shorter), path, f"'{shorter}' must be less than '{longer}' but is {shown}")


def read_concurrency(values: Values, node: Node | None) -> Concurrency | None:
    """The flow's limit of executions at a time."""
    table = None if node is None else values.table(node, "concurrency")
    if table is None:
        return None
    values.only(table, "concurrency", ("limit", "behavior"), "Concurrency")
    limit_node, behavior_node = table.get("limit"), table.get("behavior")
    if limit_node is None:
        values.report.add(table.mark_of("limit"), "concurrency.limit", "must not be null")
    limit = values.integer(limit_node, "concurrency.limit") if limit_node else None
    if limit is not None and limit_node is not None and limit < 1:
        values.report.add(limit_node.mark, "concurrency.limit", f"must be greater than 0, found {limit}")
    behavior = (
        values.choice(behavior_node, "concurrency.behavior", list(ConcurrencyBehavior)) if behavior_node else None
    )
    known = behavior in list(ConcurrencyBehavior)
    return Concurrency(limit or 1, ConcurrencyBehavior(behavior) if known and behavior else ConcurrencyBehavior.QUEUE)


def read_worker_group(values: Values, node: Node | None, path: str) -> WorkerGroup | None:
    """The worker group of a task or of the flow; its key may be a template."""
    table = None if node is None else values.table(node, path)
    if table is None:
        return None
    values.only(table, path, ("key", "fallback"), "WorkerGroup")
    key_node, fallback_node = table.get("key"), table.get("fallback")
    if key_node is None:
        values.report.add(table.mark_of("key"), f"{path}.key", "must not be null")
        return None
    key = values.text(key_node, f"{path}.key")
    if key is not None and not is_template(key):
        key = values.identifier(table, "key", path, SLUG)
    fallback = values.choice(fallback_node, f"{path}.fallback", list(Fallback)) if fallback_node else None
    return (
        None if key is None else WorkerGroup(key, Fallback(fallback) if fallback in list(Fallback) else Fallback.WAIT)
    )


def read_inputs(values: Values, node: Node | None, path: str) -> tuple[Placed, ...]:
    """Inputs of a flow or of a Pause, each with its place."""
    found: list[Placed] = []
    for item, below in values.items(node, path, "a list of inputs"):
        table = values.table(item, below, "an input")
        read = None if table is None else _read_input(values, table, below)
        if read is not None:
            found.append(Placed(read, below, item.mark))
    return tuple(found)


def _read_input(values: Values, table: Table, path: str) -> Input | None:
    key = "id" if table.get("id") is not None or table.get("name") is None else "name"
    identifier = values.identifier(table, key, path, DOTTED_SLUG)
    kind = _read_type(values, table, path)
    if kind is None:
        return None
    own = INPUT_TYPES[kind]
    values.only(table, path, [p.name for p in (*COMMON_INPUT, *own)], f"{kind} input")
    properties: dict[str, Any] = {}
    for prop in (*COMMON_INPUT, *own):
        value = table.get(prop.name)
        if value is not None and prop.name not in ("id", "name", "type", "defaults"):
            properties[prop.name] = values.property(value, prop, f"{path}.{prop.name}")
        elif value is None and prop.required and prop in own:
            values.report.add(table.mark_of(prop.name), f"{path}.{prop.name}", "must not be null")
    if kind == "SELECT" and not {"values", "expression"} & properties.keys():
        values.report.add(
            table.mark, f"{path}.values", "must not be null: a SELECT input needs values or an expression"
        )
    if kind == "MULTISELECT" and not {"values", "options", "expression"} & properties.keys():
        values.report.add(
            table.mark, f"{path}.values", "must not be null: a MULTISELECT input needs values or an expression"
        )
    shown = properties.get("displayName")
    if shown and len(shown) > DISPLAY_NAME_LENGTH:
        values.report.add(
            table.mark_of("displayName"), f"{path}.displayName", f"size must be between 0 and {DISPLAY_NAME_LENGTH}"
        )
    depends = properties.pop("dependsOn", None) or {}
    has_default = table.get("defaults") is not None
    read = Input(
        id=identifier or "",
        type=kind,
        required=properties.pop("required", True),
        default=_default(table.get("defaults"), kind),
        has_default=has_default,
        depends_on=tuple(depends.get("inputs") or ()),
        condition=depends.get("condition"),
        properties=properties,
    )
    _check_validators(values, table, read, path)
    return read if identifier else None


def _read_type(values: Values, table: Table, path: str) -> str | None:
    node = table.get("type")
    if node is None:
        values.report.add(table.mark_of("type"), f"{path}.type", "must not be null")
        return None
    text = values.text(node, f"{path}.type")
    if text is not None and text.upper() in INPUT_TYPE_NAMES:
        return text.upper()
    if text is not None:
        values.report.add(
            node.mark, f"{path}.type", f"Invalid type: {text}; expected one of {', '.join(INPUT_TYPE_NAMES)}"
        )
    return None


def _default(node: Node | None, kind: str) -> Any:
    """A default as its type reads it: the text of a scalar for types of text, else the value."""
    if node is None:
        return None
    return node.text if kind in _TEXT_TYPES and isinstance(node, Scalar) else plain(node)


def _check_validators(values: Values, table: Table, item: Input, path: str) -> None:
    """Validators must be readable, and a default must be a value that they accept."""
    known = len(values.report.problems)
    validator = item.properties.get("validator")
    if isinstance(validator, str):
        try:
            pattern.compile_java(validator)
        except ValueError as error:
            values.report.add(table.mark_of("validator"), f"{path}.validator", str(error))
    for name in ("after", "before"):
        bound = item.properties.get(name)
        if bound is not None:
            try:
                coercion.coerce(bound, item.type)
            except ValueError as error:
                values.report.add(table.mark_of(name), f"{path}.{name}", str(error))
    if item.has_default and len(values.report.problems) == known:
        try:
            _check_default(item)
        except ValueError as error:
            values.report.add(table.mark_of("defaults"), f"{path}.defaults", str(error))


def _check_default(item: Input) -> None:
    """Raises ValueError where the default cannot be a value of the input; templates are checked when rendered."""
    if item.type == "FILE" and not str(item.default).startswith(coercion.STORED_FILES):
        raise ValueError("no `defaults` can be set for inputs of type 'FILE', but for the URI of a stored file")
    if is_template(item.default):
        return
    typed = coercion.coerce_input(item, item.default)
    if "expression" not in item.properties:  # else the values are known only when it is rendered
        coercion.check(typed, item)


def read_outputs(values: Values, node: Node | None) -> tuple[Placed, ...]:
    """The flow's outputs, each with its place."""
    found: list[Placed] = []
    for item, path in values.items(node, "outputs", "a list of outputs"):
        table = values.table(item, path, "an output")
        if table is None:
            continue
        values.only(table, path, ("id", "type", "value", "description", "displayName", "required"), "Output")
        identifier = values.identifier(table, "id", path, DOTTED_SLUG)
        kind = _read_type(values, table, path)
        value, required = table.get("value"), table.get("required")
        if value is None:
            values.report.add(table.mark_of("value"), f"{path}.value", "must not be null")
        needed = values.boolean(required, f"{path}.required", default=True) if required else True
        if identifier is not None and value is not None:
            found.append(Placed(Output(identifier, kind, plain(value), needed), path, item.mark))
    return tuple(found)


def read_slas(values: Values, node: Node | None) -> tuple[Sla, ...]:
    """The flow's SLAs."""
    read = (_read_sla(values, item, path) for item, path in values.items(node, "sla", "a list of SLAs"))
    return tuple(sla for sla in read if sla is not None)


def _read_sla(values: Values, node: Node, path: str) -> Sla | None:
    table = values.table(node, path, "an SLA")
    if table is None:
        return None
    texts: dict[str, str | None] = {}
    for name in ("id", "type", "behavior"):
        found = table.get(name)
        texts[name] = values.text(found, f"{path}.{name}") if found else None
        if found is None:
            values.report.add(table.mark_of(name), f"{path}.{name}", "must not be null")
    for name, allowed in (("type", ("MAX_DURATION", "EXECUTION_ASSERTION")), ("behavior", ("FAIL", "CANCEL", "NONE"))):
        if texts[name] is not None and texts[name] not in allowed:
            message = f'Invalid {name}: expected one of {", ".join(allowed)}, found "{texts[name]}"'
            values.report.add(table.mark_of(name), f"{path}.{name}", message)
    own = {"MAX_DURATION": "duration", "EXECUTION_ASSERTION": "assert"}.get(texts["type"] or "")
    if own is None:
        return None
    values.only(table, path, ("id", "type", "behavior", "labels", own), f"{texts['type']} SLA")
    if table.get(own) is None:
        values.report.add(table.mark_of(own), f"{path}.{own}", "must not be null")
    duration, assertion = table.get("duration"), table.get("assert")
    labels = values.user_labels(table.get("labels"), f"{path}.labels")
    return Sla(
        id=texts["id"] or "",
        type=texts["type"] or "",
        behavior=texts["behavior"] or "NONE",
        duration=values.millis(duration, f"{path}.duration") if duration else None,
        assertion=values.text(assertion, f"{path}.assert") if assertion else None,
        labels=tuple(labels.items()),
    )
