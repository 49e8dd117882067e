"""`execution`: tasks that judge their execution."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson

from shared.expressions.renderer import truthy
from shared.messages import ResumeExecution
from shared.model.document import Kind
from shared.model.moment import Millis, from_iso
from shared.model.query import Page, Query
from shared.ports import Outbound, Topic
from worker.context import Context
from worker.properties import Raw
from worker.task import Result, Task, TaskError

EXITS: Final = ("SUCCESS", "WARNING", "KILLED", "FAILED", "CANCELLED")
"""States that an Exit may name; Kestra writes the last one CANCELED."""

A_MONTH: Final = 30 * 24 * 3600 * 1000
"""Milliseconds that Count looks back without a `startDate` (Kestra's rule)."""


@dataclass(frozen=True)
class Fail(Task):
    """Fails, always or when `condition` holds."""

    type = "io.kestra.plugin.core.execution.Fail"
    aliases = ("io.kestra.core.tasks.executions.Fail",)
    brief = True

    condition: str | None = None
    error_message: str = "Task failure"

    def run(self, context: Context) -> None:
        if self.condition is None:
            raise TaskError(self.error_message)
        if truthy(self.condition):
            context.logger.error(self.error_message)
            raise TaskError("Fail on a condition")


@dataclass(frozen=True)
class Assert(Task):
    """Fails unless all conditions hold; outputs and metrics count those that do and don't."""

    type = "io.kestra.plugin.core.execution.Assert"
    brief = True

    conditions: Raw[list[str]]
    error_message: str | None = None

    def run(self, context: Context) -> Mapping[str, Any]:
        failed = [condition for condition in self.conditions if not truthy(context.render(condition))]
        context.metrics.counter("failed", len(failed))
        context.metrics.counter("success", len(self.conditions) - len(failed))
        for condition in failed:
            context.logger.error("Assertion failed: %s", condition)
        if failed:
            raise TaskError(self.error_message or f"{len(failed)} assertion(s) failed.")
        return {}


@dataclass(frozen=True)
class Count(Task):
    """Counts executions by flow, or by namespace: outputs `results` where `expression` holds, and their `total`.

    It asks the search store, which is about a second behind; `startDate` is 30 days ago where it is empty.
    """

    type = "io.kestra.plugin.core.execution.Count"
    aliases = ("io.kestra.core.tasks.executions.Counts",)

    start_date: str
    expression: Raw[str]
    end_date: str | None = None
    flows: list[dict[str, Any]] | None = None
    namespaces: list[str] | None = None
    states: list[str] | None = None

    def run(self, context: Context) -> Mapping[str, Any]:
        if self.flows is None and self.namespaces is None:
            raise TaskError("You must provide a list of flows or namespaces")
        now = context.services.clock()
        span = (_moment("startDate", self.start_date, now - A_MONTH), _moment("endDate", self.end_date, now))
        rows: list[dict[str, Any]] = []
        for flow in self.flows or ():
            if not flow.get("namespace") or not flow.get("flowId"):
                raise TaskError("property `flows`: each flow needs `namespace` and `flowId`")
            rows.append({"namespace": str(flow["namespace"]), "flowId": str(flow["flowId"])})
        rows.extend({"namespace": namespace} for namespace in self.namespaces or ())
        counted = [{**row, "count": self._count(context, row, span)} for row in rows]
        kept = [row for row in counted if context.render(self.expression, {"count": row["count"]}) == "true"]
        return {"results": kept, "total": sum(row["count"] for row in kept)}

    def _count(self, context: Context, row: Mapping[str, str], span: tuple[Millis, Millis]) -> int:
        query = Query(
            context.info.tenant,
            Kind.EXECUTION,
            q=" AND ".join(f"{name}:{_phrase(value)}" for name, value in row.items()),
            states=tuple(self.states or ()),
            started_from=span[0],
            started_to=span[1],
        )
        return context.services.search.find(query, Page(size=1)).total


def _moment(name: str, text: str | None, otherwise: Millis) -> Millis:
    if not text:
        return otherwise
    try:
        return from_iso(text.partition("[")[0])  # the zone's name in brackets, as Kestra prints it, says nothing more
    except ValueError:
        raise TaskError(f"property `{name}`: expected a date and time with an offset, found '{text}'") from None


def _phrase(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


@dataclass(frozen=True)
class Resume(Task):
    """Resumes a paused execution: one that is named, else a flow's only one, else its own."""

    type = "io.kestra.plugin.core.execution.Resume"
    aliases = ("io.kestra.core.tasks.executions.Resume",)

    execution_id: str | None = None
    namespace: str | None = None
    flow_id: str | None = None
    inputs: dict[str, Any] | None = None

    def run(self, context: Context) -> None:
        execution_id = self.execution_id or self._paused(context)
        # The same attempt sent twice resumes once: the engine knows the command's id.
        info = context.info
        command_id = f"{info.task_run_id}-{info.attempt}-{info.dispatch}"
        command = ResumeExecution(execution_id, command_id, context.services.clock(), inputs=self.inputs)
        context.services.events.publish([Outbound(Topic.EXECUTION_COMMANDS, execution_id, command.to_bytes())])

    def _paused(self, context: Context) -> str:
        """The flow's paused execution, as the search store shows it; without a flow, the own execution."""
        if self.namespace is None or self.flow_id is None:
            return context.info.execution_id
        q = f"namespace:{_phrase(self.namespace)} AND flowId:{_phrase(self.flow_id)}"
        query = Query(context.info.tenant, Kind.EXECUTION, q=q, states=("PAUSED",))
        found = context.services.search.find(query, Page(size=1))
        if found.total != 1:
            raise TaskError(f"{found.total} executions of {self.namespace}.{self.flow_id} are paused: name one of them")
        return str(found.documents[0]["id"])


@dataclass(frozen=True)
class Labels(Task):
    """Sets labels of the execution; the executor does it with the attempt's end."""

    type = "io.kestra.plugin.core.execution.Labels"
    aliases = ("io.kestra.core.tasks.executions.Labels",)
    brief = True

    labels: Raw[Any]

    def run(self, context: Context) -> Result:
        return Result(attributes={"labels": self._pairs(context)})

    def _pairs(self, context: Context) -> dict[str, str]:
        """A map, a list of `{key, value}`, or a template of the JSON of either."""
        labels = self.labels
        if isinstance(labels, str):
            text = context.render(labels) or ""
            try:
                labels = orjson.loads(text)
            except orjson.JSONDecodeError:
                raise TaskError(f"property `labels`: expected the JSON of labels, found '{text[:200]}'") from None
        else:
            labels = context.render_value(labels)
        if isinstance(labels, list):
            if not all(isinstance(label, dict) and label.keys() >= {"key", "value"} for label in labels):
                raise TaskError("property `labels`: each label of a list needs `key` and `value`")
            labels = {label["key"]: label["value"] for label in labels}
        if not isinstance(labels, dict):
            raise TaskError(f"property `labels`: expected a map or a list, found '{labels}'")
        pairs = {str(key): _label(key, value) for key, value in labels.items()}
        system = next((f"{key}={value}" for key, value in pairs.items() if key.startswith("system.")), None)
        if system is not None:
            raise TaskError(f"System labels can only be set by Kestra itself, offending label: {system}")
        return pairs


@dataclass(frozen=True)
class SetVariables(Task):
    """Adds to the execution's variables, or changes them; the executor does it with the attempt's end."""

    type = "io.kestra.plugin.core.execution.SetVariables"
    brief = True

    variables: dict[str, Any]
    overwrite: bool = True

    def run(self, context: Context) -> Result:
        there = sorted(self.variables.keys() & (context.variables.get("vars") or {}).keys())
        if there and not self.overwrite:
            names = ", ".join(there)
            raise TaskError(f"`overwrite` is set to false and the following variables already exist: {names}")
        size, most = len(orjson.dumps(self.variables)), context.services.settings.blobs.soft_limit
        if size > most:
            raise TaskError(f"property `variables`: {size} bytes are more than `blobs.soft_limit`, {most}")
        return Result(attributes={"variables": self.variables})


@dataclass(frozen=True)
class UnsetVariables(Task):
    """Takes some of the execution's variables away; the executor does it with the attempt's end."""

    type = "io.kestra.plugin.core.execution.UnsetVariables"
    brief = True

    variables: list[str]
    ignore_missing: bool = False

    def run(self, context: Context) -> Result:
        there = context.variables.get("vars") or {}
        missing = sorted(name for name in self.variables if not _is_there(there, name))
        if missing and not self.ignore_missing:
            names = ", ".join(missing)
            raise TaskError(f"`ignoreMissing` is set to false and the following variables are missing: {names}")
        return Result(attributes={"unset": self.variables})


def _is_there(variables: Mapping[str, Any], name: str) -> bool:
    """Whether there is a variable; `a.b` is `b` of the map `a`."""
    first, _, rest = name.partition(".")
    inner = variables.get(first)
    return _is_there(inner, rest) if rest and isinstance(inner, Mapping) else name in variables


@dataclass(frozen=True)
class Exit(Task):
    """Ends the execution in a state; the executor does it with the attempt's end."""

    type = "io.kestra.plugin.core.execution.Exit"
    brief = True

    state: str = "SUCCESS"

    def run(self, context: Context) -> Result:  # noqa: ARG002 - it needs to know nothing
        state = "CANCELLED" if self.state == "CANCELED" else self.state
        if state not in EXITS:
            raise TaskError(f"property `state`: expected one of {', '.join(EXITS)}, found '{self.state}'")
        return Result(attributes={"exit": state})


def _label(key: object, value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if not isinstance(value, (str, int, float)):
        raise TaskError(f"property `labels`: the value of '{key}' must be a text, a number or a boolean")
    return str(value)


TASKS: Final = (Fail, Assert, Count, Resume, Labels, SetVariables, UnsetVariables, Exit)
