"""Triggers: flows that start when an execution of another flow changes its state.

Where an execution changes, its executor looks which flows listen and whether the conditions of their triggers hold;
then it sends `ConsiderTrigger` to those flows' gates. A gate keeps the windows of conditions that span several
executions, and creates the execution. Its id follows from the trigger and the state change, so that it is created once.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from executor import gates
from executor.engine.conditions import Seen, holds
from executor.engine.draft import Environment, Recorded
from executor.engine.entries import Entries, Overlay, encode, flow_outputs_key
from executor.engine.events import ExecutionMoved
from executor.engine.plan import Plan
from executor.engine.variables import materialised, variables
from executor.windows import Multiple, Remembered, is_multiple, multiples
from shared import messages as m
from shared.expressions import Reach, RenderError, reach
from shared.flow_directory import FlowAnswer, FlowDirectory
from shared.flows.parser import FlowError
from shared.model.execution import CORRELATION_ID, Execution
from shared.model.flow import Flow, Trigger
from shared.model.identifier import derive_id
from shared.model.state import TERMINATED, StateType
from shared.ports import Outbound, Topic

logger = logging.getLogger(__name__)

TYPE: Final = "io.kestra.plugin.core.trigger.Flow"
NAMES: Final = (TYPE, "io.kestra.core.models.triggers.types.Flow")
"""How a source may write the type: a source without one of these texts need not be parsed."""
CATCH_UP: Final = 5.0
"""Seconds to read on for a revision that the sender of a message knows and this executor does not yet."""
ENDS: Final = TERMINATED - {StateType.RESUBMITTED}
"""States that a trigger without `states` listens to: all in which an execution has ended (Kestra's default)."""

HEAVIEST: Final = 2 * 1024 * 1024
"""Bytes of a message or window at most: a quarter of a record's hard limit, above which a whole step fails."""

Place = tuple[str, str | None]
"""A namespace, and a flow of it, or None for any."""


@dataclass(frozen=True, slots=True)
class Listener:
    """One enabled flow trigger of the latest revision of a flow."""

    plan: Plan
    trigger: Trigger
    states: frozenset[str]
    conditions: tuple[Mapping[str, Any], ...]  #: those that look at one execution alone
    multiples: tuple[Multiple, ...]
    places: frozenset[Place] | None  #: of the only flows that it can listen to; None where that is any
    reach: Reach  #: of its inputs' templates

    @classmethod
    def of(cls, plan: Plan, trigger: Trigger) -> Listener:
        """Prepare a trigger. Raises ValueError for a window that can't be read."""
        properties = trigger.properties
        found = multiples(trigger)
        conditions = tuple(one for one in properties.get("conditions") or () if not is_multiple(one))
        fixed = [place for place in map(_places, conditions) if place is not None]
        for multiple in found:
            parts = [_places(part) for part in multiple.conditions.values()]
            if parts and all(part is not None for part in parts):
                fixed.append(frozenset().union(*(part for part in parts if part is not None)))
        return cls(
            plan=plan,
            trigger=trigger,
            states=_states(properties.get("states"), conditions),
            conditions=conditions,
            multiples=found,
            places=fixed[0] if fixed else None,
            reach=reach([properties.get("inputs"), properties.get("labels")], vars=plan.flow.variables),
        )


def _states(written: Sequence[str] | None, conditions: Iterable[Mapping[str, Any]]) -> frozenset[str]:
    """The states in which the trigger can act, by its `states` and by what its conditions say of the status."""
    states = frozenset(written or (state.value for state in ENDS))
    for condition in conditions:
        if str(condition.get("type", "")).endswith(".ExecutionStatus"):
            states &= frozenset(condition.get("in") or states)
            states -= frozenset(condition.get("notIn") or ())
    return states


def _places(condition: Mapping[str, Any]) -> frozenset[Place] | None:
    """The flow that a condition, or one of `preconditions.flows`, names."""
    kind = str(condition.get("type", ""))
    upstream = "type" not in condition and "filters" not in condition
    if (kind.endswith(".ExecutionFlow") or upstream) and condition.get("namespace") is not None:
        return frozenset({(str(condition["namespace"]), condition.get("flowId"))})
    return None


class FlowTriggers:
    """The flow triggers of all tenants, kept up to date by the flow directory. For the executor's thread alone."""

    def __init__(
        self, directory: FlowDirectory, env: Environment, inputs: Callable[[Flow, Mapping[str, Any]], dict[str, Any]]
    ) -> None:
        """`directory`: not read yet. `inputs`: rendered values as the inputs of a flow, without refusing any."""
        self._directory = directory
        self._env = env
        self._inputs = inputs
        self._flows: dict[str, tuple[int, tuple[Listener, ...]]] = {}
        self._placed: dict[str, dict[Place, dict[str, Listener]]] = {}
        self._anywhere: dict[str, dict[str, Listener]] = {}
        directory.listen(self._changed)

    # -------------------------------------------------------------- which flows listen

    def _changed(self, answer: FlowAnswer) -> None:
        """A flow has a new revision, or is deleted: its triggers are those of that revision."""
        if not isinstance(answer, m.FlowStored):
            return
        uid = f"{answer.tenant}/{answer.namespace}/{answer.flow_id}"
        known = self._flows.get(uid)
        latest = self._directory.stored(answer.tenant, answer.namespace, answer.flow_id)
        older = latest is not None and latest.revision > answer.revision  # revisions may be read in any order
        if older or (known is not None and known[0] >= answer.revision):
            return
        listeners = () if answer.deleted else self._listeners(answer, uid)
        if known is not None or listeners:
            self._replace(answer.tenant, uid, answer.revision, listeners)

    def _listeners(self, stored: m.FlowStored, uid: str) -> tuple[Listener, ...]:
        if not any(name in stored.source for name in NAMES):
            return ()
        try:
            flow = self._directory.parsed(stored)
        except FlowError as error:
            logger.warning("The triggers of flow %s are not listened to: %s", uid, error)
            return ()
        if flow.disabled:
            return ()
        plan, found = Plan.of(flow), []
        for trigger in flow.triggers:
            if trigger.type == TYPE and not trigger.disabled:
                try:
                    found.append(Listener.of(plan, trigger))
                except ValueError as error:
                    logger.warning("Trigger %s of flow %s is not listened to: %s", trigger.id, uid, error)
        return tuple(found)

    def _replace(self, tenant: str, uid: str, revision: int, listeners: tuple[Listener, ...]) -> None:
        for old in self._flows.get(uid, (0, ()))[1]:
            for group in self._groups(tenant, old):
                group.pop(f"{uid}/{old.trigger.id}", None)
        self._flows[uid] = revision, listeners
        for new in listeners:
            for group in self._groups(tenant, new):
                group[f"{uid}/{new.trigger.id}"] = new

    def _groups(self, tenant: str, listener: Listener) -> Iterator[dict[str, Listener]]:
        """The parts of the index in which a listener stands."""
        if listener.places is None:
            yield self._anywhere.setdefault(tenant, {})
        else:
            placed = self._placed.setdefault(tenant, {})
            for place in listener.places:
                yield placed.setdefault(place, {})

    def _candidates(self, execution: Execution) -> Iterator[Listener]:
        """Those that could listen to an execution: never the flow itself (Kestra's rule against endless chains)."""
        placed = self._placed.get(execution.tenant)
        groups = [self._anywhere.get(execution.tenant)]
        if placed is not None:
            groups.append(placed.get((execution.namespace, execution.flow_id)))
            groups.append(placed.get((execution.namespace, None)))
        seen: set[str] = set()
        for group in groups:
            for key, listener in (group or {}).items():
                flow = listener.plan.flow
                if key not in seen and (flow.namespace, flow.id) != (execution.namespace, execution.flow_id):
                    seen.add(key)
                    yield listener

    # -------------------------------------------------------------- where an execution changes

    def heard(self, recorded: tuple[Recorded, ...], entries: Entries) -> Iterator[Outbound]:
        """`ConsiderTrigger` for the gates of listening flows after a decision; `entries` is the state after it.

        Never raises: what is wrong with a trigger costs that trigger, not the execution that it listens to.
        """
        if not self._flows:
            return
        for item in recorded:
            execution = item.execution
            if isinstance(item.event, ExecutionMoved) and execution is not None:
                for listener in self._candidates(execution):
                    if execution.state.current.value in listener.states:
                        yield from self._told(listener, execution, item.event, entries)

    def _told(
        self, listener: Listener, execution: Execution, event: ExecutionMoved, entries: Entries
    ) -> Iterator[Outbound]:
        flow, trigger = listener.plan.flow, listener.trigger
        try:
            command = self._heard(listener, execution, event, entries)
            value = command.to_bytes() if command is not None else b""
        except (RenderError, ValueError) as error:
            logger.warning("A condition of trigger %s of flow %s can't be evaluated: %s", trigger.id, flow.uid, error)
            return
        except Exception:
            logger.exception("Trigger %s of flow %s failed for execution %s", trigger.id, flow.uid, execution.id)
            return
        if len(value) > HEAVIEST:
            text = "Trigger %s of flow %s does not act: what its inputs read of execution %s has %d bytes"
            logger.warning(text, trigger.id, flow.uid, execution.id, len(value))
        elif command is not None:
            yield Outbound(Topic.EXECUTION_COMMANDS, flow.uid, value)

    def _heard(
        self, listener: Listener, execution: Execution, event: ExecutionMoved, entries: Entries
    ) -> m.ConsiderTrigger | None:
        """None where the conditions do not hold. Raises RenderError: a condition that can't be rendered does not."""
        plan, trigger = listener.plan, listener.trigger
        more = {"globals": self._env.globals} if self._env.globals else {}
        outputs: Callable[[], Mapping[str, Any]] = lambda: entries.get(flow_outputs_key(execution.id)) or {}  # noqa: E731
        render = self._env.renderer.render
        seen = Seen(
            execution,
            lambda text, own: render(text, variables(entries, plan, execution, extra={**more, **own})),
            outputs,
        )
        if not all(holds(seen, condition) for condition in listener.conditions):
            return None
        met = {multiple.id: multiple.met(seen) for multiple in listener.multiples}
        if listener.multiples and not any(met.values()):
            return None
        return m.ConsiderTrigger(
            tenant=plan.flow.tenant,
            namespace=plan.flow.namespace,
            flow_id=plan.flow.id,
            command_id=f"consider-{trigger.id}-{execution.id}-{event.seq}",
            at=event.at,
            revision=plan.flow.revision,
            trigger_id=trigger.id,
            execution_id=execution.id,
            seq=event.seq,
            source=_source(execution, outputs() if execution.state.terminated else {}),
            correlation_id=dict(execution.labels).get(CORRELATION_ID, execution.id),
            variables=materialised(listener.reach.prune(variables(entries, plan, execution, extra=more))),
            met=met,
        )

    # -------------------------------------------------------------- at the gate of the listening flow

    def consider(self, entries: Overlay, command: m.ConsiderTrigger) -> m.CreateExecution | None:
        """The execution to create, where the trigger still is and all its conditions have held; `entries` is changed.

        Inputs that can't be rendered create none (Kestra's rule); those that don't fit their type are no reason.
        """
        listener = self._listener(command)
        if listener is None or gates.switched_off(entries, command, command.trigger_id):
            return None
        outputs, full = dict(command.source.get("outputs") or {}), True
        change = f"{command.execution_id}@{command.seq}"
        for multiple in listener.multiples:
            key = _window_key(command, multiple)
            window, complete = Remembered.from_data(entries.get(key)).take(
                multiple, command.met.get(multiple.id, ()), outputs, command.at, change
            )
            if len(encode(window.to_data())) > HEAVIEST:
                logger.warning("Trigger %s: outputs for window %s are too large to be kept", key, multiple.id)
                window = replace(window, outputs={})
            entries.put(key, window.to_data())
            full = full and complete
            outputs = {**window.outputs, **outputs}
        if not full:
            return None
        for multiple in listener.multiples:
            if multiple.resets:
                key = _window_key(command, multiple)
                entries.put(key, Remembered.from_data(entries.get(key)).reset().to_data())
        created = self._creation(listener, command, outputs)
        if created is not None and len(created.to_bytes()) > HEAVIEST:
            logger.warning("Flow %s is not triggered by %s: its inputs are too large", command.flow_id, change)
            return None
        return created

    def _listener(self, command: m.ConsiderTrigger) -> Listener | None:
        uid = f"{command.tenant}/{command.namespace}/{command.flow_id}"
        if self._flows.get(uid, (0, ()))[0] < command.revision:
            self._directory.catch_up(CATCH_UP)
        _, listeners = self._flows.get(uid, (0, ()))
        return next((one for one in listeners if one.trigger.id == command.trigger_id), None)

    def _creation(
        self, listener: Listener, command: m.ConsiderTrigger, outputs: dict[str, Any]
    ) -> m.CreateExecution | None:
        flow, trigger = listener.plan.flow, listener.trigger
        told = {**command.source, **({"outputs": outputs} if outputs else {})}
        shown = {**command.variables, "trigger": told}
        renderer = self._env.renderer
        try:
            given = renderer.render_value(dict(trigger.properties.get("inputs") or {}), shown)
            labels = _labels(renderer.render_value(trigger.properties.get("labels") or {}, shown))
            inputs = self._inputs(flow, given)
        except (RenderError, ValueError) as error:
            logger.warning("Flow %s is not triggered by %s, invalid inputs: %s", flow.uid, trigger.id, error)
            return None
        change = (flow.uid, trigger.id, command.execution_id, command.seq)
        return m.CreateExecution(
            execution_id=derive_id(command.at, *change),
            command_id=f"trigger-{trigger.id}-{command.execution_id}-{command.seq}",
            at=command.at,
            tenant=flow.tenant,
            namespace=flow.namespace,
            flow_id=flow.id,
            flow_revision=flow.revision,
            inputs=inputs or None,
            labels=[*labels, [CORRELATION_ID, command.correlation_id]],
            trigger={"id": trigger.id, "type": trigger.type, "variables": told},
        )


def _source(execution: Execution, outputs: Mapping[str, Any]) -> dict[str, Any]:
    """The `trigger` variables of what the execution starts."""
    source: dict[str, Any] = {
        "executionId": execution.id,
        "namespace": execution.namespace,
        "flowId": execution.flow_id,
        "flowRevision": execution.flow_revision,
        "state": execution.state.current.value,
    }
    if outputs:
        source["outputs"] = dict(outputs)
    return source


def _window_key(command: m.ConsiderTrigger, multiple: Multiple) -> str:
    return f"g/{command.tenant}/{command.namespace}/{command.flow_id}/w/{command.trigger_id}/{multiple.id}"


def _labels(written: Any) -> list[list[str]]:
    """As a map, or as a list of `key` and `value`."""
    if isinstance(written, Mapping):
        return [[str(key), str(value)] for key, value in written.items()]
    return [[str(label["key"]), str(label["value"])] for label in written]
