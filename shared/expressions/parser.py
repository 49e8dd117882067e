"""Pebble's grammar on Jinja2's parser: precedences, tags and literals; the tree is made of Jinja2's nodes.

How Pebble's constructs are written in Jinja2's nodes, where it isn't obvious:

- `a ?? b` and `a ??? b` are `Filter`s named like the operator (no filter can be: those names are words);
- `a contains b`, `a equals b`, … are a `Compare` with one `Operand`;
- `a..b` is a `Call` of `range`, and a text with `#{…}` a `Concat`.
"""

from __future__ import annotations

from collections.abc import Callable

from jinja2 import nodes
from jinja2.lexer import Token
from jinja2.parser import Parser

from shared.expressions.lexer import INTERPOLATION_BEGIN, INTERPOLATION_END, OPERATOR
from shared.expressions.values import LONG_RANGE

#: Precedence of Pebble's binary operators (all bind to the left) and of its unary ones.
PRECEDENCE = {
    "or": 10,
    "and": 15,
    "is": 20,
    "is not": 20,
    "contains": 20,
    "matches": 20,
    "==": 30,
    "equals": 30,
    "!=": 30,
    ">": 30,
    "<": 30,
    ">=": 30,
    "<=": 30,
    "+": 40,
    "-": 40,
    "*": 60,
    "/": 60,
    "%": 60,
    "|": 100,
    "~": 110,
    "..": 120,
    "??": 120,
    "???": 120,
}
UNARY_PRECEDENCE = 500
COALESCE, COALESCE_UNDEFINED = "??", "???"
#: How deep expressions and tags may nest: Python's own parser stops at 200 brackets, its compiler at 20 loops.
NESTING = 60
#: How many operators of one level may follow each other; a chain of `~` has no bound.
CHAIN = 90
_CONSTANTS = {
    "true": True,
    "TRUE": True,
    "false": False,
    "FALSE": False,
    "null": None,
    "NULL": None,
    "none": None,
    "NONE": None,
}
_ARITHMETIC: dict[str, type[nodes.BinExpr]] = {
    "+": nodes.Add,
    "-": nodes.Sub,
    "*": nodes.Mul,
    "/": nodes.Div,
    "%": nodes.Mod,
    "and": nodes.And,
    "or": nodes.Or,
}


