"""When flow triggers start executions, and with what."""

from __future__ import annotations

from typing import Any

import pytest

from executor.engine.decide import Decision, Incoming
from executor.engine.entries import Overlay, inputs_key
from executor.engine.plan import Plan
from executor.triggers import FlowTriggers
from executor.windows import TimeWindow
from shared import messages as m
from shared.flow_directory import FlowDirectory
from shared.flows.inputs import resolve_inputs
from shared.model.execution import Execution
from shared.model.flow import Flow
from shared.ports import Outbound, Topic
from tests.engine_driver import Driver
from tests.unit.api.fakes import MemoryLog

SECOND, MINUTE, HOUR, DAY = 1000, 60_000, 3_600_000, 86_400_000


class World(Driver):
    """The engine, flows that a directory knows, and the gates of their triggers."""

    def __init__(self) -> None:
        super().__init__()
        self.log = MemoryLog()
        self.directory = FlowDirectory(self.log.tail([Topic.FLOWS]))
        self.triggers = FlowTriggers(self.directory, self.environment(), self.inputs)
        self.revisions: dict[str, int] = {}
        self.considered: list[m.ConsiderTrigger] = []
        self.created: list[m.CreateExecution] = []

    def inputs(self, flow: Flow, given: Any) -> dict[str, Any]:
        return resolve_inputs(flow.inputs, given, render=self.renderer.render_typed).lenient(given)

    def add(self, source: str) -> Plan:
        plan = super().add(source)
        self.publish(plan.flow, source)
        return plan

    def publish(self, flow: Flow, source: str, *, deleted: bool = False) -> None:
        """The next revision, or the flow's end."""
        revision = self.revisions[flow.uid] = self.revisions.get(flow.uid, 0) + 1
        stored = m.FlowStored("main", flow.namespace, flow.id, revision, source, deleted)
        self.log.publish([Outbound(Topic.FLOWS, flow.uid, stored.to_bytes())])
        self.directory.poll()

    def take(self, message: Incoming) -> Decision:
        decision = super().take(message)
        for heard in self.triggers.heard(decision.events, self.entries):
            command = m.decode(heard.value or b"")
            assert isinstance(command, m.ConsiderTrigger)
            self.commands.append(command)
        return decision

    def deliver(self, index: int = 0) -> None:
        command = self.commands[index]
        if not isinstance(command, m.ConsiderTrigger):
            super().deliver(index)
            return
        del self.commands[index]
        self.consider(command)

    def consider(self, command: m.ConsiderTrigger) -> None:
        self.considered.append(command)
        overlay = Overlay(self.gate)
        created = self.triggers.consider(overlay, command)
        self.gate.store(overlay)
        if created is not None:
            self.created.append(created)
            self.commands.append(created)

    def run_flow(self, source: str, **inputs: Any) -> str:
        """Run a flow, and what it triggers, to the end."""
        execution_id = self.start(source, **inputs)
        self.run()
        return execution_id

    def started(self) -> list[Execution]:
        """What triggers have started, in order."""
        return [self.execution(command.execution_id) for command in self.created]


def flow(flow_id: str, rest: str = "", namespace: str = "test.up") -> str:
    """A flow that succeeds."""
    tasks = "tasks:\n  - {id: only, type: io.kestra.plugin.core.debug.Return, format: made}\n"
    return f"id: {flow_id}\nnamespace: {namespace}\n{tasks}{rest}"


def failing(flow_id: str) -> str:
    return f"id: {flow_id}\nnamespace: test.up\ntasks:\n  - {{id: f, type: io.kestra.plugin.core.execution.Fail}}\n"


def listening(properties: str, rest: str = "", flow_id: str = "down") -> str:
    """A flow with a flow trigger `t`."""
    head = f"id: {flow_id}\nnamespace: test.down\n{rest}"
    tasks = "tasks:\n  - {id: seen, type: io.kestra.plugin.core.log.Log, message: m}\n"
    trigger = "triggers:\n  - id: t\n    type: io.kestra.plugin.core.trigger.Flow\n"
    return head + tasks + trigger + "".join(f"    {line}\n" for line in properties.strip().splitlines())


