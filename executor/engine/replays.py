"""Replays: an execution again as a new one, from its beginning or from one of its task runs.

The old execution's partition prepares everything, with new ids, and hands it to the new one's in a command.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from executor.engine import batches, restarts, revisions
from executor.engine.draft import Draft
from executor.engine.effects import Send
from executor.engine.entries import inputs_key, values_key, variables_key
from executor.engine.events import BatchesRecorded, ExecutionCreated, TaskRunImported, VariablesChanged
from executor.engine.flowables.dag import Dag
from executor.engine.flowables.loop import EachParallel, ForEach
from executor.engine.flowables.parallel import Parallel
from executor.engine.item_tasks import MERGE
from executor.engine.registry import FLOWABLES
from shared.messages import NOT_HERE, CreateExecution, EndSubflow, ReplayExecution, RestartExecution, WakeTimer
from shared.model.execution import Execution
from shared.model.identifier import derive_id
from shared.model.scope import Phase, Scope
from shared.model.state import State, StateType
from shared.model.task_run import TaskRun

MOST: Final = 5000
"""Task runs that a replay carries over at most: they travel in one command, far below the record limit."""

Runs = dict[str, TaskRun]


def replay(draft: Draft, command: ReplayExecution) -> str | None:
    """Begin anew, or from a task run: what came before is kept, it and what follows run again."""
    execution = draft.execution
    if not (execution.state.terminated or execution.state.current is StateType.PAUSED):
        return f"the execution is {execution.state.current}: it must be terminated or paused to be replayed"
    if command.task_run_id is None:
        draft.effect(Send(_creation(draft, command, snapshot=None)))
        return None
    runs = restarts.task_runs(draft)
    target = runs.get(command.task_run_id)
    if target is None:
        return f"No task found: task run {command.task_run_id} is not known"
    if not restarts.in_tasks(target, runs):
        return f"task run {target.id} stands in errors, finally or after the end: only one of `tasks` can be replayed"
    path = _path(runs, target)
    kept = _before(draft, runs, target)
    unfinished = _unfinished(kept, {target.id, *(run.id for run in path)})
    if len(kept) > MOST:
        return f"{len(kept)} task runs come before it: more than {MOST} cannot be carried over"
    placed = _in_revision(draft, kept, {target.id, *unfinished, *(run.id for run in path)}, command.revision)
    if isinstance(placed, str):
        return placed
    kept = placed
    prepared: Runs = {}
    for run in kept.values():
        prepared[run.id] = _again(draft, run, {target.id, *unfinished}, path)
    opened = {target.id, *unfinished, *(run.id for run in path)}
    for run in path:
        prepared[run.id] = replace(prepared[run.id], scope=_scope(draft, run, kept, opened))
    root = _scope_of(draft, None, kept, opened)
    if len(batches.all_of(draft, _joined(draft, target))) > MOST:
        return f"more than {MOST} batches come before it: they cannot be carried over"
    draft.effect(Send(_creation(draft, command, snapshot=_snapshot(draft, command, prepared, root))))
    return None


def retry_due(draft: Draft, wake: WakeTimer) -> str | None:
    """The new execution of a retry begins, unless an operator went on with this one, or took it away."""
    data = wake.data or {}
    known = draft.known
    if known is None:
        if data.get("caller") is not None:
            draft.effect(Send(_given_up(draft, data["caller"])))
        return NOT_HERE
    if known.state.current is not StateType.RETRIED:
        return f"the execution is {known.state.current}: its retry is off"
    again = ReplayExecution(execution_id=known.id, command_id=wake.command_id, at=wake.at, new_execution_id=data["id"])
    return replay(draft, again)


def _given_up(draft: Draft, caller: Mapping[str, Any]) -> EndSubflow:
    return EndSubflow(
        execution_id=caller["execution_id"],
        command_id=f"end-{draft.execution_id}-deleted",
        at=draft.now,
        task_run_id=caller["task_run_id"],
        attempt=caller["attempt"],
        iteration=caller["iteration"],
        child_id=draft.execution_id,
        state=StateType.FAILED.value,
        error="the execution was deleted before its retry",
    )


def _in_revision(draft: Draft, kept: Runs, worked_on: set[str], revision: int | None) -> Runs | str:
    """What is kept as it stands in the revision that the new execution runs; or why it can't stand there."""
    execution = draft.execution
    if revision in (None, execution.flow_revision):
        return kept
    plan = draft.env.flows(execution.tenant, execution.namespace, execution.flow_id, revision)
    if plan is None:
        return f"flow {execution.namespace}.{execution.flow_id} has no revision {revision}"
    return revisions.placed(kept, worked_on, draft.plan, plan)


