"""An engine driver for tests: entries in memory, workers that are functions, time that is a number.

It keeps what the executor keeps around the engine (messages on their way, timers, the queue) in plain lists, so that a
test can reorder, repeat and drop.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from executor.engine import effects as f
from executor.engine.decide import Decision, Incoming, decide
from executor.engine.draft import Environment
from executor.engine.entries import (
    Overlay,
    decode,
    encode,
    header_key,
    outputs_key,
    prefix,
    task_run_key,
    task_runs_prefix,
)
from executor.engine.plan import Plan
from executor.engine.variables import variables
from executor.gates import answer, uid
from shared import messages as m
from shared.expressions import Renderer, RenderError, truthy
from shared.flows.inputs import resolve_inputs, resolve_outputs
from shared.flows.parser import parse_flow
from shared.model.execution import Execution
from shared.model.flow import Task
from shared.model.identifier import derive_id
from shared.model.state import StateType
from shared.model.task_run import TaskRun

START = 1_790_000_000_000
"""The driver's first moment, epoch milliseconds."""


class MemoryEntries:
    """Entries in a dictionary, stored encoded as a journal would."""

    def __init__(self) -> None:
        self.data: dict[str, bytes] = {}

    def get(self, key: str) -> Any | None:
        value = self.data.get(key)
        return None if value is None else decode(key, value)

    def scan(self, prefix: str, after: str = "") -> Iterator[tuple[str, Any]]:
        for key in sorted(self.data):
            if key.startswith(prefix) and key > after:
                yield key, decode(key, self.data[key])

    def store(self, overlay: Overlay) -> None:
        for key, value in overlay.changes.items():
            if value is None:
                self.data.pop(key, None)
            else:
                self.data[key] = encode(value)


@dataclass
class Queued:
    """A task run that waits for a worker."""

    execution_id: str
    task_run_id: str
    attempt: int


Worker = Callable[["Driver", Task, TaskRun, dict[str, Any]], tuple[StateType, dict[str, Any] | None, str | None]]


def core_worker(
    driver: Driver, task: Task, task_run: TaskRun, shown: dict[str, Any]
) -> tuple[StateType, dict[str, Any] | None, str | None]:
    """What the core tasks do, without a worker service."""
    kind = task.type.rsplit(".", 1)[-1]
    try:
        properties = driver.renderer.render_value(dict(task.properties), shown)
    except RenderError as error:
        return StateType.FAILED, None, str(error)
    if kind == "Fail":
        condition = properties.get("condition")
        if condition is None or truthy(str(condition)):
            return StateType.FAILED, None, str(properties.get("errorMessage", "Task failure"))
        return StateType.SUCCESS, None, None
    if kind == "Return":
        return StateType.SUCCESS, {"value": properties.get("format")}, None
    if kind == "OutputValues":
        return StateType.SUCCESS, {"values": properties.get("values")}, None
    if kind == "Log":
        driver.logs.append((task.id, str(properties.get("message"))))
    return StateType.SUCCESS, None, None


