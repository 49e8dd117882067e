"""Mutants: small bugs planted in a copy of the engine, each of which a test has to notice (`make mutants`).

Each one is a text of a file and what it becomes; a text that is no longer there ends the run, so that the list stays
true. The tests run in a copy of the tree; the exit status is 1 where more than one mutant in ten survives.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
UNIT: Final = (
    "tests/unit/executor/test_engine_operations.py",
    "tests/unit/executor/test_engine_flowables.py",
    "tests/unit/executor/test_engine_retries.py",
    "tests/unit/executor/test_engine_subflows.py",
    "tests/unit/executor/test_engine_fan_out.py",
    "tests/unit/executor/test_processor.py",
)
PROPERTY: Final = "tests/property/test_engine.py"


@dataclass(frozen=True, slots=True)
class Mutant:
    """One planted bug."""

    name: str
    file: str
    text: str
    becomes: str
    tests: tuple[str, ...] = (*UNIT, PROPERTY)


MUTANTS: Final = (
    Mutant(
        "a second result of an attempt is accepted",
        "executor/engine/attempts.py",
        "    if current(task_run) != attempt:",
        "    if False:",
    ),
    Mutant(
        "the result of a terminated task run is accepted",
        "executor/engine/attempts.py",
        '    if task_run.state.terminated:\n        return f"the task run is {task_run.state.current} already"',
        '    if False:\n        return ""',
    ),
    Mutant(
        "results of another dispatch are accepted",
        "executor/dispatcher.py",
        "lease.work == message.work and lease.session == message.session",
        "True",
    ),
    Mutant(
        "a retry's execution leaves what runs beside it open",
        "executor/engine/attempts.py",
        "    kills.close_all(draft, StateType.KILLED)",
        "    ",
    ),
    Mutant(
        "the counter of paused task runs only grows",
        "executor/engine/apply.py",
        "execution.paused_runs + (1 if new is StateType.PAUSED else -1)",
        "execution.paused_runs + (1 if new is StateType.PAUSED else 0)",
    ),
    Mutant(
        "a Dag does not wait for what it depends on",
        "executor/engine/flowables/dag.py",
        "ready = all(",
        "ready = any(",
    ),
    Mutant(
        "a loop begins one value more than its limit",
        "executor/engine/flowables/loop.py",
        "while not self.exhausted(level) and (limit <= 0 or level.scope.open < limit) and may_create(draft, level):\n"
        "            self._begin",
        "while not self.exhausted(level) and (limit <= 0 or level.scope.open <= limit) and may_create(draft, level):\n"
        "            self._begin",
    ),
    Mutant(
        "a kill forgets what waits",
        "executor/engine/kills.py",
        "    else:\n        draft.effect(Withdraw(task_run.id))\n        close(draft, task_run, StateType.KILLED)",
        "    elif by_force:\n        draft.effect(Withdraw(task_run.id))\n"
        "        close(draft, task_run, StateType.KILLED)",
    ),
    Mutant(
        "an ended execution keeps its slot",
        "executor/engine/ends.py",
        "    if execution.slot:\n        release_slot(draft)",
        "    if execution.slot and execution.state.current is StateType.SUCCESS:\n        release_slot(draft)",
    ),
    Mutant(
        "a gate grants one slot too many",
        "executor/gates.py",
        "if _holders(entries, command) < command.limit:",
        "if _holders(entries, command) <= command.limit:",
    ),
    Mutant(
        "a resume does not start what was held back",
        "executor/engine/pauses.py",
        "    draft.halted = False\n    wake(draft)",
        "    draft.halted = False",
    ),
    Mutant(
        "an execution ends before its error tasks",
        "executor/engine/progress.py",
        "    if scope.open > 0:\n        return\n    tasks = level.tasks()\n    stopped",
        "    tasks = level.tasks()\n    stopped",
    ),
    Mutant(
        "a restart keeps the error tasks of before",
        "executor/engine/restarts.py",
        "        if not in_tasks(run, runs):\n            supersede(draft, run)",
        "        if not in_tasks(run, runs):\n            pass",
    ),
    Mutant(
        "work whose worker is lost is not repeated",
        "executor/engine/attempts.py",
        "    assert again is not None\n    enqueue(draft, again, task)",
        "    assert again is not None",
    ),
    Mutant(
        "a take-over forgets the timers",
        "executor/processor.py",
        "        self._timers.load(taken)\n",
        "",
    ),
    Mutant(
        "an aborted batch leaves its leases in memory",
        "executor/processor.py",
        "            partition.dropped()\n            self._dispatcher.load(partition)",
        "            partition.dropped()",
    ),
    Mutant(
        "the state is changed without an event",
        "executor/engine/children.py",
        "    draft.created += 1\n",
        "    draft.created += 1\n    draft.state.put(f'x/{draft.execution_id}/z', draft.created)\n",
    ),
    Mutant(
        "ids are drawn anew for each decision",
        "executor/engine/draft.py",
        "        return derive_id(self.now, self.execution_id, (known.seq if known is not None else 0) + 1)",
        "        from shared.model.identifier import new_id\n\n        return new_id()",
    ),
    Mutant(
        "a parent remembers its children",
        "executor/engine/children.py",
        "parent_scope=cursor.opened(),",
        "parent_scope=replace(cursor.opened(), done=(*cursor.done, 1_000_000 + len(cursor.done)))"
        " if index is not None else cursor.opened(),",
        ("tests/unit/executor/test_engine_cost.py", "tests/unit/executor/test_engine_fan_out.py"),
    ),
)


def copied(directory: Path) -> Path:
    """The tree as it is now, without what tests do not need."""
    tree = directory / "tree"
    ignored = shutil.ignore_patterns(
        ".git", ".venv", "__pycache__", ".mypy_cache", ".ruff_cache", ".hypothesis", "data"
    )
    shutil.copytree(ROOT, tree, ignore=ignored)
    return tree


def passes(tree: Path, tests: tuple[str, ...]) -> tuple[bool, str]:
    """Whether the tests pass, and the last line that pytest printed."""
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *tests]
    environment = {**os.environ, "PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1", "RUNYARD_NO_SHRINKING": "1"}
    done = subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True, check=False, timeout=600)
    if done.returncode not in (0, 1):
        sys.exit(f"the tests could not run:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    failed = [line for line in done.stdout.splitlines() if line.startswith("FAILED")]
    return done.returncode == 0, failed[0].split(" - ")[0] if failed else ""


def main() -> int:
    """Plant each bug alone; print who found it."""
    survivors = []
    with tempfile.TemporaryDirectory() as directory:
        tree = copied(Path(directory))
        fine, failed = passes(tree, (*UNIT, PROPERTY))
        if not fine:
            print(f"the tests fail without any mutant: {failed}")
            return 1
        for mutant in MUTANTS:
            path = tree / mutant.file
            original = path.read_text()
            if original.count(mutant.text) != 1:
                print(f"{mutant.file} has not exactly one place of the mutant '{mutant.name}'")
                return 1
            path.write_text(original.replace(mutant.text, mutant.becomes))
            survived, found_by = passes(tree, mutant.tests)
            path.write_text(original)
            print(f"{'SURVIVED' if survived else 'found   '} {mutant.name} {found_by}", flush=True)
            if survived:
                survivors.append(mutant)
    print(f"{len(MUTANTS) - len(survivors)} of {len(MUTANTS)} mutants found")
    return int(len(survivors) * 10 > len(MUTANTS))


if __name__ == "__main__":
    sys.exit(main())
