"""What a task run costs does not grow with its execution: bytes on the log and in the state, counted."""

from dataclasses import dataclass
from pathlib import Path

from shared.ports import Outbound, Step
from tests.executor_stand import FakeWorker, Stand

LARGEST = 64 * 1024
"""No message of a fan-out may be larger."""
FLOW = """
id: fan_out
namespace: test.cost
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


@dataclass
class Cost:
    """Bytes of all records and state values of an execution, and of the largest one."""

    total: int = 0
    largest: int = 0

    def count(self, key: str, value: bytes | None) -> None:
        size = len(key.encode()) + len(value or b"")
        self.total += size
        self.largest = max(self.largest, size)


def cost(directory: Path, values: int) -> Cost:
    """Run the flow over so many values, with a worker that answers at once; what each task run cost."""
    directory.mkdir()
    stand = Stand(directory)
    found = Cost()
    commit, publish = stand.journal.commit, stand.log.publish

    def counted_commit(step: Step) -> None:
        for record in step.outputs:
            found.count(record.key, record.value)
        for writes in step.writes.values():
            for key, value in writes.items():
                found.count(key, value)
        commit(step)

    def counted_publish(records: list[Outbound]) -> None:
        for record in records:
            found.count(record.key, record.value)
        publish(records)

    stand.journal.commit = counted_commit  # type: ignore[method-assign, assignment]
    stand.add(FLOW)
    worker = FakeWorker(stand, "w", slots=100)
    stand.log.publish = counted_publish  # type: ignore[method-assign, assignment]
    execution_id = stand.create("fan_out", inputs={"n": values})
    stand.settle(worker, most=100_000)

    execution = stand.execution(execution_id)
    assert execution is not None
    assert execution.state.current.value == "SUCCESS"
    assert execution.task_runs == 2 + 2 * values
    stand.close()
    return found


def test_a_task_run_costs_the_same_in_a_large_execution(tmp_path: Path) -> None:
    """Bytes for each task run of 10,000 values are at most 1.2 times those of 100; no message exceeds 64 KiB."""
    small, large = cost(tmp_path / "small", 100), cost(tmp_path / "large", 10_000)

    assert large.total / 20_002 <= 1.2 * small.total / 202
    assert large.largest < LARGEST
