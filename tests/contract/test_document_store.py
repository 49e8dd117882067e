"""The contract of `DocumentStore`: writing, getting, scanning, deleting."""

from typing import Any

import pytest

from indexer.bulk.retention import Rule
from shared.model.document import Kind
from shared.model.identifier import new_id
from shared.model.moment import iso
from shared.model.query import Page, Query
from shared.ports import DocumentStore, Verdict, Versioned
from tests.contract.documents import (
    START,
    TENANT,
    execution,
    execution_id,
    found,
    log_line,
    metric,
    put,
    task_run,
)

Store = DocumentStore


def verdicts(outcomes: Any) -> list[Verdict]:
    return [outcome.verdict for outcome in outcomes]


# ------------------------------------------------------------------ writing and getting


def test_prepared_store_is_ready(document_store: Store) -> None:
    """After `prepare`, also a second one, nothing is missing."""
    document_store.prepare()

    assert document_store.ready() is None


def test_get_returns_what_was_written_at_once(document_store: Store) -> None:
    """A document is read by id right after its write, whole, with its version."""
    run = task_run("a", execution_id(), version=7, outputs='{"rows":3}', labels={"team": "core"})

    outcomes = document_store.write([run])

    assert verdicts(outcomes) == [Verdict.STORED]
    assert document_store.get(Kind.TASK_RUN, "a", run.routing) == run


def test_unknown_id_is_none(document_store: Store) -> None:
    """What was never written is not there, nor is it under another kind."""
    run = task_run("a", execution_id())
    document_store.write([run])

    assert document_store.get(Kind.TASK_RUN, "b", run.routing) is None
    assert document_store.get(Kind.EXECUTION, "a", run.routing) is None


def test_same_or_older_version_is_stale(document_store: Store) -> None:
    """Writes may arrive in any order: the highest version stays, the others succeed as stale."""
    run = execution_id()
    document_store.write([task_run("a", run, version=5, state="SUCCESS")])

    outcomes = document_store.write([task_run("a", run, version=v, state="RUNNING") for v in (4, 5)])
    stored = document_store.get(Kind.TASK_RUN, "a", run)

    assert verdicts(outcomes) == [Verdict.STALE, Verdict.STALE]
    assert stored is not None
    assert (stored.version, stored.document["state"]["current"]) == (5, "SUCCESS")


def test_newer_version_replaces_the_whole_document(document_store: Store) -> None:
    """Nothing of the old version remains, in `get` or in searches."""
    run = execution_id()
    put(document_store, task_run("a", run, version=1, error="disk exploded", value="x"))
    put(document_store, task_run("a", run, version=2, error="net vanished"))

    stored = document_store.get(Kind.TASK_RUN, "a", run)

    assert stored is not None
    assert "value" not in stored.document
    assert found(document_store, q="error:exploded") == []
    assert found(document_store, q="error:vanished") == ["a"]


def test_one_write_with_several_versions_of_a_document(document_store: Store) -> None:
    """Each gets its verdict; the highest version stays."""
    run = execution_id()

    outcomes = put(document_store, *[task_run("a", run, version=v, value=str(v)) for v in (1, 3, 2)])

    assert verdicts(outcomes) == [Verdict.STORED, Verdict.STORED, Verdict.STALE]
    assert found(document_store, q="value:3") == ["a"]


def test_deletion_is_remembered_with_its_version(document_store: Store) -> None:
    """A deleted document is gone, and an older version that arrives late does not bring it back."""
    run = execution_id()
    put(document_store, task_run("a", run, version=3))

    deleted = put(document_store, Versioned(Kind.TASK_RUN, "a", 5, None, run))
    late = put(document_store, task_run("a", run, version=4))

    assert (verdicts(deleted), verdicts(late)) == ([Verdict.STORED], [Verdict.STALE])
    assert document_store.get(Kind.TASK_RUN, "a", run) is None
    assert found(document_store) == []


def test_deleted_document_can_come_back_newer(document_store: Store) -> None:
    """A version above the deletion's is stored."""
    run = execution_id()
    document_store.write([Versioned(Kind.TASK_RUN, "a", 5, None, run)])

    outcomes = put(document_store, task_run("a", run, version=6, error="again"))

    assert verdicts(outcomes) == [Verdict.STORED]
    assert found(document_store, q="again") == ["a"]


def test_writing_nothing(document_store: Store) -> None:
    """An empty write has no outcomes."""
    assert list(document_store.write([])) == []


def test_many_documents_in_one_write(document_store: Store) -> None:
    """Every document of a large write has its verdict and is found."""
    run = execution_id()

    outcomes = put(document_store, *[task_run(f"{n:04}", run) for n in range(700)])

    assert verdicts(outcomes) == [Verdict.STORED] * 700
    assert document_store.search(Query(TENANT), Page(size=1)).total == 700


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({"unheard": 1}, "unheard"),
        ({"state": {"current": "SUCCESS", "startDate": iso(START), "histories": [], "mood": "good"}}, "mood"),
    ],
    ids=["field", "field of an object"],
)
def test_field_that_the_mapping_lacks_is_refused(document_store: Store, fields: dict[str, Any], name: str) -> None:
    """An unknown field is told with its name, and the documents around it are stored."""
    run = execution_id()
    odd = Versioned(Kind.TASK_RUN, "b", 1, {**task_run("b", run).document, **fields}, run)  # type: ignore[dict-item]

    outcomes = put(document_store, task_run("a", run), odd, task_run("c", run))

    assert verdicts(outcomes) == [Verdict.STORED, Verdict.REFUSED, Verdict.STORED]
    assert name in outcomes[1].reason
    assert found(document_store) == ["a", "c"]


