"""What a template may use up, so that it can neither hang nor exhaust the process that renders it."""

from __future__ import annotations

import time
from dataclasses import dataclass

from shared.expressions.errors import Excess

#: How many loop steps pass between two looks at the clock: a look costs about as much as a step.
STEPS_PER_LOOK = 256


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one rendering, nested renderings by `render()` included."""

    #: Wall-clock seconds. Kestra has no such limit; a rendering takes well under a millisecond.
    seconds: float = 10.0
    #: Characters of any text made on the way, the result included. Kestra's own messages end at 10 MiB.
    characters: int = 32 * 1024 * 1024
    #: Loop iterations and list items made, summed up.
    steps: int = 1_000_000
    #: Passes of recursive rendering (Kestra: "Too many rendering attempts" after 100).
    passes: int = 100
    #: `render()` within `render()`, calls of macros and blocks within each other, and nesting of values.
    depth: int = 64
    #: Characters and tags of a template: compiling takes about 0.1 ms a tag.
    source: int = 2 * 1024 * 1024
    tags: int = 10_000


class Budget:
    """What is left of the limits during one rendering. Not shared between threads."""

    __slots__ = ("_deadline", "_next_look", "_steps", "depth", "limits")

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._steps = 0
        self._next_look = STEPS_PER_LOOK
        #: Levels entered and not left.
        self.depth = 0
        self._deadline = time.monotonic() + limits.seconds

    def step(self, count: int = 1) -> None:
        """Take `count` steps.

        Raises:
            Excess: there are no steps or there is no time left.
        """
        self._steps += count
        if self._steps >= self._next_look:
            if self._steps > self.limits.steps:
                raise Excess(f"The template takes more than {self.limits.steps} steps")
            self._next_look = self._steps + STEPS_PER_LOOK
            self.left()

    def left(self) -> float:
        """Give the seconds left, more than 0.

        Raises:
            Excess: the time is over.
        """
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise Excess(f"The template takes longer than {self.limits.seconds:g} s")
        return left

    def text(self, length: int) -> None:
        """Check the length in characters of a text before it is made.

        Raises:
            Excess: it is too long.
        """
        if length > self.limits.characters:
            raise Excess(f"The template makes a text of more than {self.limits.characters} characters")

    def items(self, count: int) -> None:
        """Check the length of a list before it is made, and take a step for each item.

        Raises:
            Excess: it is too long.
        """
        if count > self.limits.steps:
            raise Excess(f"The template makes a list of more than {self.limits.steps} items")
        self.step(count)

    def enter(self) -> None:
        """Go one level deeper.

        Raises:
            Excess: that is too deep.
        """
        self.depth += 1
        if self.depth > self.limits.depth:
            raise Excess(f"The template nests more than {self.limits.depth} levels deep")

    def leave(self) -> None:
        """Come back from the level entered last."""
        self.depth -= 1
