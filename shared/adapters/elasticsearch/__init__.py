"""The search store on Elasticsearch."""

from shared.adapters.elasticsearch.connection import RequestRefused, StoreUnavailable
from shared.adapters.elasticsearch.store import ElasticsearchDocumentStore

__all__ = ["ElasticsearchDocumentStore", "RequestRefused", "StoreUnavailable"]
