"""`storage`, item by item: tasks on files whose rows are ION or JSON objects."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from shared.expressions.errors import Refusal, RenderError
from shared.expressions.ion import from_ion
from shared.expressions.renderer import truthy
from worker.context import Context
from worker.properties import Raw
from worker.task import Task, TaskError
from worker.tasks.storage import local_copy, rows


def item_of(row: str) -> Mapping[str, Any]:
    """The object of a row: its fields become variables. Raises TaskError."""
    try:
        item = from_ion(row)
    except Refusal as error:
        raise TaskError(f"The row `{row[:200]}` can't be read: {error}") from None
    if not isinstance(item, Mapping):
        raise TaskError(f"The row `{row[:200]}` is no object")
    return item


@dataclass(frozen=True)
class DeduplicateItems(Task):
    """Keeps the last of the items for which `expr` gives the same text."""

    type = "io.kestra.plugin.core.storage.DeduplicateItems"
    aliases = ("io.kestra.core.tasks.storages.DeduplicateItems",)

    from_: str
    expr: Raw[str]

    def run(self, context: Context) -> Mapping[str, Any]:
        source = local_copy(context, self.from_)
        last: dict[str | None, int] = {}
        keys: list[str | None] = []
        for number, row in enumerate(rows(source)):
            keys.append(context.render(self.expr, item_of(row)))
            last[keys[-1]] = number
        kept = context.scratch / "kept"
        with kept.open("w", encoding="utf-8") as target:
            for number, row in enumerate(rows(source)):
                if last[keys[number]] == number:
                    target.write(row + "\n")
        return {
            "uri": context.files.put(kept, "deduplicated.ion"),
            "numKeys": len(last),
            "processedItemsTotal": len(keys),
            "droppedItemsTotal": len(keys) - len(last),
        }


@dataclass(frozen=True)
class FilterItems(Task):
    """Keeps, or drops, the items for which `filterCondition` holds."""

    type = "io.kestra.plugin.core.storage.FilterItems"
    aliases = ("io.kestra.core.tasks.storages.FilterItems",)

    from_: str
    filter_condition: Raw[str]
    filter_type: Literal["INCLUDE", "EXCLUDE"] = "INCLUDE"
    error_or_null_behavior: Literal["FAIL", "INCLUDE", "EXCLUDE"] = "FAIL"

    def run(self, context: Context) -> Mapping[str, Any]:
        kept = context.scratch / "kept"
        processed = dropped = 0
        with kept.open("w", encoding="utf-8") as target:
            for row in rows(local_copy(context, self.from_)):
                processed += 1
                if self._includes(context, row):
                    target.write(row + "\n")
                else:
                    dropped += 1
        uri = context.files.put(kept, "filtered.ion")
        return {"uri": uri, "processedItemsTotal": processed, "droppedItemsTotal": dropped}

    def _includes(self, context: Context, row: str) -> bool:
        try:
            value = context.render_typed(self.filter_condition, item_of(row))
            text = None if value is None else context.render(self.filter_condition, item_of(row))
        except RenderError:
            if self.error_or_null_behavior == "FAIL":
                raise
            return self.error_or_null_behavior == "INCLUDE"
        if text is None:
            if self.error_or_null_behavior == "FAIL":
                raise TaskError(f"Expression `{self.filter_condition}` return `null` on item `{row}`")
            return self.error_or_null_behavior == "INCLUDE"
        return truthy(text.strip()) is (self.filter_type == "INCLUDE")


TASKS: Final = (DeduplicateItems, FilterItems)
