"""Progress: how task runs are created, started and closed, and how a level goes on when a child has ended.

A child's end touches its own entry and its ancestors', never its siblings. Levels that have something to do wait in
the draft's `todo`, so that nothing here is recursive.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from executor.engine import conditions, sla
from executor.engine.children import create
from executor.engine.draft import Advance, Draft, Start
from executor.engine.ends import announce_end, close, permitted
from executor.engine.events import ExecutionMoved, TaskRunMoved
from executor.engine.flowable import Flowable, FlowableError
from executor.engine.level import Level
from executor.engine.registry import EXECUTABLES, FLOWABLES, ROOT
from executor.engine.variables import materialised
from executor.engine.waiting import enqueue
from shared.expressions import RenderError, reach, truthy
from shared.model.flow import Task
from shared.model.scope import Phase, Scope
from shared.model.state import StateType
from shared.model.task_run import TaskRun

WAITING = frozenset({StateType.CREATED, StateType.QUEUED, StateType.PAUSED})
"""Execution states in which it does not end by itself. A paused one still takes the ends of what runs."""
WITHOUT_OUTPUTS = frozenset({StateType.KILLED, StateType.CANCELLED})
"""Execution states with which the flow's outputs are not rendered: most of what they name never ran."""
FRESH = frozenset({StateType.CREATED, StateType.RESTARTED})
"""Task-run states from which it starts (Kestra treats RESTARTED like CREATED)."""


def is_fresh(task_run: TaskRun, draft: Draft) -> bool:
    """Whether it waits to be started: also a flowable that a replay put to RUNNING without opening it."""
    if task_run.superseded:
        return False
    if task_run.state.current in FRESH:
        return True
    task = draft.plan.tasks[task_run.task_id]
    return task.type in FLOWABLES and task_run.scope is None and not task_run.state.terminated


def start(draft: Draft, task_run: TaskRun, task: Task) -> None:
    """Bring a CREATED (or RESTARTED) task run on its way."""
    if task.run_if is not None and not _wanted(draft, task_run, task):
        return
    flowable = FLOWABLES.get(task.type)
    if flowable is not None:
        _open(draft, task_run, task, flowable)
        return
    executable = EXECUTABLES.get(task.type)
    if executable is not None:
        executable.start(draft, task_run, task)
        return
    enqueue(draft, task_run, task)


def _wanted(draft: Draft, task_run: TaskRun, task: Task) -> bool:
    """Evaluate `runIf`: not truthy → SKIPPED, an error → FAILED without an attempt (Kestra's rule)."""
    assert task.run_if is not None
    try:
        rendered = draft.env.renderer.render(task.run_if, draft.variables(task, task_run))
    except RenderError as error:
        draft.log("ERROR", f"Unable to evaluate the runIf condition for task {task.id}: {error}", task_run)
        close(draft, task_run, StateType.FAILED, error=str(error))
        return False
    if truthy(rendered):
        return True
    close(draft, task_run, StateType.SKIPPED)
    return False


def _open(draft: Draft, task_run: TaskRun, task: Task, flowable: Flowable) -> None:
    """Start a flowable: RUNNING with its bookkeeping and outputs, then its first children."""
    try:
        opening = flowable.open(draft, task_run, task)
    except Exception as error:  # noqa: BLE001 -- whatever a flowable's templates do costs this task run only
        plain = isinstance(error, FlowableError)
        text = str(error) if plain else f"Unable to resolve state from the Flowable task: {error}"
        draft.log("ERROR", text, task_run)
        draft.emit(TaskRunMoved, task_run_id=task_run.id, state=StateType.RUNNING, scope=Scope())
        close(draft, task_run, permitted(task, StateType.FAILED), error=str(error))
        return
    draft.emit(
        TaskRunMoved,
        task_run_id=task_run.id,
        state=StateType.RUNNING,
        scope=opening.scope,
        outputs=opening.outputs,
        error=opening.error,
    )
    opened = draft.task_run(task_run.id)
    assert opened is not None
    try:
        flowable.opened(draft, opened, task, opening)
    except Exception as error:  # noqa: BLE001 -- as above: a duration that is none, say
        draft.log("ERROR", f"Unable to resolve state from the Flowable task: {error}", opened)
        close(draft, opened, permitted(task, StateType.FAILED), error=str(error))
        return
    if opening.state is not None:
        close(draft, opened, permitted(task, opening.state))
    else:
        draft.todo.append(Advance(task_run.id))


