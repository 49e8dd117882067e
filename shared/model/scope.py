"""Scope: what a flowable task run (or the execution itself) remembers of its children.

Counters only, never a list of children, so that the cost of a child's event does not grow with its siblings.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from enum import StrEnum
from typing import Any, Self

from shared.model.state import StateType


class Phase(StrEnum):
    """Which of a level's task lists runs now."""

    TASKS = "tasks"
    ERRORS = "errors"
    FINALLY = "finally"
    LISTENERS = "listeners"
    AFTER = "afterExecution"
    ENDED = "ended"


@dataclass(frozen=True, slots=True)
class Scope:
    """Bookkeeping of one level of task runs."""

    branch: str = "tasks"  #: the property whose tasks the TASKS phase runs: `tasks`, `then`, `cases.a`, …
    phase: Phase = Phase.TASKS
    next: int = 0  #: position of the next task, or of the next value of a loop
    step: int = 0  #: position of the next task of a later phase; `next` keeps its place for a restart
    size: int = 0  #: how many tasks, or values of a loop, the phase has
    open: int = 0  #: children that are not terminated
    iteration: int = 0  #: round of a loop-until, from 1
    filling: bool = False  #: a ContinueFanOut is under way
    tally: Mapping[str, int] = field(default_factory=dict)  #: terminated children of the TASKS phase by state
    other: Mapping[str, int] = field(default_factory=dict)  #: terminated children of the current later phase
    done: tuple[int, ...] = ()  #: a Dag's terminated positions

    def count(self, *states: StateType) -> int:
        """How many terminated children of the TASKS phase have one of the states."""
        return sum(self.tally.get(state.value, 0) for state in states)

    def opened(self, children: int = 1) -> Scope:
        return replace(self, open=self.open + children)

    def filled(self) -> Scope:
        """Without a ContinueFanOut under way."""
        return replace(self, filling=False)

    def closed(self, phase: Phase, state: StateType) -> Scope:
        """One child of `phase` less that is open, one more with the terminal `state`."""
        if phase is Phase.TASKS:
            return replace(
                self,
                open=self.open - 1,
                tally={**self.tally, state.value: self.tally.get(state.value, 0) + 1},
            )
        if phase is not self.phase:  # of a phase that is over: nothing counts its children any more
            return replace(self, open=self.open - 1)
        return replace(self, open=self.open - 1, other={**self.other, state.value: self.other.get(state.value, 0) + 1})

    def reopened(self, phase: Phase, state: StateType) -> Scope:
        """The inverse of `closed`: a terminated child is worked on again (restart, retry)."""
        if phase not in (Phase.TASKS, self.phase):
            return replace(self, open=self.open + 1)
        tally = dict(self.tally if phase is Phase.TASKS else self.other)
        if tally.get(state.value, 0) <= 1:
            tally.pop(state.value, None)
        else:
            tally[state.value] -= 1
        if phase is Phase.TASKS:
            return replace(self, open=self.open + 1, tally=tally)
        return replace(self, open=self.open + 1, other=tally)

    def to_data(self) -> dict[str, Any]:
        """Only what differs from a new scope, to keep a parent's entry small."""
        data: dict[str, Any] = {}
        for name, default in _DEFAULTS.items():
            value = getattr(self, name)
            if value != default:
                data[name] = value
        return data

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> Self:
        known = {name: data[name] for name in _DEFAULTS if name in data}
        if "phase" in known:
            known["phase"] = Phase(known["phase"])
        if "done" in known:
            known["done"] = tuple(known["done"])
        return cls(**known)


_DEFAULTS: dict[str, Any] = {each.name: getattr(Scope(), each.name) for each in fields(Scope)}
