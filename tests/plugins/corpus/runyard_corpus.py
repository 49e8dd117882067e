"""Tasks of Kestra's test code, for conformance tests: what they do is told by the corpus' list of types."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from runyard.plugin import Context, Task, TaskError
from shared.flows.catalog import Role, TypeSpec
from shared.model.document import TERMINATED_NAMES, Kind
from shared.model.query import Page, Query

CHARACTERS = 1_100_000
"""Length of the value of WorkerTaskResultTooLarge."""


@dataclass(frozen=True)
class TaskThatFail(Task):
    """Fails, and keeps an output."""

    type = "io.kestra.core.runners.test.TaskThatFail"

    message: str | None = None

    def run(self, context: Context) -> None:
        raise TaskError(self.message or "failed", outputs={"message": self.message})


@dataclass(frozen=True)
class TaskWithAlias(Task):
    """Logs its message."""

    type = "io.kestra.core.runners.test.TaskWithAlias"
    aliases = ("io.kestra.core.runners.test.task.Alias",)

    message: str = ""

    def run(self, context: Context) -> None:
        context.logger.info(self.message)


@dataclass(frozen=True)
class WorkerTaskResultTooLarge(Task):
    """Gives a value larger than Kestra's queue takes."""

    type = "io.kestra.core.runners.test.WorkerTaskResultTooLarge"

    def run(self, context: Context) -> Mapping[str, Any]:
        return {"value": "a" * CHARACTERS}


@dataclass(frozen=True)
class Encrypted(Task):
    """Gives its text as an encrypted output."""

    type = "io.kestra.core.tasks.test.Encrypted"

    format: str = ""

    def run(self, context: Context) -> Mapping[str, Any]:
        return {"value": context.encrypted(self.format)}


@dataclass(frozen=True)
class NullOutputTask(Task):
    """Gives a null, with its key."""

    type = "io.kestra.core.tasks.test.NullOutputTask"

    def run(self, context: Context) -> Mapping[str, Any]:
        return {"value": None}


@dataclass(frozen=True)
class Read(Task):
    """Gives the text of a file of the working directory."""

    type = "io.kestra.core.tasks.test.Read"

    path: str

    def run(self, context: Context) -> Mapping[str, Any]:
        return {"value": (context.directory / self.path.lstrip("/")).read_text(encoding="utf-8")}


@dataclass(frozen=True)
class ListenersTestTask(Task):
    """Gives what the search store shows of its execution once that has ended."""

    type = "io.kestra.core.runners.ListenersTestTask"

    def run(self, context: Context) -> Mapping[str, Any]:
        query = Query(context.info.tenant, Kind.EXECUTION, execution_ids=(context.info.execution_id,))
        while not context.cancelled.wait(0.05):
            for document in context.services.search.find(query, Page(size=1)).documents:
                if document["state"]["current"] in TERMINATED_NAMES:
                    return {"value": f"Execution(id={document['id']}, flowId={document['flowId']})"}
        raise TaskError("the execution has not ended")


def tasks() -> tuple[type[Task], ...]:
    """The entry point."""
    return (TaskThatFail, TaskWithAlias, WorkerTaskResultTooLarge, Encrypted, NullOutputTask, Read, ListenersTestTask)


def types() -> tuple[TypeSpec, ...]:
    """The entry point of a trigger that never fires."""
    name = "io.kestra.core.runners.test"
    return (TypeSpec(f"{name}.TriggerWithAlias", Role.TRIGGER, aliases=(f"{name}.trigger.Alias",)),)
