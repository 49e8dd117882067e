"""The product's own types: tasks, triggers and conditions of `io.kestra.plugin.core`, with their properties.

Names, defaults and aliases are those of Kestra 0.21; LoopUntil, Exit, Assert, SetVariables, UnsetVariables and the
properties marked "later" came after it and follow today's documentation.
"""

from __future__ import annotations

from typing import Any, Final

from shared.flows.catalog import Kind, Nature, Property, Role, TypeSpec

_CORE: Final = "io.kestra.plugin.core"
_OLD: Final = "io.kestra.core"
_LEVELS: Final = ("TRACE", "DEBUG", "INFO", "WARN", "ERROR", "OFF")
_DAYS: Final = ("MONDAY", "TUESDAY", "WEDNESDAY", "THURSDAY", "FRIDAY", "SATURDAY", "SUNDAY")
_MISSED: Final = ("ALL", "LAST", "NONE")
STATES: Final = (
    "CREATED", "SUBMITTED", "RUNNING", "PAUSED", "RESTARTED", "KILLING", "SUCCESS", "WARNING", "FAILED", "KILLED",
    "CANCELLED", "QUEUED", "RETRYING", "RETRIED", "SKIPPED", "BREAKPOINT", "RESUBMITTED",
)  # fmt: skip
"""States that a flow may name."""


def _p(name: str, kind: Kind = Kind.STRING, **rest: Any) -> Property:
    return Property(name, kind, **rest)


def _required(name: str, kind: Kind = Kind.STRING, **rest: Any) -> Property:
    return Property(name, kind, required=True, **rest)


def _fixed(name: str, kind: Kind, **rest: Any) -> Property:
    """A property that takes no template: the engine needs its value before it renders anything."""
    return Property(name, kind, dynamic=False, **rest)


def _flag(name: str, default: bool, **rest: Any) -> Property:
    return Property(name, Kind.BOOLEAN, default=default, **rest)


COMMON_TASK: Final = (
    _required("id"),
    _required("type"),
    _p("description"),
    _fixed("disabled", Kind.BOOLEAN, default=False),
    _p("runIf", default="true"),
    _fixed("allowFailure", Kind.BOOLEAN, default=False),
    _fixed("allowWarning", Kind.BOOLEAN, default=False),
    _p("timeout", Kind.DURATION),
    _fixed("retry", Kind.MAP),
    _p("logLevel", values=_LEVELS),
    _fixed("logToFile", Kind.BOOLEAN, default=False),
    _fixed("workerGroup", Kind.MAP),
    _fixed("taskCache", Kind.MAP),  # later
    _p("version"),  # later
)
"""Properties of every task."""

COMMON_TRIGGER: Final = (
    _required("id"),
    _required("type"),
    _p("description"),
    _p("conditions", Kind.CONDITIONS),
    _fixed("disabled", Kind.BOOLEAN, default=False),
    _fixed("workerGroup", Kind.MAP),
    _p("logLevel", values=_LEVELS),
    _p("minLogLevel", values=_LEVELS),
    _fixed("logToFile", Kind.BOOLEAN, default=False),
    _p("labels", Kind.LABELS),
    _p("stopAfter", Kind.STRINGS, values=STATES),
    _fixed("failOnTriggerError", Kind.BOOLEAN, default=False),  # later
    _p("allowConcurrent", Kind.BOOLEAN, default=False),  # later
    _p("version"),  # later
)
"""Properties of every trigger."""

