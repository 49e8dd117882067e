"""`namespace`: files that belong to a namespace and not to an execution."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from worker.context import Context
from worker.files import found_in
from worker.patterns import matches
from worker.storage import PROTOCOL, clean, namespace_file_path, namespace_root, shown
from worker.task import Task, TaskError


def _stored(context: Context, namespace: str) -> Iterator[tuple[str, str]]:
    """Path and URI of each file of a namespace."""
    root = f"{namespace_root(context.info.tenant, namespace)}/_files/"
    for uri in context.services.blobs.list(root):
        yield uri.removeprefix(f"{PROTOCOL}/{root}"), uri


@dataclass(frozen=True)
class UploadFiles(Task):
    """Stores files in a namespace: those of the task's folder that match `files`, and those of `filesMap`."""

    type = "io.kestra.plugin.core.namespace.UploadFiles"

    namespace: str
    files: list[str] | None = None
    files_map: dict[str, str] | None = None
    destination: str = "/"
    conflict: Literal["OVERWRITE", "ERROR", "SKIP"] = "OVERWRITE"

    def run(self, context: Context) -> Mapping[str, Any]:
        known = {name for name, _ in _stored(context, self.namespace)}
        stored: dict[str, str] = {}
        for name, content in self._given(context):
            path = clean(f"{self.destination}/{name}")
            if path in known and self.conflict == "ERROR":
                raise TaskError(f"File {path} already exists and conflict is set to ERROR")
            if path in known and self.conflict == "SKIP":
                context.logger.debug("File %s already exists and is left as it is", path)
                continue
            target = namespace_file_path(context.info.tenant, self.namespace, path)
            stored[path] = shown(context.services.blobs.put(target, io.BytesIO(content)), context.info.tenant)
        return {"files": stored}

    def _given(self, context: Context) -> Iterator[tuple[str, bytes]]:
        for name, path in found_in(context.directory) if self.files else ():
            if matches(name, self.files or ()):
                yield name, path.read_bytes()
        for name, text in (self.files_map or {}).items():
            yield name, context.files.read(text) if text.startswith(PROTOCOL) else text.encode()


@dataclass(frozen=True)
class DownloadFiles(Task):
    """Makes files of a namespace the task run's own: output `files`, URIs by path."""

    type = "io.kestra.plugin.core.namespace.DownloadFiles"

    namespace: str
    files: str | list[str]
    destination: str = ""

    def run(self, context: Context) -> Mapping[str, Any]:
        patterns = [self.files] if isinstance(self.files, str) else self.files
        found = {}
        for name, uri in _stored(context, self.namespace):
            if matches(name, patterns):
                found[f"/{name}"] = context.files.put(context.files.read(uri), clean(f"{self.destination}/{name}"))
        return {"files": found}


@dataclass(frozen=True)
class DeleteFiles(Task):
    """Takes files of a namespace away: output `files`, how many."""

    type = "io.kestra.plugin.core.namespace.DeleteFiles"

    namespace: str
    files: str | list[str]

    def run(self, context: Context) -> Mapping[str, Any]:
        patterns = [self.files] if isinstance(self.files, str) else self.files
        gone = [uri for name, uri in _stored(context, self.namespace) if matches(name, patterns)]
        for uri in gone:
            context.files.delete(uri)
        context.metrics.counter("deleted", len(gone))
        return {"files": len(gone)}


TASKS: Final = (UploadFiles, DownloadFiles, DeleteFiles)
