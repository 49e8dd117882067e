"""AllowFailure: a sequence whose failure is a warning."""

from __future__ import annotations

from executor.engine.flowable import Flowable
from executor.engine.level import Level
from shared.model.state import StateType


class AllowFailure(Flowable):
    """Its own `errors` run first; those around it do not."""

    def result(self, level: Level, state: StateType) -> StateType:
        del level
        return StateType.WARNING if state is StateType.FAILED else state
