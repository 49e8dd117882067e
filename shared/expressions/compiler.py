"""From a template to Python code, by Jinja2's compiler with Pebble's semantics in the visitors.

The code is a generator that yields texts and values; it touches nothing but `context`, an `Evaluation`.
"""

# ruff: noqa: N802 - Jinja2 finds a visitor by the name of the node's class

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from jinja2 import nodes
from jinja2.compiler import CodeGenerator, Frame
from jinja2.environment import Template
from jinja2.exceptions import TemplateSyntaxError
from jinja2.nodes import EvalContext
from jinja2.sandbox import SandboxedEnvironment

from shared.expressions.errors import RenderError
from shared.expressions.lexer import PebbleLexer, Position
from shared.expressions.parser import COALESCE, COALESCE_UNDEFINED, PebbleParser

#: Filters and tests that look at whether their input exists: it is handed over unevaluated.
LAZY_FILTERS = frozenset({COALESCE, COALESCE_UNDEFINED, "default"})
LAZY_TESTS = frozenset({"defined"})


@dataclass(frozen=True, slots=True)
class Program:
    """A compiled template."""

    source: str
    root: Callable[[Any], Iterator[Any]]
    blocks: dict[str, Callable[[Any], Iterator[Any]]]
    #: By name: the body, which takes the given arguments, and the names of the arguments.
    macros: dict[str, tuple[Callable[[Any, dict[str, Any]], Iterator[Any]], tuple[str, ...]]]
    #: Whether the template is one expression and nothing else, so that a value keeps its type.
    sole: bool


