"""State: where an execution, a task run or an attempt stands, with the history of how it came there.

The values and predicates are Kestra's (models/flows/State.Type).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise
from typing import Any, Final, Self

from shared.model.moment import Millis, format_duration, from_iso, iso


class StateType(StrEnum):
    """One enum for executions, task runs and attempts, as in Kestra."""

    CREATED = "CREATED"
    SUBMITTED = "SUBMITTED"
    RUNNING = "RUNNING"
    PAUSED = "PAUSED"
    RESTARTED = "RESTARTED"
    KILLING = "KILLING"
    SUCCESS = "SUCCESS"
    WARNING = "WARNING"
    FAILED = "FAILED"
    KILLED = "KILLED"
    CANCELLED = "CANCELLED"
    QUEUED = "QUEUED"
    RETRYING = "RETRYING"
    RETRIED = "RETRIED"
    SKIPPED = "SKIPPED"
    RESUBMITTED = "RESUBMITTED"

    @property
    def terminated(self) -> bool:
        return self in TERMINATED

    @property
    def failed(self) -> bool:
        """FAILED only: KILLED and WARNING are not "failed" in Kestra."""
        return self is StateType.FAILED


TERMINATED: Final = frozenset(
    {
        StateType.FAILED,
        StateType.WARNING,
        StateType.SUCCESS,
        StateType.KILLED,
        StateType.CANCELLED,
        StateType.RETRIED,
        StateType.SKIPPED,
        StateType.RESUBMITTED,
    }
)
"""States that nothing follows by itself. RESUBMITTED is an attempt's state only."""

_BY_NAME: Final = {state.value: state for state in StateType}


@dataclass(frozen=True, slots=True)
class State:
    """The current state and every state before it, oldest first, each with its moment."""

    histories: tuple[tuple[StateType, Millis], ...]

    @classmethod
    def created(cls, at: Millis) -> Self:
        return cls(((StateType.CREATED, at),))

    @property
    def current(self) -> StateType:
        return self.histories[-1][0]

    @property
    def start(self) -> Millis:
        """The first history's moment."""
        return self.histories[0][1]

    @property
    def changed(self) -> Millis:
        """The moment of the last change."""
        return self.histories[-1][1]

    @property
    def end(self) -> Millis | None:
        """The moment of the last change when terminated or paused, else None (Kestra's rule)."""
        current, at = self.histories[-1]
        return at if current in TERMINATED or current is StateType.PAUSED else None

    @property
    def terminated(self) -> bool:
        return self.histories[-1][0] in TERMINATED

    def to(self, state: StateType, at: Millis) -> State:
        """This state followed by another one; the current state again is no change (Kestra's rule)."""
        return self if state is self.current else State((*self.histories, (state, at)))

    @property
    def resumed(self) -> bool:
        """Whether it ended and was worked on again by hand: a retry goes by way of RETRYING."""
        states = [state for state, _ in self.histories]
        again = (StateType.RUNNING, StateType.RESTARTED)
        return any(before in TERMINATED and after in again for before, after in pairwise(states))

    def has_been(self, state: StateType) -> bool:
        return any(past is state for past, _ in self.histories)

    def to_data(self) -> list[list[Any]]:
        return [[state.value, at] for state, at in self.histories]

    @classmethod
    def from_data(cls, data: list[list[Any]]) -> Self:
        return cls(tuple((_BY_NAME[name], at) for name, at in data))

    def document(self) -> dict[str, Any]:
        """The state as documents hold it: `duration` in seconds, so that it can be searched and sorted."""
        histories = self.histories
        end = self.end
        document: dict[str, Any] = {
            "current": histories[-1][0].value,
            "startDate": iso(histories[0][1]),
            "histories": [{"state": state.value, "date": iso(at)} for state, at in histories],
        }
        if end is not None:
            document["endDate"] = iso(end)
            document["duration"] = (end - histories[0][1]) / 1000
        return document

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Self:
        """The inverse of `document`, for executions that come back from the index."""
        return cls(tuple((_BY_NAME[h["state"]], from_iso(h["date"])) for h in document["histories"]))


def state_json(document: dict[str, Any], now: Millis) -> dict[str, Any]:
    """A document's state in the shape of Kestra's API: the duration as ISO 8601, up to `now` while it runs."""
    histories = document["histories"]
    start = from_iso(document["startDate"])
    last = from_iso(histories[-1]["date"]) if len(histories) > 1 or "endDate" in document else now
    answer = {
        "current": document["current"],
        "histories": histories,
        "duration": format_duration(last - start),
        "startDate": document["startDate"],
    }
    if "endDate" in document:
        answer["endDate"] = document["endDate"]
    return answer
