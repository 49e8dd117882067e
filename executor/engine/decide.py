"""Decide: from a state and a message to events and effects. It reads, `apply` changes, nothing else does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from executor.engine import (
    attempts,
    creation,
    for_each_item,
    kills,
    labels,
    pauses,
    progress,
    queueing,
    recalls,
    replays,
    restarts,
    sla,
    subflow,
)
from executor.engine.draft import Advance, Draft, Environment, Recorded
from executor.engine.effects import Effect
from executor.engine.ends import announce_end, close, permitted
from executor.engine.entries import Entries, Overlay, commands_key, deleted_key
from executor.engine.events import CommandAnswered, CommandRejected, CommandRepeated, ExecutionMoved
from executor.engine.flowables import loop_until
from executor.engine.item_tasks import ITEMS
from executor.engine.level import Level
from shared import messages as m
from shared.model.flow import Sla
from shared.model.moment import Millis
from shared.model.state import StateType


@dataclass(frozen=True, slots=True)
class AttemptLost:
    """The lease of a piece of work is over. From the executor itself, never on the log."""

    execution_id: str
    task_run_id: str
    attempt: int
    session: str


@dataclass(frozen=True, slots=True)
class Unplaceable:
    """No worker of the task run's group is there, and its fallback says FAIL or CANCEL; or it can't be sent."""

    execution_id: str
    task_run_id: str
    state: StateType
    group: str
    reason: str | None = None  #: why it can't be sent at all, whatever workers there are


Incoming = m.ExecutionCommand | m.AttemptEvent | AttemptLost | Unplaceable


@dataclass(frozen=True, slots=True)
class Decision:
    """What was decided: events, effects, and the state's changes that the events gave."""

    events: tuple[Recorded, ...]
    effects: tuple[Effect, ...]
    changes: Overlay
    command_id: str | None
    rejection: str | None


def decide(entries: Entries, message: Incoming, now: Millis, env: Environment) -> Decision:
    """Decide on one message about one execution. A redundant or impossible one gives CommandRejected."""
    draft = Draft(entries, message.execution_id, now, env)
    draft.command_id = getattr(message, "command_id", None)
    remembered = isinstance(message, _REMEMBERED) and draft.known is not None
    before = _answered_before(draft, draft.command_id) if remembered else None
    if before is not None:
        return _repeat(draft, before[1])
    if isinstance(message, m.DeleteExecution) and draft.state.get(deleted_key(draft.execution_id)) is not None:
        return _repeat(draft, None)  # by this command or by another one: what it asks for is so
    reason = _decide(draft, message)
    if remembered and draft.known is not None:  # a deletion takes what is remembered with it
        draft.emit(CommandAnswered, command_id=draft.command_id, reason=reason)
    if reason is not None:
        draft.emit(CommandRejected, reason=reason)
    else:
        _check_slas(draft)
        progress.settle(draft)
    return Decision(tuple(draft.events), tuple(draft.effects), draft.state, draft.command_id, reason)


def _check_slas(draft: Draft) -> None:
    """Assertions are looked at before the execution goes on with what has changed (Kestra's rule)."""
    known = draft.known
    if draft.events and known is not None and not known.state.terminated and draft.plan.flow.sla:
        violated = sla.broken(draft)
        if violated is not None:
            _breach(draft, violated)


def _breach(draft: Draft, violated: Sla) -> None:
    ending = sla.breach(draft, violated)
    if ending is not None:
        progress.finish_execution(draft, ending, sla.reason(violated))


def _overdue(draft: Draft, wake: m.WakeTimer) -> str | None:
    violated, reason = sla.overdue(draft, wake)
    if violated is not None:
        _breach(draft, violated)
    return reason


def _decide(draft: Draft, message: Incoming) -> str | None:
    decider = _DECIDERS.get(type(message))
    if decider is None:
        return f"{type(message).__name__} is not for executions"
    if draft.known is None and not _is_for_absent(message):
        return m.NOT_HERE
    return decider(draft, message)


def _is_for_absent(message: Incoming) -> bool:
    """Whether a message may be about an execution that is not here."""
    if isinstance(message, m.DeleteExecution):
        return message.documents is not None
    return isinstance(message, m.CreateExecution | m.RecallExecution) or (
        isinstance(message, m.WakeTimer) and message.timer == "replay"
    )


def _answered_before(draft: Draft, command_id: str | None) -> tuple[str, str | None] | None:
    """Id and rejection of the same command, where it was answered already: its sender had no answer and asks again."""
    answers = draft.state.get(commands_key(draft.execution_id)) or ()
    return next((answer for answer in answers if answer[0] == command_id), None)


def _repeat(draft: Draft, reason: str | None) -> Decision:
    if reason is None:
        draft.emit(CommandRepeated)
    else:
        draft.emit(CommandRejected, reason=reason)
    return Decision(tuple(draft.events), (), draft.state, draft.command_id, reason)


def refuse(entries: Entries, message: Incoming, now: Millis, env: Environment, reason: str) -> Decision:
    """What becomes of a message that cannot be carried out for a reason outside the engine."""
    draft = Draft(entries, message.execution_id, now, env)
    draft.emit(CommandRejected, reason=reason)
    return Decision(tuple(draft.events), (), draft.state, getattr(message, "command_id", None), reason)