def condition(kind: str, **properties: str) -> str:
    inner = "".join(f", {name.rstrip('_')}: {value}" for name, value in properties.items())
    return f"{{type: io.kestra.plugin.core.condition.{kind}{inner}}}"


UP = condition("ExecutionFlow", namespace="test.up", flowId="up")


def test_a_flow_starts_when_the_one_it_listens_to_has_ended() -> None:
    """The new execution knows by `trigger` which execution started it, and shares its correlation id."""
    world = World()
    world.add(listening(f"conditions: [{UP}]"))

    up = world.run_flow(flow("up"))

    (down,) = world.started()
    assert (down.namespace, down.flow_id, down.state.current.value) == ("test.down", "down", "SUCCESS")
    assert down.trigger is not None
    assert (down.trigger.id, down.trigger.type) == ("t", "io.kestra.plugin.core.trigger.Flow")
    assert down.trigger.variables == {
        "executionId": up,
        "namespace": "test.up",
        "flowId": "up",
        "flowRevision": 1,
        "state": "SUCCESS",
    }
    assert ("system.correlationId", up) in down.labels


def test_other_flows_do_not_start_it() -> None:
    """An execution of a flow that no condition names sends nothing to the gate."""
    world = World()
    world.add(listening(f"conditions: [{UP}]"))

    world.run_flow(flow("other"))

    assert world.considered == []


def test_a_flow_never_listens_to_itself() -> None:
    """A trigger without conditions acts on every other flow, not on its own executions."""
    world = World()
    source = listening("states: [SUCCESS]")
    world.add(source)

    world.run_flow(source)
    assert world.started() == []

    world.run_flow(flow("up"))
    assert len(world.started()) == 1


def test_each_listed_state_starts_one() -> None:
    """With `states`, one execution starts for each change to one of them, in their order."""
    world = World()
    world.add(listening(f"states: [RUNNING, PAUSED, SUCCESS]\nconditions: [{UP}]"))

    world.run_flow(
        """
id: up
namespace: test.up
tasks:
  - {id: p, type: io.kestra.plugin.core.flow.Pause, delay: PT1S}
"""
    )

    states = [run.trigger.variables["state"] for run in world.started() if run.trigger is not None]
    assert states == ["RUNNING", "PAUSED", "RUNNING", "SUCCESS"]


@pytest.mark.parametrize(
    ("wanted", "count"),
    [
        (condition("ExecutionStatus", in_="[SUCCESS]"), 1),
        (condition("ExecutionStatus", notIn="[SUCCESS]"), 0),
        (condition("ExecutionNamespace", namespace="test", prefix="true"), 1),
        (condition("ExecutionNamespace", namespace="test"), 0),
        (condition("ExecutionLabels", labels="{team: a}"), 1),
        (condition("ExecutionLabels", labels="{team: b}"), 0),
        (condition("Expression", expression="\"{{ outputs.only.value == 'made' }}\""), 1),
        (condition("Expression", expression="\"{{ outputs.only.value == 'other' }}\""), 0),
        (condition("Expression", expression='"{{ outputs.nowhere.value }}"'), 0),
        (condition("ExecutionOutputs", expression="\"{{ trigger.outputs.result == 'made' }}\""), 1),
        (condition("ExecutionOutputs", expression="\"{{ trigger.outputs.result == 'other' }}\""), 0),
        (condition("Weekend", date="2026-11-22T10:00:00Z"), 1),
        (condition("Weekend", date="2026-11-23T10:00:00Z"), 0),
        (condition("DayWeek", date="2026-11-23", dayOfWeek="MONDAY"), 1),
        (condition("DayWeek", date="2026-11-23", dayOfWeek="TUESDAY"), 0),
        (condition("DayWeekInMonth", date="2026-11-23", dayOfWeek="MONDAY", dayInMonth="FOURTH"), 1),
        (condition("DayWeekInMonth", date="2026-11-23", dayOfWeek="MONDAY", dayInMonth="LAST"), 0),
        (condition("DayWeekInMonth", date="2026-11-30", dayOfWeek="MONDAY", dayInMonth="LAST"), 1),
        (condition("TimeBetween", date="'2026-11-23T10:00:00Z'", after="'09:00:00'", before="'11:00:00'"), 1),
        (condition("TimeBetween", date="'2026-11-23T10:00:00Z'", after="'11:30:00+02:00'"), 1),
        (condition("TimeBetween", date="'2026-11-23T10:00:00Z'", before="'11:30:00+02:00'"), 0),
        (condition("DateTimeBetween", date="'2026-11-23T10:00:00Z'", after="'2026-11-23T09:00:00Z'"), 1),
        (condition("DateTimeBetween", date="'2026-11-23T10:00:00Z'", before="'2026-11-23T09:00:00Z'"), 0),
        (condition("DateTimeBetween", date="nonsense"), 0),
        (condition("Weekend"), 0),
        (condition("Not", conditions=f"[{UP}]"), 0),
        (condition("Or", conditions=f"[{UP}, {condition('ExecutionNamespace', namespace='nowhere')}]"), 1),
    ],
)
def test_conditions_decide(wanted: str, count: int) -> None:
    """The execution starts where the condition holds; one that can't be evaluated does not hold."""
    world = World()
    world.add(listening(f"conditions:\n  - {wanted}"))

    world.run_flow(
        flow("up", 'labels: {team: a}\noutputs: [{id: result, type: STRING, value: "{{outputs.only.value}}"}]')
    )

    assert len(world.started()) == count


