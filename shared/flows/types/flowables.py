"""Flowables: the types with child tasks, and Subflow. The executor runs them."""

from __future__ import annotations

from typing import Final

from shared.flows.catalog import Kind, Nature
from shared.flows.types.terms import ERRORS, SPLIT, fixed, flowable, plain, required, switch, task

SUBFLOW: Final = (
    required("namespace"),
    required("flowId"),
    fixed("revision", Kind.INTEGER, minimum=1),
    plain("inputs", Kind.MAP),
    switch("wait", True),
    switch("transmitFailed", True),
    plain("labels", Kind.LABELS),
    switch("inheritLabels", False),
    plain("scheduleDate"),
    plain("restartBehavior", values=("RETRY_FAILED", "NEW_EXECUTION"), default="RETRY_FAILED"),  # later
)
_LOOP: Final = (
    required("condition"),
    required("tasks", Kind.TASKS),
    switch("failOnMaxReached", False),
    plain(
        "checkFrequency",
        Kind.OBJECT,
        fields=(
            fixed("maxIterations", Kind.INTEGER, default=100),
            plain("maxDuration", Kind.DURATION, default="PT1H"),
            plain("interval", Kind.DURATION, default="PT1S"),
        ),
    ),
    *ERRORS,
)

FLOWABLES: Final = (
    flowable("flow.Sequential", required("tasks", Kind.TASKS), *ERRORS, old=("flows.Sequential",)),
    flowable(
        "flow.Parallel",
        required("tasks", Kind.TASKS),
        fixed("concurrent", Kind.INTEGER, default=0, minimum=0),
        *ERRORS,
        old=("flows.Parallel",),
    ),
    flowable(
        "flow.Dag",
        required("tasks", Kind.DAG),
        fixed("concurrent", Kind.INTEGER, default=0, minimum=0),
        *ERRORS,
        old=("flows.Dag",),
    ),
    flowable(
        "flow.If",
        plain("condition"),
        required("then", Kind.TASKS),
        plain("else", Kind.TASKS),
        *ERRORS,
        old=("flows.If",),
    ),
    flowable(
        "flow.Switch",
        required("value"),
        plain("cases", Kind.CASES),
        plain("defaults", Kind.TASKS),
        *ERRORS,
        old=("flows.Switch",),
    ),
    flowable(
        "flow.ForEach",
        required("values", Kind.ANY),
        required("tasks", Kind.TASKS),
        fixed("concurrencyLimit", Kind.INTEGER, default=1, minimum=0),
        *ERRORS,
    ),
    flowable(
        "flow.EachSequential",
        required("value", Kind.ANY),
        required("tasks", Kind.TASKS),
        *ERRORS,
        old=("flows.EachSequential",),
    ),
    flowable(
        "flow.EachParallel",
        required("value", Kind.ANY),
        required("tasks", Kind.TASKS),
        fixed("concurrent", Kind.INTEGER, default=0, minimum=0),
        *ERRORS,
        old=("flows.EachParallel",),
    ),
    flowable(
        "flow.ForEachItem",
        required("items"),
        plain("batch", Kind.OBJECT, fields=SPLIT),
        *SUBFLOW,
        *ERRORS,
        old=("flows.ForEachItem",),
        calls_flow=True,
    ),
    flowable("flow.AllowFailure", required("tasks", Kind.TASKS), *ERRORS, old=("flows.AllowFailure",)),
    flowable(
        "flow.WorkingDirectory",
        required("tasks", Kind.TASKS),
        plain("cache", Kind.OBJECT, fields=(plain("ttl", Kind.DURATION), required("patterns", Kind.STRINGS))),
        plain("namespaceFiles", Kind.MAP),
        plain("inputFiles", Kind.ANY),
        plain("outputFiles", Kind.ANY),
        *ERRORS,
        old=("flows.WorkingDirectory", "flows.Worker"),
    ),
    flowable(
        "flow.Pause",
        plain("delay", Kind.DURATION),
        plain("pauseDuration", Kind.DURATION),  # later: the new name of delay
        fixed("behavior", Kind.STRING, values=("RESUME", "WARN", "CANCEL", "FAIL"), default="RESUME"),  # later
        plain("onResume", Kind.INPUTS),
        plain("onPause", Kind.TASK),  # later
        plain("tasks", Kind.TASKS),
        *ERRORS,
        old=("flows.Pause",),
    ),
    flowable("flow.WaitFor", *_LOOP),
    flowable("flow.LoopUntil", *_LOOP),
    task(
        "flow.Subflow",
        Nature.SUBFLOW,
        *SUBFLOW,
        plain("outputs", Kind.MAP),
        old=("flows.Subflow", "flows.Flow"),
        calls_flow=True,
    ),
)
