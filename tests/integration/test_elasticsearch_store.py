"""What only Elasticsearch has: templates, indices by period, generations, deep pages, and how its errors are read.

The store's contract, which SQLite keeps too, is in tests/contract.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest

from indexer.projector import STALE
from shared.adapters.elasticsearch import ElasticsearchDocumentStore, StoreUnavailable
from shared.adapters.elasticsearch.indices import body_of
from shared.model.document import Kind
from shared.model.identifier import new_id
from shared.model.moment import parse_age
from shared.model.query import Page, Query, QueryError
from shared.ports import Outcome, Verdict
from shared.query.fields import CATALOGUE, WORDS_ANALYSIS, FieldType
from shared.settings import ElasticsearchSettings, Settings
from tests.contract.documents import START, execution, execution_id, found, ids, log_line, metric, put, task_run
from tests.contract.elasticsearch_fixtures import (  # noqa: F401
    elasticsearch_document_store,
    elasticsearch_settings,
)
from tests.servers import HOSTS

MakeSettings = Callable[..., Settings]


@pytest.fixture
def store(elasticsearch_document_store: ElasticsearchDocumentStore) -> ElasticsearchDocumentStore:  # noqa: F811
    return elasticsearch_document_store


@pytest.fixture
def server(elasticsearch: str) -> Iterator[httpx.Client]:
    """Elasticsearch itself, to look at it and to damage it."""
    with httpx.Client(base_url=elasticsearch, timeout=30) as client:
        yield client


def indices(server: httpx.Client, prefix: str, kind: Kind = Kind.TASK_RUN) -> list[str]:
    answer = server.get(f"/_cat/indices/{prefix}{kind.value}-*", params={"format": "json"}).raise_for_status()
    return sorted(index["index"].removeprefix(prefix) for index in answer.json())


def verdicts(outcomes: list[Outcome]) -> list[Verdict]:
    return [outcome.verdict for outcome in outcomes]


# ------------------------------------------------------------------ templates and indices


@pytest.mark.real
def test_nothing_is_written_without_the_templates(
    elasticsearch_settings: MakeSettings,  # noqa: F811
    server: httpx.Client,
    prefix: str,
) -> None:
    """A write before `prepare` is to be tried again, and no index comes to be with guessed types."""
    # given
    store = ElasticsearchDocumentStore(elasticsearch_settings())
    missing = store.ready()

    # when
    outcomes = store.write([task_run("a", execution_id())])

    # then
    assert verdicts(list(outcomes)) == [Verdict.RETRY]
    assert f"index template {prefix}task-runs is missing" in outcomes[0].reason
    assert missing is not None
    assert f"index template {prefix}" in missing
    assert indices(server, prefix) == []

    # when
    store.prepare()
    store.prepare()

    # then
    assert store.ready() is None
    assert verdicts(put(store, task_run("a", execution_id()))) == [Verdict.STORED]
    store.close()


@pytest.mark.real
def test_deletions_are_remembered_for_longer_than_a_stall_also_in_older_indices(
    store: ElasticsearchDocumentStore, server: httpx.Client, prefix: str
) -> None:
    """Elasticsearch's own minute is too short; `prepare` brings the setting to indices that were made without it."""
    execution_id_ = execution_id()
    store.write([task_run("a", execution_id_, version=2)])
    server.put(f"/{prefix}*/_settings", json={"index": {"gc_deletes": None}}).raise_for_status()

    store.prepare()

    found = server.get(f"/{prefix}*/_settings/index.gc_deletes").raise_for_status().json()
    kept = {index: parse_age(each["settings"]["index"]["gc_deletes"]) for index, each in found.items()}
    assert {index.removeprefix(prefix).rsplit("-", 2)[0] for index in kept} == {kind.value for kind in Kind}
    assert min(kept.values()) >= 2 * 1_000 * STALE


