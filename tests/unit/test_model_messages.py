"""Messages as they lie on the log: golden files, older versions, fields that are not known yet."""

import json
from dataclasses import fields
from pathlib import Path

import pytest

from shared import bulk_actions
from shared import messages as m
from shared.model.execution import Execution
from shared.model.scope import Phase, Scope
from shared.model.state import State, StateType
from shared.model.task_run import Attempt, TaskRun

GOLDEN = Path(__file__).parent / "golden" / "messages.json"
"""One message of each type as version 1 wrote it. It is added to, never changed: logs hold such records."""


def golden() -> dict[str, dict[str, object]]:
    return json.loads(GOLDEN.read_text())


def test_every_type_has_a_golden_message() -> None:
    """No type of message is without one that was written down."""
    assert bulk_actions.BulkActionRequested.__name__ in m.TYPES  # its module is loaded: the types of all are known
    assert set(golden()) == set(m.TYPES)


@pytest.mark.parametrize("name", sorted(golden()))
def test_golden_messages_are_read_and_written_as_they_are(name: str) -> None:
    """A message that was once written is read, and written again gives the same fields with the same values."""
    data = golden()[name]

    message = m.decode(json.dumps(data).encode())

    assert type(message).__name__ == name
    again = json.loads(message.to_bytes())
    assert {key: again[key] for key in data} == data


@pytest.mark.parametrize("name", sorted(golden()))
def test_readers_ignore_what_they_do_not_know(name: str) -> None:
    """A field of a later version is passed over, and the version before is read."""
    data = golden()[name] | {"v": m.VERSION - 1, "from_the_future": {"x": 1}}

    assert type(m.decode(json.dumps(data).encode())).__name__ == name


@pytest.mark.parametrize("name", sorted(golden()))
def test_a_message_without_a_required_field_is_unknown(name: str) -> None:
    """A message that lacks a required field raises UnknownMessage, which its reader dead-letters."""
    for field in sorted(m.required(m.TYPES[name])):
        data = {key: value for key, value in golden()[name].items() if key != field}
        with pytest.raises(m.UnknownMessage, match=field):
            m.decode(json.dumps(data).encode())


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (b"", "not JSON"),
        (b"[]", "not a JSON object"),
        (b"{}", "version None"),
        (b'{"v":99,"type":"KillExecution"}', "version 99"),
        (b'{"v":1,"type":"Nonsense"}', "type 'Nonsense' is not known"),
        (b'{"v":1}', "type None is not known"),
    ],
)
def test_what_is_no_message_says_why(value: bytes, reason: str) -> None:
    """Bytes that are no message are refused with what is wrong with them."""
    with pytest.raises(m.UnknownMessage, match=reason):
        m.decode(value)


def test_an_entry_that_differs_in_every_field_survives() -> None:
    """Stored executions and task runs come back with every field, also those that are rarely set."""
    state = State(((StateType.CREATED, 1), (StateType.RUNNING, 2), (StateType.FAILED, 3)))
    scope = Scope("then", Phase.ERRORS, 1, 2, 3, 4, 5, True, {"FAILED": 1}, {"SUCCESS": 2}, (1, 2))
    run = TaskRun(
        id="id",
        execution_id="x",
        task_id="t",
        state=state,
        parent_id="p",
        value="v",
        iteration=1,
        index=2,
        position=3,
        phase=Phase.FINALLY,
        values=("v",),
        attempts=(Attempt(state, "w", "e"),),
        resubmissions=1,
        retries_since=1,
        scope=scope,
        has_outputs=True,
        error="e",
        superseded=True,
        created=4,
        seq=9,
    )
    execution = Execution(
        "x",
        "main",
        "n",
        "f",
        2,
        state,
        "o",
        (("k", "v"),),
        "p",
        scope=scope,
        has_inputs=True,
        slot=True,
        paused_runs=1,
        retrying_runs=2,
        task_runs=3,
        superseded=1,
        seq=9,
        error="e",
        schedule_at=5,
        attempt_number=2,
    )

    assert TaskRun.from_data(json.loads(json.dumps(run.to_data()))) == run
    assert Execution.from_data(json.loads(json.dumps(execution.to_data()))) == execution
    assert [f.name for f in fields(TaskRun) if getattr(run, f.name) == f.default] == []
