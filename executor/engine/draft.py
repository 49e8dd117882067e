"""Draft: one decision in the making. It reads the state through an overlay that only `apply` changes."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeVar

from executor.engine.apply import apply
from executor.engine.effects import Effect, Log
from executor.engine.entries import Entries, Overlay, header_key, outputs_key, task_run_key
from executor.engine.events import Event
from executor.engine.plan import Plan
from executor.engine.variables import LazyMapping, variables
from shared.expressions import Renderer
from shared.model.execution import Execution
from shared.model.flow import Flow, Task
from shared.model.identifier import derive_id
from shared.model.moment import Millis
from shared.model.state import StateType
from shared.model.task_run import TaskRun

FAN_OUT_STEP: Final = 500
"""Children that one step creates at most; then it sends itself ContinueFanOut (design: bounded transactions)."""

HALTED: Final = frozenset({StateType.QUEUED, StateType.PAUSED})
"""Execution states in which nothing starts; what runs, finishes (Kestra's rule)."""

E = TypeVar("E", bound=Event)


class FlowLookup(Protocol):
    """Where the engine finds flows: those of executions, and those that subflows name."""

    def __call__(self, tenant: str, namespace: str, flow_id: str, revision: int | None) -> Plan | None:
        """The plan of a revision (the latest where None); None where there is no such flow."""
        ...


@dataclass(frozen=True, slots=True)
class Environment:
    """What the engine needs to know besides state and message; no I/O."""

    flows: FlowLookup
    renderer: Renderer
    flow_outputs: Callable[[Flow, Mapping[str, Any]], dict[str, Any]] | None = None
    resubmissions: int = 5
    kill_deadline: Millis = 10_000
    snapshots_last: Millis = 3_600_000  #: so long nothing that came back after a reading of the store has left again
    globals: Mapping[str, Any] | None = None
    subflow_inputs: Callable[[Flow, Mapping[str, Any]], dict[str, Any]] | None = None
    large_outputs: Callable[[str, Mapping[str, Any]], Mapping[str, Any]] | None = None  #: of a tenant, by reference


@dataclass(frozen=True, slots=True)
class Recorded:
    """An event with what it left behind: the header, and the entry whose document it changed."""

    event: Event
    execution: Execution | None
    subject: Execution | TaskRun | None


@dataclass(frozen=True, slots=True)
class Start:
    """To do: start a created task run."""

    task_run_id: str


@dataclass(frozen=True, slots=True)
class Advance:
    """To do: go on with a level (the execution's own where `owner` is None), in which `child` has just ended."""

    owner: str | None
    child: TaskRun | None = None


class Draft:
    """An execution's state as the decision sees it, and what has been decided so far."""

    __slots__ = (
        "_plan",
        "command_id",
        "created",
        "effects",
        "env",
        "events",
        "execution_id",
        "halted",
        "now",
        "state",
        "todo",
    )

    def __init__(self, entries: Entries, execution_id: str, now: Millis, env: Environment) -> None:
        """`now`: epoch milliseconds, the time of everything decided here."""
        self.state = Overlay(entries)
        self.execution_id = execution_id
        self.now = now
        self.env = env
        self.events: list[Recorded] = []
        self.effects: list[Effect] = []
        self.todo: deque[Start | Advance] = deque()
        self.created = 0
        self.command_id: str | None = None
        self._plan: Plan | None = None
        known = self.known
        #: nothing starts: it was halted before
        self.halted = known is not None and (known.state.current in HALTED or known.exiting is not None)

    @property
    def known(self) -> Execution | None:
        """The execution's header, None where there is no such execution."""
        found: Execution | None = self.state.get(header_key(self.execution_id))
        return found

    @property
    def execution(self) -> Execution:
        """The header of an execution that is there."""
        found = self.known
        assert found is not None
        return found

    @property
    def plan(self) -> Plan:
        """The plan of the execution's flow. Raises LookupError when the revision is gone."""
        if self._plan is None:
            execution = self.execution
            self._plan = self.env.flows(
                execution.tenant, execution.namespace, execution.flow_id, execution.flow_revision
            )
            if self._plan is None:
                msg = f"flow {execution.namespace}.{execution.flow_id} revision {execution.flow_revision} is not known"
                raise LookupError(msg)
        return self._plan

    def task_run(self, task_run_id: str) -> TaskRun | None:
        found: TaskRun | None = self.state.get(task_run_key(self.execution_id, task_run_id))
        return found

    def outputs(self, task_run: TaskRun) -> dict[str, Any] | None:
        found: dict[str, Any] | None = self.state.get(
            outputs_key(task_run.execution_id, task_run.task_id, task_run.values)
        )
        return found

    def emit(self, event_type: type[E], **fields: Any) -> E:
        """Decide one event: it gets the next sequence number and is applied at once."""
        known = self.known
        return self._emit(event_type, (known.seq if known is not None else 0) + 1, fields)

    def emit_after(self, seq: int, event_type: type[E], **fields: Any) -> E:
        """Decide the next event of an execution that is not here; `seq` is the last number that it has had."""
        return self._emit(event_type, seq + 1, fields)

    def _emit(self, event_type: type[E], seq: int, fields: Mapping[str, Any]) -> E:
        event = event_type(execution_id=self.execution_id, seq=seq, at=self.now, **fields)
        apply(self.state, event)
        after = self.known
        subject: Execution | TaskRun | None = after if event.changes_execution else None
        if event.task_run is not None:
            subject = self.task_run(event.task_run)
        self.events.append(Recorded(event, after, subject))
        return event

    def effect(self, effect: Effect) -> None:
        self.effects.append(effect)

    def log(self, level: str, text: str, task_run: TaskRun | None = None) -> None:
        """A log line of the executor."""
        if task_run is None:
            self.effects.append(Log(level, text))
        else:
            self.effects.append(Log(level, text, task_run.id, task_run.task_id))

    def next_id(self) -> str:
        """The id of the next thing created: the same decision gives the same id again."""
        known = self.known
        return derive_id(self.now, self.execution_id, (known.seq if known is not None else 0) + 1)

    def variables(
        self, task: Task | None = None, task_run: TaskRun | None = None, extra: Mapping[str, Any] | None = None
    ) -> LazyMapping:
        """What templates see now."""
        shown = dict(extra or {})
        if self.env.globals:
            shown["globals"] = self.env.globals
        return variables(self.state, self.plan, self.execution, task, task_run, shown, self._large_outputs)

    def _large_outputs(self, reference: Mapping[str, Any]) -> Mapping[str, Any]:
        load = self.env.large_outputs
        return reference if load is None else load(self.execution.tenant, reference)

    @property
    def killing(self) -> bool:
        return self.execution.state.current is StateType.KILLING
