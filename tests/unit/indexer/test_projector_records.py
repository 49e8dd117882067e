"""What a record means: documents are cut out of it unread, and every field of theirs is in a mapping."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from indexer.projection import log_document, metric_document, project
from shared.adapters.elasticsearch.indices import body_of
from shared.messages import EventRecord, LogLine, Metric, decode
from shared.model.document import Kind, execution_document, task_run_document
from shared.model.encoded import EncodedDocument
from shared.model.execution import Execution, Trigger
from shared.model.state import State, StateType
from shared.model.task_run import Attempt, TaskRun
from shared.ports import Inbound, Topic, Versioned

MARKS = st.sampled_from(['"', ',"command_id":', ',"document":{', '{"a":1}', "\n", "\\", "é", "x"])
TEXT = st.lists(MARKS).map("".join) | st.text()
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)


@given(
    document=st.dictionaries(TEXT | st.sampled_from(["command_id", "document"]), VALUES, max_size=4),
    name=TEXT,
    reason=st.none() | TEXT,
    command=st.none() | TEXT,
)
def test_a_document_that_is_cut_out_is_the_one_that_was_written(
    document: dict[str, Any], name: str, reason: str | None, command: str | None
) -> None:
    """Whatever stands in a record, cutting its document out gives what parsing it gives."""
    # given
    record = EventRecord("TaskRunStarted", "e", 3, 0, Kind.TASK_RUN, name, document, command, reason)

    # when
    found = project(Inbound(Topic.EXECUTION_EVENTS, 0, 0, name, record.to_bytes(), 0))

    # then
    assert isinstance(found, Versioned)
    assert isinstance(found.document, EncodedDocument)
    assert found.document.raw == orjson.dumps(document)
    assert found == Versioned(Kind.TASK_RUN, name, 3, document, "e")


def test_a_record_of_another_layout_is_parsed() -> None:
    """Fields in another order, or spaces between them, mean the same."""
    # given
    record = EventRecord("TaskRunStarted", "e", 3, 0, Kind.TASK_RUN, "r", {"a": "x\ny"})
    data = orjson.loads(record.to_bytes())
    other = orjson.dumps(dict(reversed(data.items())), option=orjson.OPT_INDENT_2)

    # when
    found = project(Inbound(Topic.EXECUTION_EVENTS, 0, 0, "r", other, 0))

    # then
    assert found == Versioned(Kind.TASK_RUN, "r", 3, {"a": "x\ny"}, "e")
    assert decode(other) == decode(record.to_bytes())


def full_documents() -> Iterator[tuple[Kind, dict[str, Any]]]:
    """Documents with every field that they can have."""
    ended = State(((StateType.CREATED, 0), (StateType.RUNNING, 1), (StateType.FAILED, 2)))
    execution = Execution(
        "e",
        "main",
        "company.team",
        "flow",
        1,
        ended,
        "e",
        labels=(("system.correlationId", "e"),),
        parent_id="p",
        trigger=Trigger("t", "type", {"executionId": "x"}),
        schedule_at=5,
        error="broken",
    )
    run = TaskRun(
        "r",
        "e",
        "task",
        ended,
        "p",
        "value",
        1,
        attempts=(Attempt(ended, "session", "broken"),),
        error="broken",
        superseded=True,
        seq=3,
    )
    yield Kind.TASK_RUN, task_run_document(execution, run, "type", {"a": 1})
    yield Kind.EXECUTION, execution_document(execution, {"a": 1}, {"b": 2})
    yield Kind.LOG, log_document(LogLine("l", "main", "n", "f", "e", "INFO", "text", 0, "t", "r", 0, "thread", 1))
    yield Kind.METRIC, metric_document(Metric("m", "main", "n", "f", "e", "t", "r", "n", "timer", 1.0, 0, {"k": "v"}))


def unmapped(document: Mapping[str, Any], properties: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Fields of a document that a strict mapping would refuse."""
    missing = []
    for name, value in document.items():
        field = properties.get(name)
        if field is None:
            missing.append(prefix + name)
        elif isinstance(value, Mapping) and "properties" in field:
            missing += unmapped(value, field["properties"], f"{prefix}{name}.")
    return missing


@pytest.mark.parametrize(("kind", "document"), list(full_documents()), ids=lambda value: str(value)[:10])
def test_every_field_of_a_document_is_in_its_mapping(kind: Kind, document: dict[str, Any]) -> None:
    """A field that the mapping lacks would send every document that has it to the dead letters."""
    mappings = body_of(kind)["mappings"]
    assert mappings["dynamic"] == "strict"
    assert unmapped(document, mappings["properties"]) == []
    assert unmapped(document | {"unheard": 1}, mappings["properties"]) == ["unheard"]
