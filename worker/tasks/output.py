"""`output`: values as outputs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from worker.context import Context
from worker.task import Task


@dataclass(frozen=True)
class OutputValues(Task):
    """Gives rendered values as output `values`."""

    type = "io.kestra.plugin.core.output.OutputValues"
    brief = True

    values: dict[str, Any] = field(default_factory=dict)

    def run(self, context: Context) -> Mapping[str, Any]:  # noqa: ARG002 - its properties are all that it needs
        return {"values": self.values}


TASKS: Final = (OutputValues,)