@pytest.mark.real
def test_ready_names_what_is_missing(store: ElasticsearchDocumentStore, server: httpx.Client, prefix: str) -> None:
    """A template or alias that somebody removed, or a template of another version, is named."""
    assert store.ready() is None

    server.delete(f"/_index_template/{prefix}logs").raise_for_status()
    assert store.ready() == f"index template {prefix}logs is missing; `runyard topics` makes it"

    old = {"index_patterns": [f"{prefix}logs-*"], "priority": 500, "_meta": {"version": 0}}
    server.put(f"/_index_template/{prefix}logs", json=old).raise_for_status()
    wanted = body_of(Kind.LOG)["_meta"]["version"]
    assert store.ready() == f"index template {prefix}logs has version 0, not {wanted}; `runyard topics` renews it"

    store.prepare()
    for index in indices(server, prefix, Kind.METRIC):
        server.delete(f"/{prefix}{index}").raise_for_status()
    assert store.ready() == f"alias {prefix}metrics is missing; `runyard topics` makes it"


@pytest.mark.real
def test_new_fields_reach_the_indices_that_are_there(
    store: ElasticsearchDocumentStore, server: httpx.Client, prefix: str
) -> None:
    """Preparing again brings fields of a newer version to existing indices."""
    # given a period's index from before a field was added
    old = body_of(Kind.METRIC)
    del old["mappings"]["properties"]["tags"]
    alias = {f"{prefix}metrics": {}, f"{prefix}metrics-2020.01": {}}
    body = {"mappings": old["mappings"], "settings": old["settings"], "aliases": alias}
    server.delete(f"/_index_template/{prefix}metrics").raise_for_status()
    server.put(f"/{prefix}metrics-2020.01-1", json=body).raise_for_status()
    e = new_id(1_577_900_000_000)
    assert verdicts(put(store, metric("m", e))) == [Verdict.REFUSED]

    # when
    store.prepare()

    # then
    assert verdicts(put(store, metric("m", e))) == [Verdict.STORED]


@pytest.mark.parametrize(
    ("period", "names"),
    [
        ("month", ["task-runs-2019.12-1", "task-runs-2020.01-1", "task-runs-other-1"]),
        ("year", ["task-runs-2019-1", "task-runs-2020-1", "task-runs-other-1"]),
    ],
)
@pytest.mark.real
def test_an_executions_documents_lie_in_the_index_of_its_time(
    elasticsearch_settings: MakeSettings,  # noqa: F811
    server: httpx.Client,
    prefix: str,
    period: str,
    names: list[str],
) -> None:
    """The index follows from the execution's id alone; ids made elsewhere share one index."""
    # given
    store = ElasticsearchDocumentStore(elasticsearch_settings(period=period))
    store.prepare()
    before = set(indices(server, prefix))
    december, january, elsewhere = new_id(1_577_836_799_999), new_id(1_577_836_800_000), "my-own-id"

    # when
    put(store, *(task_run(f"r{n}", e) for n, e in enumerate((december, january, elsewhere))))

    # then
    assert [name for name in indices(server, prefix) if name not in before] == names
    assert found(store) == ["r0", "r1", "r2"]
    for n, e in enumerate((december, january, elsewhere)):
        stored = store.get(Kind.TASK_RUN, f"r{n}", e)
        assert stored is not None
        assert stored.routing == e
    store.close()


@pytest.mark.real
def test_a_refresh_concerns_one_index_only(store: ElasticsearchDocumentStore) -> None:
    """Refreshing for an execution makes its documents visible, not those of another period."""
    # given
    now, earlier = execution_id(), new_id(1_767_225_600_000)
    put(store, task_run("x", now), task_run("y", earlier))
    store._connection.request(  # automatic refreshes off
        "PUT", f"/{store._names.all(Kind.TASK_RUN)}/_settings", {"index": {"refresh_interval": "-1"}}
    )
    store.write([task_run("a", now), task_run("b", earlier)])

    # when
    store.refresh(Kind.TASK_RUN, now)

    # then
    assert found(store) == ["a", "x", "y"]
    assert store.get(Kind.TASK_RUN, "b", earlier) is not None


@pytest.mark.real
def test_a_period_begins_once_however_many_writers_meet_it(
    elasticsearch_settings: MakeSettings,  # noqa: F811
    store: ElasticsearchDocumentStore,
    server: httpx.Client,
    prefix: str,
) -> None:
    """Writers that are the first of a new period at the same moment make one index."""
    # given
    stores = [ElasticsearchDocumentStore(elasticsearch_settings()) for _ in range(4)]
    e = new_id(1_600_000_000_000)
    outcomes: list[Outcome] = []
    threads = [
        threading.Thread(target=lambda s=s, n=n: outcomes.extend(s.write([task_run(f"r{n}", e)])))
        for n, s in enumerate(stores)
    ]

    # when
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    # then
    assert verdicts(outcomes) == [Verdict.STORED] * 4
    assert [name for name in indices(server, prefix) if "2020" in name] == ["task-runs-2020.09-1"]
    for each in stores:
        each.close()


