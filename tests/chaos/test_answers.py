"""Answers: the executor dies by SIGKILL right after a command was answered; what the operator was told stays true."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.stack import Stack
from tests.acceptance.servers import Standalone, command
from tests.chaos.operators import KINDS, ask, begin, clean_up, hold, register

KILLS = int(os.environ.get("RUNYARD_CHAOS_ANSWERS", "6"))
"""Of each test. RUNYARD_CHAOS_ANSWERS=50 is the long form."""


@pytest.fixture
def standalone(tmp_path: Path) -> Iterator[Standalone]:
    # A dead worker is found lost soon: otherwise each start waits six seconds for it.
    made = Standalone(tmp_path / "data", {"RUNYARD_EXECUTOR__LEASE": "2", "RUNYARD_WORKER__LEASE": "2"})
    made.start()
    yield made
    if made.process is not None and made.process.poll() is None:
        made.kill()


@pytest.mark.timeout(1800)
def test_embedded_answers_stay_true(standalone: Standalone) -> None:
    """kill -9 of the one process right after the answer: each answer holds after the next start, and the index agrees."""
    register(standalone.url)
    for number in range(KILLS):
        kind = KINDS[number % len(KINDS)]
        execution_id = begin(standalone.url, kind)

        answer = ask(standalone.url, kind, execution_id)
        standalone.kill()
        standalone.start()

        assert answer.status in (200, 202, 204)
        hold(standalone.url, answer)
        clean_up(standalone.url, answer)
    assert standalone.stop() == 0
    verification = command("verify-index", "--data", str(standalone.data))
    assert (verification.returncode, verification.stdout) == (0, "0 differences\n")


@pytest.fixture
def stack(kafka: str, elasticsearch: str) -> Iterator[Stack]:
    settings = {
        "RUNYARD_KAFKA__BOOTSTRAP_SERVERS": kafka,
        "RUNYARD_ELASTICSEARCH__HOSTS": elasticsearch,
        "RUNYARD_INDEXER__ANSWER_WITHIN": "1",
    }
    with Stack(settings=settings) as stack:
        register(stack.url)
        yield stack


@pytest.mark.real
@pytest.mark.timeout(3600)
def test_answers_stay_true_on_servers(stack: Stack) -> None:
    """kill -9 of the executor after the answer, and before it: accepted with 200 or 202, every answer comes true."""
    (executor,) = stack.of("executor")
    statuses: Counter[int] = Counter()
    for number in range(KILLS):
        kind = KINDS[number // 2 % len(KINDS)]
        execution_id = begin(stack.url, kind)

        if number % 2:
            answer = ask(stack.url, kind, execution_id)
            executor.kill()
        else:
            executor.kill()  # nobody decides: the command is durable, and that is all that can be said
            answer = ask(stack.url, kind, execution_id)
        executor.start()
        executor.await_health()

        statuses[answer.status] += 1
        assert not answer.refused
        hold(stack.url, answer)
        clean_up(stack.url, answer)
    print(dict(statuses))
    assert statuses[202] >= KILLS // 2, "a command without an executor is accepted, and no more"
    verified = stack.run("verify-index")
    assert verified.returncode == 0, verified.stdout[-3000:] + verified.stderr[-2000:]
