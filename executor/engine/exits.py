"""Exits: a task ends its execution in the state that it names (Kestra's Exit).

What waits is closed and nothing new starts; what workers or subflows still run finishes, and then the execution ends.
Open flowables end in the state, too; no `errors` and no `finally` run. KILLED is a kill, which stops what runs, but no
subflows.
"""

from __future__ import annotations

from executor.engine import kills
from executor.engine.draft import Advance, Draft
from executor.engine.effects import Withdraw
from executor.engine.ends import close, ended
from executor.engine.entries import task_runs_prefix
from executor.engine.events import ExecutionMoved, ExecutionUpdated, TaskRunAttempted
from shared.messages import AttemptEnded, KillExecution
from shared.model.state import StateType
from shared.model.task_run import TaskRun


def leave(draft: Draft, task_run: TaskRun, state: StateType, message: AttemptEnded) -> None:
    """End the Exit's task run in `state`, and begin the end of its execution; one that has ended stays as it is."""
    draft.emit(
        TaskRunAttempted,
        task_run_id=task_run.id,
        attempt_state=StateType(message.state),
        states=(state,),
        session=message.session,
        started_at=message.started_at,
    )
    execution = draft.execution
    if not execution.state.terminated and not draft.killing:
        if state is StateType.KILLED:
            kills.kill(draft, KillExecution(draft.execution_id, f"exit-{task_run.id}", draft.now, cascade=False))
        else:
            begin(draft, state)
    ended(draft, task_run.id)


def begin(draft: Draft, state: StateType) -> None:
    """Begin the end of an execution that is not terminated in `state`."""
    if draft.execution.exiting is None:  # the first of two that exit at once decides
        draft.emit(ExecutionUpdated, fields={"exiting": state.value})
    draft.halted = True
    for _, run in list(draft.state.scan(task_runs_prefix(draft.execution_id))):
        if run.state.terminated:
            continue
        if run.scope is not None:
            draft.todo.append(Advance(run.id))
        elif not _runs(draft, run):
            draft.effect(Withdraw(run.id))
            close(draft, run, StateType.KILLED)
    if draft.execution.state.current is StateType.PAUSED:
        draft.emit(ExecutionMoved, state=StateType.RESTARTED)
    if draft.execution.state.current in (StateType.RESTARTED, StateType.RETRYING):
        draft.emit(ExecutionMoved, state=StateType.RUNNING)
    draft.todo.append(Advance(None))


def _runs(draft: Draft, run: TaskRun) -> bool:
    """Whether a worker holds it, or it waits for an execution that it started."""
    if draft.plan.tasks[run.task_id].type in kills.CALLERS:
        return run.state.current is StateType.RUNNING
    return bool(run.attempts) and not run.attempts[-1].state.terminated
