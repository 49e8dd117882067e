"""Problem: one thing that is wrong with a flow's YAML, and the error that carries all of them."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Mark:
    """A place in a text; both numbers start at 1."""

    line: int
    column: int


START = Mark(1, 1)
"""The place of what is about the whole text."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake: where it is, which property, and what was expected and found.

    `subject` is what Kestra's constraint texts name instead of the path where a rule is about a whole task
    (its id) or the whole flow (empty).
    """

    file: str | None
    line: int
    column: int
    path: str  #: such as `tasks[2].retry.type`; empty for the whole flow
    message: str
    subject: str | None = None

    def __str__(self) -> str:
        where = f"{self.file or 'flow'}:{self.line}:{self.column}"
        return f"{where}: {self.path}: {self.message}" if self.path else f"{where}: {self.message}"

    @property
    def constraint(self) -> str:
        """`tasks[0].id: must not be null`: the form of Kestra's validation answers, which have no lines."""
        return f"{self.path if self.subject is None else self.subject}: {self.message}"


class FlowError(ValueError):
    """A flow that cannot be read. Carries every problem; its text has one line for each."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        self.problems = problems
        super().__init__("\n".join(str(problem) for problem in problems))

    @property
    def constraints(self) -> str:
        """All problems in Kestra's form, with their lines, for `constraints` of `POST /flows/validate`."""
        return "\n".join(f"{problem.constraint} (line {problem.line})" for problem in self.problems)


@dataclass(slots=True)
class Report:
    """Collects problems while a flow is read, so that all of them are told at once."""

    file: str | None = None
    problems: list[Problem] = field(default_factory=list)

    def add(self, mark: Mark, path: str, message: str, *, subject: str | None = None) -> None:
        self.problems.append(Problem(self.file, mark.line, mark.column, path, message, subject))

    def raise_if_any(self) -> None:
        """Raises FlowError with what was collected, in the order of the text."""
        if self.problems:
            raise FlowError(tuple(sorted(self.problems, key=lambda p: (p.line, p.column))))
