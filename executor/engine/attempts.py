"""Attempts: what follows when an attempt starts, ends, or is lost with its worker."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from executor.engine import batches, exits, kills, labels, retries
from executor.engine.draft import Draft, Start
from executor.engine.effects import SetTimer
from executor.engine.ends import announce_end, ended
from executor.engine.events import (
    ErrorsLogged,
    ExecutionMoved,
    TaskRunAttempted,
    TaskRunMoved,
    TaskRunStarted,
    VariablesChanged,
)
from executor.engine.item_tasks import SPLIT
from executor.engine.variables import own_variables
from executor.engine.waiting import enqueue, schedule_retry
from shared.messages import AttemptEnded, AttemptStarted, WakeTimer
from shared.model.flow import RetryBehavior, Task
from shared.model.identifier import derive_id
from shared.model.moment import Millis
from shared.model.state import StateType
from shared.model.task_run import TaskRun


def current(task_run: TaskRun) -> int:
    """The number of the attempt that runs or comes next."""
    attempts = task_run.attempts
    return len(attempts) - bool(attempts and not attempts[-1].state.terminated)


def started(draft: Draft, message: AttemptStarted) -> str | None:
    """A worker began; a reason where that is no longer wanted."""
    task_run = draft.task_run(message.task_run_id)
    reason = _unwanted(task_run, message.attempt)
    if reason is None and task_run is not None and not _runs(task_run):
        draft.emit(TaskRunStarted, task_run_id=message.task_run_id, session=message.session)
    return reason


def _runs(task_run: TaskRun) -> bool:
    return bool(task_run.attempts) and not task_run.attempts[-1].state.terminated


def _unwanted(task_run: TaskRun | None, attempt: int) -> str | None:
    if task_run is None:
        return "the task run is not known"
    if task_run.state.terminated:
        return f"the task run is {task_run.state.current} already"
    if current(task_run) != attempt:
        return f"attempt {attempt} is not the current one, {current(task_run)}"
    return None


def finished(draft: Draft, message: AttemptEnded) -> str | None:
    """A worker is done; a reason where its result is no longer wanted."""
    task_run = draft.task_run(message.task_run_id)
    reason = _unwanted(task_run, message.attempt)
    if reason is not None or task_run is None:
        return reason
    task = draft.plan.tasks[task_run.task_id]
    if message.error_logs:
        lines = tuple({**line, "taskId": task_run.task_id, "taskRunId": task_run.id} for line in message.error_logs)
        draft.emit(ErrorsLogged, lines=lines)
    attributes = message.attributes or {}
    if attributes.get("labels"):
        labels.add(draft, attributes["labels"])
    if attributes.get("variables") is not None or attributes.get("unset") is not None:
        _change_variables(draft, attributes.get("variables") or {}, attributes.get("unset") or ())
    if attributes.get("outputFiles") is not None and task_run.parent_id is not None:
        _share_files(draft, task_run.parent_id, attributes["outputFiles"])
    if attributes.get("splits") is not None and task.type == SPLIT:
        batches.keep_files(draft, task_run, attributes["splits"])
    if attributes.get("exit") is not None:
        exits.leave(draft, task_run, StateType(attributes["exit"]), message)
        return None
    end(
        draft,
        task_run,
        task,
        StateType(message.state),
        outputs=message.outputs,
        error=message.error,
        session=message.session,
        started_at=message.started_at,
    )
    return None


def _change_variables(draft: Draft, changed: Mapping[str, Any], unset: Sequence[str]) -> None:
    known = own_variables(draft.state, draft.plan, draft.execution)
    kept = dict(known)
    for name in unset:
        kept = _without(kept, name)
    draft.emit(VariablesChanged, variables=_merged(kept, changed))


def _without(known: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Without a variable; `a.b` is `b` of the map `a` (Kestra's rule)."""
    first, _, rest = name.partition(".")
    if not rest or not isinstance(known.get(first), Mapping):
        return {other: value for other, value in known.items() if other != name}
    return {**known, first: _without(known[first], rest)}


def _merged(known: Mapping[str, Any], changed: Mapping[str, Any]) -> dict[str, Any]:
    """Maps are merged, all else is replaced (Kestra's rule)."""
    merged = dict(known)
    for name, value in changed.items():
        old = merged.get(name)
        both = isinstance(old, Mapping) and isinstance(value, Mapping)
        merged[name] = _merged(merged[name], value) if both else value
    return merged


def _share_files(draft: Draft, parent_id: str, files: Mapping[str, Any]) -> None:
    """Keep what a child of a WorkingDirectory left: the parent's output, as far as it is known by now."""
    parent = draft.task_run(parent_id)
    if parent is not None and not parent.state.terminated:
        draft.emit(
            TaskRunMoved, task_run_id=parent.id, state=parent.state.current, outputs={"outputFiles": dict(files)}
        )


def end(
    draft: Draft,
    task_run: TaskRun,
    task: Task,
    state: StateType,
    *,
    outputs: Mapping[str, Any] | None = None,
    error: str | None = None,
    session: str | None = None,
    started_at: Millis | None = None,
) -> None:
    """End an attempt in `state`; the task run ends with it, or waits for its next attempt."""
    attempt = {
        "task_run_id": task_run.id,
        "attempt_state": state,
        "session": session,
        "started_at": started_at,
        "outputs": outputs,
        "error": error,
    }
    if state is StateType.FAILED and not draft.killing and draft.execution.exiting is None:
        due = _retry_date(draft, task_run, task)
        if due is not None:
            draft.emit(TaskRunAttempted, states=(StateType.FAILED, StateType.RETRYING), **attempt)
            waiting = draft.task_run(task_run.id)
            assert waiting is not None
            schedule_retry(draft, waiting, due)
            return
        if _retry_execution(draft, task_run, task, attempt):
            return
    final = _final(draft, task_run, task, state)
    states = (state,) if final is state else (final,)
    draft.emit(TaskRunAttempted, states=states, **attempt)
    ended(draft, task_run.id)


