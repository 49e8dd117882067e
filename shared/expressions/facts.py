"""What one template can read, found by looking at its tree: the ground of `reach`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final

from jinja2 import nodes

from shared.expressions import compiler
from shared.expressions.compiler import Program
from shared.expressions.errors import RenderError
from shared.expressions.evaluation import Evaluation
from shared.expressions.limits import Budget, Limits
from shared.expressions.registry import FUNCTIONS
from shared.expressions.renderer import CACHED_CHARACTERS, CACHED_TEMPLATES, Renderer

#: Roots that a subscript may be made of and still be evaluated before the task is sent: all are small.
SUBSCRIPT_ROOTS = frozenset(
    {
        "taskrun",
        "parent",
        "parents",
        "inputs",
        "vars",
        "task",
        "flow",
        "execution",
        "labels",
        "trigger",
        "globals",
        "envs",
    }
)
#: What functions read of the context by themselves: whose place it is, and who started the execution.
_PLACE: Final = (("flow", "tenantId"), ("flow", "namespace"), ("flow", "id"), ("execution", "id"))
_STARTER: Final = (("trigger", "namespace"), ("trigger", "flowId"), ("trigger", "executionId"))
_FILES = (*_PLACE, *_STARTER)
#: Step to each item of a list.
EVERY: Final = object()
_IMPLIED: Mapping[str, tuple[tuple[Any, ...], ...]] = {
    "currentEachOutput": (("parents", EVERY, "taskrun", "value"), ("taskrun", "value")),
    "secret": _PLACE,
    "kv": _PLACE,
    "errorLogs": _PLACE,
    "fileURI": _PLACE,
    "read": _FILES,
    "fileSize": _FILES,
    "fileExists": _FILES,
    "fileEmpty": _FILES,
    "isFileEmpty": _FILES,
    "parentOutput": (("parents",),),
    "iterationOutput": (("outputs",), ("parents", EVERY, "taskrun", "value"), ("taskrun",), ("task", "id")),
    "tasksWithState": (("tasks",),),
}
#: Filters and functions that can't make template marks out of what has none, see `Facts.inventive`.
_TAME_FILTERS = frozenset(
    [
        "??",
        "???",
        "default",
        "upper",
        "lower",
        "capitalize",
        "title",
        "trim",
        "string",
        "date",
        "dateAdd",
        "timestamp",
        "timestampMilli",
        "timestampMicro",
        "timestampNano",
        "length",
        "number",
        "numberFormat",
        "abs",
        "className",
        "md5",
        "sha1",
        "sha256",
        "sha512",
        "slugify",
        "toJson",
        "json",
        "urlencode",
        "base64encode",
        "startsWith",
        "endsWith",
    ]
)
_TAME_FUNCTIONS = frozenset(
    [
        "render",
        "renderOnce",
        "now",
        "uuid",
        "id",
        "randomInt",
        "max",
        "min",
        "isWeekend",
        "dayOfWeek",
        "dayOfMonth",
        "monthOfYear",
        "hourOfDay",
        "isDayWeekInMonth",
        "currentEachOutput",
    ]
)
_MARKS = ("{{", "{%", "{#")


@dataclass(frozen=True, slots=True)
class Subscript:
    """A subscript that is evaluated once the variables are known."""

    #: The expression's tree as text: what makes two subscripts equal.
    text: str
    program: Program = field(compare=False, repr=False)
    #: The variables that it is made of.
    roots: frozenset[str] = field(compare=False, repr=False)

    def key(self, variables: Mapping[str, Any]) -> Any:
        """Evaluate it.

        Raises:
            RenderError: as rendering the template itself will.
        """
        evaluation = Evaluation(_RENDERER, self.program, variables, Budget(_RENDERER.limits))
        return next(self.program.root(evaluation))


#: The way that `currentEachOutput` goes down, by the parents' values and the own one.
EACH: Final = object()
Path = tuple[Any, ...]
#: Only for subscripts; they need no outside.
_RENDERER = Renderer(limits=Limits(seconds=1.0, steps=10_000, characters=100_000))


@dataclass(frozen=True, slots=True)
class Facts:
    """What a template reads.

    A path is a root and steps: constants, `Subscript`s, `EACH` or `EVERY`; all that is below its end is read.
    """

    paths: tuple[Path, ...] = ()
    #: Roots of paths that end early, at a subscript that nobody can evaluate beforehand.
    dynamic: frozenset[str] = frozenset()
    #: Paths of values that are rendered as templates, and whether recursively.
    rendered: tuple[tuple[Path, bool], ...] = ()
    #: Constant texts that are rendered as templates, and whether recursively.
    templates: tuple[tuple[str, bool], ...] = ()
    #: Whether everything may be read.
    everything: bool = False
    #: Names that the template gives values to; they may cover those of the context.
    locals: frozenset[str] = frozenset()
    #: Whether what it gives may have template marks that are in none of its texts and values.
    inventive: bool = False
    #: Whether it can't be parsed; rendering then fails whatever the context is.
    broken: bool = False


def facts_of(source: str) -> Facts:
    """Look at a template."""
    return _facts_of(source) if len(source) <= CACHED_CHARACTERS else _facts_of.__wrapped__(source)


@lru_cache(maxsize=CACHED_TEMPLATES)
def _facts_of(source: str) -> Facts:
    try:
        tree = compiler.parse(source)
        return _Reader(tree).facts()
    except RenderError:
        return Facts(broken=True)


def opens(text: str) -> bool:
    """Say whether a text could become the beginning of a template mark when another one follows it."""
    return text.rstrip().endswith("{")


class _Reader:
    """Walks through a template's tree."""

    def __init__(self, tree: nodes.Template) -> None:
        self._tree = tree
        self._locals = frozenset(self._bound(tree))
        self._paths: list[Path] = []
        self._dynamic: set[str] = set()
        self._rendered: list[tuple[Path, bool]] = []
        self._templates: list[tuple[str, bool]] = []
        self._everything = False
        self._inventive = False

    @staticmethod
    def _bound(tree: nodes.Template) -> Iterator[str]:
        for name in tree.find_all(nodes.Name):
            if name.ctx in ("store", "param"):
                yield name.name
        if tree.find(nodes.For):
            yield "loop"

    def facts(self) -> Facts:
        self._visit(self._tree)
        return Facts(
            tuple(dict.fromkeys(self._paths)),
            frozenset(self._dynamic),
            tuple(dict.fromkeys(self._rendered)),
            tuple(dict.fromkeys(self._templates)),
            self._everything,
            self._locals,
            self._inventive,
        )

    def _visit(self, node: nodes.Node) -> None:
        if isinstance(node, (nodes.Name, nodes.Getattr, nodes.Getitem)):
            path = self._path(node)
            if path is not None:
                self._paths.append(path)
            return
        if isinstance(node, nodes.Call):
            self._call(node)
            return
        if isinstance(node, nodes.Filter) and node.name not in _TAME_FILTERS:
            self._inventive = True
        if isinstance(node, nodes.FilterBlock):
            self._inventive = True
        if isinstance(node, nodes.TemplateData):
            self._inventive |= opens(node.data)
        if isinstance(node, nodes.Const) and isinstance(node.value, str):
            self._inventive |= opens(node.value) or any(mark in node.value for mark in _MARKS)
        for child in node.iter_child_nodes():
            self._visit(child)

    def _path(self, node: nodes.Node) -> Path | None:
        """Give the path of a chain of attributes; its subscripts are visited. None if it begins elsewhere."""
        steps: list[nodes.Node | str] = []
        while isinstance(node, (nodes.Getattr, nodes.Getitem)):
            steps.append(node.attr if isinstance(node, nodes.Getattr) else node.arg)
            node = node.node
        for step in steps:
            if isinstance(step, nodes.Node) and not isinstance(step, nodes.Const):
                self._visit(step)
        if not isinstance(node, nodes.Name):
            self._visit(node)
            return None
        if node.ctx != "load":
            return None
        path: list[Any] = [node.name]
        for step in reversed(steps):
            if isinstance(step, str):
                path.append(step)
            elif isinstance(step, nodes.Const):
                if not isinstance(step.value, (str, int)) or isinstance(step.value, bool):
                    break
                path.append(step.value)
            else:
                subscript = self._subscript(step)
                if subscript is None:
                    self._dynamic.add(node.name)
                    break
                path.append(subscript)
        return tuple(path)

    def _subscript(self, node: nodes.Node) -> Subscript | None:
        if node.find(nodes.Call) or isinstance(node, nodes.Call):
            return None
        names = {name.name for name in node.find_all(nodes.Name)}
        if isinstance(node, nodes.Name):
            names.add(node.name)
        if not names <= SUBSCRIPT_ROOTS - self._locals:
            return None
        assert isinstance(node, nodes.Expr)
        output = nodes.Output([node], lineno=node.lineno)
        tree = nodes.Template([output], lineno=1)
        try:
            return Subscript(repr(node), compiler.translated("", tree), frozenset(names))
        except RenderError:
            return None

    def _call(self, node: nodes.Call) -> None:
        if not isinstance(node.node, nodes.Name):
            # A method: the value that it is called on is read as a whole.
            self._inventive = True
            assert isinstance(node.node, nodes.Getattr)
            self._visit(node.node.node)
            self._visit_arguments(node)
            return
        name = node.node.name
        self._paths.extend(_IMPLIED.get(name, ()))
        if name not in _TAME_FUNCTIONS:
            self._inventive = True
        if name in ("printContext", "fetchContext"):
            self._everything = True
        elif name in ("render", "renderOnce"):
            self._render(node, name)
            return
        elif name == "currentEachOutput" and len(node.args) == 1 and not node.kwargs:
            path = self._path(node.args[0])
            if path is not None and not ({"taskrun", "parents"} & self._locals) and self._ends(node, path):
                self._paths.append((*path, EACH))
                return
        if name not in FUNCTIONS:
            self._inventive = True
        self._visit_arguments(node)

    @staticmethod
    def _ends(node: nodes.Call, path: Path) -> bool:
        """Say whether a path goes to the end of the argument, not only to where it becomes dynamic."""
        depth = 1
        argument: nodes.Node = node.args[0]
        while isinstance(argument, (nodes.Getattr, nodes.Getitem)):
            depth += 1
            argument = argument.node
        return depth == len(path)

    def _visit_arguments(self, node: nodes.Call) -> None:
        for argument in (*node.args, *node.kwargs):
            self._visit(argument)

    def _render(self, node: nodes.Call, name: str) -> None:
        arguments = dict(zip(("toRender", "recursive"), node.args, strict=False))
        for keyword in node.kwargs:
            assert isinstance(keyword, nodes.Keyword)
            arguments[keyword.key] = keyword.value
        flag, value = arguments.get("recursive"), arguments.get("toRender")
        recursive = name == "render" and not (isinstance(flag, nodes.Const) and flag.value is False)
        if flag is not None:
            self._visit(flag)
        if isinstance(value, nodes.Const) and isinstance(value.value, str):
            self._templates.append((value.value, recursive))
            return
        if isinstance(value, (nodes.Name, nodes.Getattr, nodes.Getitem)):
            path = self._path(value)
            if path is not None and path[0] not in self._locals:
                self._paths.append(path)
                self._rendered.append((path, recursive))
                return
        # A template that is made on the way can read whatever it wants.
        self._everything = True
