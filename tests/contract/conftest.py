"""The adapters that the contract is held against."""

from pathlib import Path

import pytest

from shared.adapters.files import DirectoryBlobStore
from shared.ports import BlobStore, DocumentStore
from tests.contract.elasticsearch_fixtures import (  # noqa: F401
    elasticsearch_document_store,
    elasticsearch_settings,
)
from tests.contract.kafka_fixtures import kafka_settings, kafka_streams  # noqa: F401
from tests.contract.sqlite_fixtures import sqlite_database, sqlite_document_store, sqlite_streams  # noqa: F401
from tests.contract.streams import Streams

#: Adapter `x` gives a fixture `x_streams`, imported above from `tests/contract/x_fixtures.py`.
ADAPTERS = ["sqlite", pytest.param("kafka", marks=pytest.mark.real)]


@pytest.fixture(params=ADAPTERS)
def streams(request: pytest.FixtureRequest) -> Streams:
    """Each adapter's journal, inbox and event log over the same records."""
    return request.getfixturevalue(f"{request.param}_streams")


#: Adapter `x` gives a fixture `x_document_store`: a fresh, prepared store.
STORES = ["sqlite", pytest.param("elasticsearch", marks=pytest.mark.real)]


@pytest.fixture(params=STORES)
def document_store(request: pytest.FixtureRequest) -> DocumentStore:
    """Each adapter's document store."""
    return request.getfixturevalue(f"{request.param}_document_store")


@pytest.fixture
def blob_store(tmp_path: Path) -> BlobStore:
    """The blob store in a directory."""
    return DirectoryBlobStore(tmp_path / "blobs")