@pytest.mark.real
def test_an_index_that_was_removed_is_made_anew(
    store: ElasticsearchDocumentStore, server: httpx.Client, prefix: str
) -> None:
    """A writer that knew an index which is gone asks to try again, and then makes it."""
    # given
    e = new_id(1_600_000_000_000)
    put(store, task_run("a", e))
    server.delete(f"/{prefix}task-runs-2020.09-1").raise_for_status()

    # when
    first, second = store.write([task_run("b", e)]), store.write([task_run("b", e)])

    # then
    assert verdicts(list(first)) == [Verdict.RETRY]
    assert verdicts(list(second)) == [Verdict.STORED]


def test_text_fields_are_split_as_the_catalogue_says() -> None:
    """Words mean the same in both stores: the templates have the analysis that the catalogue of fields names."""
    for kind, fields in CATALOGUE.items():
        if not any(field.type is FieldType.TEXT for field in fields.values()):
            continue
        assert body_of(kind)["settings"]["index"]["analysis"] == WORDS_ANALYSIS


# ------------------------------------------------------------------ writing


@pytest.mark.real
def test_an_index_that_cannot_be_made_refuses_no_document(
    store: ElasticsearchDocumentStore, server: httpx.Client, prefix: str
) -> None:
    """Where Elasticsearch refuses to make a period's index, its documents wait instead of being given up."""
    # given a template with more shards than the cluster takes
    template = server.get(f"/_index_template/{prefix}task-runs").json()["index_templates"][0]["index_template"]
    template["template"]["settings"]["index"]["number_of_shards"] = "1001"
    del template["created_date_millis"], template["modified_date_millis"]
    server.put(f"/_index_template/{prefix}task-runs", json=template).raise_for_status()
    e = new_id(1_600_000_000_000)

    # when
    outcomes = list(store.write([task_run("a", e), task_run("b", e)]))

    # then
    assert verdicts(outcomes) == [Verdict.RETRY] * 2
    assert "shards" in outcomes[0].reason


class Canned(BaseHTTPRequestHandler):
    """Answers every request with the status of the test."""

    status = 200

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        body = b'{"error":{"type":"some_exception","reason":"because"},"status":0}'
        self.send_response(self.status)
        self.send_header("content-type", "application/json")
        self.send_header("x-elastic-product", "Elasticsearch")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None: ...


@pytest.mark.parametrize(
    ("status", "verdict"),
    [
        (413, Verdict.TOO_LARGE),
        (429, Verdict.RETRY),
        (503, Verdict.RETRY),
        (500, Verdict.RETRY),
        (401, Verdict.RETRY),
        (403, Verdict.RETRY),
        (404, Verdict.RETRY),
        (400, Verdict.REFUSED),
    ],
)
def test_the_status_of_a_whole_bulk_is_a_verdict_on_each_document(
    monkeypatch: pytest.MonkeyPatch, status: int, verdict: Verdict
) -> None:
    """Overload, failure and wrong credentials are no fault of a document; its own malformation is."""
    # given
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (Canned,), {"status": status}))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    host = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.delenv(HOSTS, raising=False)  # it would win
    store = ElasticsearchDocumentStore(Settings(elasticsearch=ElasticsearchSettings(hosts=host)))
    store._indices.ensure = lambda kind, period: None  # type: ignore[method-assign]  # the index is there
    e = execution_id()

    # when
    outcomes = store.write([task_run("a", e), task_run("b", e)])

    # then
    assert verdicts(list(outcomes)) == [verdict, verdict]
    assert str(status) in outcomes[0].reason
    assert "because" in outcomes[0].reason
    store.close()
    server.shutdown()
    server.server_close()


