"""What holds whatever comes when: commands, kills, ends and a drain in random order."""

from __future__ import annotations

import random
import time

import pytest

from shared.messages import AttemptDeclined, AttemptEnded, AttemptStarted, StopTaskRun, decode
from tests.unit.worker.memory import Bench, until

RETURN = "io.kestra.plugin.core.debug.Return"
SLEEP = "io.kestra.plugin.core.flow.Sleep"


@pytest.mark.parametrize("seed", range(6))
def test_every_attempt_has_one_result_or_nobody_wants_it(seed: int) -> None:
    """Each command ends once (ended or declined), nothing of it follows its end; what is unwanted may end unheard.

    The schedule follows from the seed, the interleaving of the threads does not.
    """
    chance = random.Random(seed)
    stopped: dict[str, str] = {}
    with Bench(worker={"concurrency": 3, "start_within": 0.02, "grace": chance.choice([0.0, 5.0])}) as bench:
        commands = []
        for number in range(120):
            slow = chance.random() < 0.5
            name, properties = (SLEEP, {"duration": "PT0.003S"}) if slow else (RETURN, {"format": str(number)})
            commands.append(bench.send(name, **properties))
            if chance.random() < 0.3:
                target = commands[-1 - min(number, chance.randrange(4))]
                reason = chance.choice(["kill", "unwanted"])
                stopped.setdefault(target.task_run_id, reason)
                bench.inbox.send(
                    StopTaskRun(
                        target.session, target.execution_id, target.task_run_id, 0, 0, stopped[target.task_run_id]
                    )
                )
            if chance.random() < 0.2:
                time.sleep(0.005)
        until(lambda: bench.inbox.position == len(bench.inbox._commands), "all to be taken")
        if seed % 2:
            bench.worker.drain()
        until(lambda: not bench.log.heartbeats()[-1].held, "all to be done")

    history: dict[str, list[type]] = {command.task_run_id: [] for command in commands}
    for record in bench.log.records:
        message = decode(record.value or b"")
        if isinstance(message, (AttemptStarted, AttemptEnded, AttemptDeclined)):
            history[message.task_run_id].append(type(message))
    for task_run_id, events in history.items():
        ends = [event for event in events if event is not AttemptStarted]
        assert len(ends) <= 1
        assert ends == events[len(events) - len(ends) :], "something follows the end"
        assert events.count(AttemptStarted) <= 1
        if stopped.get(task_run_id) != "unwanted":
            assert len(ends) == 1, task_run_id
