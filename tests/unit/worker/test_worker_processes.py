"""Processes that a task runs."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shared.messages import StopTaskRun
from tests.unit.worker.memory import Bench, until
from worker.catalog import TaskCatalog
from worker.context import Context
from worker.processes import run_process
from worker.task import Task


@dataclass(frozen=True)
class Python(Task):
    """Runs a Python program."""

    type = "test.Python"
    code: str = ""

    def run(self, context: Context) -> dict[str, Any]:
        return {"status": run_process(context, [sys.executable, "-c", self.code], environment={"GIVEN": "x"})}


def test_a_process_logs_its_output_and_sees_only_its_environment(monkeypatch: Any) -> None:
    """Standard output is INFO, standard error WARN; the worker's environment isn't inherited."""
    monkeypatch.setenv("RUNYARD_SECRETS__X", "hidden")
    code = "import os,sys; print(sorted(os.environ.keys() & {'GIVEN','RUNYARD_SECRETS__X'})); print('bad', file=sys.stderr); sys.exit(3)"
    with Bench(tasks=TaskCatalog((Python,))) as bench:
        ended = bench.run("test.Python", code=code)

    assert ended.outputs == {"status": 3}
    assert {(line.level, line.text) for line in bench.log.lines()} == {("INFO", "['GIVEN']"), ("WARN", "bad")}


def alive(pid: int) -> bool:
    """Whether a process runs."""
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (ProcessLookupError, FileNotFoundError):
        return False


def test_a_kill_stops_the_whole_process_group() -> None:
    """A child of the killed process ends with it, although it ignores SIGTERM."""
    child = (
        "import signal,time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(600)"
    )
    code = (
        "import subprocess,sys,time\n"
        f"child = subprocess.Popen([sys.executable, '-c', {child!r}])\n"
        "time.sleep(0.5); print('pid', child.pid, flush=True); time.sleep(600)\n"
    )
    with Bench(tasks=TaskCatalog((Python,))) as bench:
        command = bench.send("test.Python", code=code)
        texts = until(lambda: len(found := [line.text for line in bench.log.lines()]) == 2 and found, "both to run")
        pid = int(next(text for text in texts if text.startswith("pid")).split()[1])
        bench.inbox.send(StopTaskRun(command.session, command.execution_id, command.task_run_id, 0, 0, "kill"))

        assert bench.ended(command).state == "KILLED"
        until(lambda: not alive(pid), "the child's end")
