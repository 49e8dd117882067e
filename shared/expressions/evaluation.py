"""One rendering of one compiled template: what the generated code calls."""

from __future__ import annotations

import itertools
from collections import ChainMap
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import TYPE_CHECKING, Any

from shared.expressions import attributes, operators, patterns
from shared.expressions.compiler import Program
from shared.expressions.errors import Excess, LimitError, Missing, NotFoundError, Refusal, RenderError
from shared.expressions.limits import Budget
from shared.expressions.outside import OutsideError, Place
from shared.expressions.registry import FILTERS, FUNCTIONS, TESTS
from shared.expressions.values import Entry, class_name, java_text

if TYPE_CHECKING:
    from shared.expressions.renderer import Renderer

_BINARY: dict[str, Callable[[Any, Any, Budget], Any]] = {
    "+": operators.add,
    "-": operators.subtract,
    "*": operators.multiply,
    "/": operators.divide,
    "%": operators.modulo,
    "contains": operators.contains,
    "matches": patterns.matches,
    "==": lambda left, right, _: operators.equal(left, right),
    "equals": lambda left, right, _: operators.equal(left, right),
    "!=": lambda left, right, _: not operators.equal(left, right),
}
#: Functions that are missing when rendering is recursive anyway, as in Kestra.
_RENDERING = frozenset({"render", "renderOnce"})