class PebbleParser(Parser):
    """Parses one template; use it once."""

    _depth = 0

    def parse_tuple(
        self,
        simplified: bool = False,
        with_condexpr: bool = True,
        extra_end_rules: tuple[str, ...] | None = None,
        explicit_parentheses: bool = False,
        with_namespace: bool = False,
    ) -> nodes.Expr:
        """Parse what stands between `{{` and `}}`: Pebble has one expression there, no tuples."""
        del simplified, with_condexpr, extra_end_rules, explicit_parentheses, with_namespace
        return self.parse_expression()

    def parse_expression(self, with_condexpr: bool = True) -> nodes.Expr:
        """Parse an expression with its ternary, if it has one."""
        del with_condexpr
        expression = self._binary(0)
        if self.stream.current.type != "question":
            return expression
        question = next(self.stream)
        self._deeper()
        yes = self.parse_expression()
        self.stream.expect("colon")
        no = self.parse_expression()
        self._depth -= 1
        return nodes.CondExpr(expression, yes, no, lineno=question.lineno)

    def _deeper(self) -> None:
        self._depth += 1
        if self._depth > NESTING:
            self.fail(f"The expression nests more than {NESTING} levels deep")

    def _binary(self, minimum: int) -> nodes.Expr:
        self._deeper()
        left = self._operand()
        chain = 0
        while self.stream.current.type == OPERATOR and PRECEDENCE.get(self.stream.current.value, -1) >= minimum:
            token = next(self.stream)
            chain += 1
            if chain > CHAIN and token.value != "~":
                self.fail(f"The expression chains more than {CHAIN} operators")
            left = self._applied(left, token)
        self._depth -= 1
        return left

    def _operand(self) -> nodes.Expr:
        token = self.stream.current
        if token.type == OPERATOR and token.value in ("not", "+", "-"):
            next(self.stream)
            inner = self._binary(UNARY_PRECEDENCE)
            unary: dict[str, type[nodes.UnaryExpr]] = {"not": nodes.Not, "+": nodes.Pos, "-": nodes.Neg}
            return unary[token.value](inner, lineno=token.lineno)
        if token.type == "lparen":
            next(self.stream)
            inner = self.parse_expression()
            self.stream.expect("rparen")
            return self._postfix(inner)
        if token.type == "lbracket":
            return self._postfix(self.parse_list())
        if token.type == "lbrace":
            return self._postfix(self.parse_dict())
        return self._postfix(self.parse_primary())

    def _applied(self, left: nodes.Expr, token: Token) -> nodes.Expr:
        """Put together an operator's left side and what follows it."""
        operator, lineno = token.value, token.lineno
        if operator == "|":
            return self._filter(left)
        if operator in ("is", "is not"):
            name = self.stream.expect("name")
            positional, named = self._arguments() if self.stream.current.type == "lparen" else ([], [])
            test: nodes.Expr = nodes.Test(left, name.value, positional, named, None, None, lineno=name.lineno)
            return test if operator == "is" else nodes.Not(test, lineno=lineno)
        right = self._binary(PRECEDENCE[operator] + 1)
        if operator == "~":
            parts = [*left.nodes, right] if type(left) is nodes.Concat else [left, right]
            return nodes.Concat(parts, lineno=lineno)
        if operator in (COALESCE, COALESCE_UNDEFINED):
            return nodes.Filter(left, operator, [right], [], None, None, lineno=lineno)
        if operator == "..":
            return nodes.Call(nodes.Name("range", "load", lineno=lineno), [left, right], [], None, None, lineno=lineno)
        if operator in _ARITHMETIC:
            return _ARITHMETIC[operator](left, right, lineno=lineno)
        return nodes.Compare(left, [nodes.Operand(operator, right, lineno=lineno)], lineno=lineno)

    def _filter(self, value: nodes.Expr | None) -> nodes.Filter:
        name = self.stream.expect("name")
        positional, named = self._arguments() if self.stream.current.type == "lparen" else ([], [])
        return nodes.Filter(value, name.value, positional, named, None, None, lineno=name.lineno)

    def parse_primary(self, with_namespace: bool = False) -> nodes.Expr:
        """Parse a name, a constant or a text."""
        del with_namespace
        token = self.stream.current
        if token.type == "name":
            next(self.stream)
            if token.value in _CONSTANTS:
                return nodes.Const(_CONSTANTS[token.value], lineno=token.lineno)
            return nodes.Name(token.value, "load", lineno=token.lineno)
        if token.type == "integer":
            next(self.stream)
            number = int(token.value) if len(token.value) < 20 else LONG_RANGE.stop
            if number not in LONG_RANGE:
                self.fail(f"The number {token.value[:40]} is too large", token.lineno)
            return nodes.Const(number, lineno=token.lineno)
        if token.type == "float":
            next(self.stream)
            return nodes.Const(float(token.value), lineno=token.lineno)
        if token.type in ("string", INTERPOLATION_BEGIN):
            return self._string()
        return self.fail(f'Unexpected token "{token.type}" of value "{token.value}"', token.lineno)

    def _string(self) -> nodes.Expr:
        first = self.stream.current
        parts: list[nodes.Expr] = []
        while True:
            token = self.stream.current
            if token.type == "string" and not (parts and type(parts[-1]) is nodes.Const):
                next(self.stream)
                parts.append(nodes.Const(token.value, lineno=token.lineno))
            elif token.type == INTERPOLATION_BEGIN:
                next(self.stream)
                parts.append(self.parse_expression())
                self.stream.expect(INTERPOLATION_END)
            else:
                break
        if len(parts) == 1 and type(parts[0]) is nodes.Const:
            return parts[0]
        return nodes.Concat(parts, lineno=first.lineno)

    def parse_list(self) -> nodes.List:
        """Parse `[a, b]`."""
        opening = self.stream.expect("lbracket")
        items: list[nodes.Expr] = []
        while self.stream.current.type != "rbracket":
            if items:
                self.stream.expect("comma")
            items.append(self.parse_expression())
        self.stream.expect("rbracket")
        return nodes.List(items, lineno=opening.lineno)

    def parse_dict(self) -> nodes.Dict:
        """Parse `{key: value}`; a key is an expression, so a bare word is a variable."""
        opening = self.stream.expect("lbrace")
        items: list[nodes.Pair] = []
        while self.stream.current.type != "rbrace":
            if items:
                self.stream.expect("comma")
            key = self.parse_expression()
            self.stream.expect("colon")
            items.append(nodes.Pair(key, self.parse_expression(), lineno=key.lineno))
        self.stream.expect("rbrace")
        return nodes.Dict(items, lineno=opening.lineno)

    def _postfix(self, node: nodes.Expr) -> nodes.Expr:
        links = 0
        while True:
            token = self.stream.current
            links += 1
            if links > NESTING * 2:
                self.fail(f"The expression chains more than {NESTING * 2} attributes")
            if token.type == "dot":
                next(self.stream)
                name = self.stream.expect("name")
                node = nodes.Getattr(node, name.value, "load", lineno=name.lineno)
            elif token.type == "lbracket":
                next(self.stream)
                key = self.parse_expression()
                node = nodes.Getitem(node, key, "load", lineno=self.stream.current.lineno)
                self.stream.expect("rbracket")
            elif token.type == "lparen" and isinstance(node, (nodes.Name, nodes.Getattr)):
                positional, named = self._arguments()
                if named and isinstance(node, nodes.Getattr):
                    self.fail("Can not use named arguments when calling a bean method", token.lineno)
                node = nodes.Call(node, positional, named, None, None, lineno=node.lineno)
            else:
                return node

    def _arguments(self) -> tuple[list[nodes.Expr], list[nodes.Keyword]]:
        positional: list[nodes.Expr] = []
        named: list[nodes.Keyword] = []
        self.stream.expect("lparen")
        while self.stream.current.type != "rparen":
            if positional or named:
                self.stream.expect("comma")
            token = self.stream.current
            if token.type == "name" and self.stream.look().type == "assign":
                next(self.stream)
                next(self.stream)
                named.append(nodes.Keyword(token.value, self.parse_expression(), lineno=token.lineno))
                continue
            if named:
                self.fail("Positional arguments must be declared before any named arguments.", token.lineno)
            positional.append(self.parse_expression())
        self.stream.expect("rparen")
        return positional, named

    def parse_statement(self) -> nodes.Node | list[nodes.Node]:
        """Parse a tag; the stream stands behind `{%`."""
        token = self.stream.current
        tags: dict[str, Callable[[], nodes.Node]] = {
            "if": self.parse_if,
            "for": self.parse_for,
            "set": self._set,
            "macro": self.parse_macro,
            "block": self.parse_block,
            "filter": self.parse_filter_block,
        }
        if token.type != "name" or token.value not in tags:
            self.fail(f'Unexpected tag name "{token.value}"', token.lineno)
        self._tag_stack.append(token.value)
        self._deeper()
        try:
            return tags[token.value]()
        finally:
            self._depth -= 1
            self._tag_stack.pop()

    def _new_name(self) -> Token:
        token = self.stream.expect("name")
        if token.value in ("true", "false", "null", "none"):
            self.fail(f"Can not assign a value to {token.value}", token.lineno)
        return token

    def _body(self, *ends: str) -> list[nodes.Node]:
        """Parse what stands between tags; the stream stands before the end of the opening one."""
        self.stream.expect("block_end")
        body = self.subparse(tuple(f"name:{end}" for end in ends))
        if self.stream.current.type == "eof":
            self.fail(f'Unexpected end of template. Pebble was looking for the "{ends[-1]}" tag')
        return body

    def parse_if(self) -> nodes.If:
        """Parse `{% if a %}…{% elseif b %}…{% else %}…{% endif %}`."""
        token = next(self.stream)
        test = self.parse_expression()
        node = nodes.If(test, self._body("elseif", "elif", "else", "endif"), [], [], lineno=token.lineno)
        while self.stream.current.test_any("name:elseif", "name:elif"):
            other = next(self.stream)
            test = self.parse_expression()
            body = self._body("elseif", "elif", "else", "endif")
            node.elif_.append(nodes.If(test, body, [], [], lineno=other.lineno))
        if next(self.stream).value == "else":
            node.else_ = self._body("endif")
            next(self.stream)
        return node

    def parse_for(self) -> nodes.For:
        """Parse `{% for item in items %}…{% else %}…{% endfor %}`."""
        token = next(self.stream)
        name = self._new_name()
        self.stream.expect("name:in")
        items = self.parse_expression()
        body = self._body("else", "endfor")
        otherwise: list[nodes.Node] = []
        if next(self.stream).value == "else":
            otherwise = self._body("endfor")
            next(self.stream)
        target = nodes.Name(name.value, "store", lineno=name.lineno)
        return nodes.For(target, items, body, otherwise, None, False, lineno=token.lineno)

    def _set(self) -> nodes.Assign:
        token = next(self.stream)
        name = self._new_name()
        self.stream.expect("assign")
        target = nodes.Name(name.value, "store", lineno=name.lineno)
        return nodes.Assign(target, self.parse_expression(), lineno=token.lineno)

    def parse_macro(self) -> nodes.Macro:
        """Parse `{% macro name(a, b=1) %}…{% endmacro %}`."""
        token = next(self.stream)
        name = self.stream.expect("name")
        arguments: list[nodes.Name] = []
        defaults: list[nodes.Expr] = []
        self.stream.expect("lparen")
        while self.stream.current.type != "rparen":
            if arguments:
                self.stream.expect("comma")
            argument = self._new_name()
            arguments.append(nodes.Name(argument.value, "param", lineno=argument.lineno))
            has_default = self.stream.skip_if("assign")
            default = self.parse_expression() if has_default else nodes.Const(None, lineno=argument.lineno)
            defaults.append(default)
        self.stream.expect("rparen")
        body = self._body("endmacro")
        next(self.stream)
        return nodes.Macro(name.value, arguments, defaults, body, lineno=token.lineno)

    def parse_block(self) -> nodes.Block:
        """Parse `{% block "name" %}…{% endblock %}`."""
        token = next(self.stream)
        name = self.stream.current
        if name.type not in ("name", "string"):
            self.stream.expect("name")
        next(self.stream)
        body = self._body("endblock")
        next(self.stream)
        if self.stream.current.type in ("name", "string") and self.stream.current.value == name.value:
            next(self.stream)
        return nodes.Block(name.value, body, False, False, lineno=token.lineno)

    def parse_filter_block(self) -> nodes.FilterBlock:
        """Parse `{% filter upper | trim %}…{% endfilter %}`."""
        token = next(self.stream)
        applied = self._filter(None)
        while self.stream.current.test(f"{OPERATOR}:|"):
            next(self.stream)
            applied = self._filter(applied)
        body = self._body("endfilter")
        next(self.stream)
        return nodes.FilterBlock(body, applied, lineno=token.lineno)
