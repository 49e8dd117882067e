"""Effects: what a decision asks of the world around the engine, carried out in the same transaction as its events."""

from __future__ import annotations

from dataclasses import dataclass

from shared.messages import ExecutionCommand, FlowCommand, WakeTimer
from shared.model.flow import Fallback
from shared.model.moment import Millis


@dataclass(frozen=True, slots=True)
class Enqueue:
    """A task run is ready for a worker of the group."""

    task_run_id: str
    attempt: int
    group: str = ""
    fallback: Fallback = Fallback.WAIT
    priority: int = 0


@dataclass(frozen=True, slots=True)
class Withdraw:
    """A task run no longer wants a worker: leave the queue, drop the lease, stop what runs without its result."""

    task_run_id: str


@dataclass(frozen=True, slots=True)
class Interrupt:
    """Ask the worker to stop a running attempt and report it as KILLED."""

    task_run_id: str


@dataclass(frozen=True, slots=True)
class SetTimer:
    """Give `wake` back to the engine at `due`; stale ones are recognised by the engine, so none is cancelled."""

    due: Millis
    wake: WakeTimer


@dataclass(frozen=True, slots=True)
class Send:
    """A command to an execution, or to a flow's gate, by way of the log."""

    command: ExecutionCommand | FlowCommand


@dataclass(frozen=True, slots=True)
class Log:
    """A log line of the executor about an execution or one of its task runs."""

    level: str
    text: str
    task_run_id: str | None = None
    task_id: str | None = None


Effect = Enqueue | Withdraw | Interrupt | SetTimer | Send | Log