def test_one_malformed_document_does_not_refuse_the_others(document_store: Store) -> None:
    """A version below 0, which would make Elasticsearch refuse a whole bulk, is refused alone."""
    run = execution_id()
    documents = [task_run(f"r{n}", run) for n in range(5)]
    documents[3] = Versioned(Kind.TASK_RUN, "r3", -1, documents[3].document, run)

    outcomes = put(document_store, *documents)

    assert verdicts(outcomes) == [Verdict.STORED] * 3 + [Verdict.REFUSED] + [Verdict.STORED]
    assert "version" in outcomes[3].reason


def test_large_texts_and_odd_ids_are_stored(document_store: Store) -> None:
    """Long values, long words, line breaks and any characters in ids and labels never lose a document."""
    run = "an id/with spaces?and#marks"
    long = "x" * 100_000
    labels = {"system.correlationId": run, "key with * and .dots.": "é\n", "long": "y" * 40_000}
    document = task_run("a/b c", run, value=long, outputs=f'{{"a": "{long}"}}\n', error="line\nline", labels=labels)

    outcomes = put(document_store, document)

    assert verdicts(outcomes) == [Verdict.STORED]
    stored = document_store.get(Kind.TASK_RUN, "a/b c", run)
    assert stored is not None
    assert stored.document == document.document
    assert found(document_store, execution_ids=(run,), labels=(("key with * and .dots.", "é\n"),)) == ["a/b c"]
    assert found(document_store, q="error:line") == ["a/b c"]


# ------------------------------------------------------------------ scan and deletion


def test_scan_gives_every_document_with_its_version(document_store: Store) -> None:
    """All tenants, superseded ones too; deleted ones not; other kinds not."""
    run = execution_id()
    kept = [
        task_run("a", run, version=3),
        task_run("b", run, tenant="other"),
        task_run("c", run, superseded=True),
    ]
    put(document_store, *kept, task_run("d", run), execution(run))
    put(document_store, Versioned(Kind.TASK_RUN, "d", 2, None, run))

    scanned = sorted(document_store.scan(Kind.TASK_RUN), key=lambda v: v.id)

    assert scanned == kept


def test_deletion_of_an_executions_lines_and_metrics(document_store: Store) -> None:
    """Its log lines and metrics go, of its tenant only, and nothing else."""
    first, second = execution_id(0), execution_id(1)
    put(
        document_store,
        log_line("l1", first, message="unmistakable"),
        log_line("l2", first),
        metric("m", first),
        log_line("l3", second),
        task_run("a", first),
    )

    foreign = document_store.delete_by_executions("other", [first])
    own = document_store.delete_by_executions(TENANT, [first])

    assert (foreign, own) == (0, 3)
    assert found(document_store, Kind.LOG) == ["l3"]
    assert found(document_store, Kind.LOG, q="unmistakable") == []
    assert found(document_store, Kind.METRIC) == []
    assert found(document_store) == ["a"]


def test_lines_of_many_executions_go_at_once(document_store: Store) -> None:
    """More than an address has room for; those of others stay."""
    ids = [execution_id(number) for number in range(120)]
    put(document_store, *(log_line(f"l{number}", each) for number, each in enumerate(ids)))

    gone = document_store.delete_by_executions(TENANT, ids[1:])

    assert gone == 119
    assert found(document_store, Kind.LOG) == ["l0"]
    assert document_store.delete_by_executions(TENANT, []) == 0


def test_what_has_ended_by_a_moment(document_store: Store) -> None:
    """The end is what counts, the bound included; what runs has none."""
    runs = [execution_id(number) for number in range(4)]
    put(
        document_store,
        execution(runs[0], at=START, duration=10),
        execution(runs[1], at=START, duration=20),
        execution(runs[2], at=START, duration=21),
        execution(runs[3], at=START, state="RUNNING"),
    )

    assert found(document_store, Kind.EXECUTION, ended_to=START + 20) == sorted(runs[:2])


def test_namespaces_with_a_retention_of_their_own_are_left_out(document_store: Store) -> None:
    """The query of a rule leaves the namespaces of nearer rules out, with those below them and no others."""
    names = ["company", "company.team-a", "company.team-a.x", "company.team-ab", "company.b"]
    runs = [execution_id(number) for number in range(len(names))]
    for run, namespace in zip(runs, names, strict=True):
        put(document_store, execution(run, at=START, duration=1, namespace=namespace))
    rule = Rule("company", 1_000, ("company.b", "company.team-a"))

    query = rule.query(TENANT, START + 2_000)

    documents = document_store.search(query, Page(1, 10)).documents
    assert sorted(str(document["namespace"]) for document in documents) == ["company", "company.team-ab"]


def test_ids_of_executions_made_elsewhere(document_store: Store) -> None:
    """An execution id that tells no time is stored and found as well."""
    put(document_store, task_run("a", "my-execution"), task_run("b", new_id(START)))

    stored = document_store.get(Kind.TASK_RUN, "a", "my-execution")

    assert stored is not None
    assert found(document_store, execution_ids=("my-execution",)) == ["a"]
