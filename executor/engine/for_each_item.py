"""ForEachItem: a file in batches, and an execution of another flow for each of them.

The flowable is a sequence of three tasks (`item_tasks`). X_items is carried out here: it begins executions in bounded
steps, counts how they end, and ends with the last of them.
"""

from __future__ import annotations

from typing import Any, Final

from executor.engine import batches, kills, subflow
from executor.engine.draft import FAN_OUT_STEP, Draft
from executor.engine.effects import Send
from executor.engine.ends import close, ended
from executor.engine.events import BatchesRecorded, TaskRunAttempted, TaskRunMoved
from executor.engine.flowable import Flowable, Opening
from executor.engine.variables import task_run_variable
from shared.messages import CreateExecution, EndSubflow, RestartExecution, WakeTimer
from shared.model.flow import Task
from shared.model.scope import Scope
from shared.model.state import StateType
from shared.model.task_run import TaskRun

_DECISIVE: Final = (StateType.FAILED, StateType.KILLED, StateType.WARNING)
"""One batch in such a state makes X_items end in it, the first that holds; else it is SUCCESS (Kestra's rule)."""
_AGAIN: Final = frozenset({StateType.FAILED.value, StateType.KILLED.value, StateType.CANCELLED.value})
"""Ends of a batch's execution that a restart repeats."""


class ForEachItem(Flowable):
    """X_split, X_items, X_merge. The scope's `size` and `iteration` are the batches' number and chunk size."""

    def open(self, draft: Draft, task_run: TaskRun, task: Task) -> Opening:
        del draft, task_run, task
        return Opening(Scope())


class Items:
    """X_items. Ids of executions follow from task run, attempt and batch: twice is once."""

    def start(self, draft: Draft, task_run: TaskRun, task: Task) -> None:
        number = batches.total(draft, task_run)
        if number == 0:
            draft.emit(TaskRunMoved, task_run_id=task_run.id, state=StateType.RUNNING)
            close(draft, task_run, StateType.SUCCESS)
            return
        iterations = {StateType.CREATED.value: number, StateType.RUNNING.value: 0}
        _count(draft, task_run, iterations)
        started = draft.task_run(task_run.id)
        assert started is not None
        _step(draft, started, task, 0)


def go_on(draft: Draft, wake: WakeTimer) -> str | None:
    """The next step of a fan-out."""
    task_run = draft.task_run(wake.task_run_id or "")
    if task_run is None or task_run.state.terminated:
        return "the task run has ended"
    if len(task_run.attempts) != wake.attempt:
        return f"attempt {wake.attempt} is not the current one"
    if draft.killing:
        return "the execution is being killed"
    first = int((wake.data or {})["next"])
    if batches.total(draft, task_run) - batches.counts(draft, task_run)[StateType.CREATED.value] != first:
        return f"batch {first} is not the next one"
    _step(draft, task_run, draft.plan.tasks[task_run.task_id], first)
    return None


def batch_ended(draft: Draft, message: EndSubflow) -> str | None:
    """A batch's execution ended; with the last one X_items does."""
    task_run = draft.task_run(message.task_run_id)
    if task_run is None or task_run.state.terminated:
        return "the task run has ended already"
    number = message.iteration if message.iteration is not None else -1
    known = batches.batch(draft, task_run, number)
    if known is None or known[batches.ATTEMPT] != message.attempt:
        return f"batch {number} was not begun by attempt {message.attempt}"
    if batches.STATE in known:
        return f"batch {number} has ended already"
    state = StateType(message.state)
    if message.error is not None:
        draft.log("ERROR", f"Failed to extract outputs of the subflow: {message.error}", task_run)
        state = StateType.FAILED
    record = {batches.CHILD: message.child_id, batches.ATTEMPT: message.attempt, batches.STATE: state.value}
    if message.outputs:
        record[batches.OUTPUTS] = message.outputs
    assert task_run.parent_id is not None
    draft.emit(BatchesRecorded, owner=task_run.parent_id, batches=((number, record),))
    iterations = batches.moved(batches.counts(draft, task_run), StateType.RUNNING, state)
    _go_on_or_end(draft, task_run, draft.plan.tasks[task_run.task_id], iterations)
    return None