def fail_execution(entries: Entries, execution_id: str, now: Millis, env: Environment, error: str) -> Decision:
    """What becomes of an execution whose message could not be decided: it fails, the others go on (Kestra's rule)."""
    draft = Draft(entries, execution_id, now, env)
    known = draft.known
    if known is None or known.state.terminated:
        draft.emit(CommandRejected, reason=error)
        return Decision(tuple(draft.events), (), draft.state, None, error)
    kills.close_all(draft, StateType.FAILED)
    draft.log("ERROR", error)
    draft.emit(ExecutionMoved, state=StateType.FAILED, error=error)
    announce_end(draft, None)
    return Decision(tuple(draft.events), tuple(draft.effects), draft.state, None, None)


def _continue_fan_out(draft: Draft, message: m.ContinueFanOut) -> str | None:
    level = Level(draft, message.task_run_id)
    if message.task_run_id is not None:
        task_run = level.task_run
        if task_run is None or task_run.state.terminated or task_run.scope is None:
            return "the task run has ended"
    scope = level.scope
    if not scope.filling:
        return "there is nothing to continue"
    level.change(scope.filled())
    draft.todo.append(Advance(message.task_run_id))
    return None


def _restart(draft: Draft, message: m.RestartExecution) -> str | None:
    if message.new_execution_id is not None:  # whatever its revision: an answer is awaited from the new execution
        return replays.restart_as_new(draft, message)
    return restarts.restart(draft, message)


def _delete(draft: Draft, command: m.DeleteExecution) -> str | None:
    return recalls.delete(draft, command) if draft.known is None else labels.delete(draft)


def _wake(draft: Draft, message: m.WakeTimer) -> str | None:
    timer = message.timer.split("-", 1)[0] if message.timer.startswith("sla-") else message.timer
    decider = _TIMERS.get(timer)
    return f"timer {message.timer} is not known" if decider is None else decider(draft, message)


def _subflow_ended(draft: Draft, message: m.EndSubflow) -> str | None:
    task_run = draft.task_run(message.task_run_id)
    if task_run is not None and draft.plan.tasks[task_run.task_id].type == ITEMS:
        return for_each_item.batch_ended(draft, message)
    return subflow.child_ended(draft, message)


def _unplaceable(draft: Draft, message: Unplaceable) -> str | None:
    task_run = draft.task_run(message.task_run_id)
    if task_run is None or task_run.state.terminated:
        return "the task run has ended"
    text = message.reason or f"No worker of the group '{message.group}' is there"
    draft.log("ERROR", text, task_run)
    close(draft, task_run, permitted(draft.plan.tasks[task_run.task_id], message.state), error=text)
    return None


_DECIDERS: Final[dict[type, Callable[[Draft, Any], str | None]]] = {
    m.CreateExecution: creation.create_execution,
    m.SlotGranted: lambda draft, _: creation.slot_granted(draft),
    m.SlotQueued: lambda draft, _: creation.slot_queued(draft),
    m.SlotRefused: creation.slot_refused,
    m.AttemptStarted: attempts.started,
    m.AttemptEnded: attempts.finished,
    AttemptLost: lambda draft, lost: attempts.lost(draft, lost.task_run_id, lost.attempt, lost.session),
    Unplaceable: _unplaceable,
    m.ContinueFanOut: _continue_fan_out,
    m.KillExecution: kills.kill,
    m.ContinueKill: kills.go_on,
    m.PauseExecution: lambda draft, _: pauses.pause(draft),
    m.ResumeExecution: pauses.resume,
    m.SetLabels: labels.set_labels,
    m.ContinueLabels: labels.go_on,
    m.DeleteExecution: _delete,
    m.RecallExecution: recalls.recall,
    m.RestartExecution: _restart,
    m.ReplayExecution: replays.replay,
    m.ChangeTaskRunState: restarts.change_task_run_state,
    m.ChangeExecutionState: restarts.change_execution_state,
    m.ForceRunExecution: lambda draft, _: queueing.force_run(draft),
    m.UnqueueExecution: lambda draft, command: queueing.unqueue(draft, command.state),
    m.EndSubflow: _subflow_ended,
    m.WakeTimer: _wake,
}

_REMEMBERED: Final = (
    m.KillExecution,
    m.PauseExecution,
    m.ResumeExecution,
    m.RestartExecution,
    m.ReplayExecution,
    m.ChangeTaskRunState,
    m.ChangeExecutionState,
    m.ForceRunExecution,
    m.UnqueueExecution,
    m.SetLabels,
    m.DeleteExecution,
)
"""Commands whose answers are remembered: what operators ask for. The others have ids in the state to go by."""

_TIMERS: Final[dict[str, Callable[[Draft, m.WakeTimer], str | None]]] = {
    "retry": attempts.retry_due,
    "labels": lambda draft, _: labels.due(draft),
    "schedule": lambda draft, _: creation.scheduled(draft),
    "pause-delay": pauses.delay_over,
    "pause-timeout": pauses.timeout_over,
    "loop": loop_until.next_round,
    "batches": for_each_item.go_on,
    "batches-kill": kills.stop_more,
    "restarted": lambda draft, _: restarts.run_on(draft),
    "replay": replays.retry_due,
    "sla": _overdue,
    "kill-deadline": lambda draft, _: kills.deadline(draft),
}
