"""Bulk actions: every execution of a job gets its command once, whatever happens to the runner meanwhile."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from indexer.api.tenancy import Tenant
from indexer.bulk import listing
from indexer.bulk.jobs import Jobs
from shared.bulk_actions import BulkActionAborted, Item, JobState, Result
from shared.messages import (
    DeleteExecution,
    ReplayExecution,
    RestartExecution,
    SetLabels,
)
from shared.model.document import Kind
from shared.model.identifier import new_id
from shared.ports import Topic, Versioned
from tests.unit.indexer.bulk_stand import AT, Killed, MortalLog, Stand


@pytest.fixture
def stand(tmp_path: Path) -> Iterator[Stand]:
    stand = Stand(tmp_path)
    yield stand
    stand.close()


def test_every_execution_found_is_restarted(stand: Stand) -> None:
    """A query for task runs names executions once each, and the job counts them."""
    ids = stand.executions(5)
    stand.executions(2, "other")
    runner = stand.indexer()
    job = stand.ask(runner, action="restart", on="taskruns", filters={"taskId": "t", "flowId": "hello"})

    ended, items = stand.finish(runner, job)

    assert (ended.state, ended.total, ended.counts.accepted) == (JobState.SUCCESS, 5, 5)
    assert [item.execution_id for item in items] == ids
    assert sorted(stand.sent(RestartExecution)) == ids


def test_what_an_execution_refuses_is_told_with_the_reason(stand: Stand) -> None:
    """The others go on, and the job ends WARNING."""
    first, second = stand.executions(2)
    stand.executor.carry_out(RestartExecution(first, new_id(), AT))
    runner = stand.indexer()
    job = stand.ask(runner, action="restart", filters={"flowId": "hello"})

    ended, items = stand.finish(runner, job)

    assert ended.state is JobState.WARNING
    results = {item.execution_id: (item.result, item.reason) for item in items}
    assert results[first] == (Result.REFUSED, "an execution in SUCCESS can't do that")
    assert results[second][0] is Result.ACCEPTED


def test_what_starts_after_the_request_is_not_in_it(stand: Stand) -> None:
    """The listing takes place later, and leaves it out."""
    (before,) = stand.executions(1)
    runner = stand.indexer()
    job = stand.ask(runner, action="kill", filters={"flowId": "hello"})
    query = job.request.query

    assert query["started_to"] == job.request.at
    ended, items = stand.finish(runner, job)
    assert [item.execution_id for item in items] == [before]


@pytest.mark.parametrize("happens", [False, True], ids=["before", "after"])
def test_a_killed_runner_s_job_goes_on_in_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, happens: bool
) -> None:
    """Killed before or after each of its writings in turn: each item gets one result, by commands of one id."""
    monkeypatch.setattr(listing, "PAGE", 2)
    point = 0
    while True:
        point += 1
        directory = tmp_path / str(point)
        directory.mkdir()
        stand = Stand(directory)
        try:
            if not _killed_at(stand, point, happens):
                break
        finally:
            stand.close()
    assert point > 8  # three pages twice, the list, the end, the position


def _killed_at(stand: Stand, point: int, happens: bool) -> bool:
    """Whether the job has so many writings at all."""
    ids = stand.executions(5)
    log = MortalLog(stand.log)
    runner = stand.indexer(log)
    job = stand.ask(runner, action="restart", filters={"flowId": "hello"})
    log.at = point, happens
    killed = False
    try:
        stand.finish(runner, job)
        runner.step(0.0)  # the position behind the job
    except Killed:
        killed = True
    runner.close()
    following = stand.indexer()

    ended, items = stand.finish(following, job)

    assert ended.state is JobState.SUCCESS, (point, ended.reason)
    assert [(item.execution_id, item.result) for item in items] == [(each, Result.ACCEPTED) for each in ids]
    sent = stand.sent(RestartExecution)
    assert sorted(sent) == ids
    assert all(len(commands) == 1 for commands in sent.values())
    states = Counter(run.execution.state.current.value for run in stand.executor.runs.values())
    assert states == {"SUCCESS": 5}  # restarted once: twice would have been refused
    following.close()
    return killed


@pytest.mark.parametrize(
    ("filters", "reason"),
    [
        ({"state": "FAILED"}, "the execution is SUCCESS now, which was not asked for"),
        ({"endedBefore": "2026-09-30T00:00:00Z"}, "the execution has ended again since, at 2026-11-01T00:00:00Z"),
    ],
)
def test_what_has_ended_anew_since_the_listing_is_not_deleted(
    stand: Stand, filters: dict[str, str], reason: str
) -> None:
    """A purge looks again before it deletes: an operator may have restarted what was listed long before."""
    first, second = stand.executions(2)
    runner = stand.indexer()
    job = stand.ask(runner, action="delete", filters={"flowId": "hello", **filters})
    stand.work(runner, job, until=lambda known: known.pages is not None)
    known = stand.store.documents[Kind.EXECUTION, first]
    state = {**known.document["state"], "current": "SUCCESS", "endDate": "2026-11-01T00:00:00Z"}
    stand.store.documents[Kind.EXECUTION, first] = replace(known, document={**known.document, "state": state})
    runner._services.recent._kept._entries.clear()

    _, items = stand.finish(runner, job)

    assert {(item.execution_id, item.result) for item in items} == {(first, Result.REFUSED), (second, Result.ACCEPTED)}
    assert items[0].reason == reason
    assert first in stand.executor.runs


def test_what_nobody_answered_is_asked_again_at_the_end(stand: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    """An executor that was away carries deletions out when it is back: the job learns of it, and cleans up."""
    monkeypatch.setattr(listing, "PAGE", 1)
    ids = stand.executions(2)
    runner = stand.indexer()
    for each in ids:
        path = f"main/company/team/hello/executions/{each}/f"
        stand.blobs.put(path, io.BytesIO(b"x"))
    job = stand.ask(runner, action="delete", filters={"flowId": "hello"})
    stand.executor.silent = True
    monkeypatch.setattr(runner._services.commands, "_within", 0.05)
    stand.work(runner, job, until=lambda known: known.counts.unknown > 0)
    monkeypatch.undo()
    stand.executor.silent = False

    ended, items = stand.finish(runner, job)

    assert ended.state is JobState.SUCCESS
    assert [(item.execution_id, item.result) for item in items] == [(each, Result.ACCEPTED) for each in ids]
    assert list(stand.blobs.list("main/")) == []
    assert all(len(commands) == 1 for commands in stand.sent(DeleteExecution).values())


def test_a_replay_sent_twice_makes_one_execution(stand: Stand) -> None:
    """Its id follows from the job: two runners at once ask for the same one."""
    (original,) = stand.executions(1)
    first, second = stand.indexer(), stand.indexer()
    job = stand.ask(first, action="replay", filters={"flowId": "hello"})
    stand.work(first, job, until=lambda known: known.pages is not None)
    tenant = Tenant("main", first._services)
    items = first._jobs.page(job.id, 0)

    for runner in (first, second):
        done = runner._loop.run(runner._carry_out(tenant, job.request, items))
        assert [item.result for item in done] == [Result.ACCEPTED]

    # The second runner may see what became of the first one's command before its own was read.
    replays = stand.taken(ReplayExecution, 2)
    assert len({replay.new_execution_id for replay in replays}) == 1
    assert set(stand.executor.runs) == {original, replays[0].new_execution_id}


def test_an_aborted_job_stops_before_its_next_page(stand: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was done stays done, the rest stays pending."""
    monkeypatch.setattr(listing, "PAGE", 2)
    stand.executions(6)
    runner = stand.indexer()
    job = stand.ask(runner, action="restart", filters={"flowId": "hello"})
    stand.work(runner, job, until=lambda known: known.counts.done > 0)

    stand.log.publish([BulkActionAborted(job.id, AT).outbound()])
    ended, items = stand.finish(runner, job)

    assert ended.state is JobState.ABORTED
    assert Counter(item.result for item in items) == {Result.ACCEPTED: 2, Result.PENDING: 4}
    assert len(stand.sent(RestartExecution)) == 2


