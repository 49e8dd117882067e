"""Pauses: an operator's pause and resume, and the ends of a Pause task's wait."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from executor.engine import exits
from executor.engine.draft import Advance, Draft, Start
from executor.engine.ends import ended
from executor.engine.entries import task_runs_prefix
from executor.engine.events import ExecutionMoved, TaskRunMoved
from shared.messages import ResumeExecution, WakeTimer
from shared.model.state import StateType
from shared.model.task_run import TaskRun

_BEHAVIORS: Mapping[str, StateType] = {
    "WARN": StateType.WARNING,
    "FAIL": StateType.FAILED,
    "CANCEL": StateType.CANCELLED,
}
"""`behavior` of a Pause when its duration is over; RESUME goes on, CANCEL ends the execution (Kestra's rules)."""


def pause(draft: Draft) -> str | None:
    """RUNNING → PAUSED: what runs, finishes; nothing new starts."""
    current = draft.execution.state.current
    if current not in (StateType.RUNNING, StateType.RETRYING):
        return f"the execution is {current}, not RUNNING"
    draft.emit(ExecutionMoved, state=StateType.PAUSED)
    return None


def resume(draft: Draft, command: ResumeExecution) -> str | None:
    """Go on: a Pause task run (the first where none is named), or an execution that an operator paused."""
    state = draft.execution.state
    after_the_end = state.terminated and draft.execution.paused_runs > 0
    if state.current is not StateType.PAUSED and not after_the_end:
        return f"the execution is {state.current}, not PAUSED"
    paused = paused_task_runs(draft)
    chosen: TaskRun | None = None
    if command.task_run_id is not None:
        chosen = next((run for run in paused if run.id == command.task_run_id), None)
        if chosen is None:
            return f"task run {command.task_run_id} is not PAUSED"
    elif paused:
        chosen = paused[0]
    if chosen is not None:
        outputs = {"onResume": command.inputs} if command.inputs else None
        go_on(draft, chosen, StateType.RUNNING, outputs)
    leave_pause(draft)
    return None


def paused_task_runs(draft: Draft) -> list[TaskRun]:
    """Oldest first. Only looked for when the header says that there are any."""
    if draft.execution.paused_runs == 0:
        return []
    runs = [run for _, run in draft.state.scan(task_runs_prefix(draft.execution_id))]
    return sorted((run for run in runs if run.state.current is StateType.PAUSED), key=lambda run: run.state.start)


def go_on(draft: Draft, task_run: TaskRun, state: StateType, outputs: dict[str, Any] | None) -> None:
    """A paused task run goes on in `state`."""
    draft.emit(TaskRunMoved, task_run_id=task_run.id, state=state, outputs=outputs)
    if state.terminated:
        ended(draft, task_run.id)
    else:
        draft.todo.append(Advance(task_run.id))


def leave_pause(draft: Draft) -> None:
    """PAUSED → RESTARTED → RUNNING once no task run is paused; then start what was held back (Kestra's rule)."""
    execution = draft.execution
    if execution.paused_runs > 0 or execution.state.current is not StateType.PAUSED:
        return
    draft.emit(ExecutionMoved, state=StateType.RESTARTED)
    draft.emit(ExecutionMoved, state=StateType.RUNNING)
    draft.halted = False
    wake(draft)


def wake(draft: Draft) -> None:
    """Start every task run that was created meanwhile and go on with every level."""
    for _, task_run in draft.state.scan(task_runs_prefix(draft.execution_id)):
        current = task_run.state.current
        if current in (StateType.CREATED, StateType.RESTARTED):
            draft.todo.append(Start(task_run.id))
        elif task_run.scope is not None and not current.terminated:
            draft.todo.append(Advance(task_run.id))
        elif current is StateType.RUNNING and not task_run.attempts:
            draft.todo.append(Start(task_run.id))
    draft.todo.append(Advance(None))


def delay_over(draft: Draft, message: WakeTimer) -> str | None:
    """A Pause's duration is over: it goes on, as its `behavior` says."""
    task_run = _still_paused(draft, message)
    if isinstance(task_run, str):
        return task_run
    task = draft.plan.tasks[task_run.task_id]
    behavior = str(task.properties.get("behavior", "RESUME"))
    state = _BEHAVIORS.get(behavior, StateType.RUNNING)
    if state is StateType.CANCELLED and not draft.execution.state.terminated:
        draft.emit(TaskRunMoved, task_run_id=task_run.id, state=state)
        exits.begin(draft, state)
        ended(draft, task_run.id)
        return None
    go_on(draft, task_run, state, None)
    leave_pause(draft)
    return None


def timeout_over(draft: Draft, message: WakeTimer) -> str | None:
    """A Pause's timeout is over: it is FAILED (Kestra's rule)."""
    task_run = _still_paused(draft, message)
    if isinstance(task_run, str):
        return task_run
    draft.log("ERROR", f"Timeout of {draft.plan.tasks[task_run.task_id].timeout} is over", task_run)
    go_on(draft, task_run, StateType.FAILED, None)
    leave_pause(draft)
    return None


def _still_paused(draft: Draft, message: WakeTimer) -> TaskRun | str:
    task_run = draft.task_run(message.task_run_id or "")
    if task_run is None or task_run.state.current is not StateType.PAUSED:
        return "the task run is not paused any more"
    if draft.killing:
        return "the execution is being killed"
    if message.data is not None and message.data.get("paused_at") != task_run.state.changed:
        return "the task run was paused anew since"
    return task_run
