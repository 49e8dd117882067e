"""Names: which index holds a document, and the aliases by which everything else speaks of it.

Every index is `<kind>-<period>-<generation>`, such as `runyard-task-runs-2026.11-1`. Nobody addresses it by that name:
documents are written to and read from the period's alias (`runyard-task-runs-2026.11`), and searched through the alias
of the kind (`runyard-task-runs`). So building a next generation and switching over is a change of aliases, which
Elasticsearch makes at one moment.

The period is that of the execution's id, for all documents of an execution: they lie in one index and, by routing, in
one shard of it. Ids made elsewhere have no time; their index is `…-other`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final

from shared.model.document import Kind
from shared.model.identifier import time_of

OTHER: Final = "other"
"""The period of ids that hold no time."""

_FORMATS: Final = {"month": "%Y.%m", "year": "%Y"}
_LAST_MOMENT: Final = 253_402_300_799_999
"""End of the year 9999, the last that a date can name; a later time is no id of ours."""


@lru_cache(maxsize=65_536)
def period_of(execution_id: str, period: str) -> str:
    """`2026.11`, or `other`. Cached: the documents of an execution come many at a time."""
    at = time_of(execution_id)
    if at is None or at > _LAST_MOMENT:
        return OTHER
    return period_at(at, period)


def period_at(at: int, period: str) -> str:
    """The period of a moment (epoch ms)."""
    return datetime.fromtimestamp(at / 1000, UTC).strftime(_FORMATS[period])


@dataclass(frozen=True, slots=True)
class Names:
    """The names of one deployment, or (`stage`) of a generation of it that is being built."""

    prefix: str
    period: str
    stage: str = ""  #: `next-` for a generation in the making: its aliases have names of their own

    def template(self, kind: Kind) -> str:
        """The index template, for every generation."""
        return f"{self.prefix}{kind.value}"

    def pattern(self, kind: Kind) -> str:
        """What the names of all indices of a kind look like."""
        return f"{self.prefix}{kind.value}-*"

    def all(self, kind: Kind) -> str:
        """The alias through which a kind is searched."""
        return f"{self.prefix}{self.stage}{kind.value}"

    def of(self, kind: Kind, execution_id: str) -> str:
        """The alias of the index that holds an execution's documents."""
        return f"{self.prefix}{self.stage}{kind.value}-{period_of(execution_id, self.period)}"

    def alias(self, kind: Kind, period: str) -> str:
        """The alias of a period's index."""
        return f"{self.prefix}{self.stage}{kind.value}-{period}"

    def index(self, kind: Kind, period: str, generation: int) -> str:
        """The index itself."""
        return f"{self.prefix}{kind.value}-{period}-{generation}"

    def parse(self, kind: Kind, index: str) -> tuple[str, int] | None:
        """Period and generation of an index; None for a name that is not one of ours."""
        found = re.fullmatch(rf"{re.escape(self.prefix + kind.value)}-([0-9.]+|{OTHER})-(\d+)", index)
        return None if found is None else (found[1], int(found[2]))

    def next(self) -> Names:
        """The names while the next generation is built."""
        return Names(self.prefix, self.period, "next-")