def settle(draft: Draft) -> None:
    """Go on with every level that has something to do, until none has."""
    while draft.todo:
        item = draft.todo.popleft()
        if isinstance(item, Start):
            task_run = draft.task_run(item.task_run_id)
            if task_run is not None and not draft.halted and is_fresh(task_run, draft):
                start(draft, task_run, draft.plan.tasks[task_run.task_id])
            continue
        if item.owner is not None:
            task_run = draft.task_run(item.owner)
            if task_run is None or task_run.state.terminated or task_run.scope is None:
                continue
        advance(draft, Level(draft, item.owner), item.child)


def advance(draft: Draft, level: Level, child: TaskRun | None) -> None:
    """Go on with one level; `child` is what has just ended in it."""
    execution = draft.execution
    scope = level.scope
    if draft.killing:
        if scope.open == 0:
            _finish(draft, level, StateType.KILLED)
        return
    if execution.exiting is not None:
        if scope.open == 0:
            _finish(draft, level, StateType(execution.exiting))
        return
    if execution.state.terminated:
        if level.owner is None:
            _after_end(draft, level)
            return
        if not _belongs_to_the_end(draft, level):
            return
    if level.task_run is not None and level.task_run.state.current is StateType.PAUSED:
        return
    flowable = ROOT if level.task is None else FLOWABLES[level.task.type]
    if scope.phase is Phase.TASKS:
        if level.failed:
            if scope.open == 0:
                _next_phase(draft, level)
            return
        if child is not None and child.phase is Phase.TASKS:
            flowable.child_ended(draft, level, child)
            if level.task_run is not None and level.task_run.state.current is StateType.PAUSED:
                return  # a Pause, whose `onPause` has ended
        flowable.fill(draft, level)
        scope = level.scope
        if scope.open == 0 and not scope.filling and flowable.exhausted(level):
            _next_phase(draft, level)
        return
    _go_through(draft, level)


def _go_through(draft: Draft, level: Level) -> None:
    """One after the other: errors, finally, listeners, afterExecution."""
    scope = level.scope
    if scope.open > 0:
        return
    tasks = level.tasks()
    stopped = scope.other.get(StateType.FAILED.value, 0) > 0
    if scope.step < len(tasks) and not stopped:
        create(draft, level, tasks[scope.step], replace(scope, step=scope.step + 1), position=scope.step)
        return
    _next_phase(draft, level)


def _next_phase(draft: Draft, level: Level) -> None:
    """From tasks to errors (after a failure), to finally, to the end."""
    scope = level.scope
    failed = scope.count(StateType.FAILED) > 0
    if scope.phase is Phase.TASKS and failed and level.tasks(Phase.ERRORS):
        level.change(replace(scope, phase=Phase.ERRORS, step=0, other={}))
    elif scope.phase in (Phase.TASKS, Phase.ERRORS) and level.tasks(Phase.FINALLY):
        level.change(replace(scope, phase=Phase.FINALLY, step=0, other={}))
    else:
        finally_failed = scope.phase is Phase.FINALLY and scope.other.get(StateType.FAILED.value, 0) > 0
        _finish(draft, level, StateType.FAILED if finally_failed else guess(scope))
        return
    _go_through(draft, level)


def guess(scope: Scope) -> StateType:
    """The state that follows from the task runs of `tasks` (Kestra's guessFinalState)."""
    for state in (StateType.KILLED, StateType.FAILED, StateType.WARNING, StateType.PAUSED):
        if scope.count(state):
            return state
    return StateType.SUCCESS


def _finish(draft: Draft, level: Level, state: StateType) -> None:
    task_run = level.task_run
    if task_run is None:
        if draft.execution.state.current not in WAITING:
            finish_execution(draft, state)
        return
    task = level.task
    assert task is not None
    flowable = FLOWABLES[task.type]
    error: str | None = None
    exits = draft.execution.exiting is not None
    try:
        if not draft.killing and not exits and flowable.again(draft, level, state):
            return
        state = state if exits else permitted(task, flowable.result(level, state))
    except Exception as problem:  # noqa: BLE001 -- Kestra's rule: it costs the flowable, not the execution
        error = str(problem)
        draft.log("ERROR", f"Unable to resolve state from the Flowable task: {error}", task_run)
        state = permitted(task, StateType.FAILED)
    try:
        outputs = flowable.outputs(draft, level)
    except RenderError as problem:
        draft.log("WARN", f"Unable to save output on taskRun '{task_run.id}': {problem}", task_run)
        outputs = None
    close(draft, task_run, state, outputs=outputs, error=error)


