"""Labels: changed on an execution, and shown in the documents of its task runs."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from typing import Any, Final

from executor.engine import kills
from executor.engine.draft import Draft
from executor.engine.effects import Send, SetTimer
from executor.engine.entries import all_batches_prefix, prefix, task_runs_prefix, values_prefix
from executor.engine.events import ExecutionDeleted, ExecutionUpdated, LabelsChanged, TaskRunRelabelled
from shared.messages import ContinueLabels, SetLabels, WakeTimer

STEP: Final = 500
"""Documents that one step writes again, as for a fan-out."""
AT_ONCE: Final = 5000
"""Entries of an execution that a deletion removes at once; more go in steps, as of one that leaves."""
PAUSE: Final = 1000
"""Milliseconds between two times that task runs' documents are written again for changed labels."""
PAUSE_PER_TASK_RUN: Final = 1
"""Milliseconds more for each task run: a task in a loop that sets labels does not cost the square of the loop."""


def set_labels(draft: Draft, command: SetLabels) -> str | None:
    """Add labels, or replace all but the system's."""
    if command.replace:
        kept = [(key, value) for key, value in draft.execution.labels if key.startswith("system.")]
        draft.emit(LabelsChanged, labels=(*kept, *((key, value) for key, value in command.labels)))
        _show_soon(draft)
    else:
        add(draft, command.labels)
    return None


def add(draft: Draft, labels: Mapping[str, Any] | list[list[str]]) -> None:
    """Add labels, replacing those with the same key."""
    pairs = dict(labels)
    kept = [(key, value) for key, value in draft.execution.labels if key not in pairs]
    draft.emit(LabelsChanged, labels=(*kept, *((key, str(value)) for key, value in pairs.items())))
    _show_soon(draft)


def go_on(draft: Draft, command: ContinueLabels) -> str | None:
    """The next chunk."""
    _show(draft, command.after)
    return None


def due(draft: Draft) -> str | None:
    """The time has come to show what changed since the documents were last written for labels."""
    if not draft.execution.labels_due:
        return "the labels are shown already"
    _show_now(draft)
    return None


def _show_soon(draft: Draft) -> None:
    """At once, or, where it was done a moment ago, together with what changes until its time has come."""
    execution = draft.execution
    if execution.labels_due:
        return
    next_time = execution.labels_shown + PAUSE + PAUSE_PER_TASK_RUN * execution.task_runs
    if draft.now >= next_time:
        _show_now(draft)
        return
    draft.emit(ExecutionUpdated, fields={"labels_due": True})
    wake = WakeTimer(execution_id=execution.id, command_id=f"labels-{execution.id}", at=next_time, timer="labels")
    draft.effect(SetTimer(next_time, wake))


def _show_now(draft: Draft) -> None:
    draft.emit(ExecutionUpdated, fields={"labels_due": False, "labels_shown": draft.now})
    _show(draft, "")


def _show(draft: Draft, after: str) -> None:
    """Write the documents of the next task runs again, in bounded steps."""
    keys: list[tuple[str, str]] = []
    for key, run in draft.state.scan(task_runs_prefix(draft.execution_id), after):
        keys.append((key, run.id))
        if len(keys) >= STEP:
            break
    for _, task_run_id in keys:
        draft.emit(TaskRunRelabelled, task_run_id=task_run_id)
    if len(keys) >= STEP:
        continued = ContinueLabels(
            execution_id=draft.execution_id,
            command_id=f"labels-{draft.next_id()}",
            at=draft.now,
            after=keys[-1][0],
        )
        draft.effect(Send(continued))


def delete(draft: Draft) -> str | None:
    """Take a terminated execution away, with all its entries and documents."""
    if not draft.execution.state.terminated:
        return f"the execution is {draft.execution.state.current}: it must be terminated"
    task_runs = [run for _, run in draft.state.scan(task_runs_prefix(draft.execution_id))]
    for run in task_runs:
        if not run.state.terminated:  # it runs after the end, and nobody could stop it any more
            kills.let_go(draft, run)
    if sum(1 for _ in islice(draft.state.scan(prefix(draft.execution_id)), AT_ONCE + 1)) > AT_ONCE:
        draft.emit(ExecutionDeleted, rest=True, tenant=draft.execution.tenant)
        return None
    kept = (values_prefix(draft.execution_id), all_batches_prefix(draft.execution_id))
    # Their documents are named by their keys, behind the `x/` that all of them share.
    entries = tuple(key[2:] for each in kept for key, _ in draft.state.scan(each))
    ids = tuple(run.id for run in task_runs)
    draft.emit(ExecutionDeleted, task_runs=ids, entries=entries, tenant=draft.execution.tenant)
    return None
