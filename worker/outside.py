"""Outside: what the expressions of one attempt read beyond their variables: secrets, key values, files, the network."""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, tzinfo
from typing import Any, Final

import httpx
import orjson
import yaml

from shared.expressions.outside import NoOutside, OutsideError, Place
from worker.key_values import KeyValue
from worker.services import Services
from worker.storage import StorageError, checked, namespace_file_path, uri_of

HTTP_SECONDS: Final = 10.0
"""Longest wait for an answer of `http()`: the limit of a whole rendering."""


class AttemptOutside(NoOutside):
    """The outside of one attempt. Its secrets are told to `secret_read`, so that they are masked."""

    def __init__(
        self, services: Services, tenant: str, variables: Mapping[str, Any], secret_read: Callable[[str], None]
    ) -> None:
        """`variables`: of the command; `errorLogs` among them has the execution's last errors."""
        super().__init__(_zone())
        self._services = services
        self._tenant = tenant
        self._variables = variables
        self._secret_read = secret_read

    def random_port(self) -> int:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port: int = probe.getsockname()[1]
        return port

    def secret(self, place: Place, key: str) -> str:  # noqa: ARG002 - one set of secrets for all namespaces
        value = self._services.secrets.get(key.lower())
        if value is None:
            raise OutsideError(f"Cannot find secret for key '{key}'.")
        self._secret_read(value)
        return value

    def kv(self, place: Place, key: str, namespace: str) -> Any | None:  # noqa: ARG002
        entry: KeyValue | None = self._services.kv.get(self._tenant, namespace, key)
        return None if entry is None else entry.value

    def namespace_file(self, place: Place, path: str) -> str:
        try:
            return self._text(uri_of(namespace_file_path(self._tenant, place.namespace or "", path)))
        except FileNotFoundError:
            raise OutsideError(f"File not found: {path}") from None
        except StorageError as error:
            raise OutsideError(str(error)) from None

    def stored_file(self, place: Place, uri: str) -> str:  # noqa: ARG002
        try:
            return self._text(checked(uri, self._tenant))
        except (FileNotFoundError, StorageError) as error:
            raise OutsideError(str(error)) from None

    def file_size(self, place: Place, uri: str) -> int:  # noqa: ARG002
        try:
            return self._services.blobs.size(checked(uri, self._tenant))
        except (FileNotFoundError, StorageError) as error:
            raise OutsideError(str(error)) from None

    def file_exists(self, place: Place, uri: str) -> bool:  # noqa: ARG002
        try:
            self._services.blobs.size(checked(uri, self._tenant))
        except FileNotFoundError:
            return False
        except StorageError as error:
            raise OutsideError(str(error)) from None
        return True

    def error_logs(self, place: Place) -> Sequence[Mapping[str, Any]]:  # noqa: ARG002
        found: Sequence[Mapping[str, Any]] = self._variables.get("errorLogs") or []
        return found

    def http(self, request: Mapping[str, Any]) -> Any:
        body = request.get("body")
        headers = {"content-type": request.get("contentType"), "accept": request.get("accept")}
        try:
            answer = httpx.request(
                str(request.get("method") or "GET"),
                str(request["uri"]),
                params=request.get("query") or None,
                content=body if body is None or isinstance(body, str) else orjson.dumps(body),
                headers={name: value for name, value in headers.items() if value},
                timeout=HTTP_SECONDS,
            )
            answer.raise_for_status()
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise OutsideError(f"http() of {request.get('uri')}: {error}") from error
        return _parsed(answer)

    def _text(self, uri: str) -> str:
        with self._services.blobs.open(uri) as file:
            return file.read().decode()


def _parsed(answer: httpx.Response) -> Any:
    kind = answer.headers.get("content-type", "").partition(";")[0].strip()
    try:
        if kind.endswith("json"):
            return orjson.loads(answer.content)
        if kind.endswith("yaml"):
            return yaml.safe_load(answer.text)
    except (orjson.JSONDecodeError, yaml.YAMLError) as error:
        raise OutsideError(f"http() of {answer.url}: the answer is no {kind}: {error}") from error
    return answer.text


def _zone() -> tzinfo:
    zone = datetime.now().astimezone().tzinfo
    assert zone is not None
    return zone
