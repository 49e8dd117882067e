"""Recalls: an ended execution that has left the executor comes back, from what the search store has of it.

It goes on at the next sequence number, and every command then finds it as it was. The snapshot is complete, or it is
refused with the reason.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from executor.engine.draft import Draft
from executor.engine.entries import (
    all_batches_prefix,
    deleted_key,
    error_logs_key,
    flow_outputs_key,
    inputs_key,
    outputs_key,
    prefix,
    task_run_key,
    values_key,
    variables_key,
)
from executor.engine.events import ExecutionDeleted, ExecutionRecalled
from executor.engine.flowables.loop import ForEach
from executor.engine.for_each_item import ForEachItem
from executor.engine.item_tasks import ITEMS
from executor.engine.plan import Plan
from executor.engine.registry import FLOWABLES
from shared.expressions import RenderError
from shared.messages import HERE, DeleteExecution, RecallExecution
from shared.model.execution import Execution
from shared.model.recall import NotRecallable, execution_of, json_of, task_run_of
from shared.model.reference import is_reference
from shared.model.scope import Phase
from shared.model.task_run import TaskRun

Document = Mapping[str, Any]

DELETED: Final = "the execution was deleted"
"""Why nothing brings a deleted execution back, as long as it is remembered that there was one."""


def recall(draft: Draft, command: RecallExecution) -> str | None:
    """Take an execution in; a reason where the snapshot is not all of it."""
    if draft.known is not None:
        return HERE
    if draft.state.get(deleted_key(draft.execution_id)) is not None:
        return DELETED
    outdated = _outdated(draft, command)
    if outdated is not None:
        return outdated
    snapshot: Mapping[str, Any] = command.snapshot
    if is_reference(snapshot):
        if draft.env.large_outputs is None:
            return "the snapshot lies in a file that cannot be read here"
        try:
            snapshot = draft.env.large_outputs(command.tenant, snapshot)
        except RenderError as error:
            return f"the snapshot cannot be read: {error}"
    try:
        execution = execution_of(snapshot["execution"])
        runs = [task_run_of(document) for document in snapshot["task_runs"]]
    except (NotRecallable, KeyError, ValueError, TypeError) as error:
        return f"the snapshot cannot be read: {error}"
    if execution.id != draft.execution_id or execution.tenant != command.tenant:
        return f"the snapshot is of execution {execution.id} of tenant {execution.tenant}"
    entries = dict(_entries(draft.execution_id, snapshot))
    reason = _incomplete(draft, execution, runs, entries)
    if reason is not None:
        return reason
    for run in _counted(runs):
        entries[task_run_key(run.execution_id, run.id)] = run
    last = max([execution.seq, *(run.seq for run in runs), *(entry["seq"] for entry in snapshot["entries"])])
    draft.emit_after(last, ExecutionRecalled, execution=execution, entries=entries)
    return None


def _outdated(draft: Draft, command: RecallExecution | DeleteExecution) -> str | None:
    """Whether the execution may have come back, gone on and left, or been deleted, since the store was read for this.

    What returned after that reading stays at least so long: younger, the reading still holds. A command may wait longer
    in the log of an executor that is away, or as a dead letter.
    """
    age = draft.now - command.at
    if age < draft.env.snapshots_last:
        return None
    return (
        f"the search store was read {age // 1000} s ago for this, which may not hold any more: send the command again"
    )


def _entries(execution_id: str, snapshot: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Everything but the header and the task runs."""
    header = snapshot["execution"]
    for key, name in (
        (inputs_key(execution_id), "inputs"),
        (flow_outputs_key(execution_id), "outputs"),
        (variables_key(execution_id), "variables"),
    ):
        value = json_of(header, name)
        if value is not None:
            yield key, value
    if snapshot.get("errors"):
        yield error_logs_key(execution_id), list(snapshot["errors"])
    for document in snapshot["entries"]:
        yield prefix(execution_id) + str(document["id"]).split("/", 1)[1], document["content"]
    # What a later round of a loop gave lies under the same key as what an earlier one had given.
    for document in sorted(snapshot["task_runs"], key=lambda each: each["createdSeq"]):
        value = json_of(document, "outputs")
        if value is not None:
            values = document["entry"].get("vs", ())
            yield outputs_key(execution_id, document["taskId"], values), value


def _counted(runs: Sequence[TaskRun]) -> Iterator[TaskRun]:
    """The task runs with their counters of children: a document that ended before the last child shows older ones."""
    children: defaultdict[str, list[TaskRun]] = defaultdict(list)
    for run in runs:
        if run.parent_id is not None and not run.superseded:
            children[run.parent_id].append(run)
    for run in runs:
        scope = run.scope
        if scope is None or run.superseded:
            yield run
            continue
        tally = Counter(child.state.current.value for child in children[run.id] if child.phase is Phase.TASKS)
        later = scope.phase is not Phase.TASKS
        other = Counter(child.state.current.value for child in children[run.id] if later and child.phase is scope.phase)
        yield replace(run, scope=replace(scope, open=0, tally=dict(tally), other=dict(other)))


def _incomplete(draft: Draft, execution: Execution, runs: Sequence[TaskRun], entries: Mapping[str, Any]) -> str | None:
    """What the snapshot lacks."""
    if not execution.state.terminated:
        return f"the snapshot shows the execution {execution.state.current}: only one that has ended leaves"
    if len(runs) != execution.task_runs:
        return f"the snapshot has {len(runs)} of the {execution.task_runs} task runs"
    plan = draft.env.flows(execution.tenant, execution.namespace, execution.flow_id, execution.flow_revision)
    if plan is None:
        return (
            f"flow {execution.namespace}.{execution.flow_id} revision {execution.flow_revision} of the execution "
            "is not known"
        )
    for run in runs:
        if not run.state.terminated:
            return f"the snapshot shows task run {run.id} {run.state.current}"
        task = plan.tasks.get(run.task_id)
        if task is None or run.scope is None or run.superseded:
            continue
        loops = isinstance(FLOWABLES.get(task.type), ForEach | ForEachItem)
        if loops and run.scope.size and run.scope.iteration:
            last = (run.scope.size - 1) // run.scope.iteration
            if any(values_key(execution.id, run.id, number) not in entries for number in range(last + 1)):
                return f"the snapshot lacks values of task run {run.id}"
    return _lacking_batches(plan, execution, runs, entries)


def _lacking_batches(
    plan: Plan, execution: Execution, runs: Sequence[TaskRun], entries: Mapping[str, Any]
) -> str | None:
    found = Counter(key.split("/", 4)[3] for key in entries if key.startswith(all_batches_prefix(execution.id)))
    for run in runs:
        task = plan.tasks.get(run.task_id)
        if task is None or task.type != ITEMS or run.superseded:
            continue
        outputs = entries.get(outputs_key(execution.id, run.task_id, run.values)) or {}
        iterations: Mapping[str, int] = outputs.get("iterations") or {}
        begun = sum(iterations.values()) - iterations.get("CREATED", 0)
        if found[run.parent_id or ""] < begun:
            return f"the snapshot lacks batches of task run {run.id}"
    return None


def delete(draft: Draft, command: DeleteExecution) -> str | None:
    """Take an execution away that is not here: by what the search store has of it."""
    assert command.documents is not None
    documents = command.documents
    outdated = _outdated(draft, command)
    if outdated is not None:
        return outdated
    draft.emit_after(
        documents["seq"],
        ExecutionDeleted,
        task_runs=tuple(documents["task_runs"]),
        entries=tuple(documents["entries"]),
        tenant=documents.get("tenant"),
    )
    return None