def test_a_server_that_is_away_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a connection every document is to be tried again, and reading says that the store is away."""
    # given
    monkeypatch.delenv(HOSTS, raising=False)
    store = ElasticsearchDocumentStore(Settings(elasticsearch=ElasticsearchSettings(hosts="http://127.0.0.1:9")))
    e = execution_id()

    # when
    outcomes = store.write([task_run("a", e), task_run("b", e)])

    # then
    assert verdicts(list(outcomes)) == [Verdict.RETRY, Verdict.RETRY]
    with pytest.raises(StoreUnavailable):
        store.get(Kind.TASK_RUN, "a", e)
    with pytest.raises(ConnectionError):
        store.search(Query("main"), Page())
    assert "Elasticsearch" in (store.ready() or "")
    store.close()


# ------------------------------------------------------------------ reading


@pytest.mark.real
def test_a_misplaced_document_is_told_by_a_scan(
    store: ElasticsearchDocumentStore, server: httpx.Client, prefix: str
) -> None:
    """A scan says which documents have another routing, or lie in another index, than their execution's."""
    # given
    e, other = execution_id(), new_id(1_600_000_000_000)
    right = task_run("right", e)
    put(store, right, task_run("x", other))
    here, there = (store._names.of(Kind.TASK_RUN, i) for i in (e, other))
    document = {**right.document, "id": "routed"}  # type: ignore[dict-item]
    server.put(f"/{here}/_doc/routed", params={"routing": "elsewhere"}, json=document).raise_for_status()
    document = {**right.document, "id": "lost"}  # type: ignore[dict-item]
    server.put(f"/{there}/_doc/lost", params={"routing": e}, json=document).raise_for_status()

    # when
    located = {at.document.id: at.misplaced for at in store.scan_located(Kind.TASK_RUN)}

    # then
    assert located == {
        "right": None,
        "x": None,
        "routed": f"its routing is elsewhere, not {e}",
        "lost": f"it lies in {prefix}task-runs-2020.09-1, not in {here}",
    }


