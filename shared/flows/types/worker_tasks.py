"""Worker tasks: the types that workers run, and those few that change the execution they stand in."""

from __future__ import annotations

from typing import Final

from shared.flows.catalog import Kind, Nature
from shared.flows.types.terms import CORE, HTTP, LEVELS, SPLIT, flag, plain, required, runnable, task

_STATE: Final = (plain("name", default="default"), flag("namespace", False), flag("taskrunValue", True))
_KV: Final = (plain("namespace", default="{{ flow.namespace }}"),)
_PURGE: Final = (plain("namespace"), plain("flowId"), plain("startDate"), required("endDate"))
_EXITS: Final = ("SUCCESS", "WARNING", "KILLED", "FAILED", "CANCELED")
_FILES: Final = (required("namespace"), required("files", Kind.ANY))

WORKER_TASKS: Final = (
    runnable("debug.Return", plain("format"), old=("debugs.Return",)),
    runnable("debug.Echo", required("format"), plain("level", values=LEVELS, default="INFO"), old=("debugs.Echo",)),
    runnable("log.Log", required("message", Kind.ANY), plain("level", default="INFO"), old=("log.Log",)),
    runnable(
        "log.Fetch",
        plain("namespace"),
        plain("flowId"),
        plain("executionId"),
        plain("tasksId", Kind.STRINGS),
        plain("level", default="INFO"),
        old=("log.Fetch",),
    ),
    runnable("log.PurgeLogs", *_PURGE, plain("executionId"), plain("logLevels", Kind.STRINGS, values=LEVELS)),
    runnable(
        "execution.Fail",
        plain("condition"),
        plain("errorMessage", default="Task failure"),
        old=("executions.Fail",),
    ),
    runnable(
        "execution.Assert",
        required("conditions", Kind.STRINGS),
        plain("errorMessage"),
    ),
    runnable(
        "execution.Count",
        plain("flows", Kind.LIST),
        plain("namespaces", Kind.STRINGS),
        plain("states", Kind.STRINGS),
        required("startDate"),
        plain("endDate"),
        required("expression"),
        old=("executions.Counts",),
    ),
    runnable(
        "execution.PurgeExecutions",
        *_PURGE,
        plain("states", Kind.STRINGS),
        flag("purgeExecution", True),
        flag("purgeLog", True),
        flag("purgeMetric", True),
        flag("purgeStorage", True),
        old=("storages.Purge", f"{CORE}.storage.Purge"),
    ),
    runnable("execution.Resume", plain("namespace"), plain("flowId"), plain("executionId"), plain("inputs", Kind.MAP)),
    task("execution.Labels", Nature.UPDATE, required("labels", Kind.ANY), old=("executions.Labels",)),
    task("execution.Exit", Nature.UPDATE, plain("state", values=_EXITS, default="SUCCESS")),
    task("execution.SetVariables", Nature.UPDATE, required("variables", Kind.ANY), flag("overwrite", True)),
    task("execution.UnsetVariables", Nature.UPDATE, required("variables", Kind.ANY), flag("ignoreMissing", False)),
    runnable("flow.Sleep", required("duration", Kind.DURATION)),
    runnable("output.OutputValues", plain("values", Kind.MAP)),
    runnable(
        "http.Request",
        *HTTP,
        flag("allowFailed", False),
        flag("encryptBody", False),
        old=("io.kestra.plugin.fs.http.Request",),
    ),
    runnable(
        "http.Download",
        *HTTP,
        flag("failOnEmptyResponse", True),
        flag("allowFailed", False),
        plain("saveAs"),  # later
        old=("io.kestra.plugin.fs.http.Download",),
    ),
    runnable("kv.Get", required("key"), *_KV, flag("errorOnMissing", False)),
    runnable(
        "kv.Set",
        required("key"),
        required("value", Kind.ANY),
        *_KV,
        flag("overwrite", True),
        plain("ttl", Kind.DURATION),
        plain("kvType"),
        plain("kvDescription"),  # later
    ),
    runnable("kv.Delete", required("key"), *_KV, flag("errorOnMissing", False)),
    runnable("kv.GetKeys", plain("prefix"), *_KV),
    runnable("state.Get", *_STATE, flag("errorOnMissing", False), old=("states.Get",)),
    runnable("state.Set", *_STATE, plain("data", Kind.MAP), old=("states.Set",)),
    runnable("state.Delete", *_STATE, flag("errorOnMissing", False), old=("states.Delete",)),
    runnable("storage.Split", required("from"), *SPLIT, old=("storages.Split",)),
    runnable(
        "storage.Concat",
        required("files", Kind.ANY),
        plain("separator"),
        plain("extension", default=".tmp"),
        old=("storages.Concat",),
    ),
    runnable("storage.Write", required("content"), plain("extension", default=".tmp")),  # later
    runnable("storage.Size", required("uri"), old=("storages.Size",)),
    runnable("storage.Delete", required("uri"), flag("errorOnMissing", False), old=("storages.Delete",)),
    runnable(
        "storage.Reverse",
        required("from"),
        plain("separator", default="\n"),
        plain("charset", default="UTF-8"),
        old=("storages.Reverse",),
    ),
    runnable("storage.DeduplicateItems", required("from"), required("expr"), old=("storages.DeduplicateItems",)),
    runnable(
        "storage.FilterItems",
        required("from"),
        required("filterCondition"),
        plain("filterType", values=("INCLUDE", "EXCLUDE"), default="INCLUDE"),
        plain("errorOrNullBehavior", values=("FAIL", "INCLUDE", "EXCLUDE"), default="FAIL"),
        old=("storages.FilterItems",),
    ),
    runnable("storage.LocalFiles", plain("inputs", Kind.ANY), plain("outputs", Kind.ANY), old=("storages.LocalFiles",)),
    runnable(
        "storage.PurgeCurrentExecutionFiles",
        old=("storages.PurgeExecution", f"{CORE}.storage.PurgeExecution"),
    ),
    runnable(
        "namespace.UploadFiles",
        required("namespace"),
        plain("files", Kind.ANY),
        plain("filesMap", Kind.ANY),
        plain("destination", default="/"),
        plain("conflict", values=("OVERWRITE", "ERROR", "SKIP"), default="OVERWRITE"),
    ),
    runnable("namespace.DownloadFiles", *_FILES, plain("destination", default="")),
    runnable("namespace.DeleteFiles", *_FILES),
    runnable("templating.TemplatedTask", required("spec"), old=("templating.TemplatedTask",)),
    runnable(
        "trigger.Toggle",
        plain("namespace"),
        plain("flowId"),
        required("trigger"),
        plain("enabled", Kind.BOOLEAN, default=False),
        old=("trigger.Toggle",),
    ),
)  # fmt: skip