def test_inputs_are_rendered_from_the_triggering_execution() -> None:
    """Outputs of tasks and of the flow are there; an input with a default that is not given has it."""
    world = World()
    world.add(
        listening(
            """
inputs:
  task: "{{ outputs.only.value }}"
  flow: "{{ trigger.outputs.result }}"
  number: "7"
""",
            "inputs:\n  - {id: task, type: STRING}\n  - {id: flow, type: STRING}\n  - {id: number, type: INT}\n"
            "  - {id: other, type: STRING, defaults: kept}\n",
        )
    )

    world.run_flow(flow("up", 'outputs: [{id: result, type: STRING, value: "{{ outputs.only.value }}!"}]'))

    (down,) = world.started()
    assert world.entries.get(inputs_key(down.id)) == {"task": "made", "flow": "made!", "number": 7, "other": "kept"}


def test_inputs_are_not_refused() -> None:
    """A required input that is missing, or does not fit its type, is no reason not to start."""
    world = World()
    rest = "inputs:\n  - {id: missing, type: STRING}\n  - {id: number, type: INT}\n"
    world.add(listening('inputs: {number: "seven"}', rest))

    world.run_flow(flow("up"))

    (down,) = world.started()
    assert world.entries.get(inputs_key(down.id)) == {"number": "seven"}


def test_inputs_that_cannot_be_rendered_start_nothing() -> None:
    """The gate creates no execution without what its inputs name."""
    world = World()
    world.add(listening('inputs: {x: "{{ outputs.nowhere.value }}"}'))

    world.run_flow(flow("up"))

    assert len(world.considered) == 1
    assert world.started() == []


def test_considering_twice_gives_the_same_execution() -> None:
    """The id of what starts follows from the trigger and the state change."""
    world = World()
    world.add(listening(f"conditions: [{UP}]"))
    world.run_flow(flow("up"))

    world.consider(world.considered[0])

    first, second = world.created
    assert first.execution_id == second.execution_id
    assert world.take(second).rejection == "the execution exists already"


def test_triggers_follow_the_latest_revision() -> None:
    """A trigger that is disabled, changed or deleted with its flow acts no longer as it did."""
    world = World()
    source = listening(f"conditions: [{UP}]")
    plan = world.add(source)

    world.add(source.replace("flowId: up", "flowId: changed"))
    world.run_flow(flow("up"))
    assert world.started() == []
    world.run_flow(flow("changed"))
    assert len(world.started()) == 1

    world.add(source + "    disabled: true\n")
    world.run_flow(flow("up"))
    assert len(world.started()) == 1

    world.add(source)
    world.run_flow(flow("up"))
    assert len(world.started()) == 2

    world.publish(plan.flow, "", deleted=True)
    world.run_flow(flow("up"))
    assert len(world.started()) == 2


