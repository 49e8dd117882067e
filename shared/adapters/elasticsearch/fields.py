"""Fields: what the mappings say of each kind's fields."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from shared.adapters.elasticsearch.indices import body_of
from shared.model.document import Kind


@cache
def types(kind: Kind) -> Mapping[str, str]:
    """Type by field name, subfields included, for instance `state.current: keyword`."""
    return dict(_walk(body_of(kind)["mappings"]["properties"], ""))


def _walk(properties: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, str]]:
    for name, field in properties.items():
        if "properties" in field:
            yield from _walk(field["properties"], f"{prefix}{name}.")
        elif field.get("enabled", True) and field.get("doc_values", True):
            yield prefix + name, field["type"]
            yield from _walk(field.get("fields", {}), f"{prefix}{name}.")