_ERRORS: Final = (_p("errors", Kind.TASKS), _p("finally", Kind.TASKS))
_SUBFLOW: Final = (
    _required("namespace"),
    _required("flowId"),
    _fixed("revision", Kind.INTEGER, minimum=1),
    _p("inputs", Kind.MAP),
    _flag("wait", True),
    _flag("transmitFailed", True),
    _p("labels", Kind.LABELS),
    _flag("inheritLabels", False),
    _p("scheduleDate"),
    _p("restartBehavior", values=("RETRY_FAILED", "NEW_EXECUTION"), default="RETRY_FAILED"),  # later
)
_LOOP: Final = (
    _required("condition"),
    _required("tasks", Kind.TASKS),
    _flag("failOnMaxReached", False),
    _p(
        "checkFrequency",
        Kind.OBJECT,
        fields=(
            _p("maxIterations", Kind.INTEGER, default=100),
            _p("maxDuration", Kind.DURATION, default="PT1H"),
            _p("interval", Kind.DURATION, default="PT1S"),
        ),
    ),
    *_ERRORS,
)
_SPLIT: Final = (_p("bytes"), _p("partitions", Kind.INTEGER), _p("rows", Kind.INTEGER), _p("separator", default="\n"))
_HTTP: Final = (
    _required("uri"),
    _p("method", default="GET"),
    _p("body"),
    _p("formData", Kind.MAP),
    _p("contentType"),
    _p("headers", Kind.MAP),
    _p("params", Kind.MAP),  # later
    _p("options", Kind.MAP),
    _p("sslOptions", Kind.MAP),
)
_STATE: Final = (_p("name", default="default"), _flag("namespace", False), _flag("taskrunValue", True))
_KV: Final = (_p("namespace", default="{{ flow.namespace }}"),)
_PURGE: Final = (_p("namespace"), _p("flowId"), _p("startDate"), _required("endDate"))
_FILES: Final = (_required("namespace"), _required("files", Kind.ANY))
_DATE: Final = _p("date", default="{{ trigger.date }}")
_UPSTREAM: Final = (
    _required("namespace"),
    _p("flowId"),
    _p("states", Kind.STRINGS, values=STATES),
    _p("labels", Kind.MAP),
)
_WINDOW: Final = (
    _p(
        "type",
        values=("DAILY_TIME_DEADLINE", "DAILY_TIME_WINDOW", "DURATION_WINDOW", "SLIDING_WINDOW"),
        default="DURATION_WINDOW",
    ),
    _p("deadline"),
    _fixed("window", Kind.DURATION),
    _fixed("windowAdvance", Kind.DURATION),
    _p("startTime"),
    _p("endTime"),
)
_PRECONDITIONS: Final = (
    _required("id"),
    _p("resetOnSuccess", Kind.BOOLEAN, default=True),
    _p("timeWindow", Kind.OBJECT, fields=_WINDOW),
    _p("flows", Kind.OBJECTS, fields=_UPSTREAM),
    _p(
        "where",
        Kind.OBJECTS,
        fields=(
            _required("id"),
            _p("operand", values=("AND", "OR"), default="AND"),
            _required(
                "filters",
                Kind.OBJECTS,
                fields=(
                    _required("field", values=("FLOW_ID", "NAMESPACE", "STATE", "EXPRESSION")),
                    _required(
                        "type",
                        values=(
                            "EQUAL_TO", "NOT_EQUAL_TO", "IN", "NOT_IN", "IS_TRUE", "IS_FALSE", "IS_NULL", "IS_NOT_NULL",
                            "STARTS_WITH", "ENDS_WITH", "REGEX", "CONTAINS",
                        ),
                    ),
                    _p("value"),
                    _p("values", Kind.STRINGS),
                ),
            ),
        ),
    ),
)  # fmt: skip


def _task(
    name: str, nature: Nature, *properties: Property, old: tuple[str, ...] = (), calls_flow: bool = False
) -> TypeSpec:
    """`old`: earlier names, below `io.kestra` or in full."""
    aliases = tuple(alias if alias.startswith("io.") else f"{_OLD}.tasks.{alias}" for alias in old)
    return TypeSpec(f"{_CORE}.{name}", Role.TASK, nature, properties, aliases, calls_flow=calls_flow)


def _run(name: str, *properties: Property, old: tuple[str, ...] = ()) -> TypeSpec:
    return _task(name, Nature.RUNNABLE, *properties, old=old)


def _flow(name: str, *properties: Property, old: tuple[str, ...] = (), calls_flow: bool = False) -> TypeSpec:
    return _task(name, Nature.FLOWABLE, *properties, old=old, calls_flow=calls_flow)


def _trigger(name: str, *properties: Property, old: str | None = None) -> TypeSpec:
    return TypeSpec(f"{_CORE}.{name}", Role.TRIGGER, None, properties, () if old is None else (old,))


def _condition(name: str, *properties: Property, old: str | None = None, renamed: bool = True) -> TypeSpec:
    """`old`: the name in `io.kestra.core.models.conditions.types`; `renamed`: it was `…Condition` here too."""
    aliases = [f"{_OLD}.models.conditions.types.{old or name + 'Condition'}"]
    if renamed:
        aliases.append(f"{_CORE}.condition.{name}Condition")
    return TypeSpec(f"{_CORE}.condition.{name}", Role.CONDITION, None, properties, tuple(aliases))


