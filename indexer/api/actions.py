"""Actions: what can be done to an execution. Each is a command to the executor, answered with what became of it.

This module makes the commands; `execution_actions` and `bulk_actions` put them on paths.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from indexer.api.commands import Question
from indexer.api.creation import SYSTEM
from indexer.api.errors import refused
from indexer.api.reading import now
from indexer.api.tenancy import Tenant
from shared.messages import (
    ChangeExecutionState,
    ChangeTaskRunState,
    DeleteExecution,
    ExecutionCommand,
    ForceRunExecution,
    KillExecution,
    PauseExecution,
    ReplayExecution,
    RestartExecution,
    ResumeExecution,
    SetLabels,
    UnqueueExecution,
)
from shared.model.document import TERMINATED_NAMES
from shared.model.identifier import new_id
from shared.model.state import StateType

Document = Mapping[str, Any]


Action = Callable[[Tenant, Document], Question]
"""Makes the command for the execution of a document. May block; raises ApiError for what can't be asked."""

UNQUEUED: Final = ("RUNNING", "CANCELLED", "FAILED")
"""What an execution may leave the queue as, as in today's Kestra."""


RESTARTED: Final = frozenset({"RESTARTED", "CREATED"})
"""States in which what makes an execution run again is answered: as Kestra does, before it runs on."""


def kill(*, cascade: bool = True) -> Action:
    """Stop everything of it, and of its subflows with `cascade`."""
    return lambda _, document: _own(document, KillExecution(document["id"], new_id(), now(), cascade))


def pause() -> Action:
    """Start nothing new."""
    return lambda _, document: _own(document, PauseExecution(document["id"], new_id(), now()))


def force_run() -> Action:
    """Run now: past a queue, a schedule date or a pause."""
    return lambda _, document: _own(document, ForceRunExecution(document["id"], new_id(), now()))


def unqueue(state: str | None = None) -> Action:
    """Leave the concurrency queue."""
    wanted = state or "RUNNING"
    if wanted not in UNQUEUED:
        raise refused(f"Invalid state: {wanted}; an execution leaves the queue to {', '.join(UNQUEUED)}")
    return lambda _, document: _own(document, UnqueueExecution(document["id"], new_id(), now(), wanted))


def resume(*, task_run_id: str | None = None, inputs: dict[str, Any] | None = None) -> Action:
    """Go on after a pause."""
    return lambda _, document: _own(
        document, ResumeExecution(document["id"], new_id(), now(), task_run_id=task_run_id, inputs=inputs)
    )


def restart(*, revision: int | None = None) -> Action:
    """Run again what failed: the same execution, or with a revision a new one (Kestra's rule)."""

    def make(tenant: Tenant, document: Document) -> Question:
        _known_revision(tenant, document, revision)
        new = None if revision is None else new_id()
        command = RestartExecution(
            document["id"],
            new_id(),
            now(),
            revision=revision,
            new_execution_id=new,
        )
        batches = new is None and _has_batches(tenant, document)
        return Question(command, new or document["id"], RESTARTED, fresh=new is not None, batches=batches)

    return make


def _has_batches(tenant: Tenant, document: Document) -> bool:
    flow = tenant.flow(document["namespace"], document["flowId"], document["flowRevision"])
    return flow is not None and any(task.type.endswith(".ForEachItem") for task in flow.walk())


def replay(
    *,
    task_run_id: str | None = None,
    revision: int | None = None,
    latest: bool = False,
    inputs: dict[str, Any] | None = None,
) -> Action:
    """Run again as a new execution, from the start or a task run; `latest`: with the flow's latest revision."""

    def make(tenant: Tenant, document: Document) -> Question:
        wanted = revision
        if latest:
            flow = tenant.flow(document["namespace"], document["flowId"])
            wanted = None if flow is None else flow.revision
        _known_revision(tenant, document, wanted)
        new = new_id()
        command = ReplayExecution(
            document["id"],
            new_id(),
            now(),
            new_execution_id=new,
            task_run_id=task_run_id,
            revision=wanted,
            inputs=inputs,
        )
        return Question(command, new, RESTARTED, fresh=True)

    return make


def change_task_run_state(task_run_id: str, state: str) -> Action:
    """Set a task run's state by hand."""
    wanted = _state(state)

    def make(_: Tenant, document: Document) -> Question:
        own = document["id"]
        return Question(ChangeTaskRunState(own, new_id(), now(), task_run_id, wanted), own, RESTARTED)

    return make


def change_state(state: str) -> Action:
    """Set the state of an ended execution by hand."""
    wanted = _state(state)
    if wanted not in TERMINATED_NAMES:
        raise refused(f"Invalid status: {wanted}; an execution's status can only be changed to a terminal one")
    return lambda _, document: _own(document, ChangeExecutionState(document["id"], new_id(), now(), wanted))


def set_labels(labels: Sequence[tuple[str, str]], *, replace: bool) -> Action:
    """Set labels. System labels can't be changed: given with the value that they have, they stay."""

    def make(_: Tenant, document: Document) -> Question:
        known = document.get("labels", {})
        for key, value in labels:
            if key.startswith(SYSTEM) and known.get(key) != value:
                raise refused(f"System labels can only be set by Kestra itself, offending label: {key}={value}")
        kept = {key: value for key, value in known.items() if key.startswith(SYSTEM)} if replace else {}
        wanted = [[key, value] for key, value in {**kept, **dict(labels)}.items()]
        return _own(document, SetLabels(document["id"], new_id(), now(), wanted, replace=replace))

    return make


def delete() -> Action:
    """Take it away."""
    return lambda _, document: _own(document, DeleteExecution(document["id"], new_id(), now()))


def _own(document: Document, command: ExecutionCommand) -> Question:
    return Question(command, document["id"])


def _state(name: str) -> str:
    if name not in StateType.__members__:
        raise refused(f"Invalid state: {name}; expected one of {', '.join(StateType.__members__)}")
    return name


def _known_revision(tenant: Tenant, document: Document, revision: int | None) -> None:
    if revision is None:
        return
    namespace, flow_id = document["namespace"], document["flowId"]
    if tenant.stored_flow(namespace, flow_id, revision) is None:
        tenant.services.flows.catch_up(2.0)
    stored = tenant.stored_flow(namespace, flow_id, revision)
    if stored is None or stored.deleted:
        raise refused(f"Flow {namespace}.{flow_id} has no revision {revision}")
