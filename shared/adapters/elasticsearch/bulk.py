"""Bulk: documents as lines of a bulk request, and its answer as a verdict on each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import orjson

from shared.adapters.elasticsearch.connection import describe
from shared.model.encoded import encode
from shared.ports import Outcome, Verdict, Versioned

PARAMETERS: Final = {
    # An index that is not there must not be made with guessed types.
    "require_alias": "true",
    # What is left of an answer is 25 bytes a document instead of 250.
    "filter_path": "errors,items.*.status,items.*.error",
}

STORED: Final = Outcome(Verdict.STORED)
STALE: Final = Outcome(Verdict.STALE)

_NO_INDEX: Final = "index_not_found_exception"


def lines_of(document: Versioned, index: bytes) -> bytes:
    """The lines of one document. `index`: the JSON text of its alias."""
    action = b"delete" if document.document is None else b"index"
    head = b'{"%s":{"_index":%s,"_id":%s,"routing":%s,"version":%d,"version_type":"external"}}\n' % (
        action,
        index,
        orjson.dumps(document.id),
        orjson.dumps(document.routing),
        document.version,
    )
    if document.document is None:
        return head
    body = encode(document.document)
    if b"\n" in body:  # not written by orjson; a line break would tear the request
        body = orjson.dumps(orjson.loads(body))
    return head + body + b"\n"


def outcomes_of(answer: Mapping[str, Any], count: int) -> Sequence[Outcome]:
    """Verdicts in the order of the documents."""
    if not answer["errors"]:
        return [STORED] * count
    outcomes = []
    for item in answer["items"]:
        ((_, result),) = item.items()
        status = result["status"]
        if status < 300:
            outcomes.append(STORED)
        elif status == 409:
            outcomes.append(STALE)
        else:
            outcomes.append(_failed(status, result.get("error")))
    return outcomes


def _failed(status: int, error: Any) -> Outcome:
    if error is None:
        # The deletion of a document that was not there: its version is remembered all the same.
        return STORED
    kind, reason = describe(error)
    text = f"{status} {kind}: {reason}"
    if status == 413:
        return Outcome(Verdict.TOO_LARGE, text)
    if status == 400:
        return Outcome(Verdict.REFUSED, text)
    # 404 is a missing index, 403 a block on it (a full disk, a read-only cluster), the others overload and failure.
    return Outcome(Verdict.RETRY, text)


def misses_index(outcome: Outcome) -> bool:
    """Whether it failed because its alias is not there."""
    return outcome.verdict is Verdict.RETRY and _NO_INDEX in outcome.reason
