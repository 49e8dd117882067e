"""Conditions: whether they hold for an execution, be it for its own listeners or for another flow's trigger."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from executor.engine import calendar
from executor.engine.draft import Draft
from shared.expressions import truthy
from shared.model.execution import Execution


@dataclass(frozen=True, slots=True)
class Seen:
    """What a condition looks at. `render`: with the execution's variables and those given. Raises RenderError."""

    execution: Execution
    render: Callable[[str, Mapping[str, Any]], str | None]
    outputs: Callable[[], Mapping[str, Any]] = dict  #: the execution's own, of its flow's `outputs`


def of_draft(draft: Draft) -> Seen:
    """The execution of a decision, as its listeners see it."""
    return Seen(draft.execution, lambda text, more: draft.env.renderer.render(text, draft.variables(extra=more)))


def holds(seen: Seen, condition: Mapping[str, Any]) -> bool:
    """Whether one condition holds. Raises RenderError and ValueError for what can't be rendered or read.

    Of the conditions on dates PublicHoliday never holds: there is no calendar of holidays here.
    """
    kind = str(condition.get("type", "")).rsplit(".", 1)[-1].removesuffix("Condition")
    execution = seen.execution
    state = execution.state.current.value
    if kind == "ExecutionStatus":
        wanted, unwanted = condition.get("in"), condition.get("notIn")
        return (not wanted or state in wanted) and (not unwanted or state not in unwanted)
    if kind in ("ExecutionFlow", "Flow"):
        same_flow = condition.get("flowId") == execution.flow_id
        return same_flow and condition.get("namespace", execution.namespace) == execution.namespace
    if kind in ("ExecutionNamespace", "FlowNamespace"):
        return _namespace(condition, execution.namespace)
    if kind in ("Expression", "ExecutionOutputs"):
        expression = str(condition.get("expression", condition.get("expr", "")))
        more = {"trigger": {"outputs": seen.outputs()}} if kind == "ExecutionOutputs" else {}
        return truthy(seen.render(expression, more))
    if kind == "HasRetryAttempt":
        return execution.attempt_number > 1
    if kind == "ExecutionLabels":
        wanted_labels = condition.get("labels") or {}
        pairs = wanted_labels.items() if isinstance(wanted_labels, Mapping) else _pairs(wanted_labels)
        return all((key, str(value)) in execution.labels for key, value in pairs)
    if calendar.knows(kind):
        return calendar.holds(kind, condition, lambda text: seen.render(text, {}))
    if kind == "Not":
        return not any(holds(seen, inner) for inner in condition.get("conditions") or ())
    if kind == "Or":
        return any(holds(seen, inner) for inner in condition.get("conditions") or ())
    return False


def _pairs(labels: list[Mapping[str, Any]]) -> list[tuple[str, Any]]:
    return [(label["key"], label["value"]) for label in labels]


def _namespace(condition: Mapping[str, Any], namespace: str) -> bool:
    wanted = str(condition.get("namespace", ""))
    comparison = condition.get("comparison") or ("PREFIX" if condition.get("prefix") else "EQUALS")
    if comparison == "PREFIX":
        return namespace.startswith(wanted)
    if comparison == "SUFFIX":
        return namespace.endswith(wanted)
    return namespace == wanted