def _step(draft: Draft, task_run: TaskRun, task: Task, first: int) -> None:
    """Begin executions from batch `first`, a bounded number; the next step comes by way of the log."""
    number, waits = batches.total(draft, task_run), subflow.waits(task)
    following = min(first + FAN_OUT_STEP, number)
    iterations = batches.counts(draft, task_run)
    records: list[tuple[int, dict[str, Any]]] = []
    commands: list[CreateExecution | RestartExecution] = []
    try:
        for each in range(first, following):
            command, record = _begin(draft, task_run, task, each, waits=waits)
            after = StateType(record.get(batches.STATE, StateType.RUNNING))
            iterations = batches.moved(iterations, StateType.CREATED, after)
            records.append((each, record))
            if command is not None:
                commands.append(command)
    except Exception as error:  # noqa: BLE001 -- a missing flow, inputs or templates cost this task run only
        draft.log("ERROR", f"Unable to create the subflow execution: {error}", task_run)
        _end(draft, task_run, StateType.FAILED, batches.counts(draft, task_run), error=str(error))
        kills.stop_children(draft, task_run)  # of earlier steps
        return
    assert task_run.parent_id is not None
    draft.emit(BatchesRecorded, owner=task_run.parent_id, batches=tuple(records))
    for command in commands:
        draft.effect(Send(command))
    if following < number:
        draft.effect(Send(_wake(draft, task_run, following)))
    _go_on_or_end(draft, task_run, task, iterations)


def _begin(
    draft: Draft, task_run: TaskRun, task: Task, number: int, *, waits: bool
) -> tuple[CreateExecution | RestartExecution | None, dict[str, Any]]:
    """What begins a batch, and its entry: a new execution, after a restart the old one again, or what it has become."""
    attempt = len(task_run.attempts)
    known = batches.batch(draft, task_run, number)
    if known is not None and task.properties.get("restartBehavior") != "NEW_EXECUTION":
        state = known.get(batches.STATE)
        if state is not None and state not in _AGAIN:
            return None, dict(known)
        # One without a state may have ended while nobody listened: asked to restart, it does or tells its end again.
        again = RestartExecution(
            execution_id=known[batches.CHILD],
            command_id=f"restart-{known[batches.CHILD]}-{task_run.id}-{attempt}",
            at=draft.now,
            caller={
                "execution_id": draft.execution_id,
                "task_run_id": task_run.id,
                "attempt": known[batches.ATTEMPT],
                "iteration": number,
            },
        )
        return again, {batches.CHILD: known[batches.CHILD], batches.ATTEMPT: known[batches.ATTEMPT]}
    seen = {
        **task_run_variable(task_run),
        "items": batches.file(draft, task_run, number),
        "iteration": number,
    }
    command = subflow.creation(draft, task_run, task, iteration=number, extra={"taskrun": seen})
    record: dict[str, Any] = {batches.CHILD: command.execution_id, batches.ATTEMPT: attempt}
    if not waits:
        record[batches.STATE] = StateType.SUCCESS.value  # nobody will tell how it ends
    return command, record


def _wake(draft: Draft, task_run: TaskRun, following: int) -> WakeTimer:
    return WakeTimer(
        execution_id=draft.execution_id,
        command_id=f"batches-{task_run.id}-{len(task_run.attempts)}-{following}",
        at=draft.now,
        timer="batches",
        task_run_id=task_run.id,
        attempt=len(task_run.attempts),
        data={"next": following},
    )


def _count(draft: Draft, task_run: TaskRun, iterations: dict[str, int]) -> None:
    outputs = batches.outputs(batches.total(draft, task_run), iterations)
    draft.emit(TaskRunMoved, task_run_id=task_run.id, state=StateType.RUNNING, outputs=outputs)


def _go_on_or_end(draft: Draft, task_run: TaskRun, task: Task, iterations: dict[str, int]) -> None:
    """Keep the counts; end when nothing runs and nothing is left to begin (or, in a kill, may begin)."""
    left = 0 if draft.killing else iterations[StateType.CREATED.value]
    if left > 0 or iterations[StateType.RUNNING.value] > 0:
        _count(draft, task_run, iterations)
        return
    state = StateType.SUCCESS
    if draft.killing:
        state = StateType.KILLED
    elif task.properties.get("transmitFailed", True) is not False:
        state = next((each for each in _DECISIVE if iterations.get(each.value)), state)
    _end(draft, task_run, state, iterations)


def _end(
    draft: Draft,
    task_run: TaskRun,
    state: StateType,
    iterations: dict[str, int],
    *,
    error: str | None = None,
) -> None:
    """End with the task run's one attempt. Kestra does not repeat it: a retry is for what runs on workers."""
    draft.emit(
        TaskRunAttempted,
        task_run_id=task_run.id,
        attempt_state=state,
        states=(state,),
        started_at=task_run.state.start,
        outputs=batches.outputs(batches.total(draft, task_run), iterations),
        error=error,
    )
    ended(draft, task_run.id)
