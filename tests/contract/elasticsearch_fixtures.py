"""The Elasticsearch store, for the contract tests. Indices and templates are removed with the prefix."""

from collections.abc import Callable, Iterator

import pytest

from shared.adapters.elasticsearch import ElasticsearchDocumentStore
from shared.settings import ElasticsearchSettings, Settings


@pytest.fixture
def elasticsearch_settings(elasticsearch: str, prefix: str) -> Callable[..., Settings]:
    """Makes settings with names of this test's own; arguments go to the section `elasticsearch`."""

    def make(**extra: object) -> Settings:
        return Settings(elasticsearch=ElasticsearchSettings(**{"hosts": elasticsearch, "prefix": prefix, **extra}))

    return make


@pytest.fixture
def elasticsearch_document_store(
    elasticsearch_settings: Callable[..., Settings],
) -> Iterator[ElasticsearchDocumentStore]:
    store = ElasticsearchDocumentStore(elasticsearch_settings())
    store.prepare()
    yield store
    store.close()
