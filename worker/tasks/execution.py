"""`execution`: tasks that judge their execution."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from shared.expressions.renderer import truthy
from shared.messages import ResumeExecution
from shared.ports import Outbound, Topic
from worker.context import Context
from worker.properties import Raw
from worker.task import Task, TaskError


@dataclass(frozen=True)
class Fail(Task):
    """Fails, always or when `condition` holds."""

    type = "io.kestra.plugin.core.execution.Fail"
    aliases = ("io.kestra.core.tasks.executions.Fail",)
    brief = True

    condition: str | None = None
    error_message: str = "Task failure"

    def run(self, context: Context) -> None:
        if self.condition is None:
            raise TaskError(self.error_message)
        if truthy(self.condition):
            context.logger.error(self.error_message)
            raise TaskError("Fail on a condition")


@dataclass(frozen=True)
class Assert(Task):
    """Fails unless all conditions hold; outputs and metrics count those that do and don't."""

    type = "io.kestra.plugin.core.execution.Assert"
    brief = True

    conditions: Raw[list[str]]
    error_message: str | None = None

    def run(self, context: Context) -> Mapping[str, Any]:
        failed = [condition for condition in self.conditions if not truthy(context.render(condition))]
        context.metrics.counter("failed", len(failed))
        context.metrics.counter("success", len(self.conditions) - len(failed))
        for condition in failed:
            context.logger.error("Assertion failed: %s", condition)
        if failed:
            raise TaskError(self.error_message or f"{len(failed)} assertion(s) failed.")
        return {}


@dataclass(frozen=True)
class Resume(Task):
    """Resumes a paused execution."""

    type = "io.kestra.plugin.core.execution.Resume"
    aliases = ("io.kestra.core.tasks.executions.Resume",)

    execution_id: str
    inputs: dict[str, Any] | None = None

    def run(self, context: Context) -> None:
        # The same attempt sent twice resumes once: the engine knows the command's id.
        info = context.info
        command_id = f"{info.task_run_id}-{info.attempt}-{info.dispatch}"
        command = ResumeExecution(self.execution_id, command_id, context.services.clock(), inputs=self.inputs)
        context.services.events.publish([Outbound(Topic.EXECUTION_COMMANDS, self.execution_id, command.to_bytes())])


TASKS: Final = (Fail, Assert, Resume)
