"""Storage: where the files of executions and namespaces lie in the blob store, and who may read them."""

from __future__ import annotations

import io
import posixpath
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, BinaryIO, Final
from urllib.parse import unquote

import orjson

from shared.expressions.text_filters import slug
from shared.messages import RunTaskRun
from shared.ports import BlobStore

SCHEME: Final = "kestra"
PROTOCOL: Final = SCHEME + "://"


class StorageError(ValueError):
    """A file that may not be read, or a name that can't be used."""


def namespace_root(tenant: str, namespace: str) -> str:
    """`main/company/team`: everything of a namespace is below it."""
    return f"{tenant}/{namespace.replace('.', '/')}"


def execution_root(command: RunTaskRun) -> str:
    """`main/company/team/flow/executions/<id>`: Kestra's place of an execution's files, behind the tenant."""
    namespace = namespace_root(command.tenant, command.namespace)
    return f"{namespace}/{slug(command.flow_id)}/executions/{command.execution_id}"


def task_run_root(command: RunTaskRun) -> str:
    """Where the files of a task run lie."""
    return f"{execution_root(command)}/tasks/{slug(str(command.task.get('id')))}/{command.task_run_id}"


def namespace_file_path(tenant: str, namespace: str, path: str) -> str:
    """Where a namespace file lies."""
    return f"{namespace_root(tenant, namespace)}/_files/{clean(path)}"


def clean(path: str) -> str:
    """A relative path without `.` and `..`. Raises StorageError for one that would leave its folder."""
    plain = posixpath.normpath(path.replace("\\", "/")).lstrip("/")
    if plain in ("", ".") or plain == ".." or plain.startswith("../"):
        raise StorageError(f"'{path}' is no path of a file")
    return plain


def uri_of(path: str) -> str:
    """The URI of a tenant-rooted path."""
    return f"{PROTOCOL}/{path}"


def shown(uri: str, tenant: str) -> str:
    """A stored file's URI as flows see it: without the tenant, as Kestra's are."""
    return PROTOCOL + "/" + uri.removeprefix(f"{PROTOCOL}/").removeprefix(f"{tenant}/")


def checked(uri: str, tenant: str) -> str:
    """The URI within the tenant: one that doesn't begin with its name is taken to be relative to it.

    Raises StorageError for one that isn't of the internal storage or leaves its folder.
    """
    path = uri.removeprefix(f"{PROTOCOL}/")
    if path == uri or ".." in unquote(path).split("/"):
        raise StorageError(f"'{uri}' is no URI of the internal storage; these begin with {PROTOCOL}/")
    return uri if path.startswith(f"{tenant}/") else uri_of(f"{tenant}/{path}")


class Files:
    """The internal storage as one task run may use it."""

    def __init__(self, blobs: BlobStore, command: RunTaskRun) -> None:
        """`command`: whose tenant limits what can be read, and below whose task run files are put."""
        self._blobs = blobs
        self._command = command
        self._names: dict[str, int] = {}

    def put(self, content: bytes | Path, name: str) -> str:
        """Store a file under the task run; give its URI. A name that was used gets a number. Raises StorageError."""
        plain = clean(name)
        count = self._names[plain] = self._names.get(plain, 0) + 1
        if count > 1:
            stem, extension = posixpath.splitext(plain)
            plain = f"{stem}-{count}{extension}"
        path = f"{task_run_root(self._command)}/{plain}"
        if isinstance(content, Path):
            with content.open("rb") as file:
                return shown(self._blobs.put(path, file), self._command.tenant)
        return shown(self._blobs.put(path, io.BytesIO(content)), self._command.tenant)

    def open(self, uri: str) -> BinaryIO:
        """A file of the tenant. Raises StorageError or FileNotFoundError."""
        return self._blobs.open(checked(uri, self._command.tenant))

    def read(self, uri: str) -> bytes:
        """The whole content of a file."""
        with self.open(uri) as file:
            return file.read()

    def copy(self, uri: str, target: Path) -> None:
        """Write a file to a local path."""
        with self.open(uri) as file, target.open("wb") as copy:
            shutil.copyfileobj(file, copy)

    def size(self, uri: str) -> int:
        """Bytes of a file. Raises StorageError or FileNotFoundError."""
        return self._blobs.size(checked(uri, self._command.tenant))

    def delete(self, uri: str) -> bool:
        """Take a file away; False when it wasn't there. Raises StorageError."""
        path = checked(uri, self._command.tenant).removeprefix(f"{PROTOCOL}/")
        return self._blobs.delete(path) > 0


def json_lines(rows: Iterable[Mapping[str, Any]]) -> bytes:
    """Rows as JSON lines: what ION text readers, Kestra's included, read as well."""
    return b"".join(orjson.dumps(row, default=str, option=orjson.OPT_APPEND_NEWLINE) for row in rows)
