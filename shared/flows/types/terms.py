"""Terms: short words to declare the product's types, and the properties that several of them share."""

from __future__ import annotations

from typing import Any, Final

from shared.flows.catalog import Kind, Nature, Property, Role, TypeSpec

CORE: Final = "io.kestra.plugin.core"
OLD: Final = "io.kestra.core"
LEVELS: Final = ("TRACE", "DEBUG", "INFO", "WARN", "ERROR", "OFF")
STATES: Final = (
    "CREATED", "SUBMITTED", "RUNNING", "PAUSED", "RESTARTED", "KILLING", "SUCCESS", "WARNING", "FAILED", "KILLED",
    "CANCELLED", "QUEUED", "RETRYING", "RETRIED", "SKIPPED", "BREAKPOINT", "RESUBMITTED",
)  # fmt: skip
"""States that a flow may name."""


def plain(name: str, kind: Kind = Kind.STRING, **rest: Any) -> Property:
    return Property(name, kind, **rest)


def required(name: str, kind: Kind = Kind.STRING, **rest: Any) -> Property:
    return Property(name, kind, required=True, **rest)


def fixed(name: str, kind: Kind, **rest: Any) -> Property:
    """A property that takes no template: the engine needs its value before it renders anything."""
    return Property(name, kind, dynamic=False, **rest)


def flag(name: str, default: bool, **rest: Any) -> Property:
    return Property(name, Kind.BOOLEAN, default=default, **rest)


def switch(name: str, default: bool) -> Property:
    """A boolean that takes no template."""
    return Property(name, Kind.BOOLEAN, default=default, dynamic=False)


COMMON_TASK: Final = (
    required("id"),
    required("type"),
    plain("description"),
    fixed("disabled", Kind.BOOLEAN, default=False),
    plain("runIf", default="true"),
    fixed("allowFailure", Kind.BOOLEAN, default=False),
    fixed("allowWarning", Kind.BOOLEAN, default=False),
    plain("timeout", Kind.DURATION),
    fixed("retry", Kind.MAP),
    plain("logLevel", values=LEVELS),
    fixed("logToFile", Kind.BOOLEAN, default=False),
    fixed("workerGroup", Kind.MAP),
    fixed("taskCache", Kind.MAP),  # later
    plain("version"),  # later
)
"""Properties of every task."""

COMMON_TRIGGER: Final = (
    required("id"),
    required("type"),
    plain("description"),
    plain("conditions", Kind.CONDITIONS),
    fixed("disabled", Kind.BOOLEAN, default=False),
    fixed("workerGroup", Kind.MAP),
    plain("logLevel", values=LEVELS),
    plain("minLogLevel", values=LEVELS),
    fixed("logToFile", Kind.BOOLEAN, default=False),
    plain("labels", Kind.LABELS),
    plain("stopAfter", Kind.STRINGS, values=STATES),
    fixed("failOnTriggerError", Kind.BOOLEAN, default=False),  # later
    plain("allowConcurrent", Kind.BOOLEAN, default=False),  # later
    plain("version"),  # later
)
"""Properties of every trigger."""

ERRORS: Final = (plain("errors", Kind.TASKS), plain("finally", Kind.TASKS))
SPLIT: Final = (
    plain("bytes"),
    plain("partitions", Kind.INTEGER),
    plain("rows", Kind.INTEGER),
    plain("separator", default="\n"),
)
HTTP: Final = (
    required("uri"),
    plain("method", default="GET"),
    plain("body"),
    plain("formData", Kind.MAP),
    plain("contentType"),
    plain("headers", Kind.MAP),
    plain("params", Kind.MAP),  # later
    plain("options", Kind.MAP),
    plain("sslOptions", Kind.MAP),
)
WINDOW: Final = (
    plain(
        "type",
        values=("DAILY_TIME_DEADLINE", "DAILY_TIME_WINDOW", "DURATION_WINDOW", "SLIDING_WINDOW"),
        default="DURATION_WINDOW",
    ),
    plain("deadline"),
    fixed("window", Kind.DURATION),
    fixed("windowAdvance", Kind.DURATION),
    plain("startTime"),
    plain("endTime"),
)


def task(
    name: str, nature: Nature, *properties: Property, old: tuple[str, ...] = (), calls_flow: bool = False
) -> TypeSpec:
    """`old`: earlier names, below `io.kestra` or in full."""
    aliases = tuple(alias if alias.startswith("io.") else f"{OLD}.tasks.{alias}" for alias in old)
    return TypeSpec(f"{CORE}.{name}", Role.TASK, nature, properties, aliases, calls_flow=calls_flow)


def runnable(name: str, *properties: Property, old: tuple[str, ...] = ()) -> TypeSpec:
    return task(name, Nature.RUNNABLE, *properties, old=old)


def flowable(name: str, *properties: Property, old: tuple[str, ...] = (), calls_flow: bool = False) -> TypeSpec:
    return task(name, Nature.FLOWABLE, *properties, old=old, calls_flow=calls_flow)


def trigger(name: str, *properties: Property, old: str | None = None) -> TypeSpec:
    return TypeSpec(f"{CORE}.{name}", Role.TRIGGER, None, properties, () if old is None else (old,))


def condition(name: str, *properties: Property, old: str | None = None, renamed: bool = True) -> TypeSpec:
    """`old`: the name in `io.kestra.core.models.conditions.types`; `renamed`: it was `…Condition` here too."""
    aliases = [f"{OLD}.models.conditions.types.{old or name + 'Condition'}"]
    if renamed:
        aliases.append(f"{CORE}.condition.{name}Condition")
    return TypeSpec(f"{CORE}.condition.{name}", Role.CONDITION, None, properties, tuple(aliases))
