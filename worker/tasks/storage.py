"""`storage`: tasks on whole files of the internal storage: sizes, cutting, joining, local files."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from worker.context import Context
from worker.files import put_into, store_matching
from worker.properties import PropertyError
from worker.storage import execution_root
from worker.task import Task, TaskError

_SIZE: Final = re.compile(r"\s*(\d+)\s*([KMG]?)(?:i?B)?\s*\Z", re.IGNORECASE)
_UNITS: Final = {"": 1, "K": 1024, "M": 1024**2, "G": 1024**3}


def rows(path: Path) -> Iterator[str]:
    """Lines of a file without their ends."""
    with path.open(encoding="utf-8", newline=None) as file:
        for line in file:
            yield line.removesuffix("\n")


def local_copy(context: Context, uri: str) -> Path:
    """A file of the internal storage as a local one, outside the folder that children of a task may share."""
    path = context.scratch / "source"
    context.files.copy(uri, path)
    return path


def extension_of(uri: str) -> str:
    """`.csv` of a URI; `.tmp` without one."""
    return posixpath.splitext(uri)[1] or ".tmp"


@dataclass(frozen=True)
class Size(Task):
    """Output `size`: bytes of a file."""

    type = "io.kestra.plugin.core.storage.Size"
    aliases = ("io.kestra.core.tasks.storages.Size",)

    uri: str

    def run(self, context: Context) -> Mapping[str, Any]:
        return {"size": context.files.size(self.uri)}


@dataclass(frozen=True)
class Delete(Task):
    """Takes a file away: outputs `uri` and `deleted`."""

    type = "io.kestra.plugin.core.storage.Delete"
    aliases = ("io.kestra.core.tasks.storages.Delete",)

    uri: str
    error_on_missing: bool = False

    def run(self, context: Context) -> Mapping[str, Any]:
        deleted = context.files.delete(self.uri)
        if self.error_on_missing and not deleted:
            raise TaskError(f"Unable to find file '{self.uri}'")
        return {"uri": self.uri, "deleted": deleted}


@dataclass(frozen=True)
class Write(Task):
    """Writes a text to a new file: output `uri`."""

    type = "io.kestra.plugin.core.storage.Write"

    content: str
    extension: str = ".tmp"

    def run(self, context: Context) -> Mapping[str, Any]:
        return {"uri": context.files.put(self.content.encode(), f"file{self.extension}")}


@dataclass(frozen=True)
class Concat(Task):
    """Joins files: output `uri`. After each the `separator`, if there is one."""

    type = "io.kestra.plugin.core.storage.Concat"
    aliases = ("io.kestra.core.tasks.storages.Concat",)

    files: list[str]
    separator: str | None = None
    extension: str = ".tmp"

    def run(self, context: Context) -> Mapping[str, Any]:
        joined = context.scratch / "joined"
        with joined.open("wb") as target:
            for uri in self.files:
                with context.files.open(uri) as file:
                    while block := file.read(1 << 20):
                        target.write(block)
                if self.separator is not None:
                    target.write(self.separator.encode())
        return {"uri": context.files.put(joined, f"concat{self.extension}")}


@dataclass(frozen=True)
class Reverse(Task):
    """Turns the order of a file's rows round: output `uri`."""

    type = "io.kestra.plugin.core.storage.Reverse"
    aliases = ("io.kestra.core.tasks.storages.Reverse",)

    from_: str
    separator: str = "\n"
    charset: str = "UTF-8"

    def run(self, context: Context) -> Mapping[str, Any]:
        try:
            text = context.files.read(self.from_).decode(self.charset)
        except (LookupError, UnicodeDecodeError) as error:
            raise TaskError(f"property `charset`: {error}") from None
        reversed_text = "".join(row + self.separator for row in reversed(text.splitlines()))
        return {"uri": context.files.put(reversed_text.encode(self.charset), f"reverse{extension_of(self.from_)}")}


