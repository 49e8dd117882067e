"""Files: what tasks write into their folder before they run, and find in it afterwards."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from worker.context import Context
from worker.patterns import matches
from worker.storage import PROTOCOL, clean


def put_into(context: Context, files: Mapping[str, str | None]) -> None:
    """Write files into the task's folder: copies of the storage where the text is a URI, else the text itself.

    Raises StorageError for a name that would leave the folder, FileNotFoundError for a URI without a file.
    """
    for name, content in files.items():
        target = context.directory / clean(name)
        target.parent.mkdir(parents=True, exist_ok=True)
        if content is not None and content.startswith(PROTOCOL):
            context.files.copy(content, target)
        else:
            target.write_text(content or "", encoding="utf-8")


def found_in(root: Path) -> Iterator[tuple[str, Path]]:
    """The files below a folder, by relative path; links aren't followed, they could lead out of it."""
    for path in sorted(root.rglob("*")):
        if path.is_file() and not path.is_symlink():
            yield path.relative_to(root).as_posix(), path


def store_matching(context: Context, patterns: list[str]) -> dict[str, str]:
    """Store the files of the task's folder that match a pattern; URIs by path."""
    return {
        name: context.files.put(path, name) for name, path in found_in(context.directory) if matches(name, patterns)
    }
