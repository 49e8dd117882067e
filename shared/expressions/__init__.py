"""Kestra's expressions: Pebble's dialect on Jinja2's parser and compiler, with limits and static analysis."""

from shared.expressions.errors import LimitError, NotFoundError, RenderError
from shared.expressions.limits import Limits
from shared.expressions.outside import MemoryOutside, NoOutside, Outside, OutsideError, Place
from shared.expressions.renderer import Renderer, is_template, truthy

__all__ = [
    "LimitError",
    "Limits",
    "MemoryOutside",
    "NoOutside",
    "NotFoundError",
    "Outside",
    "OutsideError",
    "Place",
    "RenderError",
    "Renderer",
    "is_template",
    "truthy",
]
