"""Kestra's own test cases against Runyard: what fails is what docs/differences.md lists, and nothing else."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient

from benchmarks.stack import Stack
from tests.acceptance.servers import Standalone

ROOT = Path(__file__).resolve().parents[2]
CORPUS = Path(os.environ.get("RUNYARD_CONFORMANCE", ROOT.parent / "shared" / "conformance"))
PROVIDED = {
    "RUNYARD_ENCRYPTION_KEY": "I6EGNzRESu3X3pKZidrqCGOHQFUFC0yK",
    "RUNYARD_SECRETS__MY_SECRET": '{"secretKey":"secretValue"}',
    "RUNYARD_SECRETS__NEW_LINE": "passwordveryveryveyrlong" * 5,
    "RUNYARD_SECRETS__WEBHOOK_KEY": "secretKey",
    "RUNYARD_GLOBALS": '{"string": "string", "int": 1, "bool": true, "nested": {"int": 2}}',
    "KESTRA_TEST1": "true",
    "KESTRA_TEST2": "Pass by env",
    "PYTHONPATH": str(ROOT / "tests/plugins/corpus"),
}
"""The settings that the corpus's README names for `--provides`, and the types of Kestra's own test code."""

pytestmark = [
    pytest.mark.skipif(
        not (CORPUS / "run.py").is_file(),
        reason=f"the conformance corpus is not at {CORPUS}; RUNYARD_CONFORMANCE names its folder",
    ),
    pytest.mark.timeout(1200),
]


def listed() -> set[str]:
    """The case ids in docs/differences.md: `Class.method` in backticks; `Class.*` stands for all of a class."""
    text = (ROOT / "docs" / "differences.md").read_text()
    return set(re.findall(r"`([A-Z]\w+(?:\(\w+\))?\.[\w*]+(?:#\d+)?)`", text))


def is_listed(case: str, names: set[str]) -> bool:
    return case in names or f"{case.split('.', maxsplit=1)[0]}.*" in names


@pytest.fixture
def standalone_url(tmp_path: Path) -> Iterator[str]:
    standalone = Standalone(tmp_path / "data", PROVIDED)
    standalone.start()
    yield standalone.url
    standalone.stop()


@pytest.fixture
def cluster_url(kafka: str, elasticsearch: str) -> Iterator[str]:
    servers = {"RUNYARD_KAFKA__BOOTSTRAP_SERVERS": kafka, "RUNYARD_ELASTICSEARCH__HOSTS": elasticsearch}
    with Stack(executors=2, workers=2, settings={**PROVIDED, **servers}) as stack:
        yield stack.url
    admin = AdminClient({"bootstrap.servers": kafka})
    prefix = stack.environment["RUNYARD_TOPICS__PREFIX"]
    topics = [topic for topic in admin.list_topics(timeout=30).topics if topic.startswith(prefix)]
    for removed in admin.delete_topics(topics).values():
        removed.result(30)


@pytest.mark.parametrize("way_in", ["standalone_url", pytest.param("cluster_url", marks=pytest.mark.real)])
def test_only_declined_cases_fail(request: pytest.FixtureRequest, tmp_path: Path, way_in: str) -> None:
    """Every case of the corpus that fails is named in docs/differences.md with its reason."""
    url = request.getfixturevalue(way_in)
    report = tmp_path / "report.json"

    result = subprocess.run(
        [
            *(sys.executable, CORPUS / "run.py", "--url", url, "--provides", "encryption,secrets,env,globals"),
            *("--jobs", "2", "--report", report),
        ],
        capture_output=True,
        text=True,
        check=False,
    )

    assert result.returncode in (0, 1), result.stdout + result.stderr
    found = json.loads(report.read_text())
    names = listed()
    failed = {case["id"]: case["problems"] for case in found["cases"] if case["status"] == "failed"}
    assert found["totals"]["passed"] >= 100
    assert {case: problems for case, problems in failed.items() if not is_listed(case, names)} == {}
