import zipfile
from pathlib import Path

import pytest

from tests.servers import downloads
from tests.servers.downloads import DownloadFailed


@pytest.fixture(autouse=True)
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNYARD_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(downloads, "WAITS", (0.0, 0.0))


def test_a_directory_is_filled_once() -> None:
    """What is in the cache is not fetched again."""
    fills: list[Path] = []

    def fill(directory: Path) -> None:
        fills.append(directory)
        (directory / "file").write_text("content")

    first = downloads.cached("server", fill)
    second = downloads.cached("server", fill)

    assert first == second
    assert (second / "file").read_text() == "content"
    assert len(fills) == 1


def test_a_failure_leaves_nothing_half_done() -> None:
    """A fetch that breaks off is tried anew from an empty directory, and its third try counts."""
    found: list[list[Path]] = []

    def fill(directory: Path) -> None:
        found.append(list(directory.iterdir()))
        (directory / "file").touch()
        if len(found) < 3:
            raise DownloadFailed("broken off")

    directory = downloads.cached("server", fill)

    assert found == [[], [], []]
    assert [each.name for each in directory.iterdir()] == ["file"]


def test_a_third_failure_is_an_error() -> None:
    """What cannot be had in three tries is an error with its reason, and nothing is kept."""
    tries: list[Path] = []

    def fill(directory: Path) -> None:
        tries.append(directory)
        raise DownloadFailed(f"no answer {len(tries)}")

    with pytest.raises(DownloadFailed, match="no answer 3"):
        downloads.cached("server", fill)

    assert len(tries) == 3
    assert not (downloads.cache() / "server").exists()


@pytest.mark.parametrize(
    ("name", "message"), [("kafka-clients-4.3.1.jar", "SHA-256 is"), ("other.jar", "has no checksum")]
)
def test_a_file_that_is_not_the_recorded_one_is_refused(tmp_path: Path, name: str, message: str) -> None:
    """A file of other content, and one that was never recorded, are both refused by name."""
    file = tmp_path / name
    file.write_text("something else")

    with pytest.raises(DownloadFailed, match=f"{name}: .*{message}"):
        downloads.verify(file)


def test_unpacking_places_files_with_their_permissions(tmp_path: Path) -> None:
    """Members go where `places` says, stay executable, and what is left out stays out."""
    archive = tmp_path / "archive.zip"
    with zipfile.ZipFile(archive, "w") as content:
        for name, mode in [
            ("v1/bin/run", 0o755),
            ("v1/lib/a.jar", 0o600),
            ("v1/lib/unused/b.jar", 0o600),
            ("readme", 0o600),
        ]:
            member = zipfile.ZipInfo(name)
            member.external_attr = mode << 16
            content.writestr(member, name)

    downloads.unpack(archive, tmp_path / "out", {"v1/": ""}, without=("lib/unused/",))

    files = {str(each.relative_to(tmp_path / "out")): each for each in (tmp_path / "out").rglob("*") if each.is_file()}
    assert sorted(files) == ["bin/run", "lib/a.jar"]
    assert files["bin/run"].stat().st_mode & 0o777 == 0o755
    assert files["lib/a.jar"].stat().st_mode & 0o444 == 0o444
