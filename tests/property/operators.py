"""Operators: every command that they have, drawn at random, and whether the answer to one is true.

An answer is true when the state at the time of the decision is what it says (accepted), or makes the command
impossible (rejected), and when what was promised holds until another command of an operator takes it back.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any, Final

from shared import messages as m
from shared.model.execution import Execution
from shared.model.identifier import derive_id
from shared.model.state import StateType
from shared.model.task_run import TaskRun

COMMANDS: Final = (
    m.KillExecution,
    m.PauseExecution,
    m.ResumeExecution,
    m.RestartExecution,
    m.ReplayExecution,
    m.ChangeTaskRunState,
    m.ChangeExecutionState,
    m.ForceRunExecution,
    m.UnqueueExecution,
    m.SetLabels,
    m.DeleteExecution,
)
"""What an operator can ask for. Each kind is drawn as often as the others."""
STATES: Final = ("SUCCESS", "FAILED", "WARNING", "KILLED", "CANCELLED", "SKIPPED", "RUNNING", "RETRIED")
"""States that an operator names, two of them wrong."""

_ENDED = frozenset(state for state in StateType if state.terminated)
_BEGINS = frozenset({StateType.CREATED, StateType.QUEUED})
POSSIBLE: Final[dict[type[m.ExecutionCommand], frozenset[StateType]]] = {
    m.KillExecution: frozenset(StateType) - _ENDED - {StateType.KILLING},
    m.PauseExecution: frozenset({StateType.RUNNING, StateType.RETRYING}),
    m.ResumeExecution: _ENDED | {StateType.PAUSED},
    m.RestartExecution: _ENDED | {StateType.PAUSED},
    m.ReplayExecution: _ENDED | {StateType.PAUSED},
    m.ChangeTaskRunState: _ENDED | {StateType.PAUSED},
    m.ChangeExecutionState: _ENDED,
    m.ForceRunExecution: _BEGINS | {StateType.PAUSED},
    m.UnqueueExecution: frozenset({StateType.QUEUED}),
    m.SetLabels: frozenset(StateType),
    m.DeleteExecution: _ENDED,
}
"""States of an execution in which a command is possible: in no other may it be accepted."""
CERTAIN: Final = (m.KillExecution, m.PauseExecution, m.ForceRunExecution, m.SetLabels, m.DeleteExecution)
"""Commands that may not be refused in these states, whatever else there is about the execution."""
RESTARTING: Final = (m.RestartExecution, m.ChangeTaskRunState, m.ChangeExecutionState, m.DeleteExecution)
"""Commands that take back what was promised about an execution's end."""


class Untrue(AssertionError):
    """An answer says what is not so."""


class Operator:
    """Draws commands."""

    def __init__(self, rng: random.Random, revisions: Sequence[int] = (1,)) -> None:
        """`revisions`: of the flows, for replays and restarts."""
        self.rng = rng
        self.revisions = revisions
        self.commands = 0

    def draw(self, execution_id: str, runs: Sequence[TaskRun], now: int) -> m.ExecutionCommand:
        """A command about an execution, of any kind, whether it is possible or not."""
        self.commands += 1
        common = {"execution_id": execution_id, "command_id": f"op-{self.commands}", "at": now}
        kind = self.rng.choice(COMMANDS)
        return kind(**common, **self._options(kind, execution_id, runs, now))

    def _options(self, kind: type[Any], execution_id: str, runs: Sequence[TaskRun], now: int) -> dict[str, Any]:
        rng = self.rng
        new_id = derive_id(now, execution_id, "operator", self.commands)
        task_run_id = rng.choice(runs).id if runs and rng.random() < 0.9 else "none"
        match kind:
            case m.KillExecution:
                return {"cascade": rng.random() < 0.8}
            case m.ResumeExecution:
                return {
                    "task_run_id": task_run_id if rng.random() < 0.3 else None,
                    "inputs": {"reason": "go"} if rng.random() < 0.5 else None,
                }
            case m.RestartExecution:
                revision = rng.choice((None, *self.revisions))
                return {"revision": revision, "new_execution_id": None if revision is None else new_id}
            case m.ReplayExecution:
                return {
                    "new_execution_id": new_id,
                    "task_run_id": task_run_id if rng.random() < 0.7 else None,
                    "revision": rng.choice((None, *self.revisions)),
                    "inputs": {"again": 1} if rng.random() < 0.3 else None,
                }
            case m.ChangeTaskRunState:
                return {"task_run_id": task_run_id, "state": rng.choice(STATES)}
            case m.ChangeExecutionState:
                return {"state": rng.choice(STATES)}
            case m.UnqueueExecution:
                return {"state": rng.choice(("RUNNING", "CANCELLED", "FAILED"))}
            case m.SetLabels:
                return {"labels": [["k", str(self.commands)]], "replace": rng.random() < 0.5}
        return {}