class Evaluation:
    """Variables, scopes and budget while a template is rendered."""

    __slots__ = ("_base", "_scopes", "budget", "program", "renderer")

    def __init__(self, renderer: Renderer, program: Program, variables: Mapping[str, Any], budget: Budget) -> None:
        self.renderer = renderer
        self.program = program
        self.budget = budget
        #: The context, which is never changed, then the scopes of the template.
        self._scopes: list[Any] = [variables]
        #: The lowest scope that can be seen: macros see only their arguments.
        self._base = 0

    # Variables

    def get(self, name: str, line: int, column: int) -> Any:
        """Read a variable of the innermost scope that has it."""
        scopes = self._scopes
        for number in range(len(scopes) - 1, self._base - 1, -1):
            scope = scopes[number]
            if name in scope:
                return scope[name]
        raise self.missing(name, line, column)

    def set(self, name: str, value: Any) -> None:
        """Set a variable where it is, or else in the innermost scope."""
        scopes = self._scopes
        if len(scopes) == 1:
            scopes.append({})
        for number in range(len(scopes) - 1, self._base, -1):
            if name in scopes[number]:
                scopes[number][name] = value
                return
        # A variable of the context is covered by one of the template, not changed.
        covers = self._base == 0 and name in scopes[0]
        scopes[max(1, self._base) if covers or self._base else -1][name] = value

    def put(self, name: str, value: Any) -> None:
        """Set a variable in the innermost scope."""
        self._scopes[-1][name] = value

    def push(self, scope: dict[str, Any]) -> None:
        """Begin a scope."""
        self._scopes.append(scope)

    def push_local(self) -> None:
        """Begin a scope from which nothing further out can be seen."""
        if len(self._scopes) == 1:
            self._scopes.append({})
        self._scopes.append({})
        self._base = len(self._scopes) - 1

    def visible(self) -> Mapping[str, Any]:
        """Give the variables that can be seen here."""
        seen = self._scopes[self._base :]
        if len(seen) == 1:
            return dict(seen[0]) if self._base else seen[0]
        # Not merged into one dictionary: a context may load its values when they are asked for.
        return ChainMap(*reversed(seen))

    def lookup(self, name: str) -> Any:
        """Read a variable, None where there is none."""
        for scope in reversed(self._scopes[self._base :]):
            if name in scope:
                return scope[name]
        return None

    def place(self) -> Place:
        """Say in whose name functions read from outside."""
        flow, execution = self.lookup("flow"), self.lookup("execution")
        of = flow if isinstance(flow, Mapping) else {}
        run = execution if isinstance(execution, Mapping) else {}
        return Place(of.get("tenantId"), of.get("namespace"), of.get("id"), run.get("id"))

    # Attributes

    def attribute(self, value: Any, key: Any, line: int, column: int, root: str | None) -> Any:
        """Read an attribute or item."""
        if type(value) is dict and type(key) is str:
            if key in value:
                return value[key]
            raise self.missing(key, line, column)
        try:
            if value is None:
                raise Missing(root or java_text(key, self.budget))
            return attributes.attribute(value, key, self.budget)
        except Refusal as refusal:
            raise self.error(refusal, line, column) from None

    def method(
        self,
        value: Any,
        name: str,
        given: tuple[Any, ...],
        named: dict[str, Any],
        line: int,
        column: int,
        root: str | None,
    ) -> Any:
        """Call a method of a value; the parser allows it no named arguments."""
        assert not named
        try:
            if value is None:
                raise Missing(root or name)
            return attributes.method(value, name, given, self.budget)
        except Refusal as refusal:
            raise self.error(refusal, line, column) from refusal

    # Functions, filters, tests

    def call(self, name: str, positional: tuple[Any, ...], named: dict[str, Any], line: int, column: int) -> Any:
        """Call a function, or a macro where there is no function of that name."""
        function = FUNCTIONS.get(name)
        if function is not None and not (self.renderer.recursive and name in _RENDERING):
            return self._guarded(lambda: function.work(self, function.bound(positional, named)), name, line, column)
        if name == "block":
            return self._called_block(positional, line, column)
        if name == "parent":
            message = "Can not use parent function if template does not extend another template."
            raise self.error(Refusal(message), line, column)
        macro = self.program.macros.get(name)
        if macro is None:
            raise self.error(Refusal(f"Function or Macro [{name}] does not exist."), line, column)
        body, names = macro
        given = self._guarded(lambda: _bound_macro(names, positional, named), name, line, column)
        base, height = self._base, len(self._scopes)
        try:
            self.budget.enter()
        except Excess as refusal:
            raise self.error(refusal, line, column) from refusal
        text = self.collect(body(self, given), line, column)
        self.budget.leave()
        del self._scopes[height:]
        self._base = base
        return text

    def filter(
        self, name: str, value: Any, positional: tuple[Any, ...], named: dict[str, Any], line: int, column: int
    ) -> Any:
        """Apply a filter."""
        found = FILTERS.get(name)
        if found is None:
            raise self.error(Refusal(f"Filter [{name}] does not exist."), line, column)
        return self._guarded(lambda: found.work(self, value, found.bound(positional, named)), name, line, column)

    def lazy_filter(
        self,
        name: str,
        value: Callable[[], Any],
        positional: tuple[Any, ...],
        named: dict[str, Any],
        line: int,
        column: int,
    ) -> Any:
        """Apply a filter to what may not exist; it then gets null."""
        return self.filter(name, self._or_null(value), positional, named, line, column)

    def coalesce(self, left: Callable[[], Any], right: Callable[[], Any], null_too: bool) -> Any:
        """Give the left side where it exists (and isn't null, for `??`), else the right one."""
        base, height, depth = self._base, len(self._scopes), self.budget.depth
        try:
            value = left()
        except NotFoundError:
            # What the left side had begun when it failed ends here.
            del self._scopes[height:]
            self._base, self.budget.depth = base, depth
            return right()
        return right() if value is None and null_too else value

    def _or_null(self, value: Callable[[], Any]) -> Any:
        return self.coalesce(value, lambda: None, null_too=False)

    def test(
        self, name: str, value: Any, positional: tuple[Any, ...], named: dict[str, Any], line: int, column: int
    ) -> bool:
        """Apply a test; none of them has arguments."""
        found = TESTS.get(name)
        if found is None:
            raise self.error(Refusal(f"Test [{name}] does not exist."), line, column)
        if positional or named:
            raise self.error(Refusal(f"Test [{name}] has no arguments."), line, column)
        result: bool = self._guarded(lambda: found(value), name, line, column)
        return result

    def defined(
        self,
        name: str,
        value: Callable[[], Any],
        positional: tuple[Any, ...],
        named: dict[str, Any],
        line: int,
        column: int,
    ) -> bool:
        """Say whether something exists and isn't null."""
        del name
        return not self.test("null", self._or_null(value), positional, named, line, column)

    # Operators

    def binary(self, operator: str, left: Any, right: Any, line: int, column: int) -> Any:
        """Apply an operator of two sides."""
        try:
            work = _BINARY.get(operator)
            return operators.compare(operator, left, right) if work is None else work(left, right, self.budget)
        except Refusal as refusal:
            raise self.error(refusal, line, column) from refusal

    def truth(self, value: Any, line: int, column: int, null_is_false: bool = False) -> bool:
        """Give the truth of a side of a logical operator."""
        if value is None and null_is_false:
            return False
        try:
            return operators.truth(value)
        except Refusal as refusal:
            raise self.error(refusal, line, column) from refusal

    def condition(self, value: Callable[[], Any], line: int, column: int) -> bool:
        """Evaluate the condition of an `if`; what goes wrong in it is told as Pebble does."""
        try:
            return operators.truth(value())
        except LimitError:
            raise
        except Excess as refusal:
            raise self.error(refusal, line, column) from refusal
        except (RenderError, Refusal) as error:
            message = f"Wrong operand(s) type in conditional expression ({self.program.source}:{line}): {error}"
            raise RenderError(message, template=self.program.source, line=line, column=column) from error

    def concat(self, parts: tuple[Any, ...], line: int, column: int) -> str:
        """Join texts; null is empty, other values are as Java prints them."""
        try:
            texts = [part if type(part) is str else java_text(part, self.budget) for part in parts if part is not None]
            self.budget.text(sum(map(len, texts)))
        except Refusal as refusal:
            raise self.error(refusal, line, column) from refusal
        return "".join(texts)

    def map(self, pairs: tuple[tuple[Any, Any], ...], line: int, column: int) -> dict[Any, Any]:
        """Make a map; keys are texts, numbers, booleans or null."""
        for key, _ in pairs:
            if not (key is None or isinstance(key, (str, int, float))):
                raise self.error(Refusal(f"{class_name(key)} can't be a key of a map"), line, column)
        return dict(pairs)

    # Tags

    def iterate(self, value: Any, line: int, column: int) -> Sequence[Any] | None:
        """Give what a loop goes over; a map gives its entries."""
        if value is None:
            return None
        try:
            if isinstance(value, (list, tuple)) and not isinstance(value, Entry):
                return value
            if isinstance(value, Mapping):
                self.budget.items(len(value))
                return list(itertools.starmap(Entry, value.items()))
            if isinstance(value, AbstractSet):
                return list(value)
            shown = java_text(value, self.budget)[:200]
        except Refusal as refusal:
            raise self.error(refusal, line, column) from refusal
        raise self.error(Refusal(f"Not an iterable object. Value = [{shown}]"), line, column)

    def loop(self, name: str, items: Sequence[Any], line: int, column: int) -> Iterator[None]:
        """Go over the items, with the item and `loop` as variables."""
        scope: dict[str, Any] = {}
        if len(self._scopes) == 1:
            self._scopes.append({})
        height = len(self._scopes)
        self._scopes.append(scope)
        length = len(items)
        for index, item in enumerate(items):
            try:
                self.budget.step()
            except Excess as refusal:
                raise self.error(refusal, line, column) from refusal
            scope["loop"] = {
                "index": index,
                "length": length,
                "first": index == 0,
                "last": index == length - 1,
                "revindex": length - index - 1,
            }
            scope[name] = item
            yield None
        del self._scopes[height:]

    def block_body(self, name: str, line: int, column: int) -> Iterator[Any]:
        """Render a block where it stands."""
        try:
            self.budget.enter()
        except Excess as refusal:
            raise self.error(refusal, line, column) from refusal
        yield from self.program.blocks[name](self)
        self.budget.leave()

    def _called_block(self, positional: tuple[Any, ...], line: int, column: int) -> str:
        if not positional or not isinstance(positional[0], str):
            raise self.error(Refusal("The 'block' function expects the name of a block."), line, column)
        if positional[0] not in self.program.blocks:
            return ""
        return self.collect(self.block_body(positional[0], line, column), line, column)

    def collect(self, pieces: Iterable[Any], line: int, column: int) -> str:
        """Make one text of what a body gives."""
        try:
            return self.renderer.joined(pieces, self.budget)
        except Refusal as refusal:
            raise self.error(refusal, line, column) from refusal

    # Errors

    def _guarded(self, work: Callable[[], Any], name: str, line: int, column: int) -> Any:
        """Do what a filter, function or test does; give its errors a place."""
        try:
            self.budget.step()
            return work()
        except Refusal as refusal:
            raise self.error(refusal, line, column) from refusal
        except RenderError:
            raise
        except OutsideError as error:
            raise self.error(Refusal(str(error)), line, column) from error
        except Exception as error:
            message = f"Unable to apply `{name}`: {type(error).__name__}: {error}"
            raise self.error(Refusal(message), line, column) from error

    def missing(self, name: str, line: int, column: int) -> NotFoundError:
        """Make the error for what doesn't exist, in Kestra's words."""
        source = self.program.source
        message = f"Unable to find `{name}` used in the expression `{source}` at line {line}"
        return NotFoundError(message, template=source, line=line, column=column)

    def error(self, refusal: Refusal, line: int, column: int) -> RenderError:
        """Give a refusal its place."""
        if isinstance(refusal, Missing):
            return self.missing(str(refusal), line, column)
        kind = LimitError if isinstance(refusal, Excess) else RenderError
        source = self.program.source
        return kind(f"{refusal} ({source}:{line})", template=source, line=line, column=column)


def _bound_macro(names: tuple[str, ...], positional: tuple[Any, ...], named: dict[str, Any]) -> dict[str, Any]:
    if len(positional) > len(names):
        raise Refusal(
            f"The argument at position {len(names) + 1} is not allowed. Only {len(names)} argument(s) are allowed."
        )
    for name in named:
        if name not in names:
            raise Refusal(f"The following named argument does not exist: {name}")
    return {**dict(zip(names, positional, strict=False)), **named}
