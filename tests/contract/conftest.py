"""The adapters that the contract is held against."""

import pytest

from tests.contract.kafka_fixtures import kafka_settings, kafka_streams  # noqa: F401
from tests.contract.sqlite_fixtures import sqlite_database, sqlite_streams  # noqa: F401
from tests.contract.streams import Streams

#: Adapter `x` gives a fixture `x_streams`, imported above from `tests/contract/x_fixtures.py`.
ADAPTERS = ["sqlite", pytest.param("kafka", marks=pytest.mark.real)]


@pytest.fixture(params=ADAPTERS)
def streams(request: pytest.FixtureRequest) -> Streams:
    """Each adapter's journal, inbox and event log over the same records."""
    return request.getfixturevalue(f"{request.param}_streams")
