"""Runner: carries the jobs out, page by page, in one of the indexers.

Which one, the consumer group of the topic decides; its position stays before the oldest job that is open, so that
whoever gets the partition next, or this one after a restart, is told of it again. What has been done it reads in the
log, right before each step. Where two run at once, while a partition moves, both send the same commands.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import islice
from typing import Final

from prometheus_client import Counter, Gauge

from indexer.api import cold, reading
from indexer.api.commands import Commands, Question
from indexer.api.errors import ApiError
from indexer.api.execution_actions import clean_up
from indexer.api.reading import blocking, now
from indexer.api.services import Services
from indexer.api.tenancy import Tenant
from indexer.bulk import listing, work
from indexer.bulk.jobs import Job
from indexer.recent import Answer, Rejected
from shared.bulk_actions import (
    PARTITION,
    RETENTION,
    BulkActionEnded,
    BulkActionListed,
    BulkActionRequested,
    BulkItemsListed,
    Item,
    JobState,
    Result,
    page_key,
    query_of,
    tombstones,
)
from shared.messages import UnknownMessage, decode
from shared.model.query import Page, QueryError
from shared.ports import EventLog, JournalError, Outbound, RecordTooLarge, Subscription, Topic

ITEMS: Final = Counter("runyard_bulk_action_items", "Executions of bulk actions by what became of them", ["result"])
OPEN: Final = Gauge("runyard_bulk_actions_open", "Bulk actions that this indexer carries out")

GROUP: Final = "runyard-bulk-actions"
"""The consumer group: one indexer has the topic's only partition."""

ASKED: Final = 3
"""Times that a command is sent, always with the same id, before its outcome is recorded as unknown."""

_READ: Final = 500
_LONGEST: Final = 10.0
"""Seconds between two attempts at most, while the log or the store is away."""

_TOPIC: Final = Topic.BULK_ACTIONS

_log = logging.getLogger(__name__)


