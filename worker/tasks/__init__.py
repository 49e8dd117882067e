"""The built-in task types, `io.kestra.plugin.core.*`, as far as workers run them."""

from __future__ import annotations

from worker.task import Task
from worker.tasks import (
    debug,
    execution,
    flow,
    for_each_item,
    http,
    items,
    kv,
    log,
    namespace,
    output,
    state,
    storage,
    trigger,
)


def core_tasks() -> tuple[type[Task], ...]:
    """Every built-in task type; the entry point of the group `runyard.tasks`."""
    return (
        *debug.TASKS,
        *execution.TASKS,
        *flow.TASKS,
        *for_each_item.TASKS,
        *http.TASKS,
        *items.TASKS,
        *kv.TASKS,
        *log.TASKS,
        *namespace.TASKS,
        *output.TASKS,
        *state.TASKS,
        *storage.TASKS,
        *trigger.TASKS,
    )