def _final(draft: Draft, task_run: TaskRun, task: Task, state: StateType) -> StateType:
    """The task run's state after its last attempt: warningOnRetry, allowFailure, allowWarning (Kestra's rules)."""
    retry = draft.plan.retry(task.id)
    if state is StateType.SUCCESS and retry is not None and retry.warning_on_retry:
        before = sum(attempt.state.current is StateType.FAILED for attempt in retries.counted(task_run))
        if before >= 1:
            state = StateType.WARNING
    if state is StateType.FAILED and task.allow_failure:
        state = StateType.WARNING
    if state is StateType.WARNING and task.allow_warning:
        state = StateType.SUCCESS
    return state


def _retry_date(draft: Draft, task_run: TaskRun, task: Task) -> Millis | None:
    retry = task.retry if task.allow_failure else draft.plan.retry(task.id)
    if retry is None or retry.behavior is not RetryBehavior.RETRY_FAILED_TASK:
        return None
    attempts = retries.counted(task_run)
    running = bool(attempts) and not attempts[-1].state.terminated
    made = len(attempts) + (not running)
    first = attempts[0].state.start if attempts else draft.now
    return retries.next_date(retry, made, first, draft.now, task_run.id)


def _retry_execution(draft: Draft, task_run: TaskRun, task: Task, attempt: dict[str, Any]) -> bool:
    """CREATE_NEW_EXECUTION: task run, parents and execution → RETRIED; a new execution begins at the date."""
    retry = task.retry if task.allow_failure else draft.plan.retry(task.id)
    execution = draft.execution
    if retry is None or retry.behavior is not RetryBehavior.CREATE_NEW_EXECUTION:
        return False
    if execution.state.terminated:  # what runs after the end repeats nothing
        return False
    due = retries.next_date(
        retry, execution.attempt_number, execution.original_created_at, draft.now, execution.original_id
    )
    if due is None:
        return False
    draft.emit(TaskRunAttempted, states=(StateType.FAILED, StateType.RETRIED), **attempt)
    parent_id = task_run.parent_id
    while parent_id is not None:
        parent = draft.task_run(parent_id)
        assert parent is not None
        draft.emit(TaskRunMoved, task_run_id=parent.id, state=StateType.RETRIED)
        parent_id = parent.parent_id
    kills.close_all(draft, StateType.KILLED)  # what runs beside it would run again in the new execution
    draft.emit(ExecutionMoved, state=StateType.RETRIED)
    announce_end(draft, None)
    new_id = derive_id(due, execution.id, "retry", execution.attempt_number)
    data: dict[str, Any] = {"id": new_id}
    if execution.caller is not None:  # to be told where the execution is deleted before
        data["caller"] = asdict(execution.caller)
    wake = WakeTimer(execution_id=execution.id, command_id=f"retry-{new_id}", at=due, timer="replay", data=data)
    draft.effect(SetTimer(due, wake))
    return True


def lost(draft: Draft, task_run_id: str, attempt: int, session: str) -> str | None:
    """The worker is gone: the attempt ends RESUBMITTED and the next begins, up to the cap."""
    task_run = draft.task_run(task_run_id)
    reason = _unwanted(task_run, attempt)
    if reason is not None or task_run is None:
        return reason
    task = draft.plan.tasks[task_run.task_id]
    text = f"The worker session {session} was lost while it held attempt {attempt + 1} of task {task.id}"
    if draft.killing:
        draft.emit(
            TaskRunAttempted,
            task_run_id=task_run.id,
            attempt_state=StateType.KILLED,
            states=(StateType.KILLED,),
            session=session,
            error=text,
        )
        ended(draft, task_run.id)
        return None
    if task_run.resubmissions >= draft.env.resubmissions:
        problem = f"{text}; it was resubmitted {task_run.resubmissions} times already and is given up"
        draft.log("ERROR", problem, task_run)
        end(draft, task_run, task, StateType.FAILED, error=problem, session=session)
        return None
    draft.log("WARN", f"{text}; it is resubmitted", task_run)
    draft.emit(
        TaskRunAttempted,
        task_run_id=task_run.id,
        attempt_state=StateType.RESUBMITTED,
        states=(StateType.CREATED,),
        session=session,
        error=text,
        resubmitted=True,
    )
    again = draft.task_run(task_run.id)
    assert again is not None
    enqueue(draft, again, task)
    return None


def retry_due(draft: Draft, message: WakeTimer) -> str | None:
    """A waiting task run's next attempt begins."""
    task_run = draft.task_run(message.task_run_id or "")
    if task_run is None or task_run.state.current is not StateType.RETRYING:
        return "the task run no longer waits for a retry"
    if len(task_run.attempts) != message.attempt:
        return "the task run has had its retry"
    if draft.killing:
        return f"the execution is {draft.execution.state.current}"
    draft.emit(TaskRunMoved, task_run_id=task_run.id, state=StateType.CREATED)
    execution = draft.execution
    if execution.state.current is StateType.RETRYING and execution.retrying_runs == 0:
        draft.emit(ExecutionMoved, state=StateType.RUNNING)
    draft.todo.append(Start(task_run.id))
    return None
