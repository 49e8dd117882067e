"""Restarts: what failed is worked on again in the same execution; states that an operator sets by hand.

A restart is two steps, as in Kestra: this decision puts things to RESTARTED, the next one lets them run.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace

from executor.engine import kills, pauses
from executor.engine.draft import Draft
from executor.engine.effects import Send, Withdraw
from executor.engine.ends import announce_end, ended
from executor.engine.entries import flow_outputs_key, task_runs_prefix
from executor.engine.events import (
    ExecutionMoved,
    ExecutionUpdated,
    ScopeChanged,
    TaskRunMoved,
    TaskRunReopened,
    TaskRunSuperseded,
)
from executor.engine.level import Level
from executor.engine.registry import FLOWABLES
from shared.messages import ChangeExecutionState, ChangeTaskRunState, RestartExecution, WakeTimer
from shared.model.scope import Phase, Scope
from shared.model.state import TERMINATED, StateType
from shared.model.task_run import TaskRun

RESTARTABLE = frozenset({StateType.FAILED, StateType.PAUSED, StateType.KILLED, StateType.CANCELLED})
"""Task runs that a restart works on again. Kestra takes FAILED and PAUSED; killed executions are restartable, too."""

_NOT_BY_HAND = frozenset({StateType.RETRIED, StateType.RESUBMITTED})
"""States that say what the engine did: nobody can set them."""

NOTHING = "No task found to restart execution from!"
"""Kestra's text."""


def restart(draft: Draft, command: RestartExecution) -> str | None:
    """Reopen what failed or is paused, with all that it stands in; error branches are taken away."""
    state = draft.execution.state
    if not (state.terminated or state.current is StateType.PAUSED):
        return f"the execution is {state.current}: it must be terminated or paused to be restarted"
    if command.revision is not None and command.revision != draft.execution.flow_revision:
        return "a restart with another revision is a replay"
    runs = task_runs(draft)
    leaves = leaves_to_restart(draft, runs)
    if not leaves:
        if state.terminated:
            given = draft.state.get(flow_outputs_key(draft.execution_id))
            announce_end(draft, given)  # a ForEachItem that repeats its batches waits for this one
        return NOTHING
    reopen(draft, runs, leaves)
    _restarted(draft)
    return None


def task_runs(draft: Draft) -> dict[str, TaskRun]:
    """All task runs that are not superseded, parents before children."""
    found = {run.id: run for _, run in draft.state.scan(task_runs_prefix(draft.execution_id)) if not run.superseded}
    depths: dict[str, int] = {}

    def depth(run: TaskRun) -> int:
        if run.id not in depths:
            parent = found.get(run.parent_id) if run.parent_id is not None else None
            depths[run.id] = 0 if parent is None else depth(parent) + 1
        return depths[run.id]

    return {run.id: run for run in sorted(found.values(), key=lambda run: (depth(run), run.state.start))}


def leaves_to_restart(draft: Draft, runs: dict[str, TaskRun]) -> list[TaskRun]:
    """Restartable task runs of `tasks` that have no restartable task run below them."""
    chosen = {
        run.id: run
        for run in runs.values()
        if run.state.current in RESTARTABLE and in_tasks(run, runs) and run.task_id in draft.plan.tasks
    }
    for run in list(chosen.values()):
        if run.parent_id is not None and draft.plan.shared_folder(draft.plan.tasks[run.task_id]) is not None:
            del chosen[run.id]  # its WorkingDirectory runs again as a whole (Kestra's rule)
            chosen[run.parent_id] = runs[run.parent_id]
    above: set[str] = set()
    for run in chosen.values():
        parent_id = run.parent_id
        while parent_id is not None:
            above.add(parent_id)
            parent_id = runs[parent_id].parent_id
    return [run for run in chosen.values() if run.id not in above]


def in_tasks(task_run: TaskRun, runs: dict[str, TaskRun]) -> bool:
    """Whether neither it nor anything it stands in belongs to errors, finally, listeners or afterExecution."""
    at: TaskRun | None = task_run
    while at is not None:
        if at.phase is not Phase.TASKS:
            return False
        at = runs.get(at.parent_id) if at.parent_id is not None else None
    return True


