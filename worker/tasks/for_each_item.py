"""`flow.ForEachItem`: its parts that work on files. The executor creates them; flows don't name them.

The split's end carries the URIs as attribute `splits`, so that the executor need not read the file that is its output.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from worker.context import Context
from worker.properties import PropertyError, Raw, bind
from worker.storage import PROTOCOL, json_lines
from worker.task import Result, Task, TaskError
from worker.tasks.storage import Split

_TYPE: Final = "io.kestra.plugin.core.flow.ForEachItem"


@dataclass(frozen=True)
class ForEachItemSplit(Task):
    """Cuts the `items` file into batches: output `splits`, a file with a URI in each line."""

    type = f"{_TYPE}$ForEachItemSplit"

    items: str
    batch: Raw[dict[str, Any]] = field(default_factory=dict)

    def run(self, context: Context) -> Result:
        if not self.items.startswith(PROTOCOL):
            raise TaskError(f"Unable to split the items from {self.items}, this is not an internal storage URI!")
        if not isinstance(self.batch, Mapping):
            raise PropertyError("property `batch`: expected a map of `rows`, `bytes` or `partitions`")
        how = {"rows": 1, **self.batch}  # a batch has one item unless it says otherwise
        uris = bind(Split, {**how, "from": self.items}, context.rendering).pieces(context)
        listing = context.files.put("\n".join(uris).encode(), "splits.txt")
        return Result({"splits": listing}, attributes={"splits": uris})


@dataclass(frozen=True)
class ForEachItemMergeOutputs(Task):
    """Joins the outputs of the subflows, which the executor gives in `outputs`: output `subflowOutputs`, a file."""

    type = f"{_TYPE}$ForEachItemMergeOutputs"

    outputs: Raw[list[Any]] = field(default_factory=list)

    def run(self, context: Context) -> Mapping[str, Any]:
        resolved = context.services.resolver.resolve({"outputs": self.outputs}, context.info.tenant, context.mask)
        rows = [row for row in resolved["outputs"] if row]
        return {"subflowOutputs": context.files.put(json_lines(rows), "outputs.ion")} if rows else {}


TASKS: Final = (ForEachItemSplit, ForEachItemMergeOutputs)
