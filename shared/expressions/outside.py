"""The port to everything that expressions read from outside their context."""

from __future__ import annotations

import secrets
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from typing import Any, Protocol

from shared.expressions import encryption


@dataclass(frozen=True, slots=True)
class Place:
    """Where a template is rendered: whose secrets, values and files it may read."""

    tenant: str | None
    namespace: str | None
    flow: str | None
    execution: str | None


class OutsideError(Exception):
    """The outside refuses or fails; the text is for the flow's author."""


class Outside(Protocol):
    """What `secret()`, `kv()`, `read()` and the like ask. Implementations raise `OutsideError`."""

    def zone(self) -> tzinfo:
        """Time zone of `now()` and of dates without one; Kestra takes the server's."""

    def now(self) -> datetime:
        """Give the present, aware."""

    def uuid(self) -> str:
        """Give a new UUID."""

    def id(self) -> str:
        """Give a new id in the form of execution ids."""

    def random_int(self, lower: int, upper: int) -> int:
        """Give an integer from `lower` to `upper`, `upper` excluded unless both are equal."""

    def random_port(self) -> int:
        """Give a local TCP port that is free."""

    def secret(self, place: Place, key: str) -> str:
        """Give a secret of the namespace; the caller masks it in logs."""

    def kv(self, place: Place, key: str, namespace: str) -> Any | None:
        """Give a value of the key-value store, None where there is none."""

    def namespace_file(self, place: Place, path: str) -> str:
        """Give the text of a file of the namespace; raises where there is none."""

    def stored_file(self, place: Place, uri: str) -> str:
        """Give the text of a file of the internal storage. The caller checked that the URI is allowed."""

    def file_size(self, place: Place, uri: str) -> int:
        """Give the size in bytes of a file of the internal storage; raises where there is none."""

    def file_exists(self, place: Place, uri: str) -> bool:
        """Say whether a file of the internal storage exists."""

    def error_logs(self, place: Place) -> Sequence[Mapping[str, Any]]:
        """Give the ERROR log entries of the execution, oldest first."""

    def http(self, request: Mapping[str, Any]) -> Any:
        """Do the HTTP request `{uri, method, query, body, contentType, accept}`; give the parsed body."""

    def encrypt(self, key: str, plaintext: str) -> str:
        """Encrypt with a base64 key, as `encryption.encrypt` does."""

    def decrypt(self, key: str, encrypted: str) -> str:
        """Undo `encrypt`."""


#: Letters of the 22-character ids: Kestra's ids are UUIDs in base 62.
_BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


class NoOutside:
    """No services: clock, randomness and encryption work, everything else says that it isn't there."""

    def __init__(self, zone: tzinfo = UTC) -> None:
        self._zone = zone

    def zone(self) -> tzinfo:
        return self._zone

    def now(self) -> datetime:
        return datetime.now(self._zone)

    def uuid(self) -> str:
        return str(uuid.uuid4())

    def id(self) -> str:
        number = uuid.uuid4().int
        letters = ""
        while number:
            number, letter = divmod(number, 62)
            letters = _BASE62[letter] + letters
        return letters.rjust(22, "0")

    def random_int(self, lower: int, upper: int) -> int:
        return lower if lower == upper else lower + secrets.randbelow(upper - lower)

    def random_port(self) -> int:
        raise _absent("randomPort", "a network")

    def secret(self, place: Place, key: str) -> str:  # noqa: ARG002 - the protocol's signature
        raise _absent("secret", "a secret store")

    def kv(self, place: Place, key: str, namespace: str) -> Any | None:  # noqa: ARG002
        raise _absent("kv", "a key-value store")

    def namespace_file(self, place: Place, path: str) -> str:  # noqa: ARG002
        raise _absent("read", "namespace files")

    def stored_file(self, place: Place, uri: str) -> str:  # noqa: ARG002
        raise _absent("read", "an internal storage")

    def file_size(self, place: Place, uri: str) -> int:  # noqa: ARG002
        raise _absent("fileSize", "an internal storage")

    def file_exists(self, place: Place, uri: str) -> bool:  # noqa: ARG002
        raise _absent("fileExists", "an internal storage")

    def error_logs(self, place: Place) -> Sequence[Mapping[str, Any]]:  # noqa: ARG002
        raise _absent("errorLogs", "the logs of an execution")

    def http(self, request: Mapping[str, Any]) -> Any:  # noqa: ARG002
        raise _absent("http", "a network")

    def encrypt(self, key: str, plaintext: str) -> str:
        return encryption.encrypt(key, plaintext)

    def decrypt(self, key: str, encrypted: str) -> str:
        return encryption.decrypt(key, encrypted)


def _absent(function: str, needed: str) -> OutsideError:
    return OutsideError(f"The '{function}' function needs {needed}, and there is none where this is rendered.")


class MemoryOutside(NoOutside):
    """An outside held in memory, for tests and examples."""

    def __init__(
        self,
        *,
        now: datetime | None = None,
        secrets: Mapping[str, str] | None = None,
        kv: Mapping[tuple[str, str], Any] | None = None,
        namespace_files: Mapping[tuple[str, str], str] | None = None,
        stored_files: Mapping[str, str] | None = None,
        logs: Sequence[Mapping[str, Any]] = (),
        zone: tzinfo = UTC,
    ) -> None:
        super().__init__(zone)
        self._now = now
        self._secrets = dict(secrets or {})
        self._kv = dict(kv or {})
        self._namespace_files = dict(namespace_files or {})
        self._stored_files = dict(stored_files or {})
        self._logs = logs

    def now(self) -> datetime:
        return super().now() if self._now is None else self._now

    def random_port(self) -> int:
        return 49152

    def secret(self, place: Place, key: str) -> str:
        if key not in self._secrets:
            raise OutsideError(f"Cannot find secret for key '{key}'.")
        del place
        return self._secrets[key]

    def kv(self, place: Place, key: str, namespace: str) -> Any | None:
        del place
        return self._kv.get((namespace, key))

    def namespace_file(self, place: Place, path: str) -> str:
        found = self._namespace_files.get((place.namespace or "", path.lstrip("/")))
        if found is None:
            raise OutsideError(f"File not found: {path}")
        return found

    def stored_file(self, place: Place, uri: str) -> str:
        del place
        if uri not in self._stored_files:
            raise OutsideError(f"File not found: {uri}")
        return self._stored_files[uri]

    def file_size(self, place: Place, uri: str) -> int:
        return len(self.stored_file(place, uri).encode())

    def file_exists(self, place: Place, uri: str) -> bool:
        del place
        return uri in self._stored_files

    def error_logs(self, place: Place) -> Sequence[Mapping[str, Any]]:
        return [
            entry
            for entry in self._logs
            if entry.get("level") == "ERROR" and entry.get("executionId") == place.execution
        ]

    def http(self, request: Mapping[str, Any]) -> Any:
        raise OutsideError(f"No answer is known for {request.get('uri')}.")
