"""Operators: a command is sent, its answer taken, and the executor killed at once; then the answer is held against what is there.

Each kind of command begins with an execution in the state that the command is for.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import httpx

NAMESPACE: Final = "company.answers"
PATIENCE: Final = 120.0
"""Seconds to wait for what an answer promises: a killed executor's partitions are taken over within ten."""
SLEEP: Final = "{id: t, type: io.kestra.plugin.core.flow.Sleep, duration: PT1H}"
FLOWS: Final = {
    "sleeps": f"tasks:\n  - {SLEEP}\n",
    "fails": "tasks:\n  - {id: t, type: io.kestra.plugin.core.execution.Fail}\n",
    "pauses": "tasks:\n  - {id: t, type: io.kestra.plugin.core.flow.Pause}\n",
}


@dataclass(frozen=True)
class Kind:
    """A command: of which flow's execution, in which state, how it is asked for, and what it promises."""

    name: str
    flow: str
    state: str
    method: str
    path: str
    promises: Callable[[dict[str, Any] | None], bool]
    json: Any = None


def _state(*states: str) -> Callable[[dict[str, Any] | None], bool]:
    return lambda execution: execution is not None and execution["state"]["current"] in states


def _restarted(execution: dict[str, Any] | None) -> bool:
    """Whether a restarted execution ended again: a further attempt is one that was lost with its worker."""
    if execution is None or execution["state"]["current"] != "FAILED":
        return False
    return any(entry["state"] == "RESTARTED" for entry in execution["state"]["histories"]) and all(
        len(run.get("attempts", ())) >= 2 for run in execution["taskRunList"]
    )


def _labelled(execution: dict[str, Any] | None) -> bool:
    return execution is not None and {"key": "who", "value": "me"} in execution["labels"]


KINDS: Final = (
    Kind("kill", "sleeps", "RUNNING", "DELETE", "kill", _state("KILLED")),
    Kind("pause", "sleeps", "RUNNING", "POST", "pause", _state("PAUSED")),
    Kind("resume", "pauses", "PAUSED", "POST", "resume", _state("SUCCESS")),
    Kind("restart", "fails", "FAILED", "POST", "restart", _restarted),
    Kind("replay", "fails", "FAILED", "POST", "replay", _state("FAILED")),
    Kind("change-status", "fails", "FAILED", "POST", "change-status?status=WARNING", _state("WARNING")),
    Kind("labels", "fails", "FAILED", "POST", "labels", _labelled, [{"key": "who", "value": "me"}]),
    Kind("delete", "fails", "FAILED", "DELETE", "", lambda execution: execution is None),
)


@dataclass(frozen=True)
class Answer:
    """What an operator was told."""

    kind: Kind
    asked: str  #: the execution that he asked about
    about: str  #: the execution that the answer is about: a replay's is the new one
    status: int
    refused: bool


def register(url: str) -> None:
    for name, source in FLOWS.items():
        text = f"id: {name}\nnamespace: {NAMESPACE}\n{source}"
        headers = {"Content-Type": "application/x-yaml"}
        httpx.post(f"{url}/api/v1/main/flows", content=text, headers=headers, timeout=60).raise_for_status()


def read(url: str, execution_id: str) -> dict[str, Any] | None:
    """The execution; None where there is none."""
    answer = httpx.get(f"{url}/api/v1/main/executions/{execution_id}", timeout=60)
    if answer.status_code == 404:
        return None
    found: dict[str, Any] = answer.raise_for_status().json()
    return found


def begin(url: str, kind: Kind) -> str:
    """An execution in the state that the command is for."""
    path = f"{url}/api/v1/main/executions/{NAMESPACE}/{kind.flow}"
    answer = httpx.post(path, files=[("", (None, b""))], timeout=60).raise_for_status()
    execution_id: str = answer.json()["id"]
    awaited(url, execution_id, _begun(kind.state))
    return execution_id


def _begun(state: str) -> Callable[[dict[str, Any] | None], bool]:
    def holds(execution: dict[str, Any] | None) -> bool:
        if execution is None or execution["state"]["current"] != state:
            return False
        runs = execution.get("taskRunList") or ()
        return state != "RUNNING" or any(run["state"]["current"] == "RUNNING" for run in runs)

    return holds


def awaited(url: str, execution_id: str, holds: Callable[[dict[str, Any] | None], bool]) -> None:
    until = time.monotonic() + PATIENCE
    while not holds(found := read(url, execution_id)):
        assert time.monotonic() < until, f"{execution_id} is {found and found['state']}"
        time.sleep(0.1)


def ask(url: str, kind: Kind, execution_id: str) -> Answer:
    """Send a command; what the operator was told."""
    path = f"{url}/api/v1/main/executions/{execution_id}/{kind.path}".rstrip("/")
    told = httpx.request(kind.method, path, json=kind.json, timeout=60)
    body = told.json() if told.content else {}
    assert told.status_code < 500, f"{kind.name}: {told.status_code} {body}"
    about = body.get("id") or body.get("executionId") or execution_id
    return Answer(kind, execution_id, about, told.status_code, refused=told.status_code >= 400)


def hold(url: str, answer: Answer) -> None:
    """The answer stays true: what it promised comes, and what was refused did not happen."""
    if answer.refused:
        awaited(url, answer.asked, _begun(answer.kind.state))
    else:
        awaited(url, answer.about, answer.kind.promises)


def clean_up(url: str, answer: Answer) -> None:
    """End what would run for ever, so that its slot is free."""
    httpx.delete(f"{url}/api/v1/main/executions/{answer.asked}/kill", timeout=60)
