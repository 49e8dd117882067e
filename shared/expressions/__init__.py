"""Kestra's expressions: Pebble's dialect on Jinja2's parser and compiler, with limits and static analysis."""

from shared.expressions.errors import LimitError, NotFoundError, RenderError
from shared.expressions.limits import Limits
from shared.expressions.outside import MemoryOutside, NoOutside, Outside, OutsideError, Place
from shared.expressions.reach import Access, Reach, reach
from shared.expressions.renderer import Renderer, is_template, truthy

__all__ = [
    "Access",
    "LimitError",
    "Limits",
    "MemoryOutside",
    "NoOutside",
    "NotFoundError",
    "Outside",
    "OutsideError",
    "Place",
    "Reach",
    "RenderError",
    "Renderer",
    "is_template",
    "reach",
    "truthy",
]
