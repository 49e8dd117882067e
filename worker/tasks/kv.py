"""`kv`: values by key, kept beyond executions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, Literal

import orjson

from shared.model.moment import from_iso, iso, parse_duration
from worker.context import Context
from worker.properties import Typed
from worker.task import Task, TaskError

Kind = Literal["STRING", "NUMBER", "BOOLEAN", "DATETIME", "DATE", "DURATION", "JSON"]


@dataclass(frozen=True)
class Get(Task):
    """Reads a value: output `value`, absent when there is none."""

    type = "io.kestra.plugin.core.kv.Get"

    key: str
    namespace: str = "{{ flow.namespace }}"
    error_on_missing: bool = False

    def run(self, context: Context) -> Mapping[str, Any]:
        entry = context.kv.get(context.info.tenant, self.namespace, self.key)
        if entry is None:
            if self.error_on_missing:
                raise _missing(self.key, self.namespace)
            return {}
        return {"value": entry.value}


@dataclass(frozen=True)
class Set(Task):
    """Writes a value, of the type that its expression has or that `kvType` asks for."""

    type = "io.kestra.plugin.core.kv.Set"

    key: str
    value: Typed
    namespace: str = "{{ flow.namespace }}"
    overwrite: bool = True
    ttl: timedelta | None = None
    kv_type: Kind | None = None

    def run(self, context: Context) -> None:
        value = self.value
        if isinstance(value, str) and self.kv_type is not None:
            value = _converted(value, self.kv_type)
        ttl = None if self.ttl is None else round(self.ttl.total_seconds() * 1000)
        context.kv.put(context.info.tenant, self.namespace, self.key, value, ttl=ttl, overwrite=self.overwrite)


@dataclass(frozen=True)
class Delete(Task):
    """Takes a value away: output `deleted`."""

    type = "io.kestra.plugin.core.kv.Delete"

    key: str
    namespace: str = "{{ flow.namespace }}"
    error_on_missing: bool = False

    def run(self, context: Context) -> Mapping[str, Any]:
        deleted = context.kv.delete(context.info.tenant, self.namespace, self.key)
        if self.error_on_missing and not deleted:
            raise _missing(self.key, self.namespace)
        return {"deleted": deleted}


@dataclass(frozen=True)
class GetKeys(Task):
    """Lists keys: output `keys`."""

    type = "io.kestra.plugin.core.kv.GetKeys"

    prefix: str = ""
    namespace: str = "{{ flow.namespace }}"

    def run(self, context: Context) -> Mapping[str, Any]:
        keys = context.kv.keys(context.info.tenant, self.namespace)
        return {"keys": sorted(key for key in keys if key.startswith(self.prefix))}


def _missing(key: str, namespace: str) -> TaskError:
    return TaskError(f"No value found for key '{key}' in namespace '{namespace}' and `errorOnMissing` is set to true")


def _converted(text: str, kind: Kind) -> Any:
    """The value that a text stands for. Raises TaskError when it stands for none."""
    try:
        match kind:
            case "NUMBER" | "JSON":
                return orjson.loads(text)
            case "BOOLEAN":
                return text.strip().lower() == "true"  # as Java reads it: anything else is false
            case "DATETIME" | "DATE":
                return iso(from_iso(text))
            case "DURATION":
                parse_duration(text)
                return text
            case _:
                return text
    except ValueError as error:
        raise TaskError(f"property `value`: '{text}' is no {kind}: {error}") from None


TASKS: Final = (Get, Set, Delete, GetKeys)
