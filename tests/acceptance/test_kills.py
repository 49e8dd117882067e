"""kill -9 of standalone at random moments while executions run, restarted each time."""

import os
import random
import threading
import time
from typing import Any

import httpx
import pytest

from tests.acceptance.servers import PATIENCE, EmbeddedServer, Standalone, command

KILLS = int(os.environ.get("RUNYARD_TEST_KILLS", "3"))
EXECUTIONS = int(os.environ.get("RUNYARD_TEST_EXECUTIONS", "60"))
"""RUNYARD_TEST_KILLS=20 RUNYARD_TEST_EXECUTIONS=500 is the long form."""
SEED = int(os.environ.get("RUNYARD_TEST_SEED", "0"))

FLOWS = {
    "five": "id: five\nnamespace: company.kills\ntasks:\n"
    + "".join(f"  - {{id: t{n}, type: io.kestra.plugin.core.debug.Return, format: '{n}'}}\n" for n in range(5)),
    "loop": """\
id: loop
namespace: company.kills
tasks:
  - id: each
    type: io.kestra.plugin.core.flow.ForEach
    values: [1, 2, 3, 4]
    concurrencyLimit: 0
    tasks:
      - {id: sleep, type: io.kestra.plugin.core.flow.Sleep, duration: PT0.3S}
""",
}
EXPECTED = {"five": 5, "loop": 5}


@pytest.fixture
def standalone(tmp_path: Any) -> Any:
    made = Standalone(tmp_path / "data")
    made.start()
    yield made
    if made.process is not None and made.process.poll() is None:
        made.kill()


def create(url: str, flow: str) -> str | None:
    """An execution's id where its creation was acknowledged."""
    try:
        answer = httpx.post(f"{url}/api/v1/main/executions/company.kills/{flow}", files=[("", (None, b""))], timeout=5)
    except httpx.HTTPError:
        return None
    return answer.json()["id"] if answer.status_code == 200 else None


def await_ends(url: str, ids: set[str]) -> dict[str, dict[str, Any]]:
    """Every execution as it ended, read by id."""
    ended: dict[str, dict[str, Any]] = {}
    until = time.monotonic() + 2 * PATIENCE
    with httpx.Client(base_url=f"{url}/api/v1/main", timeout=PATIENCE) as client:
        while missing := ids - ended.keys():
            for execution_id in missing:
                execution = client.get(f"/executions/{execution_id}").raise_for_status().json()
                if "endDate" in execution["state"]:
                    ended[execution_id] = execution
            assert time.monotonic() < until, f"{len(missing)} executions have not ended"
            time.sleep(0.2)
    return ended


@pytest.mark.timeout(900)
def test_nothing_is_lost_or_taken_twice(standalone: Standalone) -> None:
    """Whatever moment the kills hit: each acknowledged execution ends SUCCESS with each task run once, and the index agrees."""
    chance = random.Random(SEED)
    server = EmbeddedServer(standalone.url)
    for source in FLOWS.values():
        server.put_flow(source).raise_for_status()
    server.close()
    flow_of: dict[str, str] = {}
    killed_while_open = 0

    for _ in range(KILLS):
        url = standalone.url
        mine = [flow for flow in FLOWS for _ in range(max(1, EXECUTIONS // KILLS // 2))]
        chance.shuffle(mine)

        def load(url: str = url, mine: list[str] = mine) -> None:
            for flow in mine:
                if (created := create(url, flow)) is not None:
                    flow_of[created] = flow

        creating = threading.Thread(target=load)
        creating.start()
        time.sleep(chance.uniform(0.2, 1.2))
        running = httpx.get(f"{url}/api/v1/main/executions/search?size=1&state=RUNNING", timeout=PATIENCE)
        killed_while_open += running.json()["total"] > 0
        standalone.kill()
        creating.join()
        standalone.start()
    ended = await_ends(standalone.url, set(flow_of))

    for execution_id, execution in ended.items():
        task_runs = execution["taskRunList"]
        assert execution["state"]["current"] == "SUCCESS", execution
        assert len(task_runs) == EXPECTED[flow_of[execution_id]]
        places = [(run["taskId"], run.get("value")) for run in task_runs]
        assert len(set(places)) == len(places)
        for run in task_runs:
            attempts = [attempt["state"]["current"] for attempt in run.get("attempts", [])]
            states = [entry["state"] for entry in run["state"]["histories"]]
            assert states.count("SUCCESS") == 1, states
            assert attempts.count("SUCCESS") == (0 if run["taskId"] == "each" else 1)
            assert set(attempts[:-1]) <= {"RESUBMITTED"}
    assert len(flow_of) >= KILLS
    assert killed_while_open, "no kill met an execution that was running"
    assert standalone.stop() == 0
    verification = command("verify-index", "--data", str(standalone.data))
    assert (verification.returncode, verification.stdout) == (0, "0 differences\n")
