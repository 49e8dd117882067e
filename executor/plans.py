"""Plans: the prepared flows that an executor works with, found by way of the flow directory."""

from __future__ import annotations

from typing import Final

from executor.engine.plan import Plan
from shared.flow_directory import FlowDirectory
from shared.model.execution import Execution

CATCH_UP: Final = 5.0
"""Seconds to read on for a flow that is not known yet: its record was written before the command that names it."""


class Plans:
    """Plans by flow and revision. A revision never changes, so a plan is never stale."""

    def __init__(self, directory: FlowDirectory) -> None:
        """`directory`: read by this object's caller, or when a flow is missed."""
        self._directory = directory
        self._plans: dict[tuple[str, str, str, int], Plan] = {}

    def __call__(self, tenant: str, namespace: str, flow_id: str, revision: int | None) -> Plan | None:
        """The plan of a revision (the latest where None); None where there is no such flow."""
        if revision is not None:
            known = self._plans.get((tenant, namespace, flow_id, revision))
            if known is not None:
                return known
        flow = self._directory.get(tenant, namespace, flow_id, revision)
        if flow is None and self._directory.catch_up(CATCH_UP):
            flow = self._directory.get(tenant, namespace, flow_id, revision)
        if flow is None:
            return None
        key = (tenant, namespace, flow_id, flow.revision)
        plan = self._plans.get(key)
        if plan is None:
            plan = self._plans[key] = Plan.of(flow)
        return plan

    def of(self, execution: Execution) -> Plan | None:
        """The plan of an execution's revision."""
        return self(execution.tenant, execution.namespace, execution.flow_id, execution.flow_revision)
