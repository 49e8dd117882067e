"""The renderer: templates and nested values to texts and values, as Kestra's run context does."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from functools import lru_cache
from typing import Any

import regex

from shared.expressions import compiler, functions
from shared.expressions.compiler import Program
from shared.expressions.errors import Excess, LimitError, Refusal, RenderError
from shared.expressions.evaluation import Evaluation
from shared.expressions.json_text import to_json
from shared.expressions.limits import Budget, Limits
from shared.expressions.outside import NoOutside, Outside
from shared.expressions.values import Entry, java_text, scalar_text

#: Compiled templates kept; Kestra keeps 1000. One takes some KiB.
CACHED_TEMPLATES = 4096
#: Longest template that is kept, so that a few don't take all the memory.
CACHED_CHARACTERS = 16 * 1024
#: Texts that `TruthUtils` takes for false.
_FALSE_TEXTS = frozenset({"", "false", "0", "-0"})
_RAW = regex.compile(r"\{%-*\s*+raw\s*+-*%\}(.*?)\{%-*\s*+endraw\s*+-*%\}", regex.DOTALL)

assert functions.REGISTERED


@lru_cache(maxsize=CACHED_TEMPLATES)
def _program(source: str) -> Program:
    return compiler.compiled(source)


def _in_time(budget: Budget, template: str) -> None:
    try:
        budget.left()
    except Excess as refusal:
        raise LimitError(str(refusal), template=template) from refusal


def is_template(text: str) -> bool:
    """Say whether rendering a text could change it."""
    return "{{" in text or "{%" in text or "{#" in text


def truthy(rendered: str | None) -> bool:
    """Say whether a rendered condition holds: all but null, empty, `false`, `0` and `-0` (Kestra's TruthUtils)."""
    return rendered is not None and rendered not in _FALSE_TEXTS


class Renderer:
    """Renders templates. It keeps no state of a rendering and may be shared between threads."""

    def __init__(self, outside: Outside | None = None, limits: Limits | None = None, recursive: bool = False) -> None:
        #: What functions such as `secret()` ask.
        self.outside: Outside = NoOutside() if outside is None else outside
        self.limits = Limits() if limits is None else limits
        #: Kestra's `kestra.variables.recursive-rendering`: render until nothing changes.
        self.recursive = recursive

    def render(self, template: str | None, variables: Mapping[str, Any]) -> str | None:
        """Render a template to a text; null stays null.

        Raises:
            RenderError: it can't be parsed or rendered.
        """
        if template is None or not is_template(template):
            return template
        result: str = self.rendered(template, variables, Budget(self.limits), self.recursive, typed=False)
        return result

    def render_typed(self, template: Any, variables: Mapping[str, Any]) -> Any:
        """Render a template; where it is one expression and nothing else, give its value as it is.

        Raises:
            RenderError: as `render`.
        """
        if not isinstance(template, str) or not is_template(template):
            return template
        return self.rendered(template, variables, Budget(self.limits), self.recursive, typed=True)

    def render_value(self, value: Any, variables: Mapping[str, Any]) -> Any:
        """Render the texts in nested maps and lists, keys too; other values stay.

        Raises:
            RenderError: as `render`.
        """
        return self.rendered_value(value, variables, Budget(self.limits), self.recursive)

    def render_map(self, value: Mapping[str, Any], variables: Mapping[str, Any]) -> dict[str, Any]:
        """Render a map; of two keys that become equal the first one wins.

        Raises:
            RenderError: as `render`.
        """
        result: dict[str, Any] = self.render_value(value, variables)
        return result

    # For `render()` within a template

    def rendered(
        self, template: str, variables: Mapping[str, Any], budget: Budget, recursive: bool, typed: bool
    ) -> Any:
        """Render within a budget, until nothing changes where `recursive`."""
        result: Any = template
        for _ in range(self.limits.passes + 1):
            before = result
            _in_time(budget, template)
            result = self._once(before, variables, budget, typed)
            if not recursive or not isinstance(result, str) or result == before:
                break
        else:
            raise RenderError("Too many rendering attempts", template=template)
        if isinstance(result, str) and "endraw" in result:
            return _RAW.sub(r"\1", result)
        return result

    def rendered_value(self, value: Any, variables: Mapping[str, Any], budget: Budget, recursive: bool) -> Any:
        """Render nested values within a budget."""
        if isinstance(value, str):
            if not is_template(value):
                return value
            return self.rendered(value, variables, budget, recursive, typed=False)
        if value is None or isinstance(value, (bool, int, float, Entry)):
            return value
        if isinstance(value, (Mapping, list, tuple, AbstractSet)):
            try:
                budget.enter()
                budget.items(len(value))
                if isinstance(value, Mapping):
                    return self._rendered_map(value, variables, budget, recursive)
                return [self.rendered_value(item, variables, budget, recursive) for item in value]
            except Excess as refusal:
                raise LimitError(str(refusal)) from refusal
            finally:
                budget.leave()
        return value

    def _rendered_map(
        self, value: Mapping[Any, Any], variables: Mapping[str, Any], budget: Budget, recursive: bool
    ) -> dict[Any, Any]:
        result: dict[Any, Any] = {}
        for key, item in value.items():
            name = self.rendered_value(key, variables, budget, self.recursive)
            rendered = self.rendered_value(item, variables, budget, recursive)
            result.setdefault(name, rendered)
        return result

    def _once(self, source: str, variables: Mapping[str, Any], budget: Budget, typed: bool) -> Any:
        if not is_template(source):
            return source
        if len(source) > self.limits.source or source.count("{{") + source.count("{%") > self.limits.tags:
            raise LimitError("The template is too long", template=source[:1000])
        program = _program(source) if len(source) <= CACHED_CHARACTERS else compiler.compiled(source)
        evaluation = Evaluation(self, program, variables, budget)
        try:
            if typed and program.sole:
                return next(program.root(evaluation))
            return self.joined(program.root(evaluation), budget)
        except Refusal as refusal:
            raise evaluation.error(refusal, 1, 1) from refusal
        except RecursionError as error:
            raise LimitError(f"The template nests too deep ({source})", template=source) from error

    def joined(self, pieces: Iterable[Any], budget: Budget) -> str:
        """Print values one after the other: null is empty, maps and lists are JSON."""
        texts: list[str] = []
        length = 0
        for piece in pieces:
            if type(piece) is str:
                text = piece
            elif piece is None:
                continue
            elif isinstance(piece, Entry):
                text = java_text(piece, budget)
            else:
                scalar = scalar_text(piece)
                text = to_json(piece, budget) if scalar is None else scalar
            texts.append(text)
            length += len(text)
            budget.text(length)
        return texts[0] if len(texts) == 1 else "".join(texts)
