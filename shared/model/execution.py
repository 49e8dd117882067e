"""Execution: the header of one run of a flow. Inputs, outputs and task runs are entries of their own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Self

from shared.model.moment import Millis
from shared.model.scope import Scope
from shared.model.state import State

CORRELATION_ID = "system.correlationId"
"""The label that ties an execution to what it caused; its own id when none was given (Kestra's rule)."""


@dataclass(frozen=True, slots=True)
class Trigger:
    """What started an execution."""

    id: str
    type: str
    variables: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ParentTaskRun:
    """The Subflow (or ForEachItem) task run that waits for this execution's end."""

    execution_id: str
    task_run_id: str
    attempt: int = 0
    iteration: int | None = None
    wait: bool = True
    outputs: Mapping[str, Any] | None = None  #: deprecated `outputs` of the Subflow task: templates over the child's


@dataclass(frozen=True, slots=True)
class Execution:
    """The executor's entry of an execution."""

    id: str
    tenant: str
    namespace: str
    flow_id: str
    flow_revision: int
    state: State
    original_id: str
    labels: tuple[tuple[str, str], ...] = ()
    parent_id: str | None = None  #: the execution that this one replays or retries
    trigger: Trigger | None = None
    caller: ParentTaskRun | None = None
    attempt_number: int = 1
    original_created_at: Millis = 0
    schedule_at: Millis | None = None
    scope: Scope = field(default_factory=Scope)
    task_runs: int = 0  #: how many were created: a reader knows when its list is complete
    superseded: int = 0  #: how many of these were taken away since
    has_inputs: bool = False
    has_outputs: bool = False
    has_variables: bool = False  #: a task changed them: they are no longer those of the flow
    exiting: str | None = None  #: the state that an Exit wants, until all that still runs has ended
    slot: bool = False  #: holds, or waits for, a slot of the flow's concurrency limit
    error: str | None = None
    deleted: bool = False
    breached: bool = False  #: an SLA violation has already changed it
    paused_runs: int = 0  #: task runs that are PAUSED now
    retrying_runs: int = 0  #: task runs that are RETRYING now
    labels_shown: Millis = 0  #: when task runs' documents were last written for changed labels
    labels_due: bool = False  #: a timer writes them again
    seq: int = 0  #: sequence number of the last event

    def to_data(self) -> dict[str, Any]:
        """Only what differs from the default."""
        data: dict[str, Any] = {}
        for name, default in _DEFAULTS.items():
            value = getattr(self, name)
            if value != default:
                data[name] = value
        data["state"] = self.state.to_data()
        data["scope"] = self.scope.to_data()
        return data

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> Self:
        known = {name: data[name] for name in _DEFAULTS if name in data}
        known["state"] = State.from_data(data["state"])
        known["scope"] = Scope.from_data(data["scope"])
        known["labels"] = tuple((key, value) for key, value in data.get("labels", ()))
        if data.get("trigger") is not None:
            known["trigger"] = Trigger(**data["trigger"])
        if data.get("caller") is not None:
            known["caller"] = ParentTaskRun(**data["caller"])
        return cls(**known)


_DEFAULTS: dict[str, Any] = {
    f.name: (f.default if not callable(f.default_factory) else f.default_factory()) for f in fields(Execution)
}
