"""A world around the engine in which everything goes wrong that may: it reorders, repeats, drops and loses.

Commands of one execution or flow come in their order, as a partition gives them; all else comes in any order. Each
decision is checked against the invariants, and its events against a second state that only events built.
"""

from __future__ import annotations

import os
import random
from collections import Counter, defaultdict, deque
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Final

import hypothesis

from executor import gates, history
from executor.engine import effects as f
from executor.engine.apply import apply
from executor.engine.decide import AttemptLost, Decision, Incoming, decide
from executor.engine.draft import Environment
from executor.engine.entries import (
    Overlay,
    commands_key,
    encode,
    header_key,
    outputs_key,
    task_run_key,
    task_runs_prefix,
)
from executor.engine.events import CommandRepeated, TaskRunCreated
from executor.engine.plan import Plan
from shared import messages as m
from shared.expressions import Renderer
from shared.flows.parser import parse_flow
from shared.model.execution import Execution
from shared.model.identifier import derive_id
from shared.model.scope import Phase, Scope
from shared.model.state import StateType
from shared.model.task_run import TaskRun
from tests.engine_driver import START, MemoryEntries
from tests.property.operators import (
    COMMANDS,
    Operator,
    Promises,
    begins_another,
    judge_acceptance,
    judge_rejection,
)

QUICK: Final = (
    [hypothesis.Phase.explicit, hypothesis.Phase.generate]
    if os.environ.get("RUNYARD_NO_SHRINKING")
    else list(hypothesis.Phase)
)
"""`make mutants` wants to know only whether a bug is found, not its smallest example."""
EXITS: Final = ("SUCCESS", "FAILED", "CANCELLED", "KILLED")
AFTER_THE_END: Final = frozenset({Phase.LISTENERS, Phase.AFTER})
COVERAGE: Final[Counter[str]] = Counter()
"""What the runs of this process have met: faults by kind of message."""


class Broken(AssertionError):
    """An invariant does not hold."""


@dataclass
class Held:
    """Work that a worker holds, with what it will still say about it."""

    execution_id: str
    task_run_id: str
    attempt: int
    token: int
    says: deque[m.AttemptEvent] = field(default_factory=deque)


@dataclass
class Asked:
    """An operator's command, with the records that answer it."""

    command: m.ExecutionCommand
    answers: list[m.EventRecord] = field(default_factory=list)
    decided: bool = False
    rejection: str | None = None
    repeats: int = 0  #: how often it was decided again


def outcome(task_id: str, attempt: int) -> StateType:
    """What a worker makes of a task, by its id."""
    kind = task_id.rstrip("0123456789")
    if kind == "fail" or (kind == "flaky" and attempt < 2):
        return StateType.FAILED
    return StateType.WARNING if kind == "warn" else StateType.SUCCESS


def attributes_of(task_id: str) -> dict[str, Any] | None:
    """What an Exit, or a task that changes variables, tells the engine, by its id."""
    kind = task_id.rstrip("0123456789")
    if kind == "vary":
        return {"variables": {task_id: {"a": 1}}, "unset": ["vary1.a", "vary2"]}
    return {"exit": EXITS[(len(task_id) + int(task_id[-1])) % len(EXITS)]} if kind == "exit" else None