class PebbleCodeGenerator(CodeGenerator):
    """Writes the Python code of a template."""

    def visit_Template(self, node: nodes.Template, frame: Frame | None = None) -> None:
        """Write the functions of the blocks, of the macros and of the template itself."""
        assert frame is None
        frame = Frame(EvalContext(self.environment, self.name))
        blocks = {block.name: block for block in node.find_all(nodes.Block)}
        macros: dict[str, nodes.Macro] = {}
        for macro in node.find_all(nodes.Macro):
            if macro.name in macros:
                self.fail(f"More than one macro can not share the same name: {macro.name}", macro.lineno)
            macros[macro.name] = macro
        for number, block in enumerate(blocks.values()):
            self._function(f"block_{number}(context)", block.body, frame)
        for number, macro in enumerate(macros.values()):
            self._macro(f"macro_{number}(context, given)", macro, frame)
        self._function("root(context)", node.body, frame)
        self.writeline("blocks = {")
        for number, name in enumerate(blocks):
            self.write(f"{'block:' + name!r}: block_{number}, ")
        for number, macro in enumerate(macros.values()):
            names = tuple(argument.name for argument in macro.args)
            self.write(f"{'macro:' + macro.name!r}: (macro_{number}, {names!r}), ")
        self.write("}")
        self.writeline("name = None")
        self.writeline("debug_info = ''")

    def _function(self, signature: str, body: list[nodes.Node], frame: Frame) -> None:
        self.writeline(f"def {signature}:")
        self.indent()
        # Makes it a generator, whatever the body holds.
        self.writeline("if 0: yield None")
        self.blockvisit(body, frame)
        self.outdent()

    def _macro(self, signature: str, node: nodes.Macro, frame: Frame) -> None:
        self.writeline(f"def {signature}:")
        self.indent()
        self.writeline("if 0: yield None")
        self.writeline("context.push_local()")
        for argument, default in zip(node.args, node.defaults, strict=True):
            self.writeline(f"context.put({argument.name!r}, ")
            self.visit(default, frame)
            self.write(")")
        self.writeline("context.push(given)")
        self.blockvisit(node.body, frame)
        self.outdent()

    # Tags

    def visit_Output(self, node: nodes.Output, frame: Frame) -> None:
        """Yield each text and each value."""
        for child in node.nodes:
            if isinstance(child, nodes.TemplateData):
                self.writeline(f"yield {child.data!r}", node)
            else:
                self.writeline("yield ", node)
                self.visit(child, frame)

    def visit_If(self, node: nodes.If, frame: Frame) -> None:
        """Write the branches; conditions are evaluated in turn."""
        keyword = "if"
        for branch in (node, *node.elif_):
            self.writeline(f"{keyword} context.condition(lambda: ", branch)
            self.visit(branch.test, frame)
            self.write(f", {_place(branch)}):")
            self._nested(branch.body, frame)
            keyword = "elif"
        if node.else_:
            self.writeline("else:")
            self._nested(node.else_, frame)

    def visit_For(self, node: nodes.For, frame: Frame) -> None:
        """Write the loop; null gives neither the body nor the else part."""
        assert isinstance(node.target, nodes.Name)
        items = self.temporary_identifier()
        self.writeline(f"{items} = context.iterate(", node)
        self.visit(node.iter, frame)
        self.write(f", {_place(node)})")
        self.writeline(f"if {items}:")
        self.indent()
        self.writeline(f"for _ in context.loop({node.target.name!r}, {items}, {_place(node)}):")
        self._nested(node.body, frame)
        self.outdent()
        if node.else_:
            self.writeline(f"elif {items} is not None:")
            self._nested(node.else_, frame)

    def _nested(self, body: list[nodes.Node], frame: Frame) -> None:
        self.indent()
        self.writeline("pass")
        self.blockvisit(body, frame)
        self.outdent()

    def visit_Assign(self, node: nodes.Assign, frame: Frame) -> None:
        """Set a variable where Pebble's scopes say."""
        assert isinstance(node.target, nodes.Name)
        self.writeline(f"context.set({node.target.name!r}, ", node)
        self.visit(node.node, frame)
        self.write(")")

    def visit_Block(self, node: nodes.Block, frame: Frame) -> None:
        """Render the block where it stands."""
        del frame
        self.writeline(f"yield from context.block_body({node.name!r}, {_place(node)})", node)

    def visit_Macro(self, node: nodes.Macro, frame: Frame) -> None:
        """A macro gives nothing where it stands; `visit_Template` writes its function."""

    def visit_FilterBlock(self, node: nodes.FilterBlock, frame: Frame) -> None:
        """Collect what the body gives, and yield it filtered."""
        body = self.temporary_identifier()
        self.writeline(f"def {body}():", node)
        self.indent()
        self.writeline("if 0: yield None")
        self.blockvisit(node.body, frame)
        self.outdent()
        innermost = node.filter
        while isinstance(innermost.node, nodes.Filter):
            innermost = innermost.node
        self.writeline("yield ")
        self._filter(node.filter, frame, f"context.collect({body}(), {_place(node)})")

    # Expressions

    def visit_Const(self, node: nodes.Const, frame: Frame) -> None:
        """Write a constant: text, number, boolean or null."""
        del frame
        self.write(repr(node.value))

    def visit_Name(self, node: nodes.Name, frame: Frame) -> None:
        """Read a variable."""
        del frame
        self.write(f"context.get({node.name!r}, {_place(node)})")

    def visit_Getattr(self, node: nodes.Getattr, frame: Frame) -> None:
        """Read an attribute."""
        self.write("context.attribute(")
        self.visit(node.node, frame)
        self.write(f", {node.attr!r}, {_place(node)}, {_root(node.node)!r})")

    def visit_Getitem(self, node: nodes.Getitem, frame: Frame) -> None:
        """Read an item."""
        self.write("context.attribute(")
        self.visit(node.node, frame)
        self.write(", ")
        self.visit(node.arg, frame)
        self.write(f", {_place(node)}, {_root(node.node)!r})")

    def visit_Call(self, node: nodes.Call, frame: Frame, forward_caller: bool = False) -> None:
        """Call a function or macro, or one of the allowed methods of a value."""
        del forward_caller
        if isinstance(node.node, nodes.Getattr):
            self.write("context.method(")
            self.visit(node.node.node, frame)
            self.write(f", {node.node.attr!r}, ")
            self._arguments(node, frame)
            self.write(f", {_place(node)}, {_root(node.node.node)!r})")
            return
        assert isinstance(node.node, nodes.Name)
        self.write(f"context.call({node.node.name!r}, ")
        self._arguments(node, frame)
        self.write(f", {_place(node)})")

    def _arguments(self, node: nodes.Call | nodes.Filter | nodes.Test, frame: Frame) -> None:
        self.write("(")
        for argument in node.args:
            self.visit(argument, frame)
            self.write(", ")
        self.write("), {")
        for keyword in node.kwargs:
            assert isinstance(keyword, nodes.Keyword)
            self.write(f"{keyword.key!r}: ")
            self.visit(keyword.value, frame)
            self.write(", ")
        self.write("}")

    def visit_Filter(self, node: nodes.Filter, frame: Frame) -> None:
        """Apply a filter, or `??` and `???`."""
        self._filter(node, frame, None)

    def _filter(self, node: nodes.Filter, frame: Frame, body: str | None) -> None:
        lazy = node.name in LAZY_FILTERS
        if node.name in (COALESCE, COALESCE_UNDEFINED):
            self.write("context.coalesce(")
        else:
            self.write("context.lazy_filter(" if lazy else "context.filter(")
            self.write(f"{node.name!r}, ")
        self.write("lambda: " if lazy else "")
        if node.node is None:
            assert body is not None
            self.write(body)
        elif body is not None and isinstance(node.node, nodes.Filter):
            self._filter(node.node, frame, body)
        else:
            self.visit(node.node, frame)
        if node.name in (COALESCE, COALESCE_UNDEFINED):
            self.write(", lambda: ")
            self.visit(node.args[0], frame)
            self.write(f", {node.name == COALESCE})")
            return
        self.write(", ")
        self._arguments(node, frame)
        self.write(f", {_place(node)})")

    def visit_Test(self, node: nodes.Test, frame: Frame) -> None:
        """Apply a test."""
        lazy = node.name in LAZY_TESTS
        self.write(f"context.{'defined' if lazy else 'test'}({node.name!r}, {'lambda: ' if lazy else ''}")
        self.visit(node.node, frame)
        self.write(", ")
        self._arguments(node, frame)
        self.write(f", {_place(node)})")

    def visit_CondExpr(self, node: nodes.CondExpr, frame: Frame) -> None:
        """Write the ternary operator; null counts as false there."""
        assert node.expr2 is not None
        self.write("(")
        self.visit(node.expr1, frame)
        self.write(" if context.truth(")
        self.visit(node.test, frame)
        self.write(f", {_place(node)}, True) else ")
        self.visit(node.expr2, frame)
        self.write(")")

    def visit_Concat(self, node: nodes.Concat, frame: Frame) -> None:
        """Join texts; null is empty."""
        self.write("context.concat((")
        for part in node.nodes:
            self.visit(part, frame)
            self.write(", ")
        self.write(f"), {_place(node)})")

    def visit_List(self, node: nodes.List, frame: Frame) -> None:
        """Write a list."""
        self.write("[")
        for item in node.items:
            self.visit(item, frame)
            self.write(", ")
        self.write("]")

    def visit_Dict(self, node: nodes.Dict, frame: Frame) -> None:
        """Write a map; it checks its keys when it is made."""
        self.write("context.map((")
        for pair in node.items:
            self.write("(")
            self.visit(pair.key, frame)
            self.write(", ")
            self.visit(pair.value, frame)
            self.write("), ")
        self.write(f"), {_place(node)})")

    def _logic(self, node: nodes.BinExpr, frame: Frame, word: str) -> None:
        self.write("(context.truth(")
        self.visit(node.left, frame)
        self.write(f", {_place(node)}) {word} context.truth(")
        self.visit(node.right, frame)
        self.write(f", {_place(node)}))")

    def visit_And(self, node: nodes.BinExpr, frame: Frame) -> None:
        """Write `and`."""
        self._logic(node, frame, "and")

    def visit_Or(self, node: nodes.BinExpr, frame: Frame) -> None:
        """Write `or`."""
        self._logic(node, frame, "or")

    def visit_Not(self, node: nodes.UnaryExpr, frame: Frame) -> None:
        """Write `not`, and the `not` of `is not`."""
        self.write("(not context.truth(")
        self.visit(node.node, frame)
        self.write(f", {_place(node)}))")

    def visit_Compare(self, node: nodes.Compare, frame: Frame) -> None:
        """Write a comparison, `contains` and `matches` included."""
        operand = node.ops[0]
        self._binary(operand.op, node.expr, operand.expr, operand, frame)

    def _binary(self, operator: str, left: nodes.Expr, right: nodes.Expr, place: nodes.Node, frame: Frame) -> None:
        self.write(f"context.binary({operator!r}, ")
        self.visit(left, frame)
        self.write(", ")
        self.visit(right, frame)
        self.write(f", {_place(place)})")

    def visit_Add(self, node: nodes.BinExpr, frame: Frame) -> None:
        """Write `+`."""
        self._binary("+", node.left, node.right, node, frame)

    def visit_Sub(self, node: nodes.BinExpr, frame: Frame) -> None:
        """Write `-`."""
        self._binary("-", node.left, node.right, node, frame)

    def visit_Mul(self, node: nodes.BinExpr, frame: Frame) -> None:
        """Write `*`."""
        self._binary("*", node.left, node.right, node, frame)

    def visit_Div(self, node: nodes.BinExpr, frame: Frame) -> None:
        """Write `/`."""
        self._binary("/", node.left, node.right, node, frame)

    def visit_Mod(self, node: nodes.BinExpr, frame: Frame) -> None:
        """Write `%`."""
        self._binary("%", node.left, node.right, node, frame)

    def visit_Neg(self, node: nodes.UnaryExpr, frame: Frame) -> None:
        """Write the sign `-`."""
        self._binary("*", nodes.Const(-1, lineno=node.lineno), node.node, node, frame)

    def visit_Pos(self, node: nodes.UnaryExpr, frame: Frame) -> None:
        """Write the sign `+`."""
        self._binary("*", nodes.Const(1, lineno=node.lineno), node.node, node, frame)


