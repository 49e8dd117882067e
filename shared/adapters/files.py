"""Files: the blob store in a directory. Used embedded, and with Kafka where all hosts share the directory."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final

SCHEME: Final = "kestra://"
"""Kestra's own, since flows show and compare these URIs: `kestra:///main/…`."""

_TEMPORARY: Final = ".incoming-"
"""Prefix of files that are being written: in the same directory, so that the rename is atomic; never listed."""

_COPY_BYTES: Final = 1024 * 1024


class DirectoryBlobStore:
    """Blobs as files below one directory, by the path of their URI.

    A path that leaves the directory (`..`, a link, a NUL byte) is refused with ValueError.
    """

    def __init__(self, directory: Path) -> None:
        self._root = directory.resolve()
        self._root.mkdir(parents=True, exist_ok=True)

    def put(self, path: str, content: BinaryIO) -> str:
        """Store under a tenant-rooted path, return its URI. Either the whole content is there, or none of it.

        Durable on return: the file and its directory are synced.
        """
        target = self._locate(path)
        if target == self._root:
            raise ValueError("a blob needs a path")
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.parent / f"{_TEMPORARY}{secrets.token_hex(8)}"
        try:
            with temporary.open("xb") as file:
                shutil.copyfileobj(content, file, _COPY_BYTES)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(target)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        _sync_directory(target.parent)
        return self._uri(target)

    def open(self, uri: str) -> BinaryIO:
        """Raises FileNotFoundError naming the URI."""
        try:
            return self._locate(uri).open("rb")
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
            raise FileNotFoundError(f"there is no file {uri}") from error

    def size(self, uri: str) -> int:
        """Bytes. Raises FileNotFoundError naming the URI."""
        path = self._locate(uri)
        if not path.is_file():
            raise FileNotFoundError(f"there is no file {uri}")
        return path.stat().st_size

    def delete(self, prefix: str) -> int:
        """Remove a file, or everything below a directory; returns how many files. The root is refused."""
        start = self._locate(prefix)
        if start == self._root:
            raise ValueError("refused to delete every blob: name a path below the root")
        if start.is_file():
            start.unlink()
            return 1
        count = sum(1 for _ in self._walk(start))
        if start.is_dir():
            shutil.rmtree(start)
        return count

    def list(self, prefix: str) -> Iterator[str]:
        """URIs of the files at or below a path, in order."""
        start = self._locate(prefix)
        if start.is_file():
            yield self._uri(start)
            return
        for path in sorted(self._walk(start)):
            yield self._uri(path)

    def _walk(self, start: Path) -> Iterator[Path]:
        for directory, _, names in os.walk(start):
            for name in names:
                if not name.startswith(_TEMPORARY):
                    yield Path(directory, name)

    def _uri(self, path: Path) -> str:
        return f"{SCHEME}/{path.relative_to(self._root).as_posix()}"

    def _locate(self, uri_or_path: str) -> Path:
        """The file of a URI or path. Raises ValueError for one that isn't below the directory."""
        scheme, separator, rest = uri_or_path.partition("://")
        if separator and f"{scheme}://" != SCHEME:
            raise ValueError(f"{uri_or_path}: the scheme is not kestra://")
        relative = (rest if separator else uri_or_path).strip("/")
        parts = relative.split("/") if relative else []
        if any(part in ("", ".", "..") or "\0" in part or part.startswith(_TEMPORARY) for part in parts):
            raise ValueError(f"{uri_or_path!r} is no path of a file: '.', '..', empty parts and NUL are refused")
        path = self._root.joinpath(*parts)
        if not path.resolve().is_relative_to(self._root):
            raise ValueError(f"{uri_or_path!r} leaves the blob directory by a link")
        return path


def _sync_directory(directory: Path) -> None:
    """Make a rename durable."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
