"""The blob directory: what the file system could do that the contract does not know of."""

import io
from pathlib import Path

import pytest

from shared.adapters.files import DirectoryBlobStore


def test_link_out_of_the_directory_is_not_followed(tmp_path: Path) -> None:
    """A symbolic link below the directory does not open what lies outside."""
    (tmp_path / "secret").write_text("s")
    store = DirectoryBlobStore(tmp_path / "blobs")
    (tmp_path / "blobs" / "main").mkdir()
    (tmp_path / "blobs" / "main" / "link").symlink_to(tmp_path)

    with pytest.raises(ValueError, match="leaves the blob directory"):
        store.open("kestra:///main/link/secret")


def test_leftovers_of_a_killed_put_are_not_listed(tmp_path: Path) -> None:
    """A temporary file that a kill left behind is nobody's blob, and goes with its directory."""
    store = DirectoryBlobStore(tmp_path)
    store.put("main/e/a", io.BytesIO(b"x"))
    (tmp_path / "main" / "e" / ".incoming-0123").write_bytes(b"half")

    listed, deleted = list(store.list("main")), store.delete("main/e")

    assert (listed, deleted) == (["kestra:///main/e/a"], 1)
    assert not (tmp_path / "main" / "e").exists()


def test_blobs_outlive_the_store(tmp_path: Path) -> None:
    """Another store on the same directory reads them, a relative directory included."""
    uri = DirectoryBlobStore(tmp_path / "x" / ".." / "y").put("main/a", io.BytesIO(b"x"))

    assert DirectoryBlobStore(tmp_path / "y").size(uri) == 1
