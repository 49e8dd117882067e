"""Working directory: the folder that the children of a WorkingDirectory task share, whichever workers run them.

The children are ordinary task runs, one after the other. Between them the folder lies in the blob store: each child
gets a copy and puts back what it changed. The executor tells a child of it by the property `$workingDirectory` of its
command's task: `{"id": …}` with an id that is the same for all children of one run of the parent, the parent's
`taskId`, and its raw `inputFiles`, `namespaceFiles`, `outputFiles` and `cache`. The child's end carries the attribute
`outputFiles`, the parent's output as far as it is known by then.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import orjson

from shared.model.moment import parse_duration
from worker.context import Context
from worker.files import found_in, put_into
from worker.patterns import matches
from worker.properties import PropertyError, converter
from worker.storage import PROTOCOL, execution_root, namespace_root, shown, uri_of

PROPERTY: Final = "$workingDirectory"
OUTPUT_FILES: Final = "outputFiles"
"""Attribute of a child's end."""
_FILES: Final = converter(dict[str, str])
_PATTERNS: Final = converter(list[str])


class WorkingDirectory:
    """The shared folder, as one child uses it: `enter` before it runs, `leave` afterwards."""

    def __init__(self, context: Context, told: Mapping[str, Any]) -> None:
        """`told`: what the executor tells of it."""
        self._context = context
        self._told = told
        command = context.command
        self._blobs = context.services.blobs
        self._root = f"{execution_root(command)}/working/{told['id']}/"
        self._cache = (
            f"{namespace_root(command.tenant, command.namespace)}/{command.flow_id}/{told.get('taskId')}/cache/"
        )
        self._before: dict[str, str] = {}

    @classmethod
    def of(cls, context: Context) -> WorkingDirectory | None:
        """The folder that the command tells of, if any."""
        told = context.command.task.get(PROPERTY)
        return cls(context, told) if isinstance(told, Mapping) and told.get("id") else None

    def enter(self) -> None:
        """Fill the child's folder: with what the children before left, or for the first one as the parent says.

        Raises PropertyError, RenderError or StorageError for what the parent says.
        """
        try:
            with self._blobs.open(uri_of(self._root + "index.json")) as file:
                index: dict[str, str] = orjson.loads(file.read())
        except FileNotFoundError:
            self._begin()
            return
        for name, digest in index.items():
            self._copy(uri_of(f"{self._root}content/{digest}"), name)
        self._before = index

    def leave(self) -> dict[str, Any] | None:
        """Put back what changed, and the cache; give the attributes of the child's end."""
        index = {name: _digest(path) for name, path in self._files()}
        known = set(self._before.values())
        for name, digest in index.items():
            if digest not in known:
                with (self._context.directory / name).open("rb") as file:
                    self._blobs.put(f"{self._root}content/{digest}", file)
        # The index last: a worker that dies before leaves the folder as it was, for the attempt that follows.
        self._blobs.put(self._root + "index.json", io.BytesIO(orjson.dumps(index)))
        self._keep(index)
        patterns = _PATTERNS(self._told.get("outputFiles") or [], self._context.rendering)
        stored = {
            name: shown(uri_of(f"{self._root}output/{name}"), self._context.info.tenant)
            for name in index
            if patterns and matches(name, patterns)
        }
        for name in stored:
            with (self._context.directory / name).open("rb") as file:
                self._blobs.put(f"{self._root}output/{name}", file)
        return {OUTPUT_FILES: stored} if patterns else None

    def _begin(self) -> None:
        self._restore()
        self._namespace_files()
        files = self._told.get("inputFiles")
        if files is not None:
            put_into(self._context, _FILES(files, self._context.rendering))

    def _namespace_files(self) -> None:
        wanted = self._told.get("namespaceFiles")
        if not isinstance(wanted, Mapping) or wanted.get("enabled", True) in (False, "false"):
            return
        command = self._context.command
        root = f"{namespace_root(command.tenant, command.namespace)}/_files/"
        include, exclude = (_PATTERNS(wanted.get(n) or [], self._context.rendering) for n in ("include", "exclude"))
        for uri in self._blobs.list(root):
            name = uri.removeprefix(f"{PROTOCOL}/{root}")
            if (not include or matches(name, include)) and not matches(name, exclude):
                self._copy(uri, name)

    def _copy(self, uri: str, name: str) -> None:
        put_into(self._context, {name: uri})

    def _files(self) -> Iterator[tuple[str, Path]]:
        return found_in(self._context.directory)

    def _restore(self) -> None:
        cache = self._told.get("cache")
        if not isinstance(cache, Mapping):
            return
        try:
            with self._blobs.open(uri_of(self._cache + "index.json")) as file:
                kept = orjson.loads(file.read())
        except FileNotFoundError:
            return
        ttl = _duration(cache.get("ttl"))
        if ttl is not None and kept["at"] + ttl / timedelta(milliseconds=1) < self._context.services.clock():
            return
        self._context.logger.debug("Cache exist, downloading it")
        for name, digest in kept["files"].items():
            self._copy(uri_of(f"{self._cache}content/{digest}"), name)

    def _keep(self, index: Mapping[str, str]) -> None:
        """Keep the files that the cache's patterns name; an unchanged cache stays as old as it is."""
        cache = self._told.get("cache")
        if not isinstance(cache, Mapping):
            return
        patterns = _PATTERNS(cache.get("patterns") or [], self._context.rendering)
        files = {name: digest for name, digest in index.items() if matches(name, patterns)}
        if not files or files == {name: digest for name, digest in self._before.items() if name in files}:
            return
        for name, digest in files.items():
            with (self._context.directory / name).open("rb") as file:
                self._blobs.put(f"{self._cache}content/{digest}", file)
        data = {"at": self._context.services.clock(), "files": files}
        self._blobs.put(self._cache + "index.json", io.BytesIO(orjson.dumps(data)))


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "blake2b").hexdigest()[:40]


def _duration(text: object) -> timedelta | None:
    if text is None:
        return None
    try:
        return timedelta(milliseconds=parse_duration(str(text)))
    except ValueError as error:
        raise PropertyError(f"property `cache.ttl`: {error}") from None
