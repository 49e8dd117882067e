"""Render rates of expressions, cached and cold, beside plain Jinja2 in the same run.

    python benchmarks/expressions.py [--seconds 1.0]

Plain Jinja2 renders the same template in its own syntax, sandboxed and with strict variables as well, but without
Pebble's semantics, limits and positions. "cold" parses and compiles each time. Rates are renderings per second of
CPU time of one process: the best of five rounds, since a shared machine only ever slows a round down.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import jinja2.sandbox

from shared.expressions import Renderer, facts, reach, renderer
from shared.expressions.compiler import compiled

ROUNDS = 5
CONTEXT: dict[str, Any] = {
    "flow": {"id": "orders", "namespace": "company.team"},
    "execution": {"id": "7aXbQnR3L0z5u8Yk1mT2vW", "startDate": "2024-02-29T12:34:56Z"},
    "taskrun": {"id": "r1", "value": "blue"},
    "inputs": {"name": "Ada", "count": 7, "tags": ["a", "b"]},
    "outputs": {"extract": {"uri": "s3://bucket/file", "rows": [{"id": n} for n in range(50)]}},
}
SIMPLE = "{{ outputs.extract.uri }}"
TWENTY = (
    "Flow {{ flow.namespace }}.{{ flow.id }}, execution {{ execution.id }}: {{ inputs.name | upper }} has"
    " {{ inputs.count + 1 }} of {{ inputs.tags | length }}, first {{ inputs.tags[0] }}, at {{ execution.startDate }}."
    " {% if inputs.count > 5 %}{{ inputs.name }}{% else %}nobody{% endif %}"
    "{% for tag in inputs.tags %}{{ tag }}{{ loop.index }}{% endfor %}"
    " {{ taskrun.value }} {{ taskrun.id }} {{ outputs.extract.uri }} {{ outputs.extract.rows[3].id }}"
    " {{ 'x' ~ inputs.name ~ taskrun.value }} {{ inputs.name | lower }} {{ inputs.count * 2 }}"
    " {{ inputs.tags | join(',') }} {{ flow.id | replace(REPLACED) }} {{ inputs.name | capitalize }}"
)
DATA = "{{ outputs }}"


def cpu_rate(work: Callable[[], object], seconds: float) -> float:
    """Give how often a second of CPU time does the work."""
    work()
    best = 0.0
    for _ in range(ROUNDS):
        count = 0
        began = time.process_time()
        while (passed := time.process_time() - began) < seconds / ROUNDS:
            for _ in range(20):
                work()
            count += 20
        best = max(best, count / passed)
    return best


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=1.0, help="CPU seconds for each measurement")
    seconds = parser.parse_args().seconds
    ours = Renderer()
    theirs = jinja2.sandbox.SandboxedEnvironment(undefined=jinja2.StrictUndefined)
    print(f"{'template':<28}{'Runyard':>12}{'Jinja2':>12}{'ratio':>8}   renderings per CPU second")
    for name, template in (("one expression", SIMPLE), ("20 expressions", TWENTY), ("50 maps as JSON", DATA)):
        pebble = template.replace("REPLACED", "{'o': '0'}")
        plain = template.replace("REPLACED", "'o', '0'").replace("{{ outputs }}", "{{ outputs | tojson }}")
        prepared = theirs.from_string(plain)
        rows = [(f"{name}, cached", lambda t=pebble: ours.render(t, CONTEXT), lambda p=prepared: p.render(CONTEXT))]
        if template is not DATA:
            rows.append((f"{name}, cold", lambda t=pebble: compiled(t), lambda p=plain: theirs.from_string(p)))
        for label, our_work, their_work in rows:
            own, other = cpu_rate(our_work, seconds), cpu_rate(their_work, seconds)
            print(f"{label:<28}{own:>12,.0f}{other:>12,.0f}{own / other:>8.2f}")
    text = "plain text of a task"
    print(f"{'text without a template':<28}{cpu_rate(lambda: ours.render(text, CONTEXT), seconds):>12,.0f}")
    found = reach([TWENTY.replace("REPLACED", "{'o': '0'}")])
    print(f"{'prune for 20 expressions':<28}{cpu_rate(lambda: found.prune(CONTEXT), seconds):>12,.0f}")

    def cold_reach() -> None:
        facts._facts_of.cache_clear()  # noqa: SLF001 - cold means without it
        reach([TWENTY.replace("REPLACED", "{'o': '0'}")])

    print(f"{'reach of 20, cold':<28}{cpu_rate(cold_reach, seconds):>12,.0f}")
    print(f"compiled templates are kept: {renderer.CACHED_TEMPLATES}")


if __name__ == "__main__":
    main()