_FLOWABLES: Final = (
    _flow("flow.Sequential", _required("tasks", Kind.TASKS), *_ERRORS, old=("flows.Sequential",)),
    _flow(
        "flow.Parallel",
        _required("tasks", Kind.TASKS),
        _fixed("concurrent", Kind.INTEGER, default=0, minimum=0),
        *_ERRORS,
        old=("flows.Parallel",),
    ),
    _flow(
        "flow.Dag",
        _required("tasks", Kind.DAG),
        _fixed("concurrent", Kind.INTEGER, default=0, minimum=0),
        *_ERRORS,
        old=("flows.Dag",),
    ),
    _flow(
        "flow.If",
        _required("condition"),
        _required("then", Kind.TASKS),
        _p("else", Kind.TASKS),
        *_ERRORS,
        old=("flows.If",),
    ),
    _flow(
        "flow.Switch",
        _required("value"),
        _p("cases", Kind.CASES),
        _p("defaults", Kind.TASKS),
        *_ERRORS,
        old=("flows.Switch",),
    ),
    _flow(
        "flow.ForEach",
        _required("values", Kind.ANY),
        _required("tasks", Kind.TASKS),
        _fixed("concurrencyLimit", Kind.INTEGER, default=1, minimum=0),
        *_ERRORS,
    ),
    _flow(
        "flow.EachSequential",
        _required("value", Kind.ANY),
        _required("tasks", Kind.TASKS),
        *_ERRORS,
        old=("flows.EachSequential",),
    ),
    _flow(
        "flow.EachParallel",
        _required("value", Kind.ANY),
        _required("tasks", Kind.TASKS),
        _fixed("concurrent", Kind.INTEGER, default=0, minimum=0),
        *_ERRORS,
        old=("flows.EachParallel",),
    ),
    _flow(
        "flow.ForEachItem",
        _required("items"),
        _p("batch", Kind.OBJECT, fields=_SPLIT),
        *_SUBFLOW,
        *_ERRORS,
        old=("flows.ForEachItem",),
        calls_flow=True,
    ),
    _flow("flow.AllowFailure", _required("tasks", Kind.TASKS), *_ERRORS, old=("flows.AllowFailure",)),
    _flow(
        "flow.WorkingDirectory",
        _required("tasks", Kind.TASKS),
        _p("cache", Kind.OBJECT, fields=(_p("ttl", Kind.DURATION), _required("patterns", Kind.STRINGS))),
        _p("namespaceFiles", Kind.MAP),
        _p("inputFiles", Kind.ANY),
        _p("outputFiles", Kind.ANY),
        *_ERRORS,
        old=("flows.WorkingDirectory", "flows.Worker"),
    ),
    _flow(
        "flow.Pause",
        _p("delay", Kind.DURATION),
        _p("pauseDuration", Kind.DURATION),  # later: the new name of delay
        _p("behavior", values=("RESUME", "WARN", "CANCEL", "FAIL"), default="RESUME"),  # later
        _p("onResume", Kind.INPUTS),
        _p("onPause", Kind.TASK),  # later
        _p("tasks", Kind.TASKS),
        *_ERRORS,
        old=("flows.Pause",),
    ),
    _flow("flow.WaitFor", *_LOOP),
    _flow("flow.LoopUntil", *_LOOP),
    _task(
        "flow.Subflow",
        Nature.SUBFLOW,
        *_SUBFLOW,
        _p("outputs", Kind.MAP),
        old=("flows.Subflow", "flows.Flow"),
        calls_flow=True,
    ),
)