@pytest.fixture(scope="module")
def many(elasticsearch: str) -> Iterator[ElasticsearchDocumentStore]:
    """12,000 task runs: number n began n ms after START; 11,000 of them ended after n // 11 ms."""
    import uuid

    prefix = f"t{uuid.uuid4().hex[:12]}-"
    store = ElasticsearchDocumentStore(
        Settings(elasticsearch=ElasticsearchSettings(hosts=elasticsearch, prefix=prefix))
    )
    store.prepare()
    e = execution_id()
    runs = [
        task_run(f"r{n:05}", e, at=START + n, seconds=None if n >= 11_000 else (n // 11) / 1000) for n in range(12_000)
    ]
    for begin in range(0, len(runs), 3_000):
        assert set(store.write(runs[begin : begin + 3_000])) == {Outcome(Verdict.STORED)}
    store.refresh(Kind.TASK_RUN, e)
    yield store
    for kind in Kind:
        store._indices.discard(kind)
        store._connection.request("DELETE", f"/_index_template/{prefix}{kind.value}")
    store.close()


def expected(number: int, size: int, sort: str, *, ascending: bool) -> list[str]:
    """A page of `many`, computed."""
    ns = list(range(12_000))
    if sort == "state.startDate":
        ns.sort(reverse=not ascending)
    else:
        ns.sort(key=lambda n: (n >= 11_000, 0 if n >= 11_000 else (n // 11) * (1 if ascending else -1), n))
    return [f"r{n:05}" for n in ns[(number - 1) * size : number * size]]


@pytest.mark.real
@pytest.mark.parametrize("ascending", [True, False])
@pytest.mark.parametrize("sort", ["state.startDate", "state.duration"])
@pytest.mark.parametrize(
    ("number", "size"), [(100, 100), (101, 100), (110, 100), (115, 100), (120, 100), (121, 100), (3, 5_000)]
)
def test_a_page_beyond_the_window_is_found_by_counting(
    many: ElasticsearchDocumentStore, sort: str, ascending: bool, number: int, size: int
) -> None:
    """Deep pages in the order of a date or duration are what one long list, cut into pages, would have."""
    # when
    answer = many.search(Query("main"), Page(number, size, ((sort, ascending),)))

    # then
    assert answer.total == 12_000
    assert ids(answer.documents) == expected(number, size, sort, ascending=ascending)
    assert (answer.cursor is None) == (number * size >= 12_000)


@pytest.mark.real
def test_a_deep_page_goes_on_by_its_cursor(many: ElasticsearchDocumentStore) -> None:
    """The cursor of a page that was found by counting leads to the next one."""
    # given
    sort = (("state.duration", False),)
    page = many.search(Query("main"), Page(109, 100, sort))

    # when
    following = many.search(Query("main"), Page(1, 100, sort, page.cursor))

    # then
    assert ids(following.documents) == expected(110, 100, "state.duration", ascending=False)


@pytest.mark.real
def test_a_deep_page_among_equal_values_is_walked_to(elasticsearch: str, many: ElasticsearchDocumentStore) -> None:
    """Where more documents than the window have the very same value, ids lead on."""
    # given
    e = execution_id(1)
    for begin in range(0, 10_400, 2_600):
        many.write([task_run(f"s{n:05}", e, tenant="equal", seconds=5.0) for n in range(begin, begin + 2_600)])
    many.refresh(Kind.TASK_RUN, e)

    # when
    answer = many.search(Query("equal"), Page(104, 100, (("state.startDate", False),)))

    # then
    assert ids(answer.documents) == [f"s{n:05}" for n in range(10_300, 10_400)]
    assert (answer.total, answer.cursor) == (10_400, None)


@pytest.mark.real
def test_a_deep_page_in_another_order_names_the_cursor(many: ElasticsearchDocumentStore) -> None:
    """An order that can't be counted is refused beyond the window, with the way out."""
    with pytest.raises(QueryError, match="cursor"):
        many.search(Query("main"), Page(101, 100, (("taskId", True),)))
    with pytest.raises(QueryError, match="cursor"):
        many.search(Query("main"), Page(2, 10_001, (("state.startDate", True),)))


@pytest.mark.real
def test_a_search_for_executions_asks_their_indices_only(store: ElasticsearchDocumentStore) -> None:
    """Executions of several periods, and one of a period that has no index, are found together."""
    # given
    now, earlier, never = execution_id(), new_id(1_600_000_000_000), new_id(1_500_000_000_000)
    put(store, task_run("a", now), task_run("b", earlier), execution(now), log_line("l", earlier))

    # then
    assert found(store, execution_ids=(now, earlier, never)) == ["a", "b"]
    assert found(store, execution_ids=(never,)) == []
    assert found(store, Kind.EXECUTION, execution_ids=(now,)) == [now]
    assert found(store, Kind.LOG, execution_ids=(now, earlier)) == ["l"]


# ------------------------------------------------------------------ generations


@pytest.mark.real
def test_a_next_generation_takes_over_at_one_moment(
    store: ElasticsearchDocumentStore, server: httpx.Client, prefix: str
) -> None:
    """While it is built nobody sees it; then everybody does; then the old indices go."""
    # given
    e, earlier = execution_id(), new_id(1_600_000_000_000)
    put(store, task_run("old", e), task_run("older", earlier), log_line("l", e))

    # when
    following = store.next_generation()
    put(following, task_run("new", e, version=5))

    # then
    assert found(store) == ["old", "older"]
    assert found(following) == ["new"]

    # when
    unused = store.adopt(following)

    # then
    assert found(store) == ["new"]
    assert verdicts(put(store, task_run("new", e, version=5), task_run("newer", earlier))) == [
        Verdict.STALE,
        Verdict.STORED,
    ]
    assert found(store) == ["new", "newer"]
    assert found(store, Kind.LOG) == ["l"]

    # when
    store.discard(unused)

    # then
    assert {name.rsplit("-", 1)[1] for name in indices(server, prefix)} == {"2"}
    assert found(store) == ["new", "newer"]
    assert store.ready() is None


@pytest.mark.real
def test_what_an_interrupted_build_left_is_removed_by_the_next(
    store: ElasticsearchDocumentStore, server: httpx.Client, prefix: str
) -> None:
    """A generation that was begun and never adopted, or adopted and not cleaned up after, leaves nothing for long."""
    # given
    e = execution_id()
    put(store, task_run("a", e))
    put(store.next_generation(), task_run("half", e))
    second = store.next_generation()
    put(second, task_run("whole", e))
    store.adopt(second)

    # when
    third = store.next_generation()
    third.discard()

    # then
    assert found(store) == ["whole"]
    assert len(indices(server, prefix)) == len({name.rsplit("-", 1)[0] for name in indices(server, prefix)})
