"""The types of inputs, with the properties that each accepts."""

from __future__ import annotations

from typing import Any, Final

from shared.flows.catalog import Kind, Property

SCALAR_TYPES: Final = (
    "STRING", "ENUM", "SELECT", "INT", "FLOAT", "BOOL", "BOOLEAN", "DATETIME", "DATE", "TIME", "DURATION", "FILE",
    "JSON", "YAML", "URI", "SECRET", "EMAIL",
)  # fmt: skip
INPUT_TYPE_NAMES: Final = (*SCALAR_TYPES, "ARRAY", "MULTISELECT")
"""Every type that an input or a flow output may have. BOOL is today's name of BOOLEAN."""


def _p(name: str, kind: Kind = Kind.STRING, **rest: Any) -> Property:
    return Property(name, kind, dynamic=False, **rest)


COMMON_INPUT: Final = (
    _p("id", required=True),
    _p("name"),  # the old name of id
    _p("type", required=True, values=INPUT_TYPE_NAMES),
    _p("description"),
    _p("displayName"),
    _p("required", Kind.BOOLEAN, default=True),
    _p("defaults", Kind.ANY),
    _p("prefill", Kind.ANY),  # later: what a form proposes; the server does not use it
    _p(
        "dependsOn",
        Kind.OBJECT,
        fields=(_p("inputs", Kind.STRINGS), _p("condition")),
    ),
)
"""Properties of every input."""

_TEMPORAL: Final = (_p("after"), _p("before"))
_CHOICE: Final = (_p("values", Kind.STRINGS), _p("expression"), _p("allowCustomValue", Kind.BOOLEAN, default=False))

INPUT_TYPES: Final[dict[str, tuple[Property, ...]]] = {
    "STRING": (_p("validator"),),
    "ENUM": (_p("values", Kind.STRINGS, required=True),),
    "SELECT": (
        *_CHOICE,
        _p("isRadio", Kind.BOOLEAN, default=False),
        _p("autoSelectFirst", Kind.BOOLEAN, default=False),
    ),
    "MULTISELECT": (*_CHOICE, _p("options", Kind.STRINGS), _p("itemType", values=SCALAR_TYPES, default="STRING")),
    "INT": (_p("min", Kind.INTEGER), _p("max", Kind.INTEGER)),
    "FLOAT": (_p("min", Kind.NUMBER), _p("max", Kind.NUMBER)),
    "BOOL": (),
    "BOOLEAN": (),
    "DATETIME": _TEMPORAL,
    "DATE": _TEMPORAL,
    "TIME": _TEMPORAL,
    "DURATION": (_p("min", Kind.DURATION), _p("max", Kind.DURATION)),
    "FILE": (_p("extension", default=".upl"), _p("accept"), _p("allowedFileExtensions", Kind.STRINGS)),
    "JSON": (),
    "YAML": (),
    "URI": (),
    "SECRET": (_p("validator"),),
    "ARRAY": (_p("itemType", required=True, values=SCALAR_TYPES),),
    "EMAIL": (),
}
"""What each type of input accepts besides the common properties."""
