"""`state`: a small map that a flow's tasks keep from one execution to the next."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from worker.context import Context
from worker.task import Task, TaskError


@dataclass(frozen=True)
class _State(Task):
    """Where a state is kept: by flow (or for the whole namespace), name, and the loop value of the task run."""

    name: str = "default"
    namespace: bool = False
    taskrun_value: bool = True

    def _key(self, context: Context) -> str:
        parts = ["tasks-states", self.name]
        if not self.namespace:
            parts.insert(0, context.info.flow_id)
        value = context.variables.get("taskrun", {}).get("value")
        if self.taskrun_value and value is not None:
            parts.append(str(value))
        return "/".join(part.replace("%", "%25").replace("/", "%2F") for part in parts)

    def _read(self, context: Context) -> dict[str, Any] | None:
        info = context.info
        entry = context.services.states.get(info.tenant, info.namespace, self._key(context))
        return None if entry is None else dict(entry.value)


@dataclass(frozen=True)
class Get(_State):
    """Reads the state: outputs `data` and `count`, of an empty one when there is none."""

    type = "io.kestra.plugin.core.state.Get"
    aliases = ("io.kestra.core.tasks.states.Get",)

    error_on_missing: bool = False

    def run(self, context: Context) -> Mapping[str, Any]:
        data = self._read(context)
        if data is None:
            if self.error_on_missing:
                raise _missing(self.name)
            data = {}
        return {"count": len(data), "data": data}


@dataclass(frozen=True)
class Set(_State):
    """Merges values into the state: outputs `count` and `key`."""

    type = "io.kestra.plugin.core.state.Set"
    aliases = ("io.kestra.core.tasks.states.Set",)

    data: dict[str, Any] = field(default_factory=dict)

    def run(self, context: Context) -> Mapping[str, Any]:
        info, key = context.info, self._key(context)
        merged = _merged(self._read(context) or {}, self.data)
        context.services.states.put(info.tenant, info.namespace, key, merged)
        return {"count": len(merged), "key": key}


@dataclass(frozen=True)
class Delete(_State):
    """Takes the state away: output `deleted`."""

    type = "io.kestra.plugin.core.state.Delete"
    aliases = ("io.kestra.core.tasks.states.Delete",)

    error_on_missing: bool = False

    def run(self, context: Context) -> Mapping[str, Any]:
        info = context.info
        deleted = context.services.states.delete(info.tenant, info.namespace, self._key(context))
        if self.error_on_missing and not deleted:
            raise _missing(self.name)
        return {"deleted": deleted}


def _missing(name: str) -> TaskError:
    return TaskError(f"Unable to find the state file '{name}'")


def _merged(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """Maps are merged, lists joined, anything else replaced (Kestra's merge)."""
    result = dict(old)
    for key, value in new.items():
        before = result.get(key)
        if isinstance(before, dict) and isinstance(value, dict):
            result[key] = _merged(before, value)
        elif isinstance(before, list) and isinstance(value, list):
            result[key] = [*before, *value]
        else:
            result[key] = value
    return result


TASKS: Final = (Get, Set, Delete)
