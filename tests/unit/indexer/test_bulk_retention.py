"""Retention: what has ended long ago is purged, once, however many indexers there are."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from indexer.bulk.retention import Retention, Rule, rules
from indexer.bulk.runner import Runner
from shared.bulk_actions import JobState
from shared.messages import DeleteExecution, PutFlow
from shared.settings import RetentionSettings
from tests.unit.indexer.bulk_stand import AT, Stand

DAY = 86_400_000


@pytest.fixture
def stand(tmp_path: Path) -> Iterator[Stand]:
    stand = Stand(tmp_path)
    stand.executor.carry_out(PutFlow("main", "company.team", "hello", "c", AT, "id: hello"))
    stand.flows.catch_up(5.0)
    yield stand
    stand.close()


def retention_of(runner: Runner, at: int) -> Retention:
    return Retention(runner._services, clock=lambda: at)


def test_executions_that_ended_long_ago_are_purged(stand: Stand) -> None:
    """Each slot anew; what is younger stays."""
    ids = stand.executions(3)
    runner = stand.indexer(retention=RetentionSettings(executions="30d"))

    retention_of(runner, AT + 29 * DAY).step()
    runner._jobs.catch_up()
    early = runner._jobs.of_tenant("main")
    retention_of(runner, AT + 31 * DAY).step()
    runner._jobs.catch_up()
    (job,) = runner._jobs.of_tenant("main")
    ended, _ = stand.finish(runner, job)

    assert early == []
    assert (ended.state, ended.counts.accepted, ended.request.origin) == (JobState.SUCCESS, 3, "retention")
    assert sorted(stand.sent(DeleteExecution)) == ids


def test_several_indexers_ask_once(stand: Stand) -> None:
    """The job of a slot has an id that they all know, also after it has ended; the next slot has another."""
    stand.executions(1)
    first, second = (stand.indexer(retention=RetentionSettings(executions="1d")) for _ in range(2))
    at = AT + 2 * DAY

    retention_of(first, at).step()
    retention_of(second, at + 1_000).step()
    first._jobs.catch_up()
    (job,) = first._jobs.of_tenant("main")
    retention_of(second, at + 3_600_000).step()  # the next slot, while the job is still open
    stand.finish(first, job)
    retention_of(second, at).step()
    first._jobs.catch_up()
    assert [job.id for job in first._jobs.of_tenant("main")] == [job.id]

    stand.executions(1)
    retention_of(second, at + 3_600_000).step()
    first._jobs.catch_up()
    assert len(first._jobs.of_tenant("main")) == 2


def test_a_request_that_two_indexers_wrote_at_once_is_one_job(stand: Stand) -> None:
    """Both looked before either had written; and compaction, which keeps the second, changes nothing."""
    stand.executions(1)
    runner = stand.indexer(retention=RetentionSettings(executions="1d"))
    retention = retention_of(runner, AT + 2 * DAY)
    request = retention._request("main", Rule(None, DAY), AT + 2 * DAY)
    for _ in range(2):
        stand.log.publish([request.outbound()])
    runner._jobs.catch_up()

    (job,) = runner._jobs.of_tenant("main")
    ended, items = stand.finish(runner, job)

    assert (ended.total, len(items)) == (1, 1)
    assert len(stand.sent(DeleteExecution)) == 1


def test_it_is_off_by_default(stand: Stand) -> None:
    """Nothing is asked for without a setting."""
    stand.executions(1)
    runner = stand.indexer()
    retention_of(runner, AT + 10_000 * DAY).step()
    runner._jobs.catch_up()
    assert runner._jobs.of_tenant("main") == []


def test_the_nearest_rule_holds() -> None:
    """Each namespace is purged by one rule; `forever` takes it out of those above."""
    settings = RetentionSettings(
        executions="P30D", namespaces={"company": "7d", "company.audit": "forever", "company.audit.x": "1h"}
    )
    assert list(rules(settings)) == [
        Rule(None, 30 * DAY, ("company", "company.audit", "company.audit.x")),
        Rule("company", 7 * DAY, ("company.audit", "company.audit.x")),
        Rule("company.audit.x", DAY // 24, ()),
    ]


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"executions": "soon"}, "'soon' is neither"),
        ({"namespaces": {"company": "soon"}}, "company: 'soon' is neither"),
    ],
)
def test_a_wrong_age_is_named(wrong: dict[str, Any], words: str) -> None:
    """By the setting, the namespace and what was expected."""
    with pytest.raises(ValidationError, match=words):
        RetentionSettings(**wrong)