class World:
    """Executions of random flows, with a scheduler that is a seeded random generator."""

    def __init__(self, seed: int, *, faults: bool = True, losses: int = 2) -> None:
        self.rng = random.Random(seed)
        self.faults = faults
        self.losses = losses
        self.now = START
        self.entries = MemoryEntries()
        self.shadow = MemoryEntries()
        self.gate = MemoryEntries()
        self.plans: dict[str, Plan] = {}
        self.revisions: dict[tuple[str, int], Plan] = {}
        self.operator = Operator(self.rng, (1, 2))
        self.promises = Promises()
        self.asked: dict[str, Asked] = {}
        self.lanes: dict[str, deque[m.ExecutionCommand | m.FlowCommand]] = {}
        self.waiting: dict[str, tuple[str, int]] = {}
        self.held: dict[str, Held] = {}
        self.timers: dict[tuple[int, str, str], m.WakeTimer] = {}
        self.past: list[m.ExecutionCommand | m.FlowCommand] = []
        self.executions: list[str] = []
        self.restarted: set[str] = set()
        self.forced: set[str] = set()
        self.deleted: set[str] = set()
        self.tokens = 0
        self.created = 0
        self.commands = 0
        self.trace: list[str] = []
        self.env = Environment(
            flows=lambda tenant, namespace, flow_id, revision: self.revisions.get((flow_id, revision or 1)),
            renderer=Renderer(),
        )

    # -------------------------------------------------------------- beginning

    def add(self, source: str, revision: int = 1) -> None:
        """Store a flow. Executions begin with revision 1; an operator may go on with another one."""
        flow = parse_flow(source, revision=revision)
        self.revisions[flow.id, revision] = Plan.of(flow)
        self.plans.setdefault(flow.id, self.revisions[flow.id, revision])

    def plan_of(self, execution: Execution) -> Plan:
        return self.revisions[execution.flow_id, execution.flow_revision]

    def create(self, flow_id: str) -> str:
        self.created += 1
        execution_id = derive_id(self.now, "world", self.created, flow_id)
        flow = self.plans[flow_id].flow
        self.send(
            m.CreateExecution(
                execution_id=execution_id,
                command_id=f"create-{execution_id}",
                at=self.now,
                tenant=flow.tenant,
                namespace=flow.namespace,
                flow_id=flow.id,
                flow_revision=flow.revision,
            )
        )
        return execution_id

    def send(self, command: m.ExecutionCommand | m.FlowCommand) -> None:
        key = gates.uid(command) if isinstance(command, m.FlowCommand) else command.execution_id
        self.lanes.setdefault(key, deque()).append(command)

    # -------------------------------------------------------------- steps

    def run(self, steps: int, operator: float = 0.0) -> None:
        """At most `steps` random steps, of which a share `operator` are an operator's commands."""
        for _ in range(steps):
            if self.rng.random() < operator:
                self.operate(late=self.rng.random() < 0.5)
            elif not self.step():
                return

    def step(self) -> bool:
        """One random step; False when nothing is left to do."""
        self.now += self.rng.randrange(3)
        choices: list[Any] = []
        if self.lanes:
            choices += [self.deliver] * 4
        ready = [key for key, (execution_id, _) in self.waiting.items() if self._takes_work(execution_id)]
        if ready:
            choices += [lambda: self.dispatch(self.rng.choice(ready))] * 3
        if self.held:
            choices += [self.listen] * 4
        if self.timers and (not choices or self.rng.random() < 0.1):
            choices = [self.fire]
        if not choices:
            return False
        if self.faults and self.rng.random() < 0.15:
            choices = [self.repeat, self.lose] if self.held else [self.repeat]
        self.rng.choice(choices)()
        return True

    def _takes_work(self, execution_id: str) -> bool:
        execution = self.execution(execution_id)
        return execution is not None and execution.state.current is not StateType.PAUSED

    def deliver(self) -> None:
        key = self.rng.choice(list(self.lanes))
        lane = self.lanes[key]
        command = lane.popleft()
        if not lane:
            del self.lanes[key]
        self.past.append(command)
        self.hand_over(command)

    def hand_over(self, command: m.ExecutionCommand | m.FlowCommand) -> None:
        if isinstance(command, m.FlowCommand):
            overlay = Overlay(self.gate)
            if self.faults and self.rng.random() < 0.1:
                gates.answer(Overlay(self.gate), command)
                self._met("crash", command)
            reply = gates.answer(overlay, command)
            self.gate.store(overlay)
            for answer in reply.commands:
                self.send(answer)
        else:
            self.take(command)

    def dispatch(self, task_run_id: str) -> None:
        execution_id, attempt = self.waiting.pop(task_run_id)
        run = self.task_run(execution_id, task_run_id)
        if run is None or run.state.terminated:
            return
        self.tokens += 1
        held = Held(execution_id, task_run_id, attempt, self.tokens)
        common = {
            "execution_id": execution_id,
            "task_run_id": task_run_id,
            "attempt": attempt,
            "dispatch": 0,
            "session": f"w{self.tokens}",
            "at": self.now,
        }
        held.says.append(m.AttemptStarted(**common))
        state = outcome(run.task_id, attempt)
        error = "failed" if state is StateType.FAILED else None
        attributes = attributes_of(run.task_id)
        held.says.append(
            m.AttemptEnded(**common, state=state.value, started_at=self.now, error=error, attributes=attributes)
        )
        if run.state.current not in (StateType.CREATED, StateType.RESTARTED):
            raise Broken(f"{run.task_id} is sent to a worker in state {run.state.current}")
        self.held[task_run_id] = held

    def listen(self) -> None:
        """A worker says the next of what it has to say."""
        held = self.held[self.rng.choice(list(self.held))]
        message = held.says.popleft()
        if isinstance(message, m.AttemptEnded):
            del self.held[held.task_run_id]
        decision = self.take(message)
        if decision.rejection is not None:
            raise Broken(f"the result of leased work is rejected: {message} because {decision.rejection}")
        if isinstance(message, m.AttemptStarted) and self.faults and self.rng.random() < 0.2:
            self._met("repeat", message)
            self.take(message)
        if isinstance(message, m.AttemptEnded) and self.faults and self.rng.random() < 0.3:
            run = self.task_run(message.execution_id, message.task_run_id)
            if run is not None and (run.state.terminated or len(run.attempts) > message.attempt):
                self._met("repeat", message)
                if self.take(message).rejection is None:
                    raise Broken(f"a second result of one attempt is accepted: {message}")

    def lose(self) -> None:
        """A worker is gone with what it held."""
        if self.losses <= 0 or not self.held:
            return
        self.losses -= 1
        held = self.held.pop(self.rng.choice(list(self.held)))
        self._met("loss", held.says[0])
        self.take(AttemptLost(held.execution_id, held.task_run_id, held.attempt, f"w{held.token}"))

    def fire(self) -> None:
        key = min(self.timers)
        wake = self.timers.pop(key)
        self.now = max(self.now, key[0])
        self.take(wake)
        if self.faults and self.rng.random() < 0.2:
            self._met("repeat", wake)
            self.take(wake)

    def repeat(self) -> None:
        """A command that was delivered before comes again."""
        repeatable = self.past[-40:]
        if not repeatable:
            return
        command = self.rng.choice(repeatable)
        if isinstance(command, m.RequestSlot) and self._released(command.execution_id):
            return  # asked anew for an ended execution: the log never gives a record twice after its successors
        if isinstance(command, m.ExecutionCommand) and command.execution_id in self.deleted:
            return  # likewise
        if isinstance(command, m.CreateExecution) and command.command_id in self.asked:
            return  # the executor's own, of an operator's replay: it writes it once
        self._met("repeat", command)
        self.hand_over(command)

    def _released(self, execution_id: str) -> bool:
        execution = self.execution(execution_id)
        return execution is None or execution.state.terminated or not execution.slot

    def operate(self, command: m.ExecutionCommand | None = None, *, late: bool = False) -> None:
        """An operator's command about a random execution, decided at once; or `late`, behind what waits already."""
        if command is None:
            if not self.executions:
                return
            execution_id = self.rng.choice(self.executions)
            command = self.operator.draw(execution_id, list(self.runs(execution_id)), self.now)
        self._met("operator", command)
        self.asked[command.command_id] = Asked(command)
        if late:
            self.send(command)
        else:
            self.past.append(command)
            self.take(command)

    def _judge(self, command: m.ExecutionCommand, before: Execution | None, decision: Decision) -> None:
        """Whether what a decision says about an operator's command is so. Repeated, it is answered as before."""
        name = command.execution_id
        asked = self.asked.get(command.command_id)
        changed = self._changed(before, self.execution(name), decision)
        if asked is not None and asked.decided:
            asked.repeats += 1
            if (decision.rejection, changed) != (asked.rejection, False):
                raise Broken(f"{command} was answered by {asked.rejection}, and again by {decision.rejection}")
            return
        if any(isinstance(item.event, CommandRepeated) for item in decision.events):
            if changed:
                raise Broken(f"{command} came again, and changed something")
            return  # the engine's own, of a kill that goes on to a subflow
        if asked is not None:
            asked.decided, asked.rejection = True, decision.rejection
        if decision.rejection is not None:
            judge_rejection(command, before, decision.rejection, changed)
            return
        runs = {run.id: run for run in self.runs(name)}
        judge_acceptance(command, before, self.execution(name), runs)
        self.promises.keep(command)
        if isinstance(command, m.RestartExecution | m.ChangeTaskRunState):
            self.restarted.add(name)
        if isinstance(command, m.ForceRunExecution | m.UnqueueExecution):
            self.forced.add(name)
        if isinstance(command, m.DeleteExecution):
            self.deleted.add(name)

    @staticmethod
    def _changed(before: Execution | None, after: Execution | None, decision: Decision) -> bool:
        """Whether a decision changed anything besides what is remembered of answers."""
        if before is None or after is None:
            return before is not after
        keys = set(decision.changes.changes) - {header_key(before.id), commands_key(before.id)}
        return bool(keys) or replace(before, seq=0) != replace(after, seq=0)

    def _hear_answers(self, decision: Decision, execution_id: str) -> None:
        """Keep what the log says to an operator's command."""
        asked = self.asked.get(decision.command_id or "")
        if asked is None:
            return
        execution = self.execution(execution_id)
        plan = self.plan_of(execution) if execution is not None else None
        for record in history.records(decision.events, self.entries, plan, decision.command_id, 0):
            answer = m.decode(record.value) if record.value is not None else None
            if isinstance(answer, m.EventRecord) and answer.command_id == decision.command_id:
                asked.answers.append(answer)

    def _check_answers(self) -> None:
        """Each command has one answer; one that begins another execution is answered by that one's creation."""
        for asked in self.asked.values():
            command, answers = asked.command, asked.answers
            if len(answers) != 1 + asked.repeats:
                raise Broken(f"{len(answers)} answers to {command}: {answers}")
            begun = begins_another(command)
            if begun is not None and not asked.rejection and [a.execution_id for a in answers].count(begun) != 1:
                raise Broken(f"{command} is not answered by {begun}: {answers}")

    # -------------------------------------------------------------- deciding

    def take(self, message: Incoming) -> Decision:
        """Decide, perhaps crash before the commit and decide again, then keep and check."""
        before = self.execution(message.execution_id)
        if self.faults and self.rng.random() < 0.1:
            self._met("crash", message)
            dropped = decide(self.entries, message, self.now, self.env)
            decision = decide(self.entries, message, self.now, self.env)
            if [item.event for item in dropped.events] != [item.event for item in decision.events]:
                raise Broken(f"deciding again on {message} decides something else")
        else:
            decision = decide(self.entries, message, self.now, self.env)
        names = " ".join(item.event.name for item in decision.events)
        self.trace.append(
            f"{type(message).__name__} {getattr(message, 'timer', '')} {message.execution_id[-4:]}: {names}"
        )
        self._replay(decision)
        self.entries.store(decision.changes)
        self._hear_answers(decision, message.execution_id)
        if isinstance(message, COMMANDS):
            self._judge(message, before, decision)
        for effect in decision.effects:
            self._effect(message.execution_id, effect)
        if isinstance(message, m.CreateExecution) and message.execution_id not in self.executions:
            self.executions.append(message.execution_id)
        if decision.rejection is None and self.execution(message.execution_id) is not None:
            self.check(message.execution_id)
        return decision

    def _effect(self, execution_id: str, effect: f.Effect) -> None:
        match effect:
            case f.Enqueue(task_run_id, attempt):
                held = self.held.get(task_run_id)
                if held is not None and held.attempt == attempt:
                    return
                if held is not None:
                    raise Broken(f"attempt {attempt} waits while attempt {held.attempt} is held by a worker")
                self.waiting[task_run_id] = (execution_id, attempt)
            case f.Withdraw(task_run_id):
                self.waiting.pop(task_run_id, None)
                self.held.pop(task_run_id, None)
            case f.Interrupt(task_run_id):
                held = self.held.get(task_run_id)
                if held is not None and self.rng.random() < 0.8:
                    last = held.says.pop()
                    assert isinstance(last, m.AttemptEnded)
                    held.says.append(replace(last, state="KILLED", attributes=None))
            case f.SetTimer(due, wake):
                self.timers[due, wake.execution_id, wake.command_id] = wake
            case f.Send(command):
                self.send(command)

    def _met(self, fault: str, message: Any) -> None:
        kind = type(message).__name__
        if isinstance(message, m.WakeTimer):
            kind += f".{message.timer.split('-')[0]}"
        COVERAGE[f"{fault} {kind}"] += 1

    # -------------------------------------------------------------- reading

    def execution(self, execution_id: str) -> Execution | None:
        execution: Execution | None = self.entries.get(header_key(execution_id))
        return execution

    def task_run(self, execution_id: str, task_run_id: str) -> TaskRun | None:
        run: TaskRun | None = self.entries.get(task_run_key(execution_id, task_run_id))
        return run

    def runs(self, execution_id: str, entries: Any = None) -> Iterator[TaskRun]:
        """All task runs, superseded ones too."""
        for _, run in (entries or self.entries).scan(task_runs_prefix(execution_id)):
            yield run

    # -------------------------------------------------------------- invariants

    def _replay(self, decision: Decision) -> None:
        """Apply the events one by one to the second state, and look at each task run that is created."""
        overlay = Overlay(self.shadow)
        for item in decision.events:
            if isinstance(item.event, TaskRunCreated):
                self._may_start(overlay, item.event)
            apply(overlay, item.event)
        self.shadow.store(overlay)
        for key, value in decision.changes.changes.items():
            if value is not None and self.shadow.data.get(key) != encode(value):
                raise Broken(f"events do not give the state of {key}: {value} is {self.shadow.get(key)}")

    def _may_start(self, state: Overlay, event: TaskRunCreated) -> None:
        """What a new task run depends on has ended, and no limit is exceeded by it."""
        execution: Execution = state.get(header_key(event.execution_id))
        plan = self.plan_of(execution)
        siblings = [
            run
            for run in self.runs(event.execution_id, state)
            if run.parent_id == event.parent_id and run.phase is event.phase and not run.superseded
        ]
        unended = [run for run in siblings if not run.state.terminated]
        task = plan.tasks[event.task_id]
        parent: TaskRun | None = None
        kind = "Sequential"
        owner = None
        if event.parent_id is not None:
            parent = state.get(task_run_key(event.execution_id, event.parent_id))
            assert parent is not None
            if parent.state.current is not StateType.RUNNING:
                raise Broken(f"{event.task_id} is created while {parent.task_id} is {parent.state.current}")
            owner = plan.tasks[parent.task_id]
            kind = owner.type.rsplit(".", 1)[-1]
        if execution.state.current is StateType.KILLING:
            raise Broken(f"{event.task_id} is created while the execution is being killed")
        if execution.exiting is not None:
            raise Broken(f"{event.task_id} is created while the execution exits")
        if task.disabled:
            raise Broken(f"{event.task_id} is disabled")
        if event.phase is not Phase.TASKS:
            if unended:
                raise Broken(f"{event.task_id} of {event.phase} begins before {unended[0].task_id} ended")
            return
        failed = [run for run in siblings if run.state.current is StateType.FAILED]
        if failed:
            raise Broken(f"{event.task_id} begins after {failed[0].task_id} failed")
        limit = 0
        if owner is not None:
            properties = owner.properties
            limit = int(properties.get("concurrent") or 0)
            if kind == "ForEach":
                limit = int(properties.get("concurrencyLimit", 1))
        if kind in ("Sequential", "AllowFailure", "If", "Switch", "LoopUntil", "WaitFor", "Pause", "EachSequential"):
            limit = 1
        if limit and len(unended) >= limit:
            raise Broken(f"{event.task_id} is number {len(unended) + 1} of at most {limit} in {kind}")
        if kind == "ForEach" and any(run.index == event.index for run in unended):
            raise Broken(f"{event.task_id} begins before the task before it has ended")
        if any(
            (run.index, run.position, run.iteration) == (event.index, event.position, event.iteration)
            for run in siblings
        ):
            raise Broken(f"{event.task_id} begins twice")
        ended = {run.task_id for run in siblings if run.state.terminated}
        known = {child.id for child in plan.list(owner.id, "tasks")} if owner is not None else set()
        if kind == "Dag" and not {other for other in task.depends_on if other in known} <= ended:
            raise Broken(f"{event.task_id} begins before {task.depends_on}")

    def check(self, execution_id: str) -> None:
        """The counters agree with the entries; a terminal execution has only terminal task runs."""
        execution = self.execution(execution_id)
        assert execution is not None
        everything = list(self.runs(execution_id))
        runs = [run for run in everything if not run.superseded]
        self._equal("task_runs", execution.task_runs, len(everything))
        self._equal("superseded", execution.superseded, len(everything) - len(runs))
        self._equal("paused_runs", execution.paused_runs, self._count(runs, StateType.PAUSED))
        self._equal("retrying_runs", execution.retrying_runs, self._count(runs, StateType.RETRYING))
        children: defaultdict[str | None, list[TaskRun]] = defaultdict(list)
        by_id = {run.id: run for run in everything}
        for run in runs:
            children[run.parent_id].append(run)
            if run.parent_id is not None and by_id[run.parent_id].superseded:
                raise Broken(f"{run.task_id} stands in {by_id[run.parent_id].task_id}, which is superseded")
        self._level("the execution", execution.scope, children[None])
        for run in runs:
            if run.scope is not None and run.state.current is not StateType.RESTARTED:
                self._level(run.task_id, run.scope, children[run.id], ended=run.state.terminated)
            if len(encode(replace_scope(run))) > 1024 * 64:
                raise Broken(f"the entry of {run.task_id} is too large")
            if run.state.terminated:
                if any(not attempt.state.terminated for attempt in run.attempts):
                    raise Broken(f"an attempt of {run.task_id} is left open")
                for child in children[run.id]:
                    if not child.state.terminated:
                        raise Broken(
                            f"{child.task_id} is {child.state.current} while {run.task_id} is {run.state.current}"
                        )
        if execution.state.terminated:
            for run in runs:
                if not run.state.terminated and not self._after_the_end(run, by_id):
                    raise Broken(f"{run.task_id} is {run.state.current}, the execution {execution.state.current}")
        self._slots(execution)

    @staticmethod
    def _after_the_end(run: TaskRun, by_id: dict[str, TaskRun]) -> bool:
        at: TaskRun | None = run
        while at is not None:
            if at.phase in AFTER_THE_END:
                return True
            at = by_id[at.parent_id] if at.parent_id is not None else None
        return False

    @staticmethod
    def _count(runs: list[TaskRun], state: StateType) -> int:
        return sum(run.state.current is state for run in runs)

    @staticmethod
    def _equal(what: str, counter: object, entries: object) -> None:
        if counter != entries:
            raise Broken(f"{what} is {counter}, the entries say {entries}")

    def _level(self, name: str, scope: Scope, children: list[TaskRun], *, ended: bool = False) -> None:
        self._equal(f"open of {name}", scope.open, sum(not run.state.terminated for run in children))
        if ended and self.asked:
            return  # a restart or a replay may have taken away what is below it
        tasks = [run for run in children if run.phase is Phase.TASKS and run.state.terminated]
        tally = dict(Counter(run.state.current.value for run in tasks))
        self._equal(f"tally of {name}", dict(scope.tally), tally)
        if scope.phase in (Phase.ERRORS, Phase.FINALLY, Phase.AFTER):
            others = [run for run in children if run.phase is scope.phase and run.state.terminated]
            self._equal(f"other of {name}", dict(scope.other), dict(Counter(r.state.current.value for r in others)))

    def _slots(self, execution: Execution) -> None:
        """At most `limit` executions of a flow run by right of a slot; each revision asks by its own limit."""
        plans = [plan for (flow_id, _), plan in self.revisions.items() if flow_id == execution.flow_id]
        if any(plan.flow.concurrency is None for plan in plans):
            return
        limit = max(plan.flow.concurrency.limit for plan in plans if plan.flow.concurrency is not None)
        holders = sum(
            1
            for key in self.gate.data
            if key.startswith(f"g/{execution.tenant}/{execution.namespace}/{execution.flow_id}/h/")
        )
        if holders > limit:
            raise Broken(f"{holders} executions hold {limit} slots")
        running = 0
        for execution_id in self.executions:
            other = self.execution(execution_id)
            if other is None or other.flow_id != execution.flow_id or execution_id in self.restarted | self.forced:
                continue
            waits = other.state.current in (StateType.CREATED, StateType.QUEUED) or other.state.terminated
            running += not waits and other.parent_id is None
        if running > limit:
            raise Broken(f"{running} executions run in {limit} slots")

    # -------------------------------------------------------------- ending

    def finish(self, most: int = 60_000) -> None:
        """Let everything end: faults stop, pauses are resumed. Then nothing is left over."""
        self.faults = False
        for _ in range(most):
            if self.step():
                continue
            paused = [e for e in self.executions if self._is_paused(e)]
            if not paused:
                break
            self.commands += 1
            resume = m.ResumeExecution(execution_id=paused[0], command_id=f"end-{self.commands}", at=self.now)
            if self.take(resume).rejection is not None:
                raise Broken(f"a paused execution cannot be resumed: {self.trace[-1]}")
        else:
            raise Broken("it does not end")
        self._check_answers()
        for execution_id in self.executions:
            execution = self.execution(execution_id)
            self.promises.judge(execution_id, execution)
            if execution is None:
                continue
            if not execution.state.terminated:
                open_runs = [
                    (r.task_id, r.state.current.value) for r in self.runs(execution_id) if not r.state.terminated
                ]
                raise Broken(f"an execution is stuck in {execution.state.current} with {open_runs}")
            for run in self.runs(execution_id):
                if not run.superseded and not run.state.terminated:
                    raise Broken(f"{run.task_id} is left {run.state.current}")
        if self.waiting or self.held or self.lanes:
            raise Broken(f"left over: {self.waiting} {self.held} {self.lanes}")
        holders = [key for key in self.gate.data if key.startswith("g/")]
        if holders:
            raise Broken(f"slots are left over: {holders}")
        if self.entries.data != self.shadow.data:
            raise Broken("the events do not give the state")

    def _is_paused(self, execution_id: str) -> bool:
        """Itself, or a Pause that runs after its end."""
        execution = self.execution(execution_id)
        return execution is not None and (execution.state.current is StateType.PAUSED or execution.paused_runs > 0)

    def outputs(self, run: TaskRun) -> Any:
        return self.entries.get(outputs_key(run.execution_id, run.task_id, run.values))


def replace_scope(run: TaskRun) -> dict[str, Any]:
    """What an entry holds of a level."""
    return run.scope.to_data() if run.scope is not None else {}
