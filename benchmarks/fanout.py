"""Fan-out: the executor's time for each task run of a ForEach, by the number of its values.

It runs the executor alone on a SQLite journal, with a worker that answers at once, and counts CPU time: what the
executor, the journal and that worker need together. Exit status 1 where 10,000 values cost more than 1.5 times what
100 do, for each task run. `python -m benchmarks.fanout [VALUES ...]`
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from typing import Final

from tests.executor_stand import FakeWorker, Stand

FLOW: Final = """
id: fan_out
namespace: benchmark
inputs:
  - {id: n, type: INT}
tasks:
  - id: choice
    type: io.kestra.plugin.core.flow.If
    condition: "{{ true }}"
    then:
      - id: each
        type: io.kestra.plugin.core.flow.ForEach
        concurrencyLimit: 0
        values: "{{ range(1, inputs.n) }}"
        tasks:
          - {id: a, type: io.kestra.plugin.core.debug.Return, format: "{{ taskrun.value }}"}
          - {id: b, type: io.kestra.plugin.core.debug.Return, format: "{{ outputs.a[taskrun.value] }}"}
"""
ALLOWED: Final = 1.5
"""Times the cost at 100 values: what the acceptance allows, for caches that no longer fit."""
TASK_RUNS: Final = 2_000
"""Small fan-outs are repeated until so many task runs were measured."""


def cost(values: int) -> float:
    """CPU milliseconds for each task run."""
    repeats = max(1, TASK_RUNS // (2 * values))
    with tempfile.TemporaryDirectory() as directory:
        stand = Stand(Path(directory))
        stand.add(FLOW)
        worker = FakeWorker(stand, "w", slots=100)
        begun = time.process_time()
        for _ in range(repeats):
            execution_id = stand.create("fan_out", inputs={"n": values})
            stand.settle(worker, most=1_000_000)
            if stand.state(execution_id) != "SUCCESS":
                sys.exit(f"the execution over {values} values ended {stand.state(execution_id)}")
        spent = time.process_time() - begun
        stand.close()
    return spent * 1000 / (repeats * (2 * values + 2))


def main() -> int:
    """Measure each size once, after a first round that warms up."""
    sizes = [int(argument) for argument in sys.argv[1:]] or [100, 1_000, 10_000]
    cost(100)
    found = {size: cost(size) for size in sizes}
    for size, each in found.items():
        print(f"{size:>7} values: {each:.3f} ms CPU for each task run")
    ratio = found[sizes[-1]] / found[sizes[0]]
    print(f"ratio {ratio:.2f}, {ALLOWED} allowed")
    return int(ratio > ALLOWED)


if __name__ == "__main__":
    sys.exit(main())
