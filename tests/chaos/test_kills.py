"""Kills: services die by SIGKILL or stand still while executions run; all end right, and the ledger agrees."""

from __future__ import annotations

import os
import random
import re
import signal
import threading
import time
import urllib.request
from collections.abc import Iterator

import pytest

from benchmarks.stack import Process, Stack
from tests.chaos.ledger import PLUGIN, Load, judge

pytestmark = [pytest.mark.real, pytest.mark.timeout(900)]

EXECUTIONS = int(os.environ.get("RUNYARD_CHAOS_EXECUTIONS", "200"))
KILLS = int(os.environ.get("RUNYARD_CHAOS_KILLS", "10"))


ROLES = ("worker", "executor", "worker", "indexer", "executor")
"""Whom the kills hit, in turn."""


@pytest.fixture
def load(kafka: str, elasticsearch: str, tmp_path) -> Iterator[Load]:
    settings = {
        "RUNYARD_KAFKA__BOOTSTRAP_SERVERS": kafka,
        "RUNYARD_ELASTICSEARCH__HOSTS": elasticsearch,
        "RUNYARD_TEST_LEDGER": str(tmp_path / "ledger"),
        "PYTHONPATH": os.pathsep.join([str(PLUGIN), *filter(None, [os.environ.get("PYTHONPATH")])]),
    }
    with Stack(executors=2, workers=4, indexers=1, concurrency=8, settings=settings) as stack:
        load = Load(stack, tmp_path / "ledger")
        load.register()
        yield load


def create_all(load: Load, pause: float = 0.0) -> None:
    for number in range(EXECUTIONS):
        load.create("five" if number % 2 else "loop")
        time.sleep(pause)


def holds_work(process: Process) -> bool:
    """Whether the process's own metrics say that it has something in hand."""
    name = {
        "worker": "runyard_worker_running",
        "executor": "runyard_executor_leases",
    }.get(process.role)
    if name is None:
        return True  # an indexer reads all the time while executions run
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{process.port}/metrics", timeout=2) as answer:
            text = answer.read().decode()
    except OSError:
        return False
    found = re.search(rf"^{name} ([0-9.e+]+)$", text, re.MULTILINE)
    return found is not None and float(found[1]) > 0


def sessions_of(process: Process) -> set[str]:
    return set(re.findall(r"session (\S+) begins", process.log.read_text()))


def test_without_faults_every_attempt_stands_in_the_ledger_once(load: Load) -> None:
    """Two executors and four workers run everything once, and every worker does some of it."""
    # given a running stack
    # when many executions are created
    create_all(load)
    load.await_end(300)
    # then nothing ran twice, nothing is missing, and the index agrees with the log
    time.sleep(2)
    counts = judge(load, set())
    print(counts)
    assert counts["extra attempts"] == 0
    assert counts["worker processes"] == 4
    verified = load.stack.run("verify-index")
    assert verified.returncode == 0, verified.stdout[-3000:] + verified.stderr[-2000:]
    # and everybody ends cleanly when asked to
    assert {process.name: process.stop() for process in load.stack.processes} == {
        process.name: 0 for process in load.stack.processes
    }


def test_kills_and_stops_lose_nothing_and_repeat_only_what_they_interrupted(load: Load) -> None:
    """Ten kill -9 of processes that hold work, and 30 s of SIGSTOP for an executor and a worker."""
    # given executions that keep coming
    stack = load.stack
    chance = random.Random(7)
    creator = threading.Thread(target=create_all, args=(load, 0.1))
    creator.start()
    disturbed: set[str] = set()
    stopped: list[Process] = []
    time.sleep(2)
    # when an executor and a worker stand still
    for process in (stack.of("executor")[0], stack.of("worker")[0]):
        process.send(signal.SIGSTOP)
        stopped.append(process)
        disturbed |= sessions_of(process)
    frozen_since = time.monotonic()
    # and others are killed while they hold work
    kills = 0
    until = time.monotonic() + 300
    while kills < KILLS and time.monotonic() < until:
        if stopped and time.monotonic() - frozen_since >= 30:
            for process in stopped:
                process.send(signal.SIGCONT)
            stopped = []
        candidates = [process for process in stack.of(ROLES[kills % len(ROLES)]) if process not in stopped]
        chance.shuffle(candidates)
        victim = next((process for process in candidates if holds_work(process)), None)
        if victim is None:
            load.create("loop")
            continue
        disturbed |= sessions_of(victim)
        victim.kill()
        kills += 1
        time.sleep(chance.uniform(0.5, 2.0))
        victim.start()
        time.sleep(chance.uniform(1.0, 3.0))
    time.sleep(max(0.0, 30 - (time.monotonic() - frozen_since)))
    for process in stopped:
        process.send(signal.SIGCONT)
    creator.join()
    # then all end right, each repetition is explained, and the index agrees with the log
    load.await_end(300)
    time.sleep(3)
    counts = judge(load, disturbed)
    print(kills, "kills", counts)
    assert kills >= KILLS
    assert counts["extra attempts"] > 0, "a worker died while it held work, so something must have been repeated"
    verified = load.stack.run("verify-index")
    assert verified.returncode == 0, verified.stdout[-3000:] + verified.stderr[-2000:]
