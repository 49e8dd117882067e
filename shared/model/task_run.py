"""Task run: one run of a task within an execution, with its attempts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from shared.model.moment import Millis
from shared.model.scope import Phase, Scope
from shared.model.state import State


@dataclass(frozen=True, slots=True)
class Attempt:
    """One run of a task run on a worker."""

    state: State
    session: str | None = None  #: the worker session that ran it
    error: str | None = None

    def to_data(self) -> list[Any]:
        return [self.state.to_data(), self.session, self.error]

    @classmethod
    def from_data(cls, data: list[Any]) -> Self:
        return cls(State.from_data(data[0]), data[1], data[2])

    def document(self) -> dict[str, Any]:
        document: dict[str, Any] = {"state": self.state.document()}
        if self.session is not None:
            document["workerId"] = self.session
        if self.error is not None:
            document["error"] = self.error
        return document

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Self:
        return cls(State.from_document(document["state"]), document.get("workerId"), document.get("error"))


@dataclass(frozen=True, slots=True)
class TaskRun:
    """The executor's entry of a task run. Outputs and loop values are entries of their own."""

    id: str
    execution_id: str
    task_id: str
    state: State
    parent_id: str | None = None
    value: str | None = None  #: the loop value, on direct children of a loop only (Kestra's rule)
    iteration: int | None = None  #: round of a WaitFor/LoopUntil, or number of a ForEachItem batch
    index: int | None = None  #: which value of the loop
    position: int = 0  #: which task of its list
    phase: Phase = Phase.TASKS  #: which list of the parent it stands in
    values: tuple[str, ...] = ()  #: values of valued ancestors, outermost first, its own last
    attempts: tuple[Attempt, ...] = ()
    resubmissions: int = 0  #: attempts that ended because their worker was lost
    retries_since: int = 0  #: attempts that were there when a restart made the count begin anew
    scope: Scope | None = None  #: of a flowable
    has_outputs: bool = False
    error: str | None = None
    superseded: bool = False  #: taken away by the engine (a restart, the next round of a loop)
    created: int = 0  #: sequence number of its creation: the order of an execution's task runs
    seq: int = 0  #: sequence number of its last event: the version of its document

    def to_data(self) -> dict[str, Any]:
        """Compact: absent means default."""
        data: dict[str, Any] = {
            "id": self.id,
            "x": self.execution_id,
            "t": self.task_id,
            "s": self.state.to_data(),
            "q": self.seq,
            "c": self.created,
        }
        if self.parent_id is not None:
            data["p"] = self.parent_id
        if self.value is not None:
            data["v"] = self.value
        if self.iteration is not None:
            data["it"] = self.iteration
        if self.index is not None:
            data["ix"] = self.index
        if self.position:
            data["po"] = self.position
        if self.phase is not Phase.TASKS:
            data["ph"] = self.phase.value
        if self.values:
            data["vs"] = self.values
        if self.attempts:
            data["a"] = [attempt.to_data() for attempt in self.attempts]
        if self.resubmissions:
            data["rs"] = self.resubmissions
        if self.retries_since:
            data["rt"] = self.retries_since
        if self.scope is not None:
            data["sc"] = self.scope.to_data()
        if self.has_outputs:
            data["o"] = True
        if self.error is not None:
            data["e"] = self.error
        if self.superseded:
            data["su"] = True
        return data

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> Self:
        return cls(
            id=data["id"],
            execution_id=data["x"],
            task_id=data["t"],
            state=State.from_data(data["s"]),
            parent_id=data.get("p"),
            value=data.get("v"),
            iteration=data.get("it"),
            index=data.get("ix"),
            position=data.get("po", 0),
            phase=Phase(data["ph"]) if "ph" in data else Phase.TASKS,
            values=tuple(data.get("vs", ())),
            attempts=tuple(Attempt.from_data(attempt) for attempt in data.get("a", ())),
            resubmissions=data.get("rs", 0),
            retries_since=data.get("rt", 0),
            scope=Scope.from_data(data["sc"]) if "sc" in data else None,
            has_outputs=data.get("o", False),
            error=data.get("e"),
            superseded=data.get("su", False),
            created=data.get("c", 0),
            seq=data["q"],
        )


@dataclass(frozen=True, slots=True)
class Work:
    """A piece of work: which dispatch of which attempt of which task run. Results of any other are rejected."""

    execution_id: str
    task_run_id: str
    attempt: int
    dispatch: int


@dataclass(frozen=True, slots=True)
class Lease:
    """Who works on a task run; begins with the dispatch and is held by the session's heartbeats."""

    work: Work
    session: str
    inbox: int  #: partition of the session's inbox
    position: int | None  #: inbox offset of the command, when known
    at: Millis
    group: str = ""  #: worker group that the task run asked for, for the next dispatch
    fallback: str = "WAIT"

    def to_data(self) -> list[Any]:
        work = self.work
        return [
            work.execution_id,
            work.task_run_id,
            work.attempt,
            work.dispatch,
            self.session,
            self.inbox,
            self.position,
            self.at,
            self.group,
            self.fallback,
        ]

    @classmethod
    def from_data(cls, data: list[Any]) -> Self:
        return cls(Work(*data[:4]), *data[4:])
