"""What rendering raises: one public error that says what, where and in which property."""

from __future__ import annotations


class RenderError(Exception):
    """A template that can't be parsed or rendered.

    The message is in Kestra's words where Kestra has some, for example
    ``Unable to find `x` used in the expression `{{ x }}` at line 1``.
    """

    def __init__(
        self,
        message: str,
        *,
        template: str = "",
        line: int = 0,
        column: int = 0,
        property_name: str | None = None,
    ) -> None:
        super().__init__(message)
        #: What went wrong, without the property.
        self.message = message
        #: The whole template, as the flow has it.
        self.template = template
        #: Line and column in the template, both from 1; 0 where the error has no place.
        self.line = line
        self.column = column
        #: Path of the task property that holds the template, set by the caller.
        self.property = property_name

    def with_property(self, name: str) -> RenderError:
        """Give the same error for the property `name`; the innermost name given first stays."""
        if self.property is not None:
            return self
        named = type(self)(self.message, template=self.template, line=self.line, column=self.column, property_name=name)
        named.__cause__ = self.__cause__
        return named

    def __str__(self) -> str:
        if self.property is None:
            return self.message
        place = f", line {self.line}, column {self.column}" if self.line else ""
        return f"{self.message} (property `{self.property}`{place})"


class NotFoundError(RenderError):
    """A variable, attribute or index that doesn't exist: what `??`, `is defined` and `default` catch."""


class LimitError(RenderError):
    """A template took more time, output, loops or nesting than its limits allow."""


class Refusal(Exception):
    """Raised by a filter, function, test or operator that can't do its work; it doesn't know the place."""


class Missing(Refusal):
    """A refusal for something that doesn't exist; its text is the missing name."""


class Excess(Refusal):
    """A refusal for what would go beyond the limits."""
