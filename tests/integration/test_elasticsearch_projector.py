"""The projector from a real Kafka into a real Elasticsearch: verified, damaged, verified again, built anew."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import httpx
import pytest

from indexer.projector import Projector
from indexer.reindex import reindex
from indexer.verify import Difference, Fault, verify_index
from shared.adapters.elasticsearch import ElasticsearchDocumentStore
from shared.adapters.kafka import KafkaEventLog, topics
from shared.model.document import Kind
from shared.model.identifier import new_id
from shared.model.query import Page, Query
from shared.ports import Outbound, Topic
from shared.settings import ElasticsearchSettings, IndexerSettings, KafkaSettings, Settings, TopicSettings
from tests.contract.streams import until
from tests.unit.indexer.memory import event, execution, log_line, project, run_event

pytestmark = pytest.mark.real


@pytest.fixture
def settings(kafka: str, elasticsearch: str, prefix: str) -> Settings:
    made = Settings(
        kafka=KafkaSettings(bootstrap_servers=kafka),
        topics=TopicSettings(prefix=prefix, partitions=2, inbox_partitions=1),
        elasticsearch=ElasticsearchSettings(hosts=elasticsearch, prefix=prefix),
        indexer=IndexerSettings(bulk_delay=0.05),
    )
    topics.create(made)
    return made


@pytest.fixture
def log(settings: Settings) -> Iterator[KafkaEventLog]:
    log = KafkaEventLog(settings)
    yield log
    log.close()


@pytest.fixture
def store(settings: Settings) -> Iterator[ElasticsearchDocumentStore]:
    store = ElasticsearchDocumentStore(settings)
    store.prepare()
    yield store
    store.close()


def history(executions: int, runs: int) -> list[Outbound]:
    """Executions, each with task runs of three versions, with a log line each, which stays; every fourth one is deleted."""
    records = []
    for number in range(executions):
        e = new_id()
        records.append(event(execution(e, 1), execution_id=e, seq=1, kind=Kind.EXECUTION))
        seq = 1
        names = [new_id() for _ in range(runs)]
        for state in ("CREATED", "RUNNING", "SUCCESS"):
            for name in names:
                seq += 1
                records.append(run_event(e, name, seq, error=state))
        records += [log_line(e, f"line of {name}") for name in names]
        records.append(event(execution(e, seq + 1), execution_id=e, seq=seq + 1, kind=Kind.EXECUTION))
        if number % 4 == 3:
            records.append(event(None, execution_id=e, seq=seq + 2, name="ExecutionDeleted"))
            records += [Outbound(Topic.EXECUTION_EVENTS, key, None, partition=0) for key in (e, *names)]
    return records


def found_when_visible(store: ElasticsearchDocumentStore, query: Query, expected: int) -> int:
    """How many documents a search finds once it finds enough: searches lag behind writes by the refresh interval."""
    until = time.monotonic() + 30
    while (total := store.search(query, Page()).total) < expected and time.monotonic() < until:
        time.sleep(0.1)
    return total


def test_the_index_agrees_with_the_log_and_every_planted_defect_is_named(
    settings: Settings, log: KafkaEventLog, store: ElasticsearchDocumentStore, elasticsearch: str, prefix: str
) -> None:
    """A projected log verifies; a document that is missing, extra, stale, changed or misplaced is named."""
    # given
    e = new_id()
    names = ["missing", "stale", "changed", "routed", "moved", "sound"]
    records = [*history(5, 4), event(execution(e, 1), execution_id=e, seq=1, kind=Kind.EXECUTION)]
    records += [run_event(e, name, seq) for seq, name in enumerate(names, 2)]
    log.publish(records)
    projector = Projector(log, store, settings)
    project(projector, len(records))

    # then
    assert list(verify_index(log, store, settle=0)) == []
    assert found_when_visible(store, Query("main", Kind.LOG, q='message:"line of"'), 20) == 20

    # given defects: an event that is not projected, and damage done in Elasticsearch itself
    projector.close()
    log.publish([run_event(e, "stale", 9)])
    index = store._names.of(Kind.TASK_RUN, e)
    other = new_id(1_600_000_000_000)
    store._indices.ensure(Kind.TASK_RUN, "2020.09")
    elsewhere = store._names.of(Kind.TASK_RUN, other)
    with httpx.Client(base_url=elasticsearch, timeout=30, params={"refresh": "true"}) as server:

        def source(name: str) -> dict[str, object]:
            answer = server.get(f"/{index}/_doc/{name}", params={"routing": e}).raise_for_status()
            return answer.json()["_source"]  # type: ignore[no-any-return]

        def damage(
            method: str, name: str, body: object = None, *, at: str = index, routing: str = e, **more: str
        ) -> None:
            params = {"routing": routing, "refresh": "true", **more}
            server.request(method, f"/{at}/_doc/{name}", params=params, json=body).raise_for_status()

        routed, moved, sound = source("routed"), source("moved"), source("sound")
        damage("DELETE", "missing")
        damage("PUT", "extra", {**sound, "id": "extra"}, version_type="external", version="7")
        changed = {**source("changed"), "flowRevision": 2}
        damage("PUT", "changed", changed, version_type="external_gte", version="4")
        damage("DELETE", "routed")
        damage("PUT", "routed", routed, routing="elsewhere", version_type="external", version="5000")
        damage("DELETE", "moved")
        damage("PUT", "moved", moved, at=elsewhere, version_type="external", version="6")

    # when
    found = list(verify_index(log, store, settle=0))

    # then
    assert found == [
        Difference(Kind.TASK_RUN, "moved", Fault.MISPLACED, f"it lies in {prefix}task-runs-2020.09-1, not in {index}"),
        Difference(Kind.TASK_RUN, "routed", Fault.MISPLACED, f"its routing is elsewhere, not {e}"),
        Difference(Kind.TASK_RUN, "changed", Fault.DIFFERENT, "flowRevision is 1 in the log, 2 in the store"),
        Difference(Kind.TASK_RUN, "missing", Fault.MISSING, "the log has version 2"),
        Difference(Kind.TASK_RUN, "stale", Fault.STALE, "the log has version 9, the store 3"),
        Difference(Kind.TASK_RUN, "extra", Fault.EXTRA, "the store has version 7, the log has none"),
    ]

    # when
    rebuilt = reindex(log, store)

    # then
    assert rebuilt.refused == ()
    assert list(verify_index(log, store, settle=0)) == []


def test_reindexing_while_the_projector_runs_loses_nothing(
    settings: Settings, log: KafkaEventLog, store: ElasticsearchDocumentStore
) -> None:
    """Records that come before, during and after the switch are all in the new generation."""
    # given
    stop = threading.Event()
    projector = Projector(log, store, settings)
    published = history(8, 5)
    log.publish(published)

    def publish() -> None:
        while not stop.is_set():
            records = history(3, 5)
            log.publish(records)
            published.extend(records)
            stop.wait(0.2)

    threads = [threading.Thread(target=projector.run, args=(stop,)), threading.Thread(target=publish)]
    for thread in threads:
        thread.start()
    try:
        until(lambda: len(published) > 500)

        # when
        first = reindex(log, store)
        second = reindex(log, store)
    finally:
        stop.set()
        for thread in threads:
            thread.join(30)

    # then
    assert (first.refused, second.refused) == ((), ())
    rest = Projector(log, store, settings)
    until(
        lambda: rest.step(0.1) == 0 and rest._subscription is not None and sum(rest._subscription.lag().values()) == 0
    )
    rest.close()
    assert list(verify_index(log, store)) == []


def test_two_projectors_share_the_partitions(
    settings: Settings, log: KafkaEventLog, store: ElasticsearchDocumentStore
) -> None:
    """A second indexer takes a share over and gives it back; nothing is lost, and doubles are stale."""
    # given
    stops = [threading.Event(), threading.Event()]
    threads = [threading.Thread(target=Projector(log, store, settings).run, args=(stop,)) for stop in stops]
    records = history(8, 5)
    threads[0].start()
    log.publish(records[:100])
    threads[1].start()
    log.publish(records[100:])

    # when
    stops[0].set()
    threads[0].join(30)
    log.publish(history(4, 5))

    # then
    assert list(verify_index(log, store, settle=60)) == []
    stops[1].set()
    threads[1].join(30)