def test_revisions_may_be_read_in_any_order() -> None:
    """A trigger of a revision that is read after a later one without it does not act."""
    world = World()
    source = listening(f"conditions: [{UP}]")
    revisions = [(2, source.partition("triggers:")[0]), (1, source)]
    for revision, text in revisions:
        stored = m.FlowStored("main", "test.down", "down", revision, text)
        world.log.publish([Outbound(Topic.FLOWS, f"main/test.down/down@{revision}", stored.to_bytes())])
    world.directory.poll()

    world.run_flow(flow("up"))

    assert world.considered == []


def test_the_gate_does_not_start_what_was_deleted_since() -> None:
    """A message that was on its way when the flow was deleted starts nothing."""
    world = World()
    plan = world.add(listening(f"conditions: [{UP}]"))
    world.run_flow(flow("up"))

    world.publish(plan.flow, "", deleted=True)
    world.consider(world.considered[0])

    assert len(world.created) == 1


# ------------------------------------------------------------------ several executions

BOTH = """
conditions:
  - id: multiple
    type: io.kestra.plugin.core.condition.MultipleCondition
    window: PT1H
    conditions:
      a: {type: io.kestra.plugin.core.condition.ExecutionFlow, namespace: test.up, flowId: a}
      b: {type: io.kestra.plugin.core.condition.ExecutionFlow, namespace: test.up, flowId: b}
"""
PRECONDITIONS = """
preconditions:
  id: both
  flows:
    - {namespace: test.up, flowId: a, states: [SUCCESS]}
    - {namespace: test.up, flowId: b}
"""


@pytest.mark.parametrize("properties", [BOTH, PRECONDITIONS])
def test_all_conditions_have_to_hold_in_one_window(properties: str) -> None:
    """The second flow's end starts one execution; then both have to end again."""
    world = World()
    world.add(listening(properties))

    world.run_flow(flow("a"))
    world.run_flow(flow("a"))
    assert world.started() == []
    b = world.run_flow(flow("b"))
    (down,) = world.started()
    assert down.trigger is not None
    assert down.trigger.variables["executionId"] == b

    world.run_flow(flow("b"))
    assert len(world.started()) == 1
    world.run_flow(flow("a"))
    assert len(world.started()) == 2


def test_what_held_in_an_earlier_window_does_not_count() -> None:
    """After the window's end the first condition has to hold again."""
    world = World()
    world.add(listening(BOTH))

    world.run_flow(flow("a"))
    world.now += 2 * HOUR
    world.run_flow(flow("b"))
    assert world.started() == []
    world.run_flow(flow("a"))
    assert len(world.started()) == 1


def test_without_reset_each_further_end_starts_one() -> None:
    """With `resetOnSuccess: false` what has held keeps holding until the window ends."""
    world = World()
    world.add(listening(BOTH.replace("window:", "resetOnSuccess: false\n    window:")))

    for name in ("a", "b", "b", "other", "a"):
        world.run_flow(flow(name))

    assert len(world.started()) == 3


def test_the_other_conditions_come_first() -> None:
    """An execution for which a condition beside the multiple one does not hold is not remembered."""
    world = World()
    world.add(listening(BOTH.rstrip() + f"\n  - {condition('ExecutionStatus', in_='[SUCCESS]')}"))

    world.run_flow(failing("a"))
    world.run_flow(flow("b"))

    assert world.started() == []


def test_outputs_of_all_executions_are_there() -> None:
    """`trigger.outputs` has the outputs of each execution for which a condition held."""
    world = World()
    inputs = 'inputs: {x: "{{ trigger.outputs.a }} and {{ trigger.outputs.b }}"}\n'
    world.add(listening(inputs + BOTH, "inputs: [{id: x, type: STRING}]\n"))

    for name in ("a", "b"):
        world.run_flow(flow(name, f"outputs: [{{id: {name}, type: STRING, value: from {name}}}]"))

    (down,) = world.started()
    assert world.entries.get(inputs_key(down.id)) == {"x": "from a and from b"}


