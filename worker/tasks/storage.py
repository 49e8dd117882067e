"""`storage`: files of the internal storage."""

from __future__ import annotations

from typing import Final

TASKS: Final = ()