def _place(node: nodes.Node) -> str:
    """Write a node's line and column as two arguments."""
    return f"{int(node.lineno)}, {getattr(node.lineno, 'column', 0)}"


def _root(node: nodes.Node) -> str | None:
    return node.name if isinstance(node, nodes.Name) else None


class PebbleEnvironment(SandboxedEnvironment):
    """Jinja2's sandboxed environment with Pebble's lexer, parser and code generator."""

    code_generator_class = PebbleCodeGenerator

    def __init__(self) -> None:
        super().__init__(optimized=False, autoescape=False)
        self._pebble_lexer = PebbleLexer(self)

    @property
    def lexer(self) -> PebbleLexer:
        """The lexer for this environment."""
        return self._pebble_lexer

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        return PebbleParser(self, source, name, filename).parse()


_ENVIRONMENT = PebbleEnvironment()


def parse(source: str) -> nodes.Template:
    """Parse a template.

    Raises:
        RenderError: it has a syntax error, or nests too deep.
    """
    try:
        return _ENVIRONMENT._parse(source, None, None)  # noqa: SLF001 - `parse` rewrites tracebacks, slowly
    except TemplateSyntaxError as error:
        position = error.lineno
        column = position.column if isinstance(position, Position) else 0
        message = f"{error.message} ({source}:{int(position)})"
        raise RenderError(message, template=source, line=int(position), column=column) from error
    except (RecursionError, MemoryError) as error:
        raise RenderError(f"The template nests too deep ({source})", template=source) from error