def restart_as_new(draft: Draft, command: RestartExecution) -> str | None:
    """A restart with another revision: a new execution in which what failed runs again (Kestra's rule)."""
    assert command.new_execution_id is not None
    runs = restarts.task_runs(draft)
    leaves = restarts.leaves_to_restart(draft, runs)
    if not leaves:
        return restarts.NOTHING
    first = min(leaves, key=lambda run: run.state.start)
    again = ReplayExecution(
        execution_id=command.execution_id,
        command_id=command.command_id,
        at=command.at,
        new_execution_id=command.new_execution_id,
        task_run_id=first.id,
        revision=command.revision,
    )
    return replay(draft, again)


def _creation(draft: Draft, command: ReplayExecution, snapshot: dict[str, Any] | None) -> CreateExecution:
    execution = draft.execution
    given = command.labels if command.labels is not None else [list(pair) for pair in execution.labels]
    trigger = execution.trigger
    inputs = command.inputs if command.inputs is not None else draft.state.get(inputs_key(execution.id))
    return CreateExecution(
        execution_id=command.new_execution_id,
        command_id=command.command_id,
        at=draft.now,
        tenant=execution.tenant,
        namespace=execution.namespace,
        flow_id=execution.flow_id,
        flow_revision=command.revision or execution.flow_revision,
        inputs=inputs,
        labels=given,
        trigger=None
        if trigger is None
        else {"id": trigger.id, "type": trigger.type, "variables": dict(trigger.variables)},
        caller=_caller(execution),
        parent_id=execution.id,
        original_id=execution.original_id,
        attempt_number=execution.attempt_number + 1,
        original_created_at=execution.original_created_at,
        snapshot=snapshot,
    )


def _caller(execution: Execution) -> dict[str, Any] | None:
    """A retried subflow still ends for its parent; one that is replayed later does not."""
    caller = execution.caller
    if caller is None or execution.state.current is not StateType.RETRIED:
        return None
    return {
        "execution_id": caller.execution_id,
        "task_run_id": caller.task_run_id,
        "attempt": caller.attempt,
        "iteration": caller.iteration,
        "wait": caller.wait,
        "outputs": caller.outputs,
    }


def _path(runs: Runs, target: TaskRun) -> list[TaskRun]:
    """The ancestors of a task run, outermost first."""
    path: list[TaskRun] = []
    parent_id = target.parent_id
    while parent_id is not None:
        path.insert(0, runs[parent_id])
        parent_id = runs[parent_id].parent_id
    return path


def _before(draft: Draft, runs: Runs, target: TaskRun) -> Runs:
    """What is kept: the target, its ancestors, and everything that does not come after one of these."""
    on_path = {target.id: target} | {run.id: run for run in _path(runs, target)}
    dropped: set[str] = set()
    kept: Runs = {}
    for run in runs.values():
        if run.parent_id in dropped or run.parent_id == target.id:
            dropped.add(run.id)
        elif run.id in on_path or (run.parent_id is not None and run.parent_id not in on_path):
            kept[run.id] = run
        elif run.phase is not Phase.TASKS or _follows(draft, run, on_path, runs):
            dropped.add(run.id)
        else:
            kept[run.id] = run
    return kept


def _follows(draft: Draft, run: TaskRun, on_path: Runs, runs: Runs) -> bool:
    """Whether a sibling of a task run on the path comes after it."""
    pivot = next(other for other in on_path.values() if other.parent_id == run.parent_id)
    parent = runs.get(run.parent_id) if run.parent_id is not None else None
    flowable = None if parent is None else FLOWABLES[draft.plan.tasks[parent.task_id].type]
    if isinstance(flowable, EachParallel | Parallel):
        return False
    if isinstance(flowable, ForEach):
        assert parent is not None
        if run.index == pivot.index:
            return run.position > pivot.position
        one_by_one = flowable.limit(draft.plan.tasks[parent.task_id]) == 1
        return one_by_one and (run.index or 0) > (pivot.index or 0)
    if parent is not None and isinstance(flowable, Dag):
        return _depends(draft, parent, run, pivot)
    return run.position > pivot.position


def _depends(draft: Draft, parent: TaskRun, run: TaskRun, pivot: TaskRun) -> bool:
    """Whether a Dag's task waits for another one, directly or not."""
    tasks = {task.id: task for task in draft.plan.list(parent.task_id, "tasks")}
    todo, seen = [run.task_id], set[str]()
    while todo:
        for other in tasks[todo.pop()].depends_on:
            if other == pivot.task_id:
                return True
            if other in tasks and other not in seen:
                seen.add(other)
                todo.append(other)
    return False


def _unfinished(kept: Runs, opened: set[str]) -> set[str]:
    """What a paused execution had begun beside the target: it begins anew, and what stands in it is left behind."""
    found: set[str] = set()
    gone: set[str] = set()
    for run in list(kept.values()):
        if run.parent_id in found or run.parent_id in gone:
            gone.add(run.id)
            del kept[run.id]
        elif run.id not in opened and not run.state.terminated:
            found.add(run.id)
    return found