def reopen(draft: Draft, runs: dict[str, TaskRun], leaves: list[TaskRun]) -> None:
    """Take later phases away, put ancestors to RUNNING and leaves to RESTARTED, and mend what was left undone."""
    for run in reversed(runs.values()):
        if not in_tasks(run, runs):
            supersede(draft, run)
    above: dict[str, TaskRun] = {}
    for leaf in leaves:
        parent_id = leaf.parent_id
        while parent_id is not None and parent_id not in above:
            above[parent_id] = runs[parent_id]
            parent_id = runs[parent_id].parent_id
    draft.emit(ScopeChanged, owner=None, scope=back_to_tasks(draft.execution.scope))
    for run in (run for run in runs.values() if run.id in above):
        again = draft.task_run(run.id)
        assert again is not None
        assert again.scope is not None
        scope = _undone(back_to_tasks(again.scope), run.id, [*above.values(), *leaves])
        draft.emit(TaskRunReopened, task_run_id=run.id, state=StateType.RUNNING, scope=scope)
    for leaf in leaves:
        if leaf.scope is not None and leaf.state.current is StateType.PAUSED:
            draft.emit(TaskRunReopened, task_run_id=leaf.id, state=StateType.RUNNING)
            continue
        for run in reversed(below(leaf.id, runs)):
            supersede(draft, run)
        emptied = None if leaf.scope is None else Scope()
        draft.emit(TaskRunReopened, task_run_id=leaf.id, state=StateType.RESTARTED, forget_attempts=True, scope=emptied)


def supersede(draft: Draft, task_run: TaskRun) -> None:
    """Take a task run away; one that is still open is closed before, so that no counter holds it."""
    kills.take_away(draft, task_run, StateType.KILLED)
    known = draft.task_run(task_run.id)
    if known is not None and not known.superseded:  # a leaf's errors are below it, and of a later phase
        draft.emit(TaskRunSuperseded, task_run_id=task_run.id)


def back_to_tasks(scope: Scope) -> Scope:
    """The bookkeeping with later phases forgotten; the counters of `tasks` stay as they are."""
    return replace(scope, phase=Phase.TASKS, step=0, other={}, filling=False)


def _undone(scope: Scope, owner: str, reopened: list[TaskRun]) -> Scope:
    """The bookkeeping without the ends of children that are worked on again: what depends on them waits anew."""
    again = {run.position for run in reopened if run.parent_id == owner}
    return replace(scope, done=tuple(position for position in scope.done if position not in again))


def below(task_run_id: str, runs: dict[str, TaskRun]) -> list[TaskRun]:
    """Everything below a task run."""
    children: defaultdict[str | None, list[TaskRun]] = defaultdict(list)
    for run in runs.values():
        children[run.parent_id].append(run)
    found: list[TaskRun] = []
    todo = [task_run_id]
    while todo:
        for run in children[todo.pop()]:
            found.append(run)
            todo.append(run.id)
    return found


def _restarted(draft: Draft) -> None:
    """→ RESTARTED now, RUNNING with the message that this sends to itself."""
    draft.emit(ExecutionMoved, state=StateType.RESTARTED)
    draft.emit(ExecutionUpdated, fields={"attempt_number": draft.execution.attempt_number + 1})
    continue_later(draft)


def continue_later(draft: Draft) -> None:
    """The second step of a restart, by way of the log."""
    draft.effect(
        Send(
            WakeTimer(
                execution_id=draft.execution_id,
                command_id=f"restarted-{draft.execution_id}-{draft.execution.seq}",
                at=draft.now,
                timer="restarted",
            )
        )
    )


def run_on(draft: Draft) -> str | None:
    """RESTARTED → RUNNING: start what waits, and continue chains that a failure cut off."""
    if draft.execution.state.current is not StateType.RESTARTED:
        return f"the execution is {draft.execution.state.current}"
    draft.emit(ExecutionMoved, state=StateType.RUNNING)
    draft.halted = False
    runs = task_runs(draft)
    lanes: defaultdict[tuple[str, int | None], list[TaskRun]] = defaultdict(list)
    for run in runs.values():
        parent = runs.get(run.parent_id) if run.parent_id is not None else None
        if parent is None or run.phase is not Phase.TASKS or parent.state.terminated:
            continue
        if parent.task_id not in draft.plan.tasks or draft.plan.tasks[parent.task_id].type not in FLOWABLES:
            continue
        lanes[parent.id, run.index if run.index is not None else run.position].append(run)
    for (parent_id, _), lane in lanes.items():
        last = max(lane, key=lambda run: run.position)
        if all(run.state.terminated for run in lane) and last.state.current is not StateType.FAILED:
            _go_on_after(draft, Level(draft, parent_id), last)
    pauses.wake(draft)
    return None