def begins_another(command: m.ExecutionCommand) -> str | None:
    """The execution that a command is to create; its creation is the answer."""
    if isinstance(command, m.ReplayExecution | m.RestartExecution):
        return command.new_execution_id
    return None


def judge_rejection(command: m.ExecutionCommand, before: Execution | None, reason: str, changed: bool) -> None:
    """A refused command has a reason, changed nothing, and was not one that must be possible."""
    if not reason:
        raise Untrue(f"{command} is refused without a reason")
    if changed:
        raise Untrue(f"{command} is refused ({reason}), but changed something")
    if before is not None and isinstance(command, CERTAIN) and before.state.current in POSSIBLE[type(command)]:
        raise Untrue(f"{command} is refused while the execution is {before.state.current}: {reason}")


def judge_acceptance(
    command: m.ExecutionCommand,
    before: Execution | None,
    after: Execution | None,
    runs: dict[str, TaskRun],
) -> None:
    """An accepted command was possible, and the state after its decision is what it asks for."""
    if before is None:
        raise Untrue(f"{command} is accepted, but there is no such execution")
    if before.state.current not in POSSIBLE[type(command)]:
        raise Untrue(f"{command} is accepted while the execution is {before.state.current}")
    if isinstance(command, m.DeleteExecution):
        if after is not None:
            raise Untrue("a deleted execution is still there")
        return
    if after is None:
        raise Untrue(f"{command} is accepted, but the execution is gone")
    state = after.state.current
    right = True
    match command:
        case m.KillExecution():
            right = state in (StateType.KILLING, StateType.KILLED)
        case m.PauseExecution():
            right = state is StateType.PAUSED
        case m.ResumeExecution():
            right = command.task_run_id is None or _was_paused(runs[command.task_run_id])
            right = right and not (state is StateType.PAUSED and after.paused_runs == 0)
        case m.RestartExecution(new_execution_id=None):
            right = state is StateType.RESTARTED
        case m.ChangeTaskRunState():
            right = runs[command.task_run_id].state.current == command.state
        case m.ChangeExecutionState():
            right = state == command.state
        case m.ForceRunExecution():
            right = state not in _BEGINS
        case m.UnqueueExecution():
            right = state not in _BEGINS and command.state in ("RUNNING", state)
        case m.SetLabels():
            pairs = {tuple(pair) for pair in command.labels}
            right = pairs <= set(after.labels)
            right = right and not (
                command.replace and {p for p in after.labels if not p[0].startswith("system.")} != pairs
            )
    if not right:
        raise Untrue(f"{command} is accepted, but left the execution {state}")


def _was_paused(run: TaskRun) -> bool:
    """Whether a task run was PAUSED, and left that with its last change but one."""
    states = [state for state, _ in run.state.histories]
    return StateType.PAUSED in states[:-1]


class Promises:
    """What accepted commands promise about the end."""

    def __init__(self) -> None:
        self._ends: dict[str, tuple[StateType, m.ExecutionCommand]] = {}
        self._gone: set[str] = set()
        self._labels: dict[str, tuple[str, str]] = {}

    def keep(self, command: m.ExecutionCommand) -> None:
        """Remember what an accepted command promises; forget what it takes back."""
        name = command.execution_id
        if begins_another(command) is not None:
            return
        if isinstance(command, RESTARTING):
            self._ends.pop(name, None)
        match command:
            case m.KillExecution():
                self._ends[name] = (StateType.KILLED, command)
            case m.ChangeExecutionState() | m.UnqueueExecution() if command.state != "RUNNING":
                self._ends[name] = (StateType(command.state), command)
            case m.SetLabels():
                key, value = command.labels[0]
                self._labels[name] = (key, value)
            case m.DeleteExecution():
                self._gone.add(name)

    def judge(self, execution_id: str, execution: Execution | None) -> None:
        """Hold an execution that has ended against what was promised about it."""
        if execution_id in self._gone:
            if execution is not None:
                raise Untrue(f"{execution_id} was deleted, and is there again, {execution.state.current}")
            return
        if execution is None:
            raise Untrue(f"{execution_id} is gone, and nobody deleted it")
        promised = self._ends.get(execution_id)
        if promised is not None and execution.state.current is not promised[0]:
            raise Untrue(f"{promised[1]} was accepted, but the execution ended {execution.state.current}")
        label = self._labels.get(execution_id)
        if label is not None and label not in execution.labels:
            raise Untrue(f"the label {label} was set, but the execution has {execution.labels}")
