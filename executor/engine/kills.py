"""Kills: everything of an execution stops; nothing of it starts again; it ends KILLED."""

from __future__ import annotations

from typing import Final

from executor.engine import batches
from executor.engine.draft import Advance, Draft
from executor.engine.effects import Interrupt, Send, SetTimer, Withdraw
from executor.engine.ends import announce_end, close
from executor.engine.entries import outputs_key, task_runs_prefix
from executor.engine.events import ExecutionMoved, TaskRunMoved
from executor.engine.item_tasks import ITEMS
from shared.messages import ContinueKill, KillExecution, WakeTimer
from shared.model.state import StateType
from shared.model.task_run import TaskRun

STEP: Final = 500
"""Task runs, or batches of a ForEachItem, that one step looks at, as for a fan-out."""

CALLERS: Final = frozenset({"io.kestra.plugin.core.flow.Subflow", ITEMS})
"""Task types that wait for executions of other flows."""


def kill(draft: Draft, command: KillExecution) -> str | None:
    """→ KILLING, close what no worker holds, interrupt what workers hold; a deadline closes the rest."""
    state = draft.execution.state
    if state.terminated:
        return f"the execution is {state.current} already"
    if state.current is StateType.KILLING:
        return "the execution is being killed already"
    if state.current in (StateType.CREATED, StateType.QUEUED):
        draft.emit(ExecutionMoved, state=StateType.KILLED)
        announce_end(draft, None)
        return None
    if state.current is StateType.PAUSED:
        draft.emit(ExecutionMoved, state=StateType.RESTARTED)  # Kestra resumes a paused execution into its kill
    draft.emit(ExecutionMoved, state=StateType.KILLING)
    due = draft.now + draft.env.kill_deadline
    draft.effect(
        SetTimer(
            due,
            WakeTimer(
                execution_id=draft.execution_id,
                command_id=f"kill-deadline-{draft.execution_id}-{draft.execution.seq}",
                at=due,
                timer="kill-deadline",
            ),
        )
    )
    _sweep(draft, after="", cascade=command.cascade, by_force=False)
    return None


def go_on(draft: Draft, command: ContinueKill) -> str | None:
    """The next step of a large execution's kill."""
    if not draft.killing:
        return f"the execution is {draft.execution.state.current}"
    _sweep(draft, after=command.after, cascade=command.cascade, by_force=False)
    return None


def deadline(draft: Draft) -> str | None:
    """Workers had their time: what is still open is closed; late results are rejected."""
    if not draft.killing:
        return f"the execution is {draft.execution.state.current}"
    draft.log("WARN", "The kill's deadline is over: task runs that workers still hold are closed")
    _sweep(draft, after="", cascade=False, by_force=True)
    return None


def _sweep(draft: Draft, *, after: str, cascade: bool, by_force: bool) -> None:
    seen = 0
    last = after
    found: list[TaskRun] = []
    for key, task_run in draft.state.scan(task_runs_prefix(draft.execution_id), after):
        seen += 1
        last = key
        found.append(task_run)
        if seen >= STEP and not by_force:
            break
    for task_run in found:
        _stop(draft, task_run, cascade=cascade, by_force=by_force)
    if seen >= STEP and not by_force:
        draft.effect(
            Send(
                ContinueKill(
                    execution_id=draft.execution_id,
                    command_id=f"kill-{draft.next_id()}",
                    at=draft.now,
                    after=last,
                    cascade=cascade,
                )
            )
        )
    draft.todo.append(Advance(None))


def _stop(draft: Draft, task_run: TaskRun, *, cascade: bool, by_force: bool) -> None:
    if task_run.state.terminated:
        return
    task = draft.plan.tasks.get(task_run.task_id)
    if task_run.scope is not None:
        if task_run.scope.open == 0:
            draft.todo.append(Advance(task_run.id))
        return
    running = bool(task_run.attempts) and not task_run.attempts[-1].state.terminated
    if task is not None and task.type in CALLERS:
        if cascade and stop_children(draft, task_run) and not by_force:
            return
        close(draft, task_run, StateType.KILLED)
    elif running and not by_force:
        draft.effect(Interrupt(task_run.id))
    else:
        draft.effect(Withdraw(task_run.id))
        close(draft, task_run, StateType.KILLED)


def stop_children(draft: Draft, task_run: TaskRun, after: int = 0) -> bool:
    """Kill the executions that a task run waits for; whether there are any. Those of many batches in steps."""
    if draft.plan.tasks[task_run.task_id].type != ITEMS:
        child = _child(draft, task_run)
        if child is not None:
            draft.effect(Send(kill_of(draft, child)))
        return child is not None
    children, following = batches.open_children(draft, task_run, after, STEP)
    for child in children:
        draft.effect(Send(kill_of(draft, child)))
    if following is not None:
        wake = WakeTimer(
            execution_id=draft.execution_id,
            command_id=f"kill-batches-{task_run.id}-{draft.execution.seq}-{following}",
            at=draft.now,
            timer="batches-kill",
            task_run_id=task_run.id,
            data={"after": following},
        )
        draft.effect(Send(wake))
    return batches.counts(draft, task_run).get(StateType.RUNNING.value, 0) > 0


def stop_more(draft: Draft, wake: WakeTimer) -> str | None:
    """The next batches of a ForEachItem whose executions are to be killed."""
    task_run = draft.task_run(wake.task_run_id or "")
    if task_run is None:
        return "the task run is not known"
    stop_children(draft, task_run, int((wake.data or {})["after"]))
    return None


def _child(draft: Draft, task_run: TaskRun) -> str | None:
    """The execution that a Subflow task run waits for."""
    outputs = draft.state.get(outputs_key(draft.execution_id, task_run.task_id, task_run.values))
    return None if outputs is None else outputs.get("executionId")


def close_all(draft: Draft, state: StateType) -> None:
    """Close every open task run in `state`: a terminal execution has only terminal task runs."""
    for _, task_run in list(draft.state.scan(task_runs_prefix(draft.execution_id))):
        take_away(draft, task_run, state)


def take_away(draft: Draft, task_run: TaskRun, state: StateType) -> None:
    """Close an open task run that nobody waits for any more: its worker, or its subflow, is stopped."""
    if not task_run.state.terminated:
        let_go(draft, task_run)
        draft.emit(TaskRunMoved, task_run_id=task_run.id, state=state)


def let_go(draft: Draft, task_run: TaskRun) -> None:
    """Stop the worker, or the subflow, that an open task run waits for."""
    if task_run.scope is None:
        draft.effect(Withdraw(task_run.id))
    if _calls(draft, task_run):
        stop_children(draft, task_run)


def _calls(draft: Draft, task_run: TaskRun) -> bool:
    try:
        task = draft.plan.tasks.get(task_run.task_id)
    except LookupError:  # the flow's revision is gone: this may be why the execution fails
        return False
    return task is not None and task.type in CALLERS


def kill_of(draft: Draft, child: str) -> KillExecution:
    """The command that kills a subflow; another one each time, for a child that was restarted is killed again."""
    return KillExecution(
        execution_id=child,
        command_id=f"kill-{child}-{draft.execution_id}-{draft.execution.seq}",
        at=draft.now,
        cascade=True,
    )
