"""SLAs: what a flow promises about its executions, and what a broken promise does to one of them.

A MAX_DURATION is looked at when its timer is due, an EXECUTION_ASSERTION each time that the execution has changed. Only
the first violation changes the execution (Kestra's rule): it adds the SLA's labels and, with FAIL or CANCEL, ends it.
"""

from __future__ import annotations

from typing import Final

from executor.engine import kills, labels
from executor.engine.draft import Draft
from executor.engine.effects import Send, Withdraw
from executor.engine.entries import outputs_key, task_runs_prefix
from executor.engine.events import ExecutionUpdated, TaskRunAttempted, TaskRunMoved
from executor.engine.registry import EXECUTABLES
from shared.expressions import RenderError, truthy
from shared.messages import WakeTimer
from shared.model.flow import Sla
from shared.model.state import StateType
from shared.model.task_run import TaskRun

MAX_DURATION: Final = "MAX_DURATION"
ASSERTION: Final = "EXECUTION_ASSERTION"

ENDINGS: Final = {"FAIL": StateType.FAILED, "CANCEL": StateType.CANCELLED}
"""The state in which a behaviour ends the execution; NONE ends nothing."""

UNWATCHED: Final = frozenset({StateType.CREATED, StateType.QUEUED, StateType.KILLING})
"""Execution states in which no promise is broken: it has not begun, or is on its way out."""


def overdue(draft: Draft, wake: WakeTimer) -> tuple[Sla | None, str | None]:
    """The MAX_DURATION whose timer is due; None with the reason where it no longer matters."""
    state = draft.execution.state
    if state.terminated or state.current in UNWATCHED:
        return None, f"the execution is {state.current}"
    if draft.execution.breached:
        return None, "an SLA violation has changed the execution already"
    wanted = (wake.data or {}).get("sla")
    for sla in draft.plan.flow.sla:
        if sla.type == MAX_DURATION and sla.id == wanted and state.start + (sla.duration or 0) <= draft.now:
            return sla, None
    return None, f"the flow has no SLA {wanted} that is over"


def broken(draft: Draft, *, last: bool = False) -> Sla | None:
    """The first EXECUTION_ASSERTION that does not hold now.

    One that can't be rendered is passed over (Kestra's rule): what it looks at may come later. The execution's log
    tells of it when the execution ends, which is what `last` means.
    """
    execution = draft.execution
    state = execution.state
    if execution.breached or state.terminated or state.current in UNWATCHED:
        return None
    for sla in draft.plan.flow.sla:
        if sla.type != ASSERTION or sla.assertion is None:
            continue
        try:
            rendered = draft.env.renderer.render(sla.assertion, draft.variables())
        except RenderError as error:
            if last:
                draft.log("WARN", f"The SLA '{sla.id}' is ignored because of the error: {error}")
            continue
        if not truthy(rendered):
            return sla
    return None


def breach(draft: Draft, sla: Sla) -> StateType | None:
    """Take a violation in: labels, and where the SLA ends the execution, all task runs.

    Returns the state in which the caller has to end the execution; None where it goes on. A FAIL or CANCEL gives its
    state to the last open task run and kills the rest (Kestra's rule). What workers still run is stopped without
    waiting for its result: a terminal execution has only terminal task runs.
    """
    what = "its maximum duration is exceeded" if sla.type == MAX_DURATION else f"'{sla.assertion}' does not hold"
    draft.emit(ExecutionUpdated, fields={"breached": True})
    ending = ENDINGS.get(sla.behavior)
    draft.log("WARN" if ending is None else "ERROR", f"The SLA '{sla.id}' is violated: {what}")
    if sla.labels:
        labels.add(draft, dict(sla.labels))
    if ending is not None:
        _stop_all(draft, ending)
    return ending


def reason(sla: Sla) -> str:
    """The execution's error."""
    return f"SLA '{sla.id}' violated"


def _stop_all(draft: Draft, ending: StateType) -> None:
    """Close every open task run, the last created one in `ending`, the others as KILLED."""
    found = [run for _, run in draft.state.scan(task_runs_prefix(draft.execution_id)) if not run.state.terminated]
    last = max(found, key=lambda run: (run.state.start, run.id), default=None)
    for task_run in found:
        if task_run.scope is None:
            draft.effect(Withdraw(task_run.id))
            _kill_child(draft, task_run)
        state = ending if task_run is last else StateType.KILLED
        if task_run.attempts and not task_run.attempts[-1].state.terminated:
            draft.emit(TaskRunAttempted, task_run_id=task_run.id, attempt_state=state, states=(state,))
        else:
            draft.emit(TaskRunMoved, task_run_id=task_run.id, state=state)


def _kill_child(draft: Draft, task_run: TaskRun) -> None:
    """Kill the execution that a Subflow task run waits for."""
    task = draft.plan.tasks.get(task_run.task_id)
    if task is None or task.type not in EXECUTABLES:
        return
    outputs = draft.state.get(outputs_key(draft.execution_id, task_run.task_id, task_run.values))
    child = None if outputs is None else outputs.get("executionId")
    if child is not None:
        draft.effect(Send(kills.kill_of(draft, child)))