@dataclass
class Driver:
    """Runs flows on the engine alone."""

    worker: Worker = core_worker
    now: int = START
    entries: MemoryEntries = field(default_factory=MemoryEntries)
    gate: MemoryEntries = field(default_factory=MemoryEntries)
    flows: dict[tuple[str, str], Plan] = field(default_factory=dict)
    revisions: dict[tuple[str, str, int], Plan] = field(default_factory=dict)
    commands: list[m.ExecutionCommand | m.FlowCommand] = field(default_factory=list)
    queue: list[Queued] = field(default_factory=list)
    timers: list[tuple[int, m.WakeTimer]] = field(default_factory=list)
    decisions: list[Decision] = field(default_factory=list)
    logs: list[tuple[str, str]] = field(default_factory=list)
    renderer: Renderer = field(default_factory=Renderer)
    count: int = 0

    def add(self, source: str, revision: int = 1) -> Plan:
        """Register a flow; what names no revision finds the one that was registered last."""
        flow = parse_flow(source, revision=revision)
        plan = Plan.of(flow)
        self.flows[flow.namespace, flow.id] = self.revisions[flow.namespace, flow.id, revision] = plan
        return plan

    def plan(self, namespace: str, flow_id: str, revision: int | None) -> Plan | None:
        latest = self.flows.get((namespace, flow_id))
        return latest if revision is None else self.revisions.get((namespace, flow_id, revision), latest)

    def environment(self) -> Environment:
        return Environment(
            flows=lambda tenant, namespace, flow_id, revision: self.plan(namespace, flow_id, revision),
            renderer=self.renderer,
            flow_outputs=lambda flow, shown: dict(
                resolve_outputs(flow.outputs, render=self.renderer.render_typed, variables=shown).valid()
            ),
            subflow_inputs=lambda flow, given: resolve_inputs(
                flow.inputs, given, render=self.renderer.render_typed
            ).valid(),
        )

    # ------------------------------------------------------------------ steps

    def start(self, source: str, **inputs: Any) -> str:
        """Register a flow and create an execution of it; returns its id."""
        plan = self.add(source)
        self.count += 1
        execution_id = derive_id(self.now, "test", self.count)
        self.commands.append(
            m.CreateExecution(
                execution_id=execution_id,
                command_id=f"create-{execution_id}",
                at=self.now,
                tenant=plan.flow.tenant,
                namespace=plan.flow.namespace,
                flow_id=plan.flow.id,
                flow_revision=plan.flow.revision,
                inputs=inputs or None,
            )
        )
        return execution_id

    def take(self, message: Incoming) -> Decision:
        """Decide on one message, apply, and carry out its effects."""
        decision = decide(self.entries, message, self.now, self.environment())
        self.decisions.append(decision)
        self.entries.store(decision.changes)
        for effect in decision.effects:
            match effect:
                case f.Enqueue(task_run_id, attempt):
                    self.queue.append(Queued(message.execution_id, task_run_id, attempt))
                case f.Withdraw(task_run_id):
                    self.queue = [item for item in self.queue if item.task_run_id != task_run_id]
                case f.SetTimer(due, wake):
                    self.timers.append((due, wake))
                case f.Send(command):
                    self.commands.append(command)
                case f.Log(_, text):
                    self.logs.append(("executor", text))
        return decision

    def deliver(self, index: int = 0) -> None:
        """Hand one command over to its execution or gate."""
        command = self.commands.pop(index)
        if isinstance(command, m.FlowCommand):
            overlay = Overlay(self.gate)
            reply = answer(overlay, command)
            self.gate.store(overlay)
            self.commands.extend(reply.commands)
            assert uid(command)
        else:
            self.take(command)

    def work(self, index: int = 0) -> None:
        """A worker takes one task run and finishes it."""
        item = self.queue.pop(index)
        execution = self.execution(item.execution_id)
        task_run = self.entries.get(task_run_key(item.execution_id, item.task_run_id))
        if task_run is None or task_run.state.terminated or execution.state.current is StateType.PAUSED:
            return
        plan = self.plan(execution.namespace, execution.flow_id, execution.flow_revision)
        assert plan is not None
        task = plan.tasks[task_run.task_id]
        shown = plan.reach(task).prune(variables(self.entries, plan, execution, task, task_run))
        common = {
            "execution_id": item.execution_id,
            "task_run_id": item.task_run_id,
            "attempt": item.attempt,
            "dispatch": 0,
            "session": "w1",
            "at": self.now,
        }
        self.take(m.AttemptStarted(**common))
        state, outputs, error = self.worker(self, task, task_run, shown)
        self.take(m.AttemptEnded(**common, state=state.value, started_at=self.now, outputs=outputs, error=error))

    def fire(self) -> None:
        """Let time pass until the next timer, and hand it over."""
        self.timers.sort(key=lambda item: item[0])
        due, wake = self.timers.pop(0)
        self.now = max(self.now, due)
        self.take(wake)

    def run(self, limit: int = 100_000) -> None:
        """Go on until nothing waits: commands first, then work, then time."""
        for _ in range(limit):
            self.now += 1
            if self.commands:
                self.deliver()
            elif self.queue:
                self.work()
            elif self.timers:
                self.fire()
            else:
                return
        raise AssertionError("the flow does not end")

    # ------------------------------------------------------------------ reading

    def execution(self, execution_id: str) -> Execution:
        execution: Execution = self.entries.get(header_key(execution_id))
        return execution

    def task_runs(self, execution_id: str) -> list[TaskRun]:
        """In the order of their creation, without superseded ones."""
        runs = [run for _, run in self.entries.scan(task_runs_prefix(execution_id)) if not run.superseded]
        order = {
            item.event.task_run: number
            for number, item in enumerate(item for decision in self.decisions for item in decision.events)
            if item.event.name == "TaskRunCreated"
        }
        return sorted(runs, key=lambda run: order[run.id])

    def outputs(self, task_run: TaskRun) -> dict[str, Any] | None:
        outputs: dict[str, Any] | None = self.entries.get(
            outputs_key(task_run.execution_id, task_run.task_id, task_run.values)
        )
        return outputs

    def states(self, execution_id: str) -> list[tuple[str, str | None, str]]:
        """(task id, value, state) of each task run."""
        return [(run.task_id, run.value, run.state.current.value) for run in self.task_runs(execution_id)]


def run_flow(source: str, **inputs: Any) -> tuple[Driver, str]:
    """Run a flow to its end; the driver and the execution's id."""
    driver = Driver()
    execution_id = driver.start(source, **inputs)
    driver.run()
    return driver, execution_id


__all__ = ["START", "Driver", "MemoryEntries", "Queued", "core_worker", "prefix", "run_flow"]
