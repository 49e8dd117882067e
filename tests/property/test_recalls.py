"""An execution that left the executor comes back from its documents as it was, whatever happened to it before."""

from __future__ import annotations

from typing import Any

import orjson
from hypothesis import given, note
from hypothesis import strategies as st

from executor import history
from executor.engine.decide import Decision, Incoming
from executor.engine.entries import commands_key, error_logs_key, header_key, prefix
from shared import messages as m
from shared.model.document import Kind
from shared.model.identifier import derive_id
from tests.property.engine_world import Broken, World
from tests.property.flow_strategies import flows, source
from tests.property.test_engine import at_random, children, seeds

Documents = dict[tuple[Kind, str], dict[str, Any]]


class Archive(World):
    """A world with a search store, from which ended executions that have left come back."""

    def __init__(self, seed: int, **options: Any) -> None:
        super().__init__(seed, **options)
        self.documents: dict[str, Documents] = {}
        self.recalled = 0

    def take(self, message: Incoming) -> Decision:
        decision = super().take(message)
        execution = self.execution(message.execution_id)
        plan = None if execution is None else self.plans[execution.flow_id]
        for record in history.records(decision.events, self.entries, plan, decision.command_id, 0):
            if record.value is not None:
                self._keep(m.decode(record.value))
        if execution is not None:
            self._keep(m.decode(history.refreshed(execution, self.entries, self.now, 0).value or b""))
        if isinstance(message, m.CreateExecution) and message.execution_id not in self.documents:
            self.executions.remove(message.execution_id)  # refused: it never was
        return decision

    def _keep(self, event: m.Message) -> None:
        assert isinstance(event, m.EventRecord)
        if event.event == "ExecutionDeleted":
            del self.documents[event.execution_id]
        if event.kind is not None and event.document is not None and event.id is not None:
            known = self.documents.setdefault(event.execution_id, {})
            before = known.get((Kind(event.kind), event.id))
            if before is None or before["seq"] <= event.seq:
                known[Kind(event.kind), event.id] = event.document

    def snapshot(self, execution_id: str) -> dict[str, Any]:
        documents = self.documents[execution_id]
        of = {kind: [each for (k, _), each in documents.items() if k is kind] for kind in Kind}
        return {"execution": of[Kind.EXECUTION][0], "task_runs": of[Kind.TASK_RUN], "entries": of[Kind.ENTRY]}

    def leave_and_return(self, execution_id: str) -> None:
        """The execution leaves, and comes back the same but for the number of its return."""
        before = self._entries(execution_id)
        for key in before:
            del self.entries.data[key]
            self.shadow.data.pop(key, None)
        self.recalled += 1
        decision = self.take(
            m.RecallExecution(
                execution_id=execution_id,
                command_id=f"recall-{self.recalled}",
                at=self.now,
                tenant="main",
                snapshot=self.snapshot(execution_id),
            )
        )
        if decision.rejection is not None:
            raise Broken(f"an execution does not come back: {decision.rejection}")
        after = self._entries(execution_id)
        for entries in (before, after):
            entries.pop(commands_key(execution_id), None)
            entries.pop(error_logs_key(execution_id), None)
        left, returned = ({k: _compared(orjson.loads(v)) for k, v in entries.items()} for entries in (before, after))
        key = header_key(execution_id)
        if returned[key]["seq"] <= left[key].pop("seq"):
            raise Broken("an execution comes back under an old number")
        del returned[key]["seq"]
        if left != returned:
            different = sorted(k for k in left.keys() | returned.keys() if left.get(k) != returned.get(k))
            raise Broken("\n".join(f"{k}: left {left.get(k)}, came back {returned.get(k)}" for k in different))

    def _entries(self, execution_id: str) -> dict[str, bytes]:
        return {key: value for key, value in self.entries.data.items() if key.startswith(prefix(execution_id))}

    def may_leave(self, execution_id: str) -> bool:
        execution = self.execution(execution_id)
        return (
            execution is not None
            and execution.state.terminated
            and execution.scope.open == 0
            and not any(key[1] == execution_id for key in self.timers)
            and execution_id not in self.lanes
        )


def _compared(entry: Any) -> Any:
    """Without the counts of a level's later phase: they begin anew when the level does, and are read no more before."""
    if isinstance(entry, dict) and isinstance(entry.get("sc"), dict):
        entry["sc"].pop("other", None)
    return entry


def archive_of(flow: dict[str, Any], child: dict[str, Any], seed: int, **options: Any) -> Archive:
    world = Archive(seed, **options)
    note(source(flow))
    note(source(child))
    world.add(source(child))
    world.add(source(flow))
    return world


@at_random
@given(flows(), children, seeds)
def test_what_left_comes_back_as_it_was(flow: dict[str, Any], child: dict[str, Any], seed: int) -> None:
    """Given random flows with random commands, when an ended execution leaves and returns, it has every entry it had."""
    world = archive_of(flow, child, seed)
    try:
        world.create("main")
        world.run(400, operator=0.05)
        world.finish()
        for execution_id in list(world.executions):
            if world.may_leave(execution_id):
                world.leave_and_return(execution_id)
    finally:
        note("\n".join(world.trace[-60:]))


@at_random
@given(flows(), children, seeds, st.integers(1, 5))
def test_commands_after_the_return(flow: dict[str, Any], child: dict[str, Any], seed: int, times: int) -> None:
    """Given executions that left and returned, when operators restart, replay and change them, everything ends again."""
    world = archive_of(flow, child, seed)
    try:
        world.create("main")
        world.run(300)
        world.finish()
        for number in range(times):
            for execution_id in [each for each in world.executions if world.may_leave(each)]:
                world.leave_and_return(execution_id)
            chosen = world.rng.choice(world.executions)
            new_id = derive_id(world.now, chosen, "again", number)
            world.operate(
                world.rng.choice(
                    [
                        m.RestartExecution(chosen, f"again-{number}", world.now),
                        m.ReplayExecution(chosen, f"again-{number}", world.now, new_execution_id=new_id),
                        m.SetLabels(chosen, f"again-{number}", world.now, labels=[["k", "v"]]),
                    ]
                )
            )
            world.run(400, operator=0.02)
            world.finish()
    finally:
        note("\n".join(world.trace[-60:]))
