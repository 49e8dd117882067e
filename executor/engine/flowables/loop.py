"""ForEach, EachSequential and EachParallel: tasks once for each value.

A value's tasks run one after another, each started by the end of the one before it, so that the cost of one task
run does not depend on how many values there are.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Final

from executor.engine.draft import Draft
from executor.engine.entries import task_runs_prefix, values_key
from executor.engine.events import ValuesRecorded
from executor.engine.flowable import Flowable, FlowableError, Opening, create, may_create
from executor.engine.level import Level
from shared.model.document import json_text
from shared.model.flow import Task
from shared.model.scope import Scope
from shared.model.state import StateType
from shared.model.task_run import TaskRun

CHUNK_VALUES: Final = 500
"""Values of a chunk at most: what one step of a fan-out reads."""
CHUNK_BYTES: Final = 32 * 1024
"""Loop values lie in chunks below this, so that no state record grows with the loop."""


def loop_values(draft: Draft, task_run: TaskRun, task: Task, given: Any) -> list[str]:
    """The values as text: strings as they are, others as JSON; doubles once; nulls are an error (Kestra's rules)."""
    variables = draft.variables(task, task_run)
    renderer = draft.env.renderer
    if isinstance(given, str):
        text = renderer.render(given, variables) or ""
        try:
            parsed = json.loads(text)
        except ValueError as error:
            msg = f"Unable to parse the values of '{task.id}' as a JSON array: {error} in '{text[:200]}'"
            raise FlowableError(msg) from error
        items = parsed if isinstance(parsed, list) else [parsed]
    else:
        items = [renderer.render_value(item, variables) for item in given or ()]
    nulls = sum(item is None for item in items)
    if nulls:
        msg = f"Found '{nulls}' null values on Each, with values={java_text(items)}"
        raise FlowableError(msg)
    return list(dict.fromkeys(item if isinstance(item, str) else json_text(item) for item in items))


def java_text(value: Any) -> str:
    """A value as Java prints it, which Kestra's messages show."""
    if isinstance(value, list):
        return "[" + ", ".join(map(java_text, value)) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}={java_text(item)}" for key, item in value.items()) + "}"
    return json_text(value) if value is None or isinstance(value, bool) else str(value)


def chunks(values: list[str]) -> Iterator[tuple[str, ...]]:
    """Values in chunks of an equal number that keeps each below CHUNK_BYTES; the number is that of the first."""
    size = chunk_size(values)
    for start in range(0, len(values), size):
        yield tuple(values[start : start + size])


def chunk_size(values: list[str]) -> int:
    """How many values a chunk holds: by the longest value, so that all chunks stay small."""
    longest = max((len(value.encode()) for value in values), default=1) + 4
    return max(1, min(CHUNK_VALUES, CHUNK_BYTES // longest))


def _last_of_value(draft: Draft, level: Level, child: TaskRun) -> TaskRun | None:
    """The last task run of a child's value: what stands behind an opened one may have begun. None while one is open."""
    lane = [
        run
        for _, run in draft.state.scan(task_runs_prefix(draft.execution_id))
        if (run.parent_id, run.index, run.superseded) == (level.owner, child.index, False)
    ]
    return max(lane, key=lambda run: run.position) if all(run.state.terminated for run in lane) else None


class ForEach(Flowable):
    """`concurrencyLimit` values at once: 1 by default, 0 for all. A value that is worked on has one open child."""

    values_property: str = "values"

    def limit(self, task: Task) -> int:
        given = task.properties.get("concurrencyLimit")
        return 1 if given is None else int(given)

    def open(self, draft: Draft, task_run: TaskRun, task: Task) -> Opening:
        values = loop_values(draft, task_run, task, task.properties.get(self.values_property))
        tasks = draft.plan.list(task.id, "tasks")
        size = chunk_size(values)
        return Opening(
            Scope(size=len(values), iteration=size),
            {},
            None if values and tasks else StateType.SUCCESS,
            tuple(chunks(values)),
        )

    def opened(self, draft: Draft, task_run: TaskRun, task: Task, opening: Opening) -> None:
        del task
        if opening.chunks:
            draft.emit(ValuesRecorded, task_run_id=task_run.id, chunks=opening.chunks)

    def value_at(self, draft: Draft, level: Level, index: int) -> str:
        """The value with this number. The scope's `iteration` holds the chunks' size."""
        assert level.owner is not None
        chunk, place = divmod(index, level.scope.iteration)
        values = draft.state.get(values_key(draft.execution_id, level.owner, chunk))
        assert values is not None
        value: str = values[place]
        return value

    def fill(self, draft: Draft, level: Level) -> None:
        task = level.task
        assert task is not None
        limit = self.limit(task)
        while not self.exhausted(level) and (limit <= 0 or level.scope.open < limit) and may_create(draft, level):
            self._begin(draft, level)

    def _begin(self, draft: Draft, level: Level) -> None:
        scope = level.scope
        value = self.value_at(draft, level, scope.next)
        cursor = replace(scope, next=scope.next + 1)
        create(draft, level, level.tasks()[0], cursor, position=0, value=value, index=scope.next)

    def child_ended(self, draft: Draft, level: Level, child: TaskRun) -> None:
        tasks = level.tasks()
        last = _last_of_value(draft, level, child) if child.state.resumed else child
        if last is not None and last.position + 1 < len(tasks):
            position = last.position + 1
            create(draft, level, tasks[position], level.scope, position=position, value=child.value, index=child.index)

    def exhausted(self, level: Level) -> bool:
        scope = level.scope
        return scope.next >= scope.size


class EachSequential(ForEach):
    """Deprecated in Kestra: `value`, one after another."""

    values_property = "value"

    def limit(self, task: Task) -> int:
        del task
        return 1


class EachParallel(ForEach):
    """Deprecated in Kestra: `value`, all tasks of all values at once, or `concurrent` of them."""

    values_property = "value"

    def fill(self, draft: Draft, level: Level) -> None:
        task = level.task
        assert task is not None
        tasks = level.tasks()
        limit = int(task.properties.get("concurrent") or 0)
        while not self.exhausted(level) and (limit <= 0 or level.scope.open < limit) and may_create(draft, level):
            scope = level.scope
            index, position = divmod(scope.next, len(tasks))
            create(
                draft,
                level,
                tasks[position],
                replace(scope, next=scope.next + 1),
                position=position,
                value=self.value_at(draft, level, index),
                index=index,
            )

    def child_ended(self, draft: Draft, level: Level, child: TaskRun) -> None:
        """Nothing follows a task of one value."""

    def exhausted(self, level: Level) -> bool:
        scope = level.scope
        return scope.next >= scope.size * len(level.tasks())