def test_a_job_that_is_being_listed_can_be_aborted(stand: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rest is not listed, and nothing has been done."""
    monkeypatch.setattr(listing, "PAGE", 1)
    stand.executions(5)
    runner = stand.indexer()
    job = stand.ask(runner, action="restart", filters={"flowId": "hello"})
    listed = listing.items

    def aborting(*arguments: Any, **more: Any) -> Iterator[Item]:
        for number, item in enumerate(listed(*arguments, **more)):
            if number == 2:
                stand.log.publish([BulkActionAborted(job.id, AT).outbound()])
            yield item

    monkeypatch.setattr(listing, "items", aborting)
    ended, items = stand.finish(runner, job)

    assert (ended.state, len(items)) == (JobState.ABORTED, 2)
    assert stand.sent(RestartExecution) == {}


def test_a_silent_executor_leaves_an_outcome_unknown(stand: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same command is sent a bounded number of times, once more at the end; then the job ends without the answer."""
    (execution_id,) = stand.executions(1)
    stand.executor.silent = True
    runner = stand.indexer()
    monkeypatch.setattr(runner._services.commands, "_within", 0.05)
    job = stand.ask(runner, action="restart", filters={"flowId": "hello"})

    ended, items = stand.finish(runner, job)

    assert ended.state is JobState.WARNING
    assert [(item.result, ended.counts.unknown) for item in items] == [(Result.UNKNOWN, 1)]
    sent = [command.command_id for command in stand.taken(RestartExecution, 6)]
    assert (len(sent), len(set(sent))) == (6, 1)
    assert execution_id in stand.sent(RestartExecution)


def test_a_deleted_execution_s_files_and_lines_go_and_no_others(stand: Stand) -> None:
    """Those of an execution that is not in the job stay."""
    (gone,) = stand.executions(1)
    (kept,) = stand.executions(1, "other")
    for number, (execution_id, flow_id) in enumerate(((gone, "hello"), (kept, "other"))):
        stand.blobs.files[f"main/company/team/{flow_id}/executions/{execution_id}/inputs/a"] = b"x"
        line = {"tenantId": "main", "executionId": execution_id, "namespace": "company.team", "flowId": flow_id}
        stand.store.write([Versioned(Kind.LOG, f"l{number}", 1, {"id": f"l{number}", **line}, execution_id)])
    runner = stand.indexer()
    job = stand.ask(runner, action="delete", filters={"flowId": "hello"})

    ended, _ = stand.finish(runner, job)

    assert ended.state is JobState.SUCCESS
    assert sorted(stand.sent(DeleteExecution)) == [gone]
    assert list(stand.blobs.files) == [f"main/company/team/other/executions/{kept}/inputs/a"]
    assert [key[1] for key in stand.store.documents if key[0] is Kind.LOG] == ["l1"]


def test_an_execution_that_is_already_gone_is_deleted(stand: Stand) -> None:
    """A deletion whose runner was killed before it wrote the result down has nothing left to ask for."""
    (execution_id,) = stand.executions(1)
    runner = stand.indexer()
    job = stand.ask(runner, action="delete", filters={"flowId": "hello"})
    stand.work(runner, job, until=lambda known: known.pages is not None)
    stand.executor.carry_out(DeleteExecution(execution_id, new_id(), AT))

    ended, items = stand.finish(runner, job)

    assert (ended.state, [item.result for item in items]) == (JobState.SUCCESS, [Result.ACCEPTED])


def test_jobs_take_turns(stand: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    """A small job does not wait for the end of a large one."""
    monkeypatch.setattr(listing, "PAGE", 1)
    stand.executions(8)
    stand.executions(1, "other")
    runner = stand.indexer()
    labels = {"labels": [{"key": "seen", "value": "yes"}]}
    large = stand.ask(runner, action="set-labels", filters={"flowId": "hello"}, options=labels)
    small = stand.ask(runner, action="set-labels", filters={"flowId": "other"}, options=labels)

    stand.finish(runner, small)
    known = runner._jobs.get(large.id)

    assert known is not None
    assert not known.state.ended
    stand.finish(runner, large)
    assert len(stand.sent(SetLabels)) == 9


def test_ended_jobs_are_remembered_up_to_a_number(stand: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest are taken off the log with all their pages."""
    monkeypatch.setattr("indexer.bulk.jobs.KEPT", 1)
    stand.executions(1)
    runner = stand.indexer()
    ids = []
    for _ in range(3):
        job = stand.ask(runner, action="kill", filters={"flowId": "hello"})
        stand.finish(runner, job)
        ids.append(job.id)

    later = Jobs(stand.log)
    later.catch_up()
    assert [job.id for job in later.of_tenant("main")] == ids[2:]
    last: dict[str, bytes | None] = {}
    tail = stand.log.tail([Topic.BULK_ACTIONS])
    while not tail.caught_up():
        last.update({record.key: record.value for record in tail.poll(1_000, 0.1)})
    assert {key.partition("/")[0] for key, value in last.items() if value is not None} == {ids[2]}