@dataclass(frozen=True)
class Split(Task):
    """Cuts a file at its rows, by `bytes`, `partitions` or `rows`: output `uris`."""

    type = "io.kestra.plugin.core.storage.Split"
    aliases = ("io.kestra.core.tasks.storages.Split",)

    from_: str
    bytes: str | None = None
    partitions: int | None = None
    rows: int | None = None
    separator: str = "\n"

    def run(self, context: Context) -> Mapping[str, Any]:
        return {"uris": self.pieces(context)}

    def pieces(self, context: Context) -> list[str]:
        """Cut the file and store the pieces; their URIs in order."""
        source = local_copy(context, self.from_)
        if self.bytes is not None:
            parts = self._cut(context.scratch, source, _bytes(self.bytes), None)
        elif self.partitions is not None:
            parts = self._dealt(context.scratch, source, _positive("partitions", self.partitions))
        elif self.rows is not None:
            parts = self._cut(context.scratch, source, None, _positive("rows", self.rows))
        else:
            raise TaskError("Invalid configuration with no size, count, nor rows")
        name = f"split{extension_of(self.from_)}"
        return [context.files.put(part, name) for part in parts]

    def _cut(self, folder: Path, source: Path, most_bytes: int | None, most_rows: int | None) -> list[Path]:
        """A new part as soon as the current one has reached the bound, which it may so pass by a row."""
        parts: list[Path] = []
        size = count = 0
        target = None
        try:
            for row in rows(source):
                full = size >= most_bytes if most_bytes is not None else count >= (most_rows or 0)
                if target is None or full:
                    if target is not None:
                        target.close()
                    parts.append(folder / f"part-{len(parts)}")
                    target = parts[-1].open("wb")
                    size = count = 0
                size += target.write((row + self.separator).encode())
                count += 1
        finally:
            if target is not None:
                target.close()
        return parts

    def _dealt(self, folder: Path, source: Path, count: int) -> list[Path]:
        """Rows dealt out one by one; parts that got none are left out."""
        paths = [folder / f"part-{number}" for number in range(count)]
        targets = [path.open("wb") for path in paths]
        try:
            for number, row in enumerate(rows(source)):
                targets[number % count].write((row + self.separator).encode())
        finally:
            for target in targets:
                target.close()
        return [path for path in paths if path.stat().st_size]


@dataclass(frozen=True)
class LocalFiles(Task):
    """Writes `inputs` to the working directory and stores the files that match `outputs`: output `uris`, by path."""

    type = "io.kestra.plugin.core.storage.LocalFiles"
    aliases = ("io.kestra.core.tasks.storages.LocalFiles",)

    inputs: dict[str, str] | None = None
    outputs: list[str] | None = None

    def run(self, context: Context) -> Mapping[str, Any]:
        put_into(context, self.inputs or {})
        return {"uris": store_matching(context, self.outputs or [])}


@dataclass(frozen=True)
class PurgeCurrentExecutionFiles(Task):
    """Takes all files of its execution away: output `uris`."""

    type = "io.kestra.plugin.core.storage.PurgeCurrentExecutionFiles"
    aliases = (
        "io.kestra.core.tasks.storages.PurgeExecution",
        "io.kestra.plugin.core.storage.PurgeExecution",
    )

    def run(self, context: Context) -> Mapping[str, Any]:
        root = execution_root(context.command) + "/"
        uris = sorted(context.services.blobs.list(root))
        context.services.blobs.delete(root)
        return {"uris": uris}


def _positive(name: str, value: int) -> int:
    if value < 1:
        raise PropertyError(f"property `{name}`: expected a number above 0, found {value}")
    return value


def _bytes(text: str) -> int:
    found = _SIZE.match(text)
    if found is None:
        raise PropertyError(f"property `bytes`: Invalid size with value '{text}'; expected one such as 10MB")
    return int(found.group(1)) * _UNITS[found.group(2).upper()]


TASKS: Final = (Size, Delete, Write, Concat, Reverse, Split, LocalFiles, PurgeCurrentExecutionFiles)
