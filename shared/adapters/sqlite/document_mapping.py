"""Document mapping: the fields that a kind's documents may have, the same as in Elasticsearch.

They are the indexer's data (indexer/mappings/*.json). SQLite would take any field; one that the mapping lacks is
refused here too, so that it is found without an Elasticsearch.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import Any

import orjson

from shared.model.document import Kind


@cache
def _fields(kind: Kind) -> Mapping[str, frozenset[str]]:
    """Names of fields by the object that they lie in, "" for the document; only of objects that are mapped strictly."""
    body = orjson.loads(resources.files("indexer.mappings").joinpath(f"{kind.value}.json").read_bytes())
    properties = body["mappings"]["properties"]
    inner = {name: frozenset(field["properties"]) for name, field in properties.items() if "properties" in field}
    return {"": frozenset(properties), **inner}


def check(kind: Kind, document: Mapping[str, Any]) -> None:
    """Raises ValueError naming a field that the mapping of the kind lacks."""
    for outer, names in _fields(kind).items():
        part = document if not outer else document.get(outer)
        if isinstance(part, Mapping) and not part.keys() <= names:
            unknown = ", ".join(f"{outer}.{name}".lstrip(".") for name in sorted(part.keys() - names))
            raise ValueError(f"the mapping has no field [{unknown}]")
