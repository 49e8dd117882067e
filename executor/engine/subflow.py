"""Subflow: a task run that starts an execution of another flow and, with `wait`, ends with it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from executor.engine import attempts
from executor.engine.draft import Draft
from executor.engine.effects import Send
from executor.engine.events import TaskRunMoved
from shared.messages import CreateExecution, EndSubflow
from shared.model.execution import CORRELATION_ID
from shared.model.flow import Task
from shared.model.identifier import derive_id
from shared.model.moment import from_iso
from shared.model.state import StateType
from shared.model.task_run import TaskRun

_COPIED = frozenset({StateType.FAILED, StateType.PAUSED, StateType.KILLED, StateType.WARNING})
"""States of the child that `transmitFailed` copies; every other gives SUCCESS (Kestra's rule)."""


class Subflow:
    """Started by the executor; the child's id follows from the task run and attempt: twice is once."""

    def start(self, draft: Draft, task_run: TaskRun, task: Task) -> None:
        draft.emit(TaskRunMoved, task_run_id=task_run.id, state=StateType.RUNNING)
        started = draft.task_run(task_run.id)
        assert started is not None
        try:
            command = creation(draft, started, task)
        except Exception as error:  # noqa: BLE001 -- a missing flow, inputs or templates cost this task run only
            draft.log("ERROR", f"Unable to create the subflow execution: {error}", started)
            attempts.end(draft, started, task, StateType.FAILED, error=str(error))
            return
        draft.effect(Send(command))
        outputs = {"executionId": command.execution_id}
        if waits(task):
            draft.emit(TaskRunMoved, task_run_id=task_run.id, state=StateType.RUNNING, outputs=outputs, scope=None)
        else:
            attempts.end(draft, started, task, StateType.SUCCESS, outputs=outputs)


def waits(task: Task) -> bool:
    """`wait` is true by default since Kestra 0.15."""
    return task.properties.get("wait", True) is not False


def creation(
    draft: Draft,
    task_run: TaskRun,
    task: Task,
    *,
    iteration: int | None = None,
    extra: Mapping[str, Any] | None = None,
) -> CreateExecution:
    """The command for the child. Raises LookupError, RenderError or ValueError with what is wrong.

    `iteration`: which batch of a ForEachItem it is for; `extra`: variables that its templates see besides.
    """
    renderer, shown = draft.env.renderer, draft.variables(task, task_run, extra)
    iteration = task_run.iteration if iteration is None else iteration
    execution = draft.execution
    namespace = renderer.render(str(task.properties.get("namespace", "")), shown) or execution.namespace
    flow_id = renderer.render(str(task.properties.get("flowId", "")), shown) or ""
    revision = task.properties.get("revision")
    plan = draft.env.flows(execution.tenant, namespace, flow_id, int(revision) if revision is not None else None)
    if plan is None or plan.flow.deleted:
        msg = f"Unable to find flow: '{namespace}'.'{flow_id}' with revision '{revision or ''}'"
        raise LookupError(msg)
    if plan.flow.disabled:
        msg = "Cannot execute a flow which is disabled"
        raise ValueError(msg)
    inputs = renderer.render_value(dict(task.properties.get("inputs") or {}), shown)
    if draft.env.subflow_inputs is not None:
        inputs = draft.env.subflow_inputs(plan.flow, inputs)
    attempt = len(task_run.attempts)
    date = renderer.render(str(task.properties.get("scheduleDate") or ""), shown)
    return CreateExecution(
        execution_id=derive_id(draft.now, task_run.id, attempt, iteration),
        command_id=f"subflow-{task_run.id}-{attempt}" + ("" if iteration is None else f"-{iteration}"),
        at=draft.now,
        tenant=execution.tenant,
        namespace=namespace,
        flow_id=flow_id,
        flow_revision=plan.flow.revision,
        inputs=inputs or None,
        labels=[list(pair) for pair in labels(draft, task, shown)],
        trigger={
            "id": task.id,
            "type": task.type,
            "variables": {
                "executionId": execution.id,
                "namespace": execution.namespace,
                "flowId": execution.flow_id,
                "flowRevision": execution.flow_revision,
            },
        },
        caller={
            "execution_id": execution.id,
            "task_run_id": task_run.id,
            "attempt": attempt,
            "iteration": iteration,
            "wait": True,
            "outputs": task.properties.get("outputs") or None,
        }
        if waits(task)
        else None,
        schedule_at=from_iso(date) if date else None,
    )


def labels(draft: Draft, task: Task, shown: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The correlation id, inherited labels where wanted, and the task's own, rendered."""
    execution = draft.execution
    inherits = task.properties.get("inheritLabels") is True
    result = {
        key: value
        for key, value in execution.labels
        if key == CORRELATION_ID or (inherits and not key.startswith("system."))
    }
    given = task.properties.get("labels") or {}
    pairs = given.items() if isinstance(given, Mapping) else [(item["key"], item["value"]) for item in given]
    result |= {str(key): draft.env.renderer.render(str(value), shown) or "" for key, value in pairs}
    return list(result.items())


def child_ended(draft: Draft, message: EndSubflow) -> str | None:
    """The child execution ended: so does the task run, unless the child will go on as another execution."""
    task_run = draft.task_run(message.task_run_id)
    if task_run is None or task_run.state.terminated:
        return "the task run has ended already"
    if len(task_run.attempts) != message.attempt:
        return f"attempt {message.attempt} is not the current one"
    task = draft.plan.tasks[task_run.task_id]
    child_state = StateType(message.state)
    state = child_state if child_state in _COPIED and _transmits(task) else StateType.SUCCESS
    if draft.killing:
        state = StateType.KILLED
    outputs: dict[str, Any] = {"executionId": message.child_id, "state": child_state.value}
    if message.error is not None:
        draft.log("ERROR", f"Failed to extract outputs of the subflow: {message.error}", task_run)
        state = StateType.FAILED
    else:
        outputs["outputs"] = message.outputs or {}
    attempts.end(draft, task_run, task, state, outputs=outputs, started_at=task_run.state.start)
    return None


def _transmits(task: Task) -> bool:
    return task.properties.get("transmitFailed", True) is not False
