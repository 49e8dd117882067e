"""Skips: what an operator wants to be passed over, so that one poison execution does not hold up the rest."""

from __future__ import annotations

from dataclasses import dataclass

from executor.engine.decide import Incoming
from executor.engine.entries import Entries, header_key
from shared.messages import CreateExecution
from shared.model.execution import Execution


@dataclass(frozen=True, slots=True)
class Skips:
    """What an operator wants to be passed over: poison executions, flows, namespaces."""

    executions: frozenset[str] = frozenset()
    flows: frozenset[str] = frozenset()
    namespaces: frozenset[str] = frozenset()

    def covers(self, entries: Entries, message: Incoming) -> bool:
        """Whether a message is about something to be passed over. Flows are named by id, or with their namespace."""
        if not (self.executions or self.flows or self.namespaces):
            return False
        if message.execution_id in self.executions:
            return True
        execution: Execution | None = entries.get(header_key(message.execution_id))
        where = execution if execution is not None else message if isinstance(message, CreateExecution) else None
        if where is None:
            return False
        names = {
            where.flow_id,
            f"{where.namespace}.{where.flow_id}",
            f"{where.tenant}/{where.namespace}/{where.flow_id}",
        }
        return bool(names & self.flows) or where.namespace in self.namespaces