def compiled(source: str) -> Program:
    """Compile a template.

    Raises:
        RenderError: it has a syntax error, or nests too deep.
    """
    return translated(source, parse(source))


def translated(source: str, tree: nodes.Template) -> Program:
    """Compile a template that is parsed already.

    Raises:
        RenderError: it nests too deep.
    """
    try:
        code = _ENVIRONMENT._compile(_ENVIRONMENT._generate(tree, None, None), "<expression>")  # noqa: SLF001
    except TemplateSyntaxError as error:
        raise RenderError(f"{error.message} ({source}:{int(error.lineno)})", template=source) from error
    except (SyntaxError, RecursionError, MemoryError, OverflowError) as error:
        raise RenderError(f"The template nests too deep ({source})", template=source) from error
    template = Template.from_code(_ENVIRONMENT, code, {})
    functions: dict[str, Any] = dict(template.blocks)
    blocks = {key.removeprefix("block:"): body for key, body in functions.items() if key.startswith("block:")}
    macros = {key.removeprefix("macro:"): body for key, body in functions.items() if key.startswith("macro:")}
    sole = (
        len(tree.body) == 1
        and isinstance(tree.body[0], nodes.Output)
        and len(tree.body[0].nodes) == 1
        and not isinstance(tree.body[0].nodes[0], nodes.TemplateData)
    )
    root: Any = template.root_render_func
    return Program(source, root, blocks, macros, sole)
