"""Task types for counting words: the example of docs/plugins.md."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from runyard.plugin import Context, Result, Task, TaskError


@dataclass(frozen=True)
class CountWords(Task):
    """Counts the words of a stored file."""

    type = "com.example.text.CountWords"

    from_: str  # the property `from`
    ignore: list[str] | None = None
    least_words: int = 0  # the property `leastWords`

    def run(self, context: Context) -> Result | Mapping[str, Any]:
        words = context.files.read(self.from_).decode().split()
        counted = Counter(word for word in words if word not in (self.ignore or []))
        context.logger.info("%d words, %d different ones", len(words), len(counted))
        context.metrics.counter("words", len(words))
        if not words:
            raise TaskError("the file is empty", outputs={"total": 0})
        outputs = {"total": len(words), "counts": dict(counted)}
        if len(words) < self.least_words:
            return Result(outputs, state="WARNING", error=f"fewer than {self.least_words} words")
        return outputs


def tasks() -> tuple[type[Task], ...]:
    """The entry point."""
    return (CountWords,)
