"""Triggers: the types that start executions."""

from __future__ import annotations

from typing import Final

from shared.flows.catalog import Kind
from shared.flows.types.terms import HTTP, OLD, STATES, WINDOW, fixed, flag, plain, required, trigger

_MISSED: Final = ("ALL", "LAST", "NONE")
_UPSTREAM: Final = (
    required("namespace"),
    plain("flowId"),
    plain("states", Kind.STRINGS, values=STATES),
    plain("labels", Kind.MAP),
)
_PRECONDITIONS: Final = (
    required("id"),
    plain("resetOnSuccess", Kind.BOOLEAN, default=True),
    plain("timeWindow", Kind.OBJECT, fields=WINDOW),
    plain("flows", Kind.OBJECTS, fields=_UPSTREAM),
    plain(
        "where",
        Kind.OBJECTS,
        fields=(
            required("id"),
            plain("operand", values=("AND", "OR"), default="AND"),
            required(
                "filters",
                Kind.OBJECTS,
                fields=(
                    required("field", values=("FLOW_ID", "NAMESPACE", "STATE", "EXPRESSION")),
                    required(
                        "type",
                        values=(
                            "EQUAL_TO", "NOT_EQUAL_TO", "IN", "NOT_IN", "IS_TRUE", "IS_FALSE", "IS_NULL", "IS_NOT_NULL",
                            "STARTS_WITH", "ENDS_WITH", "REGEX", "CONTAINS",
                        ),
                    ),
                    plain("value"),
                    plain("values", Kind.STRINGS),
                ),
            ),
        ),
    ),
)  # fmt: skip

TRIGGERS: Final = (
    trigger(
        "trigger.Flow",
        plain("inputs", Kind.MAP),
        plain("states", Kind.STRINGS, values=STATES),
        plain("preconditions", Kind.OBJECT, fields=_PRECONDITIONS),
        old=f"{OLD}.models.triggers.types.Flow",
    ),
    trigger(
        "trigger.Schedule",
        required("cron"),
        fixed("withSeconds", Kind.BOOLEAN, default=False),
        plain("timezone"),
        fixed("interval", Kind.DURATION),
        plain("scheduleConditions", Kind.CONDITIONS),
        plain("inputs", Kind.MAP),
        fixed("lateMaximumDelay", Kind.DURATION),
        plain("backfill", Kind.MAP),
        plain("recoverMissedSchedules", values=_MISSED),
        old=f"{OLD}.models.triggers.types.Schedule",
    ),
    trigger(
        "trigger.ScheduleOnDates",
        required("dates", Kind.ANY),
        fixed("interval", Kind.DURATION),
        plain("timezone"),
        plain("inputs", Kind.MAP),
        plain("recoverMissedSchedules", values=_MISSED),
    ),
    trigger(
        "trigger.Webhook",
        required("key"),
        plain("inputs", Kind.MAP),  # later
        fixed("wait", Kind.BOOLEAN, default=False),  # later
        fixed("returnOutputs", Kind.BOOLEAN, default=False),  # later
        old=f"{OLD}.models.triggers.types.Webhook",
    ),
    trigger(
        "http.Trigger",
        *HTTP,
        fixed("interval", Kind.DURATION, default="PT1M"),
        plain("responseCondition", default="{{ response.statusCode < 400 }}"),
        flag("encryptBody", False),
        old="io.kestra.plugin.fs.http.Trigger",
    ),
)
