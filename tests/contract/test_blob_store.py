"""The contract of `BlobStore`."""

import io
from collections.abc import Iterator
from typing import BinaryIO

import pytest

from shared.ports import BlobStore


def put(store: BlobStore, path: str, content: bytes = b"x") -> str:
    return store.put(path, io.BytesIO(content))


def test_put_is_readable_at_once_under_its_uri(blob_store: BlobStore) -> None:
    """The URI names the path below `kestra:///`; content and size are what was put."""
    uri = put(blob_store, "main/company/team/etl/executions/1/data.csv", b"a,b\n1,2\n")

    with blob_store.open(uri) as file:
        assert file.read() == b"a,b\n1,2\n"
    assert uri == "kestra:///main/company/team/etl/executions/1/data.csv"
    assert blob_store.size(uri) == 8


def test_put_replaces(blob_store: BlobStore) -> None:
    """The later content stands; a reader of the earlier one reads on undisturbed."""
    uri = put(blob_store, "main/a", b"old")
    with blob_store.open(uri) as earlier:
        put(blob_store, "main/a", b"newer")

        assert earlier.read() == b"old"
    assert blob_store.size(uri) == 5


def test_failing_put_leaves_nothing(blob_store: BlobStore) -> None:
    """A content that can't be read to its end changes nothing of what was there."""

    class Broken(io.RawIOBase):
        def __init__(self) -> None:
            self.first = True

        def read(self, size: int = -1) -> bytes:
            if self.first:
                self.first = False
                return b"half"
            raise OSError("the line went dead")

    put(blob_store, "main/a", b"whole")
    content: BinaryIO = Broken()  # type: ignore[assignment]

    for path in ("main/a", "main/b"):
        with pytest.raises(OSError, match="went dead"):
            blob_store.put(path, content)
        content = Broken()  # type: ignore[assignment]

    with blob_store.open("kestra:///main/a") as file:
        assert file.read() == b"whole"
    assert list(blob_store.list("main")) == ["kestra:///main/a"]


def test_missing_file_is_named(blob_store: BlobStore) -> None:
    """Opening or measuring what is not there, or is a directory, raises FileNotFoundError with the URI."""
    put(blob_store, "main/dir/a")

    for uri in ("kestra:///main/nothing", "kestra:///main/dir", "kestra:///main/dir/a/b"):
        with pytest.raises(FileNotFoundError, match=uri):
            blob_store.open(uri)
        with pytest.raises(FileNotFoundError, match=uri):
            blob_store.size(uri)


def test_list_and_delete_by_path(blob_store: BlobStore) -> None:
    """Both mean the path and what is below it, not names that begin alike."""
    for path in ("main/e/1/a", "main/e/1/b/c", "main/e/12/a", "other/e/1/a"):
        put(blob_store, path)

    listed = list(blob_store.list("main/e/1"))
    deleted = blob_store.delete("kestra:///main/e/1")
    again = blob_store.delete("main/e/1")

    assert listed == ["kestra:///main/e/1/a", "kestra:///main/e/1/b/c"]
    assert (deleted, again) == (2, 0)
    assert list(blob_store.list("")) == ["kestra:///main/e/12/a", "kestra:///other/e/1/a"]


@pytest.mark.parametrize(
    "path",
    ["../outside", "main/../../outside", "main/./a", "main//a", "kestra:///../outside", "file:///etc/passwd", "a\0b"],
)
def test_path_that_leaves_the_store_is_refused(blob_store: BlobStore, path: str) -> None:
    """No call follows `..`, empty parts, NUL or another scheme."""
    calls = (
        lambda: put(blob_store, path),
        lambda: blob_store.open(path),
        lambda: blob_store.size(path),
        lambda: blob_store.delete(path),
        lambda: list(blob_store.list(path)),
    )

    for call in calls:
        with pytest.raises(ValueError):
            call()


@pytest.mark.parametrize("path", ["", "/", "kestra:///"])
def test_everything_is_not_deleted_at_once(blob_store: BlobStore, path: str) -> None:
    """A deletion needs a path."""
    uri = put(blob_store, "main/a")

    with pytest.raises(ValueError):
        blob_store.delete(path)

    assert blob_store.size(uri) == 1


def test_names_with_spaces_and_letters_of_any_script(blob_store: BlobStore) -> None:
    """A path is text; the URI holds it as it is."""
    uri = put(blob_store, "main/über uns/数据 1.csv", b"1")

    assert uri == "kestra:///main/über uns/数据 1.csv"
    assert blob_store.size(uri) == 1


def test_large_content_is_streamed(blob_store: BlobStore) -> None:
    """Content is taken in parts: a put never asks for all of it at once."""
    sizes: list[int] = []

    class Source(io.RawIOBase):
        def __init__(self) -> None:
            self.parts: Iterator[bytes] = iter([b"x" * 1_000_000] * 5)

        def read(self, size: int = -1) -> bytes:
            sizes.append(size)
            return next(self.parts, b"")

    uri = blob_store.put("main/large", Source())  # type: ignore[arg-type]

    assert blob_store.size(uri) == 5_000_000
    assert all(0 < size <= 16_000_000 for size in sizes)
