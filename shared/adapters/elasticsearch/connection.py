"""Connection: requests to Elasticsearch through the official client's transport, with JSON written by orjson."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import elasticsearch
import orjson
from elastic_transport import Serializer
from elasticsearch import ApiError, Elasticsearch, TransportError

from shared.settings import ElasticsearchSettings

CONNECTIONS: Final = 32
"""Connections kept to each node: as many as the API has reading threads, so that none opens one per request."""

_JSON: Final = {"content-type": "application/json", "accept": "application/json"}
_NDJSON: Final = {"content-type": "application/x-ndjson", "accept": "application/json"}
_MIME_TYPES: Final = (
    "application/json",
    "application/x-ndjson",
    "application/vnd.elasticsearch+json",
    "application/vnd.elasticsearch+x-ndjson",
)

_UNAVAILABLE: Final = frozenset((401, 403, 429, 502, 503, 504))
"""Statuses that speak of the server's condition, or of our credentials there, and not of the request."""


class StoreUnavailable(ConnectionError):
    """Elasticsearch can't be reached, is overloaded, or turns us away; the same request may work later."""


class RequestRefused(RuntimeError):
    """Elasticsearch answered with an error about the request itself."""

    def __init__(self, status: int, kind: str, reason: str) -> None:
        """`kind`: Elasticsearch's name of the error, such as `index_not_found_exception`."""
        super().__init__(f"{status} {kind}: {reason}")
        self.status, self.kind, self.reason = status, kind, reason


class _Orjson(Serializer):
    """JSON by orjson; bytes are passed on as they are."""

    mimetype = "application/json"

    def loads(self, data: bytes) -> Any:
        return orjson.loads(data)

    def dumps(self, data: Any) -> bytes:
        return data if isinstance(data, bytes) else orjson.dumps(data)


class Connection:
    """Requests to one cluster. Thread-safe."""

    def __init__(self, settings: ElasticsearchSettings) -> None:
        """Connects at the first request."""
        serializer = _Orjson()
        options: dict[str, Any] = {}
        if settings.username is not None:
            options["basic_auth"] = (settings.username, settings.password or "")
        if settings.api_key is not None:
            options["api_key"] = settings.api_key
        if settings.ca_certs is not None:
            options["ca_certs"] = settings.ca_certs
        self._client = Elasticsearch(
            [host.strip() for host in settings.hosts.split(",")],
            serializers=dict.fromkeys(_MIME_TYPES, serializer),
            request_timeout=settings.timeout,
            connections_per_node=CONNECTIONS,
            # Whoever calls retries, with a backoff, and knows what the request was.
            max_retries=0,
            retry_on_status=(),
            **options,
        )

    def request(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | bytes | None = None,
        params: Mapping[str, Any] | None = None,
    ) -> Any:
        """The answer's JSON. `body`: a JSON object, or lines of JSON as bytes.

        Raises StoreUnavailable and RequestRefused.
        """
        headers = _NDJSON if isinstance(body, bytes) else _JSON
        try:
            return self._client.perform_request(method, path, params=params, headers=headers, body=body).body
        except ApiError as error:
            raise _failure(error) from error
        except TransportError as error:
            raise StoreUnavailable(f"Elasticsearch: {error.message}") from error
        except elasticsearch.UnsupportedProductError as error:
            raise StoreUnavailable(f"Elasticsearch: {error}") from error

    def find(self, method: str, path: str, params: Mapping[str, Any] | None = None) -> Any:
        """The answer's JSON, or None where there is no such thing (404)."""
        try:
            return self.request(method, path, params=params)
        except RequestRefused as error:
            if error.status == 404:
                return None
            raise

    def close(self) -> None:
        """Close the connections."""
        self._client.close()


def _failure(error: ApiError) -> Exception:
    status = error.meta.status
    kind, reason = describe(error.body.get("error") if isinstance(error.body, dict) else error.body)
    if status in _UNAVAILABLE:
        return StoreUnavailable(f"Elasticsearch: {status} {kind}: {reason}")
    return RequestRefused(status, kind, reason)


def describe(error: Any) -> tuple[str, str]:
    """Kind and reason of an error as Elasticsearch writes it, down to its first cause."""
    if not isinstance(error, dict):
        return "error", str(error)
    reasons = [str(error.get("reason", ""))]
    roots = error.get("root_cause") or []
    cause = error.get("caused_by") or (roots[0] if roots else None)
    while isinstance(cause, dict):
        if cause.get("reason") and str(cause["reason"]) not in reasons:
            reasons.append(str(cause["reason"]))
        cause = cause.get("caused_by")
    return str(error.get("type", "error")), ": ".join(filter(None, reasons))
