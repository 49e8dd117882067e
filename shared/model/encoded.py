"""Encoded: a document as the JSON bytes that it came in, parsed only when somebody looks inside.

The indexer passes most documents on from the log to the search store unread: parsing and writing them again would
be about half of its work.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import orjson

from shared.model.document import JSON_OPTIONS, plain


class EncodedDocument(Mapping[str, Any]):
    """A document that still is JSON text. Equal to any mapping with the same content."""

    __slots__ = ("_parsed", "raw")

    def __init__(self, raw: bytes) -> None:
        """`raw`: one JSON object without line breaks, as orjson writes it."""
        self.raw = raw
        self._parsed: Mapping[str, Any] | None = None

    @property
    def parsed(self) -> Mapping[str, Any]:
        """The content. Raises orjson.JSONDecodeError where the bytes are not JSON."""
        if self._parsed is None:
            self._parsed = orjson.loads(self.raw)
        return self._parsed

    def __getitem__(self, name: str) -> Any:
        return self.parsed[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.parsed)

    def __len__(self) -> int:
        return len(self.parsed)

    def __repr__(self) -> str:
        return f"EncodedDocument({self.raw!r})"


def encode(document: Mapping[str, object]) -> bytes:
    """A document as one line of JSON."""
    if isinstance(document, EncodedDocument):
        return document.raw
    return orjson.dumps(document, option=JSON_OPTIONS, default=plain)
