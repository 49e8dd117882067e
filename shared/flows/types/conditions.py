"""Conditions: the types that decide whether a trigger or a listener acts."""

from __future__ import annotations

from typing import Final

from shared.flows.catalog import Kind
from shared.flows.types.terms import STATES, WINDOW, condition, fixed, plain, required

_DAYS: Final = ("MONDAY", "TUESDAY", "WEDNESDAY", "THURSDAY", "FRIDAY", "SATURDAY", "SUNDAY")
_DATE: Final = plain("date", default="{{ trigger.date }}")

CONDITIONS: Final = (
    condition("DateTimeBetween", _DATE, plain("after"), plain("before")),
    condition("DayWeek", _DATE, required("dayOfWeek", values=_DAYS)),
    condition(
        "DayWeekInMonth",
        _DATE,
        required("dayOfWeek", values=_DAYS),
        required("dayInMonth", values=("FIRST", "LAST", "SECOND", "THIRD", "FOURTH")),
    ),
    condition("ExecutionFlow", required("namespace"), required("flowId")),
    condition("ExecutionLabels", required("labels", Kind.LABELS)),
    condition(
        "ExecutionNamespace",
        required("namespace"),
        plain("comparison", values=("EQUALS", "PREFIX", "SUFFIX")),
        plain("prefix", Kind.BOOLEAN, default=False),
    ),
    condition("ExecutionOutputs", required("expression")),
    condition("ExecutionStatus", plain("in", Kind.STRINGS, values=STATES), plain("notIn", Kind.STRINGS, values=STATES)),
    condition("Expression", required("expression"), old="VariableCondition"),
    condition("FlowCondition", required("namespace"), required("flowId"), old="FlowCondition", renamed=False),
    condition(
        "FlowNamespaceCondition",
        required("namespace"),
        plain("prefix", Kind.BOOLEAN, default=False),
        old="FlowNamespaceCondition",
        renamed=False,
    ),
    condition("HasRetryAttempt", plain("in", Kind.STRINGS, values=STATES), plain("notIn", Kind.STRINGS, values=STATES)),
    condition(
        "MultipleCondition",
        required("id"),
        required("conditions", Kind.NAMED_CONDITIONS),
        plain("timeWindow", Kind.OBJECT, fields=WINDOW),
        fixed("window", Kind.DURATION),
        fixed("windowAdvance", Kind.DURATION),
        plain("resetOnSuccess", Kind.BOOLEAN, default=True),
        old="MultipleCondition",
        renamed=False,
    ),
    condition("Not", required("conditions", Kind.CONDITIONS)),
    condition("Or", required("conditions", Kind.CONDITIONS)),
    condition("PublicHoliday", _DATE, plain("country"), plain("subDivision")),
    condition("TimeBetween", _DATE, plain("after"), plain("before")),
    condition("Weekend", _DATE),
)
