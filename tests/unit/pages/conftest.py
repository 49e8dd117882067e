"""The same API as in tests/unit/api."""

from tests.unit.api.conftest import api

__all__ = ["api"]
