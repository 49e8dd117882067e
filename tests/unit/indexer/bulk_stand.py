"""A stand for bulk actions: a log on SQLite, a small executor, and indexers that are killed and started again."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from indexer.api.app import create_app
from indexer.api.tenancy import Tenant
from indexer.api.tracked_actions import Asked, requested
from indexer.bulk.jobs import Job, Jobs
from indexer.bulk.runner import Runner
from indexer.recent import Recent
from shared.adapters.sqlite import SqliteDatabase, SqliteEventLog
from shared.bulk_actions import Item
from shared.flow_directory import FlowDirectory
from shared.messages import CreateExecution, ExecutionCommand
from shared.model.identifier import new_id
from shared.ports import Outbound, Subscription, Tail, Topic
from shared.settings import IndexerSettings, Settings
from tests.unit.api.fakes import MemoryBlobs, MemoryStore, SmallExecutor

C = TypeVar("C", bound=ExecutionCommand)

AT = 1_790_000_000_000


class Killed(BaseException):
    """The process ends here: nothing may catch it."""


class MortalLog:
    """A log whose process is killed right before or after the runner's nth writing, of records or of a position."""

    def __init__(self, log: SqliteEventLog) -> None:
        self._log = log
        self.writings = 0
        self.at: tuple[int, bool] | None = None  #: which writing, and whether it still happens

    def write(self, work: Callable[[], None]) -> None:
        self.writings += 1
        number, happens = self.at or (0, True)
        if self.writings == number and not happens:
            raise Killed
        work()
        if self.writings == number:
            raise Killed

    def publish(self, records: Sequence[Outbound]) -> None:
        if records and records[0].topic is Topic.BULK_ACTIONS:
            self.write(lambda: self._log.publish(records))
        else:
            self._log.publish(records)

    def subscribe(self, topics: Sequence[Topic], group: str) -> Subscription:
        return MortalSubscription(self, self._log.subscribe(topics, group))

    def tail(self, topics: Sequence[Topic], since: int | None = None) -> Tail:
        return self._log.tail(topics, since)

    def close(self) -> None:
        self._log.close()


class MortalSubscription:
    """A subscription of a MortalLog."""

    def __init__(self, log: MortalLog, subscription: Subscription) -> None:
        self._log = log
        self.poll, self.lag, self.close = subscription.poll, subscription.lag, subscription.close
        self._subscription = subscription

    def commit(self, positions: Mapping[tuple[Topic, int], int]) -> None:
        self._log.write(lambda: self._subscription.commit(positions))


class Stand:
    """A log on SQLite, a small executor, and indexers that come and go."""

    def __init__(self, directory: Path) -> None:
        self.database = SqliteDatabase(directory / "runyard.db")
        self.log = SqliteEventLog(self.database)
        self.store, self.blobs = MemoryStore(), MemoryBlobs()
        self.executor = SmallExecutor(self.log, self.store).start()  # type: ignore[arg-type]
        self.executor.hold = True
        self.flows = FlowDirectory(self.log.tail([Topic.FLOWS]))
        self.recents: list[Recent] = []
        self.runners: list[Runner] = []

    def close(self) -> None:
        self.executor.close()
        for recent, runner in zip(self.recents, self.runners, strict=True):
            recent.close()
            runner._loop.close()
        self.database.close()

    def indexer(self, log: MortalLog | None = None, **settings: Any) -> Runner:
        """A runner as a process just started has it."""
        own = log or MortalLog(self.log)
        recent = Recent(own, self.flows, 1_000)
        recent.start()
        self.recents.append(recent)
        made = Settings(indexer=IndexerSettings(answer_within=2.0), **settings)
        app = create_app(own, self.store, self.blobs, self.flows, recent, Jobs(own), made)
        self.runners.append(Runner(own, app.state.services))
        return self.runners[-1]

    def executions(self, count: int, flow_id: str = "hello", namespace: str = "company.team") -> list[str]:
        """Failed executions with one task run each."""
        ids = []
        for _ in range(count):
            execution_id = new_id(AT)
            command = CreateExecution(execution_id, new_id(), AT, "main", namespace, flow_id, 1)
            self.executor.carry_out(command)
            self.executor.fail(execution_id)
            ids.append(execution_id)
        return sorted(ids)

    def ask(self, runner: Runner, **asked: Any) -> Job:
        """Ask for a job."""
        request = requested(Tenant("main", runner._services), Asked(**asked))
        self.log.publish([request.outbound()])
        runner._jobs.catch_up()
        job = runner._jobs.get(request.id)
        assert job is not None
        return job

    def finish(self, runner: Runner, job: Job) -> tuple[Job, list[Item]]:
        """Work until the job has ended."""
        ended = self.work(runner, job, until=lambda known: known.state.ended)
        return ended, runner._jobs.items(ended)

    def work(self, runner: Runner, job: Job, until: Callable[[Job], bool]) -> Job:
        """Work until the job is so far."""
        for _ in range(1_000):
            runner.step(0.0)
            runner._jobs.catch_up()
            found = runner._jobs.get(job.id)
            assert found is not None
            if until(found):
                return found
        raise AssertionError(f"the job is still {found.state}")

    def taken(self, kind: type[C], count: int) -> list[C]:
        """Commands of a kind, once the executor has taken so many."""
        until = time.monotonic() + 10
        while True:
            found = [command for command in self.executor.commands if isinstance(command, kind)]
            if len(found) >= count:
                return found
            assert time.monotonic() < until, f"{len(found)} of {count} commands"
            time.sleep(0.01)

    def sent(self, kind: type[ExecutionCommand]) -> Mapping[str, set[str]]:
        """Ids of the commands that the executor got, by execution."""
        found: dict[str, set[str]] = {}
        for command in self.executor.commands:
            if isinstance(command, kind):
                found.setdefault(command.execution_id, set()).add(command.command_id)
        return found
