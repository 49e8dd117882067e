"""Batches: what a ForEachItem remembers of each batch: its file, its execution, how that ended and what it gave.

A batch is a small entry of its own, under the ForEachItem's task run; X_items' outputs hold only how many are in which
state. So the cost of one subflow's end does not depend on how many there are.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from executor.engine.draft import Draft
from executor.engine.entries import Entries, batch_key, batches_prefix, values_key
from executor.engine.events import ScopeChanged, ValuesRecorded
from executor.engine.flowables.loop import chunk_size, chunks
from shared.model.scope import Scope
from shared.model.state import StateType
from shared.model.task_run import TaskRun

CHILD, ATTEMPT, STATE, OUTPUTS = "child", "attempt", "state", "outputs"
"""Fields of a batch's entry. `state` and `outputs` are absent as long as its execution runs."""

Batch = Mapping[str, Any]


def keep_files(draft: Draft, split: TaskRun, uris: Sequence[str]) -> None:
    """Remember the batches' files, which X_split has made: in chunks, as a loop's values."""
    owner = draft.task_run(split.parent_id or "")
    if owner is None or owner.scope is None:
        return
    values = list(uris)
    scope = replace(owner.scope, size=len(values), iteration=chunk_size(values))
    draft.emit(ScopeChanged, owner=owner.id, scope=scope)
    if values:
        draft.emit(ValuesRecorded, task_run_id=owner.id, chunks=tuple(chunks(values)))


def total(draft: Draft, items: TaskRun) -> int:
    """How many batches there are."""
    return _owner(draft, items).size


def file(draft: Draft, items: TaskRun, number: int) -> str:
    """The URI of a batch's file, numbered from 0."""
    chunk, place = divmod(number, _owner(draft, items).iteration)
    values = draft.state.get(values_key(draft.execution_id, items.parent_id or "", chunk))
    assert values is not None
    uri: str = values[place]
    return uri


def batch(draft: Draft, items: TaskRun, number: int) -> Batch | None:
    """The entry of a batch; None where none was begun."""
    found: Batch | None = draft.state.get(batch_key(draft.execution_id, items.parent_id or "", number))
    return found


def counts(draft: Draft, items: TaskRun) -> dict[str, int]:
    """X_items' output `iterations`: how many batches are CREATED (not begun), RUNNING, or ended in which state."""
    found: dict[str, int] = (draft.outputs(items) or {}).get("iterations") or {}
    return dict(found)


def outputs(number_of_batches: int, iterations: Mapping[str, int]) -> dict[str, Any]:
    """X_items' outputs."""
    return {"numberOfBatches": number_of_batches, "iterations": dict(iterations)}


def moved(iterations: Mapping[str, int], before: StateType, after: StateType) -> dict[str, int]:
    """The counts with one batch moved on."""
    result = dict(iterations)
    result[before.value] = result.get(before.value, 0) - 1
    result[after.value] = result.get(after.value, 0) + 1
    return result


def open_children(draft: Draft, items: TaskRun, after: int, most: int) -> tuple[list[str], int | None]:
    """Executions that have not ended among `most` batches from number `after`, and where to look next."""
    found: list[str] = []
    for number in range(after, min(after + most, total(draft, items))):
        known = batch(draft, items, number)
        if known is not None and STATE not in known:
            found.append(known[CHILD])
    following = after + most
    return found, following if following < total(draft, items) else None


def all_of(draft: Draft, owner: str | None) -> list[tuple[int, Batch]]:
    """Every entry of a ForEachItem's task run, by number; none where there is no owner."""
    if owner is None:
        return []
    found = draft.state.scan(batches_prefix(draft.execution_id, owner))
    return [(int(key.rsplit("/", 1)[1]), known) for key, known in found]


def given(entries: Entries, execution_id: str, owner: str) -> Iterator[Any]:
    """What the subflows gave, in the order of the batches: for X_merge."""
    for _, known in entries.scan(batches_prefix(execution_id, owner)):
        if known.get(OUTPUTS):
            yield known[OUTPUTS]


def _owner(draft: Draft, items: TaskRun) -> Scope:
    owner = draft.task_run(items.parent_id or "")
    assert owner is not None
    assert owner.scope is not None
    return owner.scope