def finish_execution(draft: Draft, state: StateType, error: str | None = None) -> None:
    """End the execution: outputs, the state, the slot, the waiting parent, what comes after the end."""
    violated = sla.broken(draft, last=True) if draft.plan.flow.sla else None
    if violated is not None:
        ending = sla.breach(draft, violated)
        if ending is not None:
            state, error = ending, sla.reason(violated)
    outputs, problem = _flow_outputs(draft, state)
    if problem is not None:
        state, error = StateType.FAILED, error or problem
    draft.emit(ExecutionMoved, state=state, outputs=outputs, error=error)
    draft.halted = False  # a pause held its tasks back, not what runs after its end
    announce_end(draft, outputs, *_caller_outputs(draft, outputs))
    if level_has_end_tasks(draft):
        draft.todo.append(Advance(None))


def _flow_outputs(draft: Draft, state: StateType) -> tuple[dict[str, Any] | None, str | None]:
    """Render the flow's outputs; an error makes the execution FAILED with none (Kestra's rule)."""
    flow = draft.plan.flow
    if not flow.outputs or draft.env.flow_outputs is None or state in WITHOUT_OUTPUTS:
        return None, None
    try:
        shown = materialised(draft.plan.outputs_reach().prune(draft.variables()))
        return draft.env.flow_outputs(flow, shown), None
    except Exception as error:  # noqa: BLE001 -- a flow's outputs can fail in any way a user can think of
        draft.log("ERROR", f"Failed to render output values: {error}")
        return None, str(error)


def _caller_outputs(draft: Draft, outputs: dict[str, Any] | None) -> tuple[dict[str, Any] | None, str | None]:
    """The deprecated `outputs` of the calling Subflow task, rendered where the child's outputs are (Kestra's rule)."""
    caller = draft.execution.caller
    if caller is None or not caller.outputs or outputs is not None:
        return None, None
    try:
        shown = materialised(reach([caller.outputs]).prune(draft.variables()))
        rendered: dict[str, Any] = draft.env.renderer.render_value(dict(caller.outputs), shown)
    except RenderError as error:
        return None, str(error)
    return rendered, None


def level_has_end_tasks(draft: Draft) -> bool:
    """Whether something runs after the end: listeners or afterExecution."""
    flow = draft.plan.flow
    return bool(flow.listeners or flow.after_execution)


def _after_end(draft: Draft, level: Level) -> None:
    """Listeners whose conditions hold, one after another, then afterExecution; the state stays (Kestra's rule)."""
    scope = level.scope
    if scope.open > 0 or scope.phase is Phase.ENDED:
        return
    if scope.phase in (Phase.LISTENERS, Phase.AFTER):
        tasks = level.tasks()
        if scope.step < len(tasks):
            create(draft, level, tasks[scope.step], replace(scope, step=scope.step + 1), position=scope.step)
            return
    following = next_after_end(draft, scope)
    level.change(following)
    if following.phase is not Phase.ENDED:
        draft.todo.append(Advance(None))


def next_after_end(draft: Draft, scope: Scope) -> Scope:
    """The next listener, then afterExecution, then the real end. `size` counts the listeners seen."""
    flow = draft.plan.flow
    seen = scope.size if scope.phase is Phase.LISTENERS else 0
    if scope.phase is not Phase.AFTER:
        for number in range(seen, len(flow.listeners)):
            listener = flow.listeners[number]
            if listens(draft, listener.conditions):
                return replace(
                    scope, phase=Phase.LISTENERS, branch=f"listeners.{number}", step=0, size=number + 1, other={}
                )
        if draft.plan.list(None, "afterExecution"):
            return replace(scope, phase=Phase.AFTER, step=0, other={})
    return replace(scope, phase=Phase.ENDED)


def listens(draft: Draft, wanted: tuple[Any, ...]) -> bool:
    """Whether all conditions of a listener hold for the ended execution."""
    seen = conditions.of_draft(draft)
    return all(conditions.holds(seen, condition) for condition in wanted)


def _belongs_to_the_end(draft: Draft, level: Level) -> bool:
    """Whether a flowable stands in a listener or in afterExecution, and so runs on after the end."""
    task_run = level.task_run
    while task_run is not None:
        if task_run.phase in (Phase.LISTENERS, Phase.AFTER):
            return True
        task_run = draft.task_run(task_run.parent_id) if task_run.parent_id is not None else None
    return False
