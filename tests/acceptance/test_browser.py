"""The Task Runs page in a real browser: Debian's Chromium."""

import html.parser
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.acceptance.servers import PATIENCE, EmbeddedServer, Standalone

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"
PICTURE = ROOT / "docs" / "taskruns.png"
BROWSER = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None
)
COLUMNS = ["Execution", "Task", "ID", "Start", "End", "Duration", "Namespace", "Flow", "Attempts", "State"]

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(
        BROWSER is None and os.environ.get("CI") != "true",
        reason="no Chromium here: on Debian, apt-get install chromium",
    ),
]


HOSTILE = """\
id: hostile
namespace: company.team
labels:
  mark: "<script>document.title = 'taken'</script>"
tasks:
  - id: each
    type: io.kestra.plugin.core.flow.ForEach
    values: ["<script>document.title = 'taken'</script>", "\\"><img src=x onerror=alert(1)>"]
    tasks:
      - {id: say, type: io.kestra.plugin.core.log.Log, message: "{{ taskrun.value }}"}
      - {id: give, type: io.kestra.plugin.core.debug.Return, format: "</pre>{{ taskrun.value }}"}
  - {id: fail, type: io.kestra.plugin.core.execution.Fail, errorMessage: "</p><script>document.title = 'taken'</script>"}
"""


class Tables(html.parser.HTMLParser):
    """The texts of a page's table cells, row by row, and its SVG rectangles."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.bars = 0
        self.scripts = 0
        self._in_cell = False
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th") and self.rows:
            self.rows[-1].append("")
            self._in_cell = True
        elif tag == "rect":
            self.bars += 1
        elif tag in ("script", "img"):
            self.scripts += 1

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th"):
            self._in_cell = False

    def handle_data(self, data: str) -> None:
        if self._in_cell:
            self.rows[-1][-1] = " ".join(f"{self.rows[-1][-1]} {data}".split())


@pytest.fixture
def demo(tmp_path: Path) -> EmbeddedServer:
    """A standalone that has run every example to its end."""
    standalone = Standalone(tmp_path / "data")
    standalone.start()
    server = EmbeddedServer(standalone.url)
    for file in sorted(EXAMPLES.glob("*.yaml")):
        flow = server.put_flow(file.read_text()).raise_for_status().json()
        execution = server.execute(flow["id"])
        server.searched(execution["id"], len(execution["taskRunList"]))
    yield server
    server.close()
    standalone.stop()


def browse(tmp_path: Path, address: str, *arguments: str) -> str:
    """What the browser writes to its standard output."""
    assert BROWSER is not None, "CI is set, and there is no Chromium: apt-get install chromium"
    result = subprocess.run(
        [
            *(BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars"),
            *(f"--user-data-dir={tmp_path / 'profile'}", "--window-size=1280,1500", *arguments, address),
        ],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=True,
    )
    return result.stdout


def test_the_page_shows_every_task_run(demo: EmbeddedServer, tmp_path: Path) -> None:
    """The ten columns, a row for each task run of the demo, a histogram; filters in the URL narrow it."""
    total = demo.http.get("/taskruns/search?size=1").json()["total"]

    page = Tables(browse(tmp_path, f"{demo.url}/ui/main/taskruns?size=100", "--dump-dom"))
    failed = Tables(browse(tmp_path, f"{demo.url}/ui/main/taskruns?state=FAILED", "--dump-dom"))

    header, *rows = page.rows
    assert [name.rstrip(" ▼▲") for name in header] == COLUMNS
    assert len(rows) == total == 38
    assert page.bars > 0
    assert [(row[1], row[7], row[9]) for row in failed.rows[1:]] == [("fail", "failing", "FAILED")]


def test_the_page_of_an_execution_shows_what_happened(demo: EmbeddedServer, tmp_path: Path) -> None:
    """Task runs with their attempts, and log lines; the link of a task run leads to its row and its lines."""
    execution = demo.execute("retry")
    [run] = execution["taskRunList"]
    lines = demo.logs(execution["id"], 2)

    dom = browse(
        tmp_path, f"{demo.url}/ui/main/executions/{execution['id']}?taskRunId={run['id']}#{run['id']}", "--dump-dom"
    )
    header, row, *logged = Tables(dom).rows

    assert header == ["Task", "State", "Start", "Duration", "Attempts", "Outputs"]
    assert row[0] == f"flaky {run['id']}"
    assert [word for word in row[4].split() if word.isupper()] == ["FAILED", "SUCCESS"]
    assert [cells[3] for cells in logged] == [line["message"] for line in lines]


def test_nothing_that_a_flow_says_becomes_markup(demo: EmbeddedServer, tmp_path: Path) -> None:
    """Values, labels, outputs, errors and log lines with markup in them are text in the browser, and no script runs."""
    demo.put_flow(HOSTILE).raise_for_status()
    execution = demo.execute("hostile")
    demo.searched(execution["id"], 6)
    demo.logs(execution["id"], 3)

    for path in ("taskruns?flowId=hostile", f"executions/{execution['id']}"):
        dom = browse(tmp_path, f"{demo.url}/ui/main/{path}", "--dump-dom")

        assert Tables(dom).scripts == 0
        assert "&lt;script&gt;" in dom
        assert "<title>taken</title>" not in dom


def test_the_picture_of_the_page_can_be_taken(demo: EmbeddedServer, tmp_path: Path) -> None:
    """The browser paints the page; RUNYARD_TEST_PICTURE=1 keeps the picture as docs/taskruns.png."""
    taken = tmp_path / "taskruns.png"

    browse(tmp_path, f"{demo.url}/ui/main/taskruns", f"--screenshot={taken}")

    assert taken.read_bytes().startswith(b"\x89PNG")
    assert taken.stat().st_size > 50_000
    if os.environ.get("RUNYARD_TEST_PICTURE"):
        shutil.copyfile(taken, PICTURE)