def _go_on_after(draft: Draft, level: Level, child: TaskRun) -> None:
    """Continue a chain behind its last task run. All chains of a level go on before it begins new ones."""
    scope, owner, task = level.scope, level.task_run, level.task
    assert owner is not None
    assert task is not None
    waits = scope.phase is not Phase.TASKS or level.failed or owner.state.current is StateType.PAUSED
    if not waits and child.position not in scope.done:
        FLOWABLES[task.type].child_ended(draft, level, child)


def change_task_run_state(draft: Draft, command: ChangeTaskRunState) -> str | None:
    """Set a task run's state, and that of its last attempt; the flow goes on from there (Kestra's markAs).

    RUNNING is for a paused task run alone: it is resumed.
    """
    execution = draft.execution
    if not (execution.state.terminated or execution.state.current is StateType.PAUSED):
        return f"the execution is {execution.state.current}: it must be terminated or paused"
    runs = task_runs(draft)
    target = runs.get(command.task_run_id)
    if target is None:
        return f"task run {command.task_run_id} is not known"
    if command.state == StateType.RUNNING.value and target.state.current is StateType.PAUSED:
        pauses.go_on(draft, target, StateType.RUNNING, None)
        pauses.leave_pause(draft)
        return None
    state = terminal_state(command.state)
    if state is None:
        return f"{command.state} is not a terminal state"
    if state is target.state.current:
        return f"the task run is {state} already"
    for run in reversed(below(target.id, runs)):
        kills.take_away(draft, run, StateType.KILLED)
    if not in_tasks(target, runs):
        _set_state(draft, target, state)  # it decides nothing: what failed has failed
        if not target.state.terminated:
            ended(draft, target.id)  # but what comes behind it waits for it
        return None
    above: list[TaskRun] = []
    parent_id = target.parent_id
    while parent_id is not None:
        above.insert(0, runs[parent_id])
        parent_id = runs[parent_id].parent_id
    begun_again = {run.id for run in above if run.state.terminated}
    for run in reversed(runs.values()):
        if _of_a_later_phase(run, runs, begun_again, root=execution.state.terminated):
            supersede(draft, run)
    if execution.state.terminated:
        draft.emit(ScopeChanged, owner=None, scope=back_to_tasks(draft.execution.scope))
    for run in above:
        again = draft.task_run(run.id)
        assert again is not None
        assert again.scope is not None
        if run.state.terminated:
            scope = _undone(back_to_tasks(again.scope), run.id, above)
            draft.emit(TaskRunReopened, task_run_id=run.id, state=StateType.RUNNING, scope=scope)
            continue
        scope = _undone(replace(again.scope, filling=False), run.id, above)
        if scope != again.scope:  # a loop's next round waits, say: it comes when this one has ended again
            Level(draft, run.id).change(scope)
    _set_state(draft, target, state)
    if draft.execution.paused_runs == 0:
        draft.emit(ExecutionMoved, state=StateType.RESTARTED)
        continue_later(draft)
    return None


def _set_state(draft: Draft, task_run: TaskRun, state: StateType) -> None:
    """An operator's word counts: a worker that still works on it is stopped."""
    if not task_run.state.terminated and task_run.scope is None:
        draft.effect(Withdraw(task_run.id))
    draft.emit(TaskRunMoved, task_run_id=task_run.id, state=state)


def _of_a_later_phase(run: TaskRun, runs: dict[str, TaskRun], owners: set[str], *, root: bool) -> bool:
    """Whether a task run stands in errors, finally or what runs after the end of a level that begins again."""
    at: TaskRun | None = run
    while at is not None:
        if at.phase is not Phase.TASKS and (root if at.parent_id is None else at.parent_id in owners):
            return True
        at = runs.get(at.parent_id) if at.parent_id is not None else None
    return False


def terminal_state(name: str) -> StateType | None:
    """The terminal state that an operator named; None where it is not one."""
    return next((state for state in TERMINATED if state.value == name and state not in _NOT_BY_HAND), None)


def change_execution_state(draft: Draft, command: ChangeExecutionState) -> str | None:
    """Set the state of a terminated execution to another terminal one (Kestra's change-status)."""
    current, state = draft.execution.state.current, terminal_state(command.state)
    if not current.terminated:
        return f"the execution is {current}: it must be terminated"
    if current is StateType.RETRIED:
        return "the execution is RETRIED: another one goes on in its place"
    if state is None:
        return f"{command.state} is not a terminal state"
    if current is state:
        return f"the execution is {state} already"
    draft.emit(ExecutionMoved, state=state)
    return None
