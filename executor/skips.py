"""Skips: what an operator wants to be passed over, so that one poison execution does not hold up the rest.

Nothing about it is lost: its records go to the dead letters, from where they can be replayed, and its timers, leases
and waiting task runs stay in the state for an executor without the setting.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import Final, Protocol

from executor.engine.entries import Entries, header_key
from shared.messages import CreateExecution
from shared.model.execution import Execution
from shared.settings import ExecutorSettings

REMEMBERED: Final = 10_000
"""Executions that are named once in the log at most; after so many it begins again, so that the memory stays small."""

logger = logging.getLogger(__name__)


class OfExecution(Protocol):
    """Whatever is about one execution."""

    @property
    def execution_id(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Skips:
    """What an operator wants to be passed over: poison executions, flows, namespaces."""

    executions: frozenset[str] = frozenset()
    flows: frozenset[str] = frozenset()
    namespaces: frozenset[str] = frozenset()
    _named: set[str] = field(default_factory=set, compare=False)

    @classmethod
    def of(cls, settings: ExecutorSettings) -> Skips:
        """What the settings say."""
        return cls(
            frozenset(settings.skip_executions), frozenset(settings.skip_flows), frozenset(settings.skip_namespaces)
        )

    def why(self, entries: Entries, about: OfExecution) -> str | None:
        """The setting that wants this to be passed over; None where none does.

        Flows are named by id, by namespace and id, or by tenant, namespace and id.
        """
        if not (self.executions or self.flows or self.namespaces):
            return None
        reason = self._why(entries, about)
        if reason is not None and about.execution_id not in self._named:
            if len(self._named) >= REMEMBERED:
                self._named.clear()
            self._named.add(about.execution_id)
            logger.warning("Execution %s is passed over, %s", about.execution_id, reason)
        return reason

    def _why(self, entries: Entries, about: OfExecution) -> str | None:
        if about.execution_id in self.executions:
            return "skipped by setting executor.skip_executions"
        execution: Execution | None = entries.get(header_key(about.execution_id))
        where = execution if execution is not None else about if isinstance(about, CreateExecution) else None
        if where is None:
            return None
        names = {
            where.flow_id,
            f"{where.namespace}.{where.flow_id}",
            f"{where.tenant}/{where.namespace}/{where.flow_id}",
        }
        if names & self.flows:
            return "skipped by setting executor.skip_flows"
        if where.namespace in self.namespaces:
            return "skipped by setting executor.skip_namespaces"
        return None