_RUNNABLES: Final = (
    _run("debug.Return", _p("format"), old=("debugs.Return",)),
    _run("debug.Echo", _required("format"), _p("level", values=_LEVELS, default="INFO"), old=("debugs.Echo",)),
    _run("log.Log", _required("message", Kind.ANY), _p("level", default="INFO"), old=("log.Log",)),
    _run(
        "log.Fetch",
        _p("namespace"),
        _p("flowId"),
        _p("executionId"),
        _p("tasksId", Kind.STRINGS),
        _p("level", default="INFO"),
        old=("log.Fetch",),
    ),
    _run("log.PurgeLogs", *_PURGE, _p("executionId"), _p("logLevels", Kind.STRINGS, values=_LEVELS)),
    _run(
        "execution.Fail",
        _p("condition"),
        _p("errorMessage", default="Task failure"),
        old=("executions.Fail",),
    ),
    _run(
        "execution.Assert",
        _required("conditions", Kind.STRINGS),
        _p("errorMessage"),
    ),
    _run(
        "execution.Count",
        _p("flows", Kind.LIST),
        _p("namespaces", Kind.STRINGS),
        _p("states", Kind.STRINGS),
        _required("startDate"),
        _p("endDate"),
        _required("expression"),
        old=("executions.Counts",),
    ),
    _run(
        "execution.PurgeExecutions",
        *_PURGE,
        _p("states", Kind.STRINGS),
        _flag("purgeExecution", True),
        _flag("purgeLog", True),
        _flag("purgeMetric", True),
        _flag("purgeStorage", True),
        old=("storages.Purge", f"{_CORE}.storage.Purge"),
    ),
    _run("execution.Resume", _p("namespace"), _p("flowId"), _p("executionId"), _p("inputs", Kind.MAP)),
    _task("execution.Labels", Nature.UPDATE, _required("labels", Kind.ANY), old=("executions.Labels",)),
    _task("execution.Exit", Nature.UPDATE, _p("state", default="SUCCESS")),
    _task("execution.SetVariables", Nature.UPDATE, _required("variables", Kind.ANY), _flag("overwrite", True)),
    _task("execution.UnsetVariables", Nature.UPDATE, _required("variables", Kind.ANY), _flag("ignoreMissing", False)),
    _run("flow.Sleep", _required("duration", Kind.DURATION)),
    _run("output.OutputValues", _p("values", Kind.MAP)),
    _run(
        "http.Request",
        *_HTTP,
        _flag("allowFailed", False),
        _flag("encryptBody", False),
        old=("io.kestra.plugin.fs.http.Request",),
    ),
    _run(
        "http.Download",
        *_HTTP,
        _flag("failOnEmptyResponse", True),
        _flag("allowFailed", False),
        _p("saveAs"),  # later
        old=("io.kestra.plugin.fs.http.Download",),
    ),
    _run("kv.Get", _required("key"), *_KV, _flag("errorOnMissing", False)),
    _run(
        "kv.Set",
        _required("key"),
        _required("value", Kind.ANY),
        *_KV,
        _flag("overwrite", True),
        _p("ttl", Kind.DURATION),
        _p("kvType"),
        _p("kvDescription"),  # later
    ),
    _run("kv.Delete", _required("key"), *_KV, _flag("errorOnMissing", False)),
    _run("kv.GetKeys", _p("prefix"), *_KV),
    _run("state.Get", *_STATE, _flag("errorOnMissing", False), old=("states.Get",)),
    _run("state.Set", *_STATE, _p("data", Kind.MAP), old=("states.Set",)),
    _run("state.Delete", *_STATE, _flag("errorOnMissing", False), old=("states.Delete",)),
    _run("storage.Split", _required("from"), *_SPLIT, old=("storages.Split",)),
    _run(
        "storage.Concat",
        _required("files", Kind.ANY),
        _p("separator"),
        _p("extension", default=".tmp"),
        old=("storages.Concat",),
    ),
    _run("storage.Size", _required("uri"), old=("storages.Size",)),
    _run("storage.Delete", _required("uri"), _flag("errorOnMissing", False), old=("storages.Delete",)),
    _run(
        "storage.Reverse",
        _required("from"),
        _p("separator", default="\n"),
        _p("charset", default="UTF-8"),
        old=("storages.Reverse",),
    ),
    _run("storage.DeduplicateItems", _required("from"), _required("expr"), old=("storages.DeduplicateItems",)),
    _run(
        "storage.FilterItems",
        _required("from"),
        _required("filterCondition"),
        _p("filterType", values=("INCLUDE", "EXCLUDE"), default="INCLUDE"),
        _p("errorOrNullBehavior", values=("FAIL", "INCLUDE", "EXCLUDE"), default="FAIL"),
        old=("storages.FilterItems",),
    ),
    _run("storage.LocalFiles", _p("inputs", Kind.ANY), _p("outputs", Kind.ANY), old=("storages.LocalFiles",)),
    _run(
        "storage.PurgeCurrentExecutionFiles",
        old=("storages.PurgeExecution", f"{_CORE}.storage.PurgeExecution"),
    ),
    _run(
        "namespace.UploadFiles",
        _required("namespace"),
        _p("files", Kind.ANY),
        _p("filesMap", Kind.ANY),
        _p("destination", default="/"),
        _p("conflict", values=("OVERWRITE", "ERROR", "SKIP"), default="OVERWRITE"),
    ),
    _run("namespace.DownloadFiles", *_FILES, _p("destination", default="")),
    _run("namespace.DeleteFiles", *_FILES),
    _run("templating.TemplatedTask", _required("spec"), old=("templating.TemplatedTask",)),
    _run(
        "trigger.Toggle",
        _p("namespace"),
        _p("flowId"),
        _required("trigger"),
        _p("enabled", Kind.BOOLEAN, default=False),
        old=("trigger.Toggle",),
    ),
)  # fmt: skip