@pytest.mark.parametrize(
    ("where", "count"),
    [
        ("{field: NAMESPACE, type: STARTS_WITH, value: test.}", 1),
        ("{field: NAMESPACE, type: ENDS_WITH, value: test.}", 0),
        ("{field: FLOW_ID, type: IN, values: [a, up]}", 1),
        ("{field: FLOW_ID, type: NOT_IN, values: [a, up]}", 0),
        ("{field: FLOW_ID, type: REGEX, value: '[a-z]{2}'}", 1),
        ("{field: FLOW_ID, type: REGEX, value: '[a-z]{3}'}", 0),
        ("{field: FLOW_ID, type: REGEX, value: '['}", 0),
        ("{field: STATE, type: EQUAL_TO, value: SUCCESS}", 1),
        ("{field: STATE, type: NOT_EQUAL_TO, value: SUCCESS}", 0),
        ("{field: STATE, type: CONTAINS, value: CC}", 1),
        ("{field: EXPRESSION, type: IS_TRUE, value: \"{{ outputs.only.value == 'made' }}\"}", 1),
        ("{field: EXPRESSION, type: IS_FALSE, value: \"{{ outputs.only.value == 'made' }}\"}", 0),
        ('{field: EXPRESSION, type: IS_NULL, value: "{{ outputs.only.none ?? null }}"}', 1),
        ('{field: EXPRESSION, type: IS_NOT_NULL, value: "{{ outputs.only.none ?? null }}"}', 0),
    ],
)
def test_filters_of_preconditions(where: str, count: int) -> None:
    """A filter looks at one field of the execution, or at an expression; one that can't be evaluated does not hold."""
    world = World()
    world.add(listening(f"preconditions:\n  id: w\n  where:\n    - id: one\n      filters:\n        - {where}"))

    world.run_flow(flow("up"))

    assert len(world.started()) == count


@pytest.mark.parametrize(("operand", "count"), [("AND", 0), ("OR", 1)])
def test_operand_of_filters(operand: str, count: int) -> None:
    """With OR one of the filters is enough."""
    world = World()
    filters = "[{field: FLOW_ID, type: EQUAL_TO, value: up}, {field: FLOW_ID, type: EQUAL_TO, value: other}]"
    world.add(listening(f"preconditions:\n  id: w\n  where: [{{id: one, operand: {operand}, filters: {filters}}}]"))

    world.run_flow(flow("up"))

    assert len(world.started()) == count


AT = 20_000 * DAY + 10 * HOUR + 37 * MINUTE + 12 * SECOND
"""10:37:12 of a day."""


@pytest.mark.parametrize(
    ("written", "begin", "end"),
    [
        ({}, 0, DAY - 1),
        ({"window": "P2D"}, 0, 2 * DAY - 1),
        ({"window": "PT2H"}, 10 * HOUR, 12 * HOUR - 1),
        ({"window": "PT15M"}, 10 * HOUR + 30 * MINUTE, 10 * HOUR + 45 * MINUTE - 1),
        ({"window": "P1D", "windowAdvance": "PT6H"}, 6 * HOUR, DAY + 6 * HOUR - 1),
        ({"type": "SLIDING_WINDOW", "window": "PT1H"}, AT % DAY, AT % DAY + HOUR),
        ({"type": "DAILY_TIME_DEADLINE", "deadline": "09:00:00"}, 0, 9 * HOUR),
        ({"type": "DAILY_TIME_WINDOW", "startTime": "06:00:00", "endTime": "09:00:00"}, 6 * HOUR, 9 * HOUR),
        ({"type": "DAILY_TIME_DEADLINE", "deadline": "09:00:00+02:00"}, 0, 7 * HOUR),
    ],
)
def test_bounds_of_windows(written: dict[str, str], begin: int, end: int) -> None:
    """Begin and end of the window that opens at 10:37:12, after midnight of UTC."""
    midnight = AT - AT % DAY

    assert TimeWindow.of(written).around(AT) == (midnight + begin, midnight + end)


@pytest.mark.parametrize(("hour", "count"), [(8, 1), (10, 0)])
def test_nothing_counts_outside_of_a_daily_window(hour: int, count: int) -> None:
    """After the day's deadline the conditions are not looked at."""
    world = World()
    world.now = 20_800 * DAY + hour * HOUR
    world.add(
        listening(
            PRECONDITIONS.rstrip() + "\n  timeWindow: {type: DAILY_TIME_DEADLINE, deadline: '09:00:00'}",
        )
    )

    world.run_flow(flow("a"))
    world.run_flow(flow("b"))

    assert len(world.started()) == count