def _again(draft: Draft, run: TaskRun, targets: set[str], path: list[TaskRun]) -> TaskRun:
    """A kept task run: the targets RESTARTED (RUNNING where it is a flowable), ancestors RUNNING."""
    if run.id in targets:
        flowable = draft.plan.tasks[run.task_id].type in FLOWABLES
        state = run.state.to(StateType.RUNNING if flowable else StateType.RESTARTED, draft.now)
        attempts = tuple(each for each in run.attempts if each.state.terminated)  # what runs stays with the old one
        return replace(
            run,
            state=state,
            scope=None,
            error=None,
            attempts=attempts,
            retries_since=len(attempts),
            has_outputs=False,
        )
    if any(ancestor.id == run.id for ancestor in path):
        return replace(run, state=run.state.to(StateType.RUNNING, draft.now), error=None)
    return run


def _scope(draft: Draft, run: TaskRun, kept: Runs, opened: set[str]) -> Scope:
    assert run.scope is not None
    return replace(
        _scope_of(draft, run, kept, opened),
        branch=run.scope.branch,
        size=run.scope.size,
        iteration=run.scope.iteration,
    )


def _scope_of(draft: Draft, owner: TaskRun | None, kept: Runs, opened: set[str]) -> Scope:
    """A level's bookkeeping, counted anew from the children that are kept; `opened` are worked on again."""
    parent_id = None if owner is None else owner.id
    children = [run for run in kept.values() if run.parent_id == parent_id and run.phase is Phase.TASKS]
    ended = [run for run in children if run.id not in opened]
    tally: defaultdict[str, int] = defaultdict(int)
    for run in ended:
        tally[run.state.current.value] += 1
    following = 1 + max(run.position for run in children)
    done: tuple[int, ...] = ()
    if owner is not None:
        flowable = FLOWABLES[draft.plan.tasks[owner.task_id].type]
        if isinstance(flowable, EachParallel):
            following = len(children)
        elif isinstance(flowable, ForEach):
            following = 1 + max(run.index or 0 for run in children)
        elif isinstance(flowable, Dag):
            following = sum(1 << run.position for run in children)
            done = tuple(run.position for run in ended)
    return Scope(next=following, open=len(children) - len(ended), tally=dict(tally), done=done)


def _snapshot(draft: Draft, command: ReplayExecution, prepared: Runs, root: Scope) -> dict[str, Any]:
    """The carried-over state with new ids, as the new execution's partition takes it in."""
    ids = {old: derive_id(draft.now, command.new_execution_id, old) for old in prepared}
    carried: list[dict[str, Any]] = []
    joined = _joined(draft, draft.task_run(command.task_run_id or ""))
    for run in sorted(prepared.values(), key=lambda run: run.state.start):
        moved = replace(
            run,
            id=ids[run.id],
            execution_id=command.new_execution_id,
            parent_id=None if run.parent_id is None else ids[run.parent_id],
        )
        chunks: list[list[str]] = []
        while (chunk := draft.state.get(values_key(draft.execution_id, run.id, len(chunks)))) is not None:
            chunks.append(chunk)
        outputs = draft.outputs(run) if moved.has_outputs else None
        begun = batches.all_of(draft, run.id) if run.id == joined else []
        carried.append({"task_run": moved.to_data(), "outputs": outputs, "chunks": chunks, "batches": begun})
    histories = draft.execution.state.to(StateType.RESTARTED, draft.now).to_data()
    changed = draft.state.get(variables_key(draft.execution_id)) if draft.execution.has_variables else None
    return {"scope": root.to_data(), "state": histories, "task_runs": carried, "variables": changed}


def _joined(draft: Draft, target: TaskRun | None) -> str | None:
    """The ForEachItem whose batches the target joins: it needs what they gave. X_items begins its own anew."""
    merges = target is not None and draft.plan.tasks[target.task_id].type == MERGE
    return target.parent_id if merges and target is not None else None


def take_in(draft: Draft, execution: Execution, command: CreateExecution) -> None:
    """The new execution begins with what was carried over: RESTARTED, and RUNNING with the next message."""
    snapshot = command.snapshot
    assert snapshot is not None
    begun = replace(
        execution, state=State.from_data(snapshot["state"]), task_runs=0, scope=Scope.from_data(snapshot["scope"])
    )
    draft.emit(ExecutionCreated, execution=begun, inputs=command.inputs or None)
    if snapshot.get("variables") is not None:
        draft.emit(VariablesChanged, variables=snapshot["variables"])
    for carried in snapshot["task_runs"]:
        run = TaskRun.from_data(carried["task_run"])
        draft.emit(
            TaskRunImported,
            task_run_id=run.id,
            imported=run,
            outputs=carried["outputs"],
            chunks=tuple(tuple(chunk) for chunk in carried["chunks"]),
        )
        if carried.get("batches"):
            known = tuple((number, batch) for number, batch in carried["batches"])
            draft.emit(BatchesRecorded, owner=run.id, batches=known)
    restarts.continue_later(draft)