_TRIGGERS: Final = (
    _trigger(
        "trigger.Flow",
        _p("inputs", Kind.MAP),
        _p("states", Kind.STRINGS, values=STATES),
        _p("preconditions", Kind.OBJECT, fields=_PRECONDITIONS),
        old=f"{_OLD}.models.triggers.types.Flow",
    ),
    _trigger(
        "trigger.Schedule",
        _required("cron"),
        _fixed("withSeconds", Kind.BOOLEAN, default=False),
        _p("timezone"),
        _fixed("interval", Kind.DURATION),
        _p("scheduleConditions", Kind.CONDITIONS),
        _p("inputs", Kind.MAP),
        _fixed("lateMaximumDelay", Kind.DURATION),
        _p("backfill", Kind.MAP),
        _p("recoverMissedSchedules", values=_MISSED),
        old=f"{_OLD}.models.triggers.types.Schedule",
    ),
    _trigger(
        "trigger.ScheduleOnDates",
        _required("dates", Kind.ANY),
        _fixed("interval", Kind.DURATION),
        _p("timezone"),
        _p("inputs", Kind.MAP),
        _p("recoverMissedSchedules", values=_MISSED),
    ),
    _trigger(
        "trigger.Webhook",
        _required("key"),
        _p("inputs", Kind.MAP),  # later
        _fixed("wait", Kind.BOOLEAN, default=False),  # later
        _fixed("returnOutputs", Kind.BOOLEAN, default=False),  # later
        old=f"{_OLD}.models.triggers.types.Webhook",
    ),
    _trigger(
        "http.Trigger",
        *_HTTP,
        _fixed("interval", Kind.DURATION, default="PT1M"),
        _p("responseCondition", default="{{ response.statusCode < 400 }}"),
        _flag("encryptBody", False),
        old="io.kestra.plugin.fs.http.Trigger",
    ),
)

_CONDITIONS: Final = (
    _condition("DateTimeBetween", _DATE, _p("after"), _p("before")),
    _condition("DayWeek", _DATE, _required("dayOfWeek", values=_DAYS)),
    _condition(
        "DayWeekInMonth",
        _DATE,
        _required("dayOfWeek", values=_DAYS),
        _required("dayInMonth", values=("FIRST", "LAST", "SECOND", "THIRD", "FOURTH")),
    ),
    _condition("ExecutionFlow", _required("namespace"), _required("flowId")),
    _condition("ExecutionLabels", _required("labels", Kind.LABELS)),
    _condition(
        "ExecutionNamespace",
        _required("namespace"),
        _p("comparison", values=("EQUALS", "PREFIX", "SUFFIX")),
        _p("prefix", Kind.BOOLEAN, default=False),
    ),
    _condition("ExecutionOutputs", _required("expression")),
    _condition("ExecutionStatus", _p("in", Kind.STRINGS, values=STATES), _p("notIn", Kind.STRINGS, values=STATES)),
    _condition("Expression", _required("expression"), old="VariableCondition"),
    _condition("FlowCondition", _required("namespace"), _required("flowId"), old="FlowCondition", renamed=False),
    _condition(
        "FlowNamespaceCondition",
        _required("namespace"),
        _p("prefix", Kind.BOOLEAN, default=False),
        old="FlowNamespaceCondition",
        renamed=False,
    ),
    _condition("HasRetryAttempt", _p("in", Kind.STRINGS, values=STATES), _p("notIn", Kind.STRINGS, values=STATES)),
    _condition(
        "MultipleCondition",
        _required("id"),
        _required("conditions", Kind.NAMED_CONDITIONS),
        _p("timeWindow", Kind.OBJECT, fields=_WINDOW),
        _fixed("window", Kind.DURATION),
        _fixed("windowAdvance", Kind.DURATION),
        _p("resetOnSuccess", Kind.BOOLEAN, default=True),
        old="MultipleCondition",
        renamed=False,
    ),
    _condition("Not", _required("conditions", Kind.CONDITIONS)),
    _condition("Or", _required("conditions", Kind.CONDITIONS)),
    _condition("PublicHoliday", _DATE, _p("country"), _p("subDivision")),
    _condition("TimeBetween", _DATE, _p("after"), _p("before")),
    _condition("Weekend", _DATE),
)

CORE_TYPES: Final = (*_FLOWABLES, *_RUNNABLES, *_TRIGGERS, *_CONDITIONS)
"""Every type of the product."""
