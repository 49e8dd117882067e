"""The names that expressions can use: filters, functions and tests, each with its arguments."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from shared.expressions.errors import Refusal
from shared.expressions.values import class_name

if TYPE_CHECKING:
    from shared.expressions.evaluation import Evaluation

FilterWork = Callable[["Evaluation", Any, Mapping[str, Any]], Any]
FunctionWork = Callable[["Evaluation", Mapping[str, Any]], Any]
TestWork = Callable[[Any], bool]


@dataclass(frozen=True, slots=True)
class Named:
    """A filter or function with the names of its arguments; without names they are numbered."""

    work: Callable[..., Any]
    names: tuple[str, ...]

    def bound(self, positional: Sequence[Any], named: Mapping[str, Any]) -> dict[str, Any]:
        """Give the arguments by name.

        Raises:
            Refusal: there are too many, or one has an unknown name.
        """
        if not self.names:
            return {**{str(number): value for number, value in enumerate(positional)}, **named}
        if len(positional) > len(self.names):
            raise Refusal(
                f"The argument at position {len(self.names) + 1} is not allowed. "
                f"Only {len(self.names)} argument(s) are allowed."
            )
        given = dict(zip(self.names, positional, strict=False))
        for name, value in named.items():
            if name not in self.names:
                raise Refusal(f"The following named argument does not exist: {name}")
            given[name] = value
        return given


FILTERS: dict[str, Named] = {}
FUNCTIONS: dict[str, Named] = {}
TESTS: dict[str, TestWork] = {}


def filtering(name: str, *names: str) -> Callable[[FilterWork], FilterWork]:
    """Register a filter."""

    def register(work: FilterWork) -> FilterWork:
        FILTERS[name] = Named(work, names)
        return work

    return register


def calling(name: str, *names: str) -> Callable[[FunctionWork], FunctionWork]:
    """Register a function."""

    def register(work: FunctionWork) -> FunctionWork:
        FUNCTIONS[name] = Named(work, names)
        return work

    return register


def testing(name: str) -> Callable[[TestWork], TestWork]:
    """Register a test, what stands after `is`."""

    def register(work: TestWork) -> TestWork:
        TESTS[name] = work
        return work

    return register


def needed(given: Mapping[str, Any], name: str, message: str) -> Any:
    """Give an argument that has to be there.

    Raises:
        Refusal: it isn't, with the message.
    """
    if name not in given:
        raise Refusal(message)
    return given[name]


def text_of(value: Any, what: str) -> str:
    """Give a value that has to be a text.

    Raises:
        Refusal: it is something else.
    """
    if isinstance(value, str):
        return value
    raise Refusal(f"{what} must be a String. Actual type was: {class_name(value)}")


def integer_of(value: Any, what: str) -> int:
    """Give a value that has to be an integer.

    Raises:
        Refusal: it is something else.
    """
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    raise Refusal(f"{what} must be an integer. Actual type was: {class_name(value)}")
