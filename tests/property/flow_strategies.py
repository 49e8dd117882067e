"""Random flows: every flowable, nested, with failures, retries, error branches, pauses, loops and subflows.

A task's id says what a worker makes of it: `ok3` succeeds, `fail4` fails, `warn5` warns, `flaky6` fails twice, `exit7`
ends the execution, `vary8` changes its variables.
"""

from __future__ import annotations

import json
from typing import Any, Final

from hypothesis import strategies as st

FLOW: Final = "io.kestra.plugin.core.flow."
LOG: Final = "io.kestra.plugin.core.log.Log"
NAMESPACE: Final = "test.random"
DEPTH: Final = 4
"""Levels of flowables at most."""

SEQUENCES: Final = ("Sequential", "Parallel", "AllowFailure", "Dag", "LoopUntil", "WaitFor")
BRANCHES: Final = ("If", "Switch")
LOOPS: Final = ("ForEach", "EachSequential", "EachParallel")
FLOWABLES: Final = (*SEQUENCES, *BRANCHES, *LOOPS, "Pause", "Subflow")

RETRIES: Final[tuple[dict[str, Any] | None, ...]] = (
    None,
    {"type": "constant", "interval": "PT1S", "maxAttempt": 2},
    {"type": "constant", "interval": "PT1S", "maxAttempt": 4, "warningOnRetry": True},
    {"type": "exponential", "interval": "PT1S", "maxInterval": "PT3S", "maxAttempt": 3},
    {"type": "random", "minInterval": "PT1S", "maxInterval": "PT2S", "maxAttempt": 2},
    {"type": "constant", "interval": "PT1S", "maxAttempt": 2, "behavior": "CREATE_NEW_EXECUTION"},
)


def _rarely(draw: st.DrawFn, often: int = 8) -> bool:
    return draw(st.integers(1, often)) == often


class _Names:
    """Ids that occur once in a flow."""

    def __init__(self) -> None:
        self.count = 0

    def next(self, kind: str) -> str:
        self.count += 1
        return f"{kind}{self.count}"


def _leaf(draw: st.DrawFn, names: _Names) -> dict[str, Any]:
    kind = draw(st.sampled_from(("ok", "ok", "ok", "ok", "fail", "flaky", "warn")))
    if _rarely(draw, 16):
        kind = draw(st.sampled_from(("exit", "vary")))
    return {"id": names.next(kind), "type": LOG, "message": "m"}


def _task(draw: st.DrawFn, names: _Names, depth: int, *, subflows: bool) -> dict[str, Any]:
    flowable = depth > 0 and draw(st.integers(0, 9)) < 6
    if not flowable:
        task = _leaf(draw, names)
    else:
        kinds = FLOWABLES if subflows else FLOWABLES[:-1]
        task = _flowable(draw, names, draw(st.sampled_from(kinds)), depth, subflows=subflows)
    if _rarely(draw):
        task["retry"] = draw(st.sampled_from(RETRIES[1:]))
    if _rarely(draw, 12):
        task["runIf"] = draw(st.sampled_from(("{{ true }}", "{{ false }}", "{{ nothing.there }}")))
    if _rarely(draw, 12):
        task["disabled"] = True
    if _rarely(draw, 10):
        task["allowFailure"] = True
    if _rarely(draw, 12):
        task["allowWarning"] = True
    return task


def _tasks(draw: st.DrawFn, names: _Names, depth: int, *, subflows: bool, most: int = 3) -> list[dict[str, Any]]:
    number = draw(st.integers(1, most))
    return [_task(draw, names, depth - 1, subflows=subflows) for _ in range(number)]


