"""Commands: publishing them, many at a time, and waiting for what became of each.

Publishing is durable on return and costs a commit, so concurrent requests share one: while a commit is under way,
further commands gather for the next (group commit).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from indexer.recent import Answer, Recent
from shared.messages import ExecutionCommand, FlowCommand
from shared.ports import EventLog, JournalError, Outbound, RecordTooLarge, Topic

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Question:
    """A command, and what its answer shows.

    `target`: the execution, `fresh` where the command creates it. `until`: the states that the command puts it in.
    `batches`: it restarts a flow with a ForEachItem, and with it failed executions of batches.
    """

    command: ExecutionCommand | FlowCommand
    target: str | None = None
    until: frozenset[str] = frozenset()
    fresh: bool = False
    batches: bool = False


class Commands:
    """Sends commands for one event loop."""

    def __init__(self, log: EventLog, recent: Recent, answer_within: float) -> None:
        """`answer_within`: seconds to wait for an answer."""
        self._event_log, self._recent, self._within = log, recent, answer_within
        self._waiting: list[tuple[Outbound, asyncio.Future[None]]] = []
        self._flusher: asyncio.Task[None] | None = None
        self.published = 0  #: commands since the start
        self.commits = 0  #: how many commits these took

    async def publish(self, command: ExecutionCommand | FlowCommand) -> None:
        """Make a command durable. Raises RecordTooLarge or JournalError."""
        await self.publish_all([command])

    async def publish_all(self, commands: Sequence[ExecutionCommand | FlowCommand]) -> None:
        """Make commands durable, together with those of other requests. Raises the first one's error."""
        loop = asyncio.get_running_loop()
        futures = []
        for command in commands:
            future: asyncio.Future[None] = loop.create_future()
            self._waiting.append((Outbound(Topic.EXECUTION_COMMANDS, key_of(command), command.to_bytes()), future))
            futures.append(future)
        if self._flusher is None or self._flusher.done():
            self._flusher = loop.create_task(self._flush())
        for error in await asyncio.gather(*futures, return_exceptions=True):
            if error is not None:
                raise error

    async def _flush(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting, []
            await self._commit(batch)

    async def _commit(self, batch: list[tuple[Outbound, asyncio.Future[None]]]) -> None:
        loop = asyncio.get_running_loop()
        while batch:
            try:
                await loop.run_in_executor(None, self._event_log.publish, [record for record, _ in batch])
            except RecordTooLarge as error:  # nothing was written: the others go without it
                refused = [future for record, future in batch if record is error.record]
                batch = [(record, future) for record, future in batch if record is not error.record] if refused else []
                for future in refused or [future for _, future in batch]:
                    _fail(future, error)
            except Exception as error:  # noqa: BLE001 (each request answers for itself; the flusher goes on)
                if not isinstance(error, JournalError):
                    _log.exception("publishing commands failed")
                for _, future in batch:
                    _fail(future, error if isinstance(error, JournalError) else JournalError(str(error)))
                return
            else:
                self.commits += 1
                self.published += len(batch)
                for _, future in batch:
                    if not future.done():
                        future.set_result(None)
                return

    async def ask(self, question: Question, more: float = 0.0) -> Answer | None:
        """Publish a command and wait for its answer; None when none came in time. Errors as in `publish`.

        `more`: seconds beyond the usual ones.
        """
        return (await self.ask_all([question], more))[0]

    async def ask_all(self, questions: Sequence[Question], more: float = 0.0) -> list[Answer | None]:
        """Publish commands in one go and wait for the answer of each, all within the time of one."""
        if not questions:
            return []
        answers = [self.expect(question) for question in questions]
        try:
            await self.publish_all([question.command for question in questions])
            await asyncio.wait(answers, timeout=self._within + more)
        finally:
            for question in questions:
                self._recent.forget(question.command.command_id)
        return [future.result() if future.done() else None for future in answers]

    def expect(self, question: Question) -> asyncio.Future[Answer]:
        """The answer to a command that is to be published next; `forget` it when it is no longer awaited."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Answer] = loop.create_future()
        self._recent.expect(
            question.command.command_id,
            partial(_deliver, loop, future),
            question.target,
            question.until,
            fresh=question.fresh,
        )
        return future

    def forget(self, command_id: str) -> None:
        """The answer is no longer awaited."""
        self._recent.forget(command_id)


def key_of(command: ExecutionCommand | FlowCommand) -> str:
    """The record's key: an execution's id, or a flow's uid."""
    if isinstance(command, FlowCommand):
        return f"{command.tenant}/{command.namespace}/{command.flow_id}"
    return command.execution_id


def _fail(future: asyncio.Future[None], error: Exception) -> None:
    if not future.done():
        future.set_exception(error)


def _deliver(loop: asyncio.AbstractEventLoop, future: asyncio.Future[Answer], answer: Answer) -> None:
    with contextlib.suppress(RuntimeError):  # the loop ended meanwhile: nobody waits any more
        loop.call_soon_threadsafe(_set, future, answer)


def _set(future: asyncio.Future[Answer], answer: Answer) -> None:
    if not future.done():
        future.set_result(answer)
