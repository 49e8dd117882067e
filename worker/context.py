"""Context: what a running task may use: its variables, the renderer, a logger, metrics, files, key values."""

from __future__ import annotations

import shutil
import tempfile
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shared.expressions.encryption import encrypt
from shared.expressions.renderer import Renderer
from shared.messages import Metric, RunTaskRun
from shared.model.moment import Millis
from shared.ports import Outbound, Topic
from shared.secrecy import ENCRYPTED
from worker.attempt import Attempt
from worker.key_values import KvStore
from worker.logger import Masks, TaskLogger
from worker.outside import AttemptOutside
from worker.properties import Rendering
from worker.services import Services
from worker.storage import Files


@dataclass(frozen=True, slots=True)
class TaskRunInfo:
    """Which task run this is."""

    tenant: str
    namespace: str
    flow_id: str
    flow_revision: int
    execution_id: str
    task_id: str
    task_run_id: str
    attempt: int  #: from 0; the same number after a hand-back to another worker, then `dispatch` differs
    dispatch: int


class Metrics:
    """Numbers that a task reports."""

    def __init__(
        self, command: RunTaskRun, write: Callable[[list[Outbound]], None], clock: Callable[[], Millis]
    ) -> None:
        """`write`: takes the finished records."""
        self._command = command
        self._write = write
        self._clock = clock
        self._count = 0

    def counter(self, name: str, value: float, tags: Mapping[str, str] | None = None) -> None:
        """Report an amount."""
        self._add("counter", name, value, tags)

    def timer(self, name: str, millis: float, tags: Mapping[str, str] | None = None) -> None:
        """Report a length of time in milliseconds."""
        self._add("timer", name, millis, tags)

    def _add(self, kind: str, name: str, value: float, tags: Mapping[str, str] | None) -> None:
        command = self._command
        self._count += 1
        metric = Metric(
            id=f"{command.task_run_id}-{command.attempt}-{command.dispatch}-m{self._count}",
            tenant=command.tenant,
            namespace=command.namespace,
            flow_id=command.flow_id,
            execution_id=command.execution_id,
            task_id=str(command.task.get("id")),
            task_run_id=command.task_run_id,
            name=name,
            kind=kind,
            value=value,
            at=self._clock(),
            tags=dict(tags or {}),
        )
        self._write([Outbound(Topic.METRICS, command.execution_id, metric.to_bytes())])


class Context:
    """One attempt, as its task sees it."""

    def __init__(self, attempt: Attempt, services: Services, write: Callable[[list[Outbound]], None]) -> None:
        """`write`: takes log lines and metrics."""
        command = attempt.command
        self._attempt = attempt
        self._services = services
        self._masks = Masks()
        self._directory: Path | None = None
        self._scratch: Path | None = None
        self._files: Files | None = None
        self.logger = TaskLogger(command, self._masks, write, services.clock)
        self.metrics = Metrics(command, write, services.clock)
        self.variables: Mapping[str, Any] = {}  #: what templates see, from `prepare` on
        self.rendering = Rendering(Renderer(), {})

    def prepare(self) -> None:
        """Resolve what the command refers to. Raises FileNotFoundError, StorageError or Refusal."""
        command, services = self._attempt.command, self._services
        variables = services.resolver.resolve(command.variables, command.tenant, self._masks.add)
        for name, known in _known(command).items():
            given = variables.get(name)
            variables[name] = {**known, **given} if given else known
        variables.update(services.around())
        self.variables = variables
        outside = AttemptOutside(services, command.tenant, variables, self._masks.add)
        self.rendering = Rendering(Renderer(outside, services.limits), variables)

    @property
    def info(self) -> TaskRunInfo:
        """Which task run this is."""
        command = self._attempt.command
        return TaskRunInfo(
            command.tenant,
            command.namespace,
            command.flow_id,
            command.flow_revision,
            command.execution_id,
            str(command.task.get("id")),
            command.task_run_id,
            command.attempt,
            command.dispatch,
        )

    @property
    def command(self) -> RunTaskRun:
        """The command as it came, for the built-in tasks."""
        return self._attempt.command

    @property
    def services(self) -> Services:
        """The worker's ports and settings, for the built-in tasks."""
        return self._services

    @property
    def cancelled(self) -> threading.Event:
        """Set when the task is to stop (kill, timeout, end of the worker): wait on it instead of sleeping."""
        return self._attempt.cancelled

    def on_cancel(self, stop: Callable[[], None]) -> None:
        """Call `stop` when the task is to stop, from another thread: to kill a process, to close a connection."""
        self._attempt.on_interrupt(stop)

    def render(self, template: str | None, extra: Mapping[str, Any] | None = None) -> str | None:
        """Render a template to text, with `extra` variables before the task's. Raises RenderError."""
        return self.rendering.renderer.render(template, self._with(extra))

    def render_typed(self, template: Any, extra: Mapping[str, Any] | None = None) -> Any:
        """Render a template; one that is a single expression gives its value. Raises RenderError."""
        return self.rendering.renderer.render_typed(template, self._with(extra))

    def render_value(self, value: Any, extra: Mapping[str, Any] | None = None) -> Any:
        """Render all texts in nested maps and lists. Raises RenderError."""
        return self.rendering.renderer.render_value(value, self._with(extra))

    def _with(self, extra: Mapping[str, Any] | None) -> Mapping[str, Any]:
        return {**self.variables, **extra} if extra else self.variables

    @property
    def files(self) -> Files:
        """The internal storage: files of this tenant by URI, new ones below the task run."""
        if self._files is None:
            self._files = Files(self._services.blobs, self._attempt.command)
        return self._files

    @property
    def kv(self) -> KvStore:
        """The key-value store."""
        return self._services.kv

    @property
    def directory(self) -> Path:
        """A folder of the attempt's own, empty at first, gone afterwards."""
        if self._directory is None:
            self._directory = Path(tempfile.mkdtemp(prefix="runyard-"))
        return self._directory

    @property
    def scratch(self) -> Path:
        """A folder for files on the way, apart from `directory`."""
        if self._scratch is None:
            self._scratch = Path(tempfile.mkdtemp(prefix="runyard-"))
        return self._scratch

    def mask(self, secret: str) -> None:
        """Show `********` in place of this text in the log lines to come."""
        self._masks.add(secret)

    def hidden(self, text: str) -> str:
        """The text with every secret that was read masked."""
        return self._masks.hide(text)

    def encrypted(self, text: str) -> dict[str, str]:
        """A text as outputs may hold it: encrypted where a key is set (Kestra's EncryptedString)."""
        self._masks.add(text)
        key = self._services.settings.encryption_key
        return {"type": ENCRYPTED, "value": text if key is None else encrypt(key, text)}

    def close(self) -> None:
        """Remove the folders."""
        for folder in (self._directory, self._scratch):
            if folder is not None:
                shutil.rmtree(folder, ignore_errors=True)


def _known(command: RunTaskRun) -> dict[str, dict[str, Any]]:
    """What a command says by itself: defaults of properties may reach it where no template of the flow does."""
    task = command.task
    return {
        "flow": {
            "id": command.flow_id,
            "namespace": command.namespace,
            "revision": command.flow_revision,
            "tenantId": command.tenant,
        },
        "execution": {"id": command.execution_id},
        "task": {"id": task.get("id"), "type": task.get("type")},
        "taskrun": {"id": command.task_run_id, "attemptsCount": command.attempt},
    }
