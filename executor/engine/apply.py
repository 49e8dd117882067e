"""Apply: the only code that changes an execution's state. Replaying the events gives the state."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

from executor.engine import events as e
from executor.engine.entries import (
    Overlay,
    batch_key,
    commands_key,
    deleted_key,
    error_logs_key,
    flow_outputs_key,
    header_key,
    inputs_key,
    outputs_key,
    prefix,
    task_run_key,
    values_key,
    variables_key,
)
from shared.model.execution import Execution
from shared.model.scope import Scope
from shared.model.state import State, StateType
from shared.model.task_run import Attempt, TaskRun

COMMANDS: Final = 50
"""Answers to operators' commands that are remembered: a command comes again within seconds, when its sender had no
answer, and nobody sends more to one execution in that time."""
ERROR_LINES: Final = 100
"""`errorLogs()` shows the last ones: enough to see what failed, small enough to carry in a command."""
ERROR_CHARACTERS: Final = 64 * 1024
"""Of their messages together: each failed attempt writes them anew, so that long ones must not add up."""


def apply(state: Overlay, event: e.Event) -> None:
    """Change `state` by one event. Events come in the order of their sequence numbers."""
    _APPLIERS[type(event)](state, event)


def _header(state: Overlay, event: e.Event) -> Execution:
    execution: Execution | None = state.get(header_key(event.execution_id))
    assert execution is not None, f"{event.name} before ExecutionCreated of {event.execution_id}"
    return execution


def _put_header(state: Overlay, execution: Execution) -> None:
    state.put(header_key(execution.id), execution)


def _task_run(state: Overlay, event: Any) -> TaskRun:
    task_run: TaskRun | None = state.get(task_run_key(event.execution_id, event.task_run_id))
    assert task_run is not None, f"{event.name} of an unknown task run {event.task_run_id}"
    return task_run


def _put_task_run(state: Overlay, task_run: TaskRun) -> None:
    state.put(task_run_key(task_run.execution_id, task_run.id), task_run)


def _created(state: Overlay, event: e.ExecutionCreated) -> None:
    state.put(header_key(event.execution_id), replace(event.execution, seq=event.seq))
    if event.inputs is not None:
        state.put(inputs_key(event.execution_id), dict(event.inputs))


def _recalled(state: Overlay, event: e.ExecutionRecalled) -> None:
    state.put(header_key(event.execution_id), replace(event.execution, seq=event.seq))
    for key, value in event.entries.items():
        state.put(key, value)


def _moved(state: Overlay, event: e.ExecutionMoved) -> None:
    execution = _header(state, event)
    execution = replace(
        execution,
        state=execution.state.to(event.state, event.at),
        error=event.error if event.error is not None else execution.error,
        has_outputs=execution.has_outputs or event.outputs is not None,
        exiting=None if event.state.terminated else execution.exiting,
        seq=event.seq,
    )
    _put_header(state, execution)
    if event.outputs is not None:
        state.put(flow_outputs_key(event.execution_id), dict(event.outputs))


def _updated(state: Overlay, event: e.ExecutionUpdated) -> None:
    _put_header(state, replace(_header(state, event), seq=event.seq, **event.fields))


def _labels_changed(state: Overlay, event: e.LabelsChanged) -> None:
    _put_header(state, replace(_header(state, event), labels=event.labels, seq=event.seq))


def _variables_changed(state: Overlay, event: e.VariablesChanged) -> None:
    state.put(variables_key(event.execution_id), dict(event.variables))
    _put_header(state, replace(_header(state, event), has_variables=True, seq=event.seq))


def _deleted(state: Overlay, event: e.ExecutionDeleted) -> None:
    whole = prefix(event.execution_id)
    keys = [header_key(event.execution_id)] if event.rest else [key for key, _ in state.scan(whole)]
    for key in keys:
        state.put(key, None)
    state.put(deleted_key(event.execution_id), event.seq)


def _scope_changed(state: Overlay, event: e.ScopeChanged) -> None:
    execution = _header(state, event)
    if event.owner is None:
        _put_header(state, replace(execution, scope=event.scope, seq=event.seq))
        return
    owner: TaskRun | None = state.get(task_run_key(event.execution_id, event.owner))
    assert owner is not None
    _put_task_run(state, replace(owner, scope=event.scope))
    _put_header(state, replace(execution, seq=event.seq))


def _errors_logged(state: Overlay, event: e.ErrorsLogged) -> None:
    key = error_logs_key(event.execution_id)
    lines = [*(state.get(key) or ()), *(dict(line) for line in event.lines)][-ERROR_LINES:]
    sizes = [len(str(line.get("message", ""))) for line in lines]
    while sum(sizes) > ERROR_CHARACTERS and len(lines) > 1:
        del lines[0], sizes[0]
    state.put(key, lines)
    _put_header(state, replace(_header(state, event), seq=event.seq))


def _task_run_created(state: Overlay, event: e.TaskRunCreated) -> None:
    _put_task_run(
        state,
        TaskRun(
            id=event.task_run_id,
            execution_id=event.execution_id,
            task_id=event.task_id,
            state=State.created(event.at),
            parent_id=event.parent_id,
            value=event.value,
            iteration=event.iteration,
            index=event.index,
            position=event.position,
            phase=event.phase,
            values=event.values,
            created=event.seq,
            seq=event.seq,
        ),
    )
    execution = _header(state, event)
    if event.parent_id is None:
        execution = replace(execution, scope=event.parent_scope, task_runs=execution.task_runs + 1, seq=event.seq)
    else:
        parent: TaskRun | None = state.get(task_run_key(event.execution_id, event.parent_id))
        assert parent is not None
        _put_task_run(state, replace(parent, scope=event.parent_scope))
        execution = replace(execution, task_runs=execution.task_runs + 1, seq=event.seq)
    _put_header(state, execution)


def _count(state: Overlay, event: e.Event, before: TaskRun, after: TaskRun) -> None:
    """Keep the counters of the header and the parent in step with a task run that moved."""
    execution = _header(state, event)
    old, new = before.state.current, after.state.current
    scope_change: Callable[[Scope], Scope] | None = None
    if new.terminated and not old.terminated:
        scope_change = lambda scope: scope.closed(after.phase, new)  # noqa: E731
    elif old.terminated and not new.terminated:
        scope_change = lambda scope: scope.reopened(after.phase, old)  # noqa: E731
    elif old.terminated and new.terminated and old is not new:
        scope_change = lambda scope: scope.reopened(after.phase, old).closed(after.phase, new)  # noqa: E731
    fields: dict[str, Any] = {"seq": event.seq}
    if (old is StateType.PAUSED) != (new is StateType.PAUSED):
        fields["paused_runs"] = execution.paused_runs + (1 if new is StateType.PAUSED else -1)
    if (old is StateType.RETRYING) != (new is StateType.RETRYING):
        fields["retrying_runs"] = execution.retrying_runs + (1 if new is StateType.RETRYING else -1)
    if scope_change is not None:
        if after.parent_id is None:
            fields["scope"] = scope_change(execution.scope)
        else:
            parent: TaskRun | None = state.get(task_run_key(event.execution_id, after.parent_id))
            assert parent is not None
            assert parent.scope is not None
            _put_task_run(state, replace(parent, scope=scope_change(parent.scope)))
    _put_header(state, replace(execution, **fields))


def _put_outputs(state: Overlay, task_run: TaskRun, outputs: Any) -> None:
    state.put(outputs_key(task_run.execution_id, task_run.task_id, task_run.values), dict(outputs))


def _task_run_moved(state: Overlay, event: e.TaskRunMoved) -> None:
    before = _task_run(state, event)
    attempts = before.attempts
    if event.state.terminated and attempts and not attempts[-1].state.terminated:
        last = attempts[-1]  # taken from its worker: it ends with the task run
        attempts = (*attempts[:-1], replace(last, state=last.state.to(event.state, event.at)))
    after = replace(
        before,
        state=before.state.to(event.state, event.at),
        attempts=attempts,
        scope=event.scope if event.scope is not None else before.scope,
        has_outputs=before.has_outputs or event.outputs is not None,
        error=event.error if event.error is not None else before.error,
        seq=event.seq,
    )
    _put_task_run(state, after)
    if event.outputs is not None:
        _put_outputs(state, after, event.outputs)
    _count(state, event, before, after)


def _values_recorded(state: Overlay, event: e.ValuesRecorded) -> None:
    for number, chunk in enumerate(event.chunks):
        state.put(values_key(event.execution_id, event.task_run_id, number), list(chunk))
    _put_header(state, replace(_header(state, event), seq=event.seq))


def _batches_recorded(state: Overlay, event: e.BatchesRecorded) -> None:
    for number, batch in event.batches:
        state.put(batch_key(event.execution_id, event.owner, number), dict(batch))
    _put_header(state, replace(_header(state, event), seq=event.seq))


def _task_run_started(state: Overlay, event: e.TaskRunStarted) -> None:
    before = _task_run(state, event)
    attempt = Attempt(State(((StateType.CREATED, event.at), (StateType.RUNNING, event.at))), event.session)
    after = replace(
        before,
        state=before.state.to(StateType.RUNNING, event.at),
        attempts=(*before.attempts, attempt),
        seq=event.seq,
    )
    _put_task_run(state, after)
    _put_header(state, replace(_header(state, event), seq=event.seq))


def _task_run_attempted(state: Overlay, event: e.TaskRunAttempted) -> None:
    before = _task_run(state, event)
    attempts = before.attempts
    if attempts and not attempts[-1].state.terminated:
        running, attempts = attempts[-1], attempts[:-1]
    else:
        start = event.started_at if event.started_at is not None else event.at
        running = Attempt(State(((StateType.CREATED, start), (StateType.RUNNING, start))), event.session)
    ended = replace(running, state=running.state.to(event.attempt_state, event.at), error=event.error)
    new_state = before.state
    if not new_state.has_been(StateType.RUNNING):
        new_state = new_state.to(StateType.RUNNING, running.state.start)
    for state_type in event.states:
        new_state = new_state.to(state_type, event.at)
    after = replace(
        before,
        state=new_state,
        attempts=(*attempts, ended),
        resubmissions=before.resubmissions + event.resubmitted,
        has_outputs=before.has_outputs or event.outputs is not None,
        error=event.error,
        seq=event.seq,
    )
    _put_task_run(state, after)
    if event.outputs is not None:
        _put_outputs(state, after, event.outputs)
    _count(state, event, before, after)


def _task_run_reopened(state: Overlay, event: e.TaskRunReopened) -> None:
    before = _task_run(state, event)
    after = replace(
        before,
        state=before.state.to(event.state, event.at),
        retries_since=len(before.attempts) if event.forget_attempts else before.retries_since,
        scope=event.scope if event.scope is not None else before.scope,
        error=None,
        seq=event.seq,
    )
    _put_task_run(state, after)
    _count(state, event, before, after)


def _task_run_imported(state: Overlay, event: e.TaskRunImported) -> None:
    imported = replace(event.imported, created=event.seq, seq=event.seq)
    _put_task_run(state, imported)
    if event.outputs is not None:
        _put_outputs(state, imported, event.outputs)
    for number, chunk in enumerate(event.chunks):
        state.put(values_key(event.execution_id, imported.id, number), list(chunk))
    execution = _header(state, event)
    _put_header(
        state,
        replace(
            execution,
            task_runs=execution.task_runs + 1,
            paused_runs=execution.paused_runs + (imported.state.current is StateType.PAUSED),
            seq=event.seq,
        ),
    )


def _task_run_relabelled(state: Overlay, event: e.TaskRunRelabelled) -> None:
    _put_task_run(state, replace(_task_run(state, event), seq=event.seq))
    _put_header(state, replace(_header(state, event), seq=event.seq))


def _task_run_superseded(state: Overlay, event: e.TaskRunSuperseded) -> None:
    """The entry stays, marked, until the execution leaves: late results find it terminated."""
    before = _task_run(state, event)
    _put_task_run(state, replace(before, superseded=True, seq=event.seq))
    execution = _header(state, event)
    _put_header(state, replace(execution, superseded=execution.superseded + 1, seq=event.seq))


def _answered(state: Overlay, event: e.CommandAnswered) -> None:
    key = commands_key(event.execution_id)
    known = [pair for pair in state.get(key) or () if pair[0] != event.command_id]
    state.put(key, [*known, [event.command_id, event.reason]][-COMMANDS:])
    _put_header(state, replace(_header(state, event), seq=event.seq))


def _nothing(state: Overlay, event: e.CommandRejected | e.CommandRepeated) -> None:
    del state, event  # not even the sequence changes: an unknown execution can reject, too


_APPLIERS: Final[dict[type[e.Event], Callable[[Overlay, Any], None]]] = {
    e.ExecutionCreated: _created,
    e.ExecutionRecalled: _recalled,
    e.ExecutionMoved: _moved,
    e.ExecutionUpdated: _updated,
    e.LabelsChanged: _labels_changed,
    e.VariablesChanged: _variables_changed,
    e.ExecutionDeleted: _deleted,
    e.ScopeChanged: _scope_changed,
    e.ErrorsLogged: _errors_logged,
    e.TaskRunCreated: _task_run_created,
    e.TaskRunMoved: _task_run_moved,
    e.ValuesRecorded: _values_recorded,
    e.BatchesRecorded: _batches_recorded,
    e.TaskRunStarted: _task_run_started,
    e.TaskRunAttempted: _task_run_attempted,
    e.TaskRunReopened: _task_run_reopened,
    e.TaskRunImported: _task_run_imported,
    e.TaskRunRelabelled: _task_run_relabelled,
    e.TaskRunSuperseded: _task_run_superseded,
    e.CommandAnswered: _answered,
    e.CommandRepeated: _nothing,
    e.CommandRejected: _nothing,
}