def _flowable(draw: st.DrawFn, names: _Names, kind: str, depth: int, *, subflows: bool) -> dict[str, Any]:
    task: dict[str, Any] = {"id": names.next(kind.lower()), "type": f"{FLOW}{kind}"}
    if kind == "Subflow":
        task |= {"namespace": NAMESPACE, "flowId": draw(st.sampled_from(("child", "child", "missing")))}
        task["wait"] = not _rarely(draw, 4)
        task["transmitFailed"] = not _rarely(draw, 4)
        return task
    if kind == "Dag":
        children = _tasks(draw, names, depth, subflows=subflows, most=4)
        entries = []
        for number, child in enumerate(children):
            before = draw(st.lists(st.sampled_from(range(number)), unique=True, max_size=2)) if number else []
            entries.append({"task": child, **({"dependsOn": [children[n]["id"] for n in before]} if before else {})})
        task["tasks"] = draw(st.permutations(entries))
    elif kind == "If":
        task["condition"] = draw(st.sampled_from(("{{ true }}", "{{ false }}", "{{ nothing.there }}")))
        task["then"] = _tasks(draw, names, depth, subflows=subflows)
        if draw(st.booleans()):
            task["else"] = _tasks(draw, names, depth, subflows=subflows)
    elif kind == "Switch":
        task["value"] = draw(st.sampled_from(("a", "b", "c")))
        task["cases"] = {"a": _tasks(draw, names, depth, subflows=subflows)}
        if draw(st.booleans()):
            task["defaults"] = _tasks(draw, names, depth, subflows=subflows)
    else:
        task["tasks"] = _tasks(draw, names, depth, subflows=subflows)
    if kind in LOOPS:
        values = draw(st.lists(st.integers(0, 4), max_size=4))
        task["values" if kind == "ForEach" else "value"] = json.dumps(values)
    if kind == "ForEach":
        task["concurrencyLimit"] = draw(st.sampled_from((0, 1, 2)))
    if kind in ("Parallel", "EachParallel", "Dag") and draw(st.booleans()):
        task["concurrent"] = draw(st.integers(1, 2))
    if kind in ("LoopUntil", "WaitFor"):
        rounds = draw(st.integers(1, 3))
        count = f"outputs.{task['id']}.iterationCount"  # within a loop it is found by the value only: an error
        task["condition"] = draw(st.sampled_from((f"{{{{ {count} >= {rounds} }}}}", "{{ true }}", "{{ false }}")))
        task["checkFrequency"] = {"interval": "PT1S", "maxIterations": 3}
        if kind == "LoopUntil":
            task["failOnMaxReached"] = draw(st.booleans())
    if kind == "Pause":
        if draw(st.booleans()):
            task["delay"] = "PT2S"
            task["behavior"] = draw(st.sampled_from(("RESUME", "RESUME", "WARN", "FAIL", "CANCEL")))
        if _rarely(draw, 3):
            task["timeout"] = "PT3S"
        if _rarely(draw, 3):
            task["onPause"] = _leaf(draw, names)
    if _rarely(draw, 5) and kind != "Switch":
        task["errors"] = _tasks(draw, names, min(depth, 2), subflows=subflows, most=2)
    if _rarely(draw, 6) and kind in ("Sequential", "Parallel", "ForEach", "Dag", "If"):
        task["finally"] = _tasks(draw, names, min(depth, 2), subflows=subflows, most=2)
    return task


@st.composite
def flows(draw: st.DrawFn, flow_id: str = "main", depth: int = DEPTH, *, subflows: bool = True) -> dict[str, Any]:
    """A flow as a mapping; `source` makes it the YAML that a user would write."""
    names = _Names()
    flow: dict[str, Any] = {
        "id": flow_id,
        "namespace": NAMESPACE,
        "tasks": _tasks(draw, names, depth, subflows=subflows),
    }
    if _rarely(draw, 4):
        flow["errors"] = _tasks(draw, names, 2, subflows=subflows, most=2)
    if _rarely(draw, 4):
        flow["finally"] = _tasks(draw, names, 2, subflows=subflows, most=2)
    if _rarely(draw, 5):
        flow["afterExecution"] = _tasks(draw, names, 2, subflows=False, most=2)
    if _rarely(draw, 5):
        flow["retry"] = draw(st.sampled_from(RETRIES[1:]))
    if _rarely(draw, 4):
        behavior = draw(st.sampled_from(("QUEUE", "QUEUE", "CANCEL", "FAIL")))
        flow["concurrency"] = {"limit": draw(st.integers(1, 2)), "behavior": behavior}
    if _rarely(draw, 6):
        condition = {"type": "io.kestra.plugin.core.condition.ExecutionStatusCondition", "in": ["FAILED", "SUCCESS"]}
        flow["listeners"] = [{"conditions": [condition], "tasks": _tasks(draw, names, 1, subflows=False, most=2)}]
    return flow


def source(flow: dict[str, Any]) -> str:
    """The flow's YAML: JSON is YAML, too."""
    return json.dumps(flow)


def depths(flow: dict[str, Any]) -> dict[str, int]:
    """How deep each type of flowable is nested, from 1."""
    found: dict[str, int] = {}

    def visit(value: Any, depth: int) -> None:
        if isinstance(value, list):
            for item in value:
                visit(item, depth)
        elif isinstance(value, dict):
            kind = str(value.get("type", ""))
            if kind.startswith(FLOW):
                depth += 1
                name = kind.removeprefix(FLOW)
                found[name] = max(found.get(name, 0), depth)
            for item in value.values():
                visit(item, depth)

    visit(flow, 0)
    return found