class Runner:
    """Used by one thread; `step` is one page of one job."""

    def __init__(self, log: EventLog, services: Services) -> None:
        """Nothing is read before the first `step`. Its commands wait for their answers on an event loop of its own."""
        within = services.settings.indexer.answer_within
        self._log = log
        self._services = replace(services, commands=Commands(log, services.recent, within))
        self._jobs = services.jobs
        self._loop = asyncio.Runner()
        self._subscription: Subscription | None = None
        self._owned: dict[str, int] = {}  #: open jobs in the order of their requests, with the offsets of these
        self._next = 0  #: offset behind what was read
        self._committed = 0
        self._turn = 0

    # ------------------------------------------------------------------ life

    def run(self, stop: threading.Event, before: Callable[[], None] = lambda: None) -> None:
        """Work until told to stop; what the log or the store refuses is tried again. `before`: called before a step."""
        failures = 0
        try:
            while not stop.is_set():
                try:
                    before()
                    self.step()
                    failures = 0
                except (JournalError, OSError, RuntimeError) as error:
                    failures += 1
                    _log.warning("bulk actions have to wait, trying again: %s", error)
                    if isinstance(error, JournalError):
                        self.close()
                    stop.wait(min(_LONGEST, 0.2 * 2.0 ** min(failures, 6)))
        finally:
            self.close()
            self._loop.close()

    def close(self) -> None:
        """Leave the group. Open jobs come again, to whoever is in it next."""
        subscription, self._subscription = self._subscription, None
        self._owned.clear()
        self._next = self._committed = 0
        if subscription is not None:
            subscription.close()

    def step(self, timeout: float = 0.25) -> bool:
        """Take in what is new and do one thing for one job; False when there was nothing to do.

        Takes at most about `timeout` seconds while nothing comes. Raises JournalError, and what the store raises.
        """
        if self._subscription is None:
            self._subscription = self._log.subscribe([_TOPIC], GROUP)
        self._read(0.0 if self._owned else timeout)
        for job_id in tuple(self._owned):
            job = self._jobs.get(job_id)
            if job is None or job.state.ended:
                del self._owned[job_id]
        OPEN.set(len(self._owned))
        self._commit()
        if not self._owned:
            return False
        self._turn += 1
        job_id = tuple(self._owned)[self._turn % len(self._owned)]
        job = self._jobs.get(job_id)
        assert job is not None
        try:
            self._advance(job)
        except (JournalError, OSError, RuntimeError):
            raise
        except Exception as error:  # noqa: BLE001 (it is this job's: the others go on)
            _log.exception("bulk action %s can't go on", job.id)
            self._end(job, JobState.FAILED, f"{type(error).__name__}: {error}")
        return True

    def _read(self, timeout: float) -> None:
        """Take in what is new: of the group's share the requests, of the log everything."""
        assert self._subscription is not None
        for record in self._subscription.poll(_READ, timeout):
            self._next = record.offset + 1
            try:
                message = None if record.value is None else decode(record.value)
            except UnknownMessage:
                continue  # a newer version's record
            if isinstance(message, BulkActionRequested):
                self._owned.setdefault(message.id, record.offset)
        self._jobs.catch_up()

    def _commit(self) -> None:
        position = min(self._owned.values(), default=self._next)
        if position > self._committed:
            assert self._subscription is not None
            self._subscription.commit({(_TOPIC, PARTITION): position})
            self._committed = position

    # ------------------------------------------------------------------ one job

    def _advance(self, job: Job) -> None:
        tenant = Tenant(job.request.tenant, self._services)
        if job.aborting:
            self._end(job, JobState.ABORTED, None)
        elif job.pages is None:
            self._list(tenant, job)
        elif (number := job.next_page) is not None:
            items = self._jobs.page(job.id, number)
            done = self._loop.run(self._carry_out(tenant, job.request, items))
            self._log.publish([_page(job.id, number, done, done=True)])
            for item in done:
                ITEMS.labels(item.result.value).inc()
        else:
            self._finish(tenant, job)

    def _list(self, tenant: Tenant, job: Job) -> None:
        query = query_of(job.request.query)
        try:
            total = tenant.search(query, Page(1, 1)).total
            if total > listing.MOST and job.request.origin != RETENTION:
                reason = f"it finds {total} documents, more than {listing.MOST} of one job: narrow it"
                self._end(job, JobState.FAILED, reason)
                return
            whole = work.DEEDS[job.request.action].each_task_run
            number = count = 0
            listed = islice(listing.items(tenant, query, task_runs=whole), listing.MOST)
            for items in listing.pages(listed):
                self._log.publish([_page(job.id, number, items)])
                number += 1
                count += len(items)
                self._read(0.0)  # a sign of life for the group, in a long listing
                known = self._jobs.get(job.id)
                if known is None or known.aborting:
                    return
        except QueryError as error:
            self._end(job, JobState.FAILED, str(error))
            return
        # An earlier listing, which was interrupted, may have written more pages.
        self._jobs.catch_up()
        stale = [
            Outbound(_TOPIC, page_key(job.id, each), None, PARTITION)
            for each in range(number, self._jobs.listed_pages(job.id))
        ]
        self._log.publish([*stale, BulkActionListed(job.id, number, count).outbound()])

    def _finish(self, tenant: Tenant, job: Job) -> None:
        asked_again = self._ask_again(tenant, job)
        if asked_again is None:
            return
        job = asked_again
        if job.request.action == "delete" and job.request.options["deleteLogs"]:
            self._sweep(tenant, job)
        clean = job.counts.accepted == job.total
        self._end(job, JobState.SUCCESS if clean else JobState.WARNING, None)

    def _ask_again(self, tenant: Tenant, job: Job) -> Job | None:
        """Send once more, under the same ids, what no executor has answered: it may be carried out by now.

        Only an answered deletion has its logs and files taken away. Returns the job as it is then; None when it shall
        stop before.
        """
        for number in range(job.pages or 0):
            items = self._jobs.page(job.id, number)
            unknown = [replace(i, result=Result.PENDING, reason="") for i in items if i.result is Result.UNKNOWN]
            if not unknown:
                continue
            answered = iter(self._loop.run(self._carry_out(tenant, job.request, unknown)))
            done = [next(answered) if item.result is Result.UNKNOWN else item for item in items]
            self._log.publish([_page(job.id, number, done, done=True)])
            self._read(0.0)
            known = self._jobs.get(job.id)
            if known is None or known.aborting:
                return None
        return self._jobs.get(job.id)

    def _sweep(self, tenant: Tenant, job: Job) -> None:
        """Delete the log lines of deleted executions once more: lines that were still on their way are there now."""
        for number in range(job.pages or 0):
            gone = [i.execution_id for i in self._jobs.page(job.id, number) if i.result is Result.ACCEPTED]
            self._services.store.delete_by_executions(tenant.name, gone)

    def _end(self, job: Job, state: JobState, reason: str | None) -> None:
        _log.info("bulk action %s of tenant %s: %s %s", job.id, job.request.tenant, state, reason or "")
        self._log.publish([BulkActionEnded(job.id, state.value, now(), reason).outbound()])
        self._jobs.catch_up()
        for old in self._jobs.surplus(job.request.tenant):
            self._log.publish(tombstones(old.id, old.pages or self._jobs.listed_pages(old.id)))

    # ------------------------------------------------------------------ one page

    async def _carry_out(self, tenant: Tenant, request: BulkActionRequested, items: Sequence[Item]) -> list[Item]:
        made = await asyncio.gather(*(self._make(tenant, request, item) for item in items))
        asked = [question for each in made if not isinstance(each, Item) for question in each]
        answers = await self._ask(tenant, asked)
        done = []
        for item, each in zip(items, made, strict=True):
            done.append(
                each if isinstance(each, Item) else _judged(item, [answers[q.command.command_id] for q in each])
            )
        if request.action == "delete":
            await self._clean_up(tenant, request, done)
        return done

    async def _make(self, tenant: Tenant, request: BulkActionRequested, item: Item) -> list[Question] | Item:
        """The commands for an item, or the item with its result where none is needed."""
        found = await reading.execution_document(tenant, item.execution_id, wait=False)
        if found is None:
            if request.action == "delete":
                return replace(item, result=Result.ACCEPTED)  # it is gone: by an earlier try, or by somebody else
            return replace(item, result=Result.REFUSED, reason="execution not found")
        try:
            questions: list[Question] = await blocking(work.questions, tenant, request, item, found[1])
        except ApiError as error:
            return replace(item, result=Result.REFUSED, reason=error.message)
        return questions

    async def _ask(self, tenant: Tenant, questions: Sequence[Question]) -> dict[str, Answer | str | None]:
        """The answers by command id; a text is the reason why the log does not take the command."""
        answers: dict[str, Answer | str | None] = {}
        open_ = list(questions)
        tries = 0
        while open_ and tries < ASKED:
            try:
                found = await cold.ask_all(tenant, open_)
            except RecordTooLarge as error:  # the others may be sent already: their ids stay the same
                large = [q for q in open_ if q.command.to_bytes() == error.record.value]
                if not large:
                    raise
                answers.update({q.command.command_id: str(error) for q in large})
                open_ = [q for q in open_ if q not in large]
                continue
            tries += 1
            answers.update({q.command.command_id: answer for q, answer in zip(open_, found, strict=True)})
            open_ = [q for q, answer in zip(open_, found, strict=True) if answer is None]
        return answers

    async def _clean_up(self, tenant: Tenant, request: BulkActionRequested, items: Sequence[Item]) -> None:
        gone = [item for item in items if item.result is Result.ACCEPTED]
        if request.options["deleteStorage"]:
            for item in gone:
                where = {"id": item.execution_id, "namespace": item.namespace, "flowId": item.flow_id}
                await blocking(clean_up, tenant, where, False, True)
        if request.options["deleteLogs"]:
            ids = [item.execution_id for item in gone]
            await blocking(self._services.store.delete_by_executions, tenant.name, ids)


def _page(job_id: str, number: int, items: Sequence[Item], *, done: bool = False) -> Outbound:
    return BulkItemsListed(job_id, number, [item.to_list() for item in items], done).outbound()


def _judged(item: Item, answers: Sequence[Answer | str | None]) -> Item:
    """The item with what became of its commands; where there were several, the worst counts."""
    reasons = [a.reason if isinstance(a, Rejected) else a for a in answers if isinstance(a, Rejected | str)]
    if reasons:
        return replace(item, result=Result.REFUSED, reason="; ".join(dict.fromkeys(reasons)))
    if any(answer is None for answer in answers):
        return replace(item, result=Result.UNKNOWN, reason="no executor answered in time; the command is durable")
    return replace(item, result=Result.ACCEPTED)
