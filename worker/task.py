"""Task: what runs on a worker. The base class for the built-in types and for plugins."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from worker.context import Context

State = Literal["SUCCESS", "WARNING", "FAILED", "KILLED"]
"""States in which an attempt can end."""


@dataclass(frozen=True, slots=True)
class Result:
    """What a task gives back when its outputs alone don't say it all."""

    outputs: Mapping[str, Any] | None = None
    state: State = "SUCCESS"
    attributes: Mapping[str, Any] | None = None
    """What the executor is to do: `labels` to set on the execution, its `exit`, …"""
    error: str | None = None  #: why the state isn't SUCCESS


class TaskError(Exception):
    """The task failed: the text is logged as ERROR and shown at the task run; `outputs` are kept."""

    def __init__(self, message: str, outputs: Mapping[str, Any] | None = None) -> None:
        """`message`: for the flow's author."""
        super().__init__(message)
        self.outputs = outputs


class Task(ABC):
    """A task type: a frozen dataclass whose fields are its properties (see worker/properties.py).

    An object is made for each attempt, after its properties were rendered. `run` is called in a thread of its own; it
    should look at `context.cancelled` where it waits.
    """

    type: ClassVar[str]
    """The name that flows use, such as `io.kestra.plugin.core.log.Log`."""
    aliases: ClassVar[tuple[str, ...]] = ()
    """Older names of the type."""
    brief: ClassVar[bool] = False
    """It only computes, for about a millisecond: one thread may run many in a row, and its events go out together."""

    @abstractmethod
    def run(self, context: Context) -> Result | Mapping[str, Any] | None:
        """Do the work; give the outputs. Any exception fails the attempt, `TaskError` with outputs of its own."""
