"""Whether what the catalog reads is run by the executor or a worker, and whether docs/flows.md says so."""

from __future__ import annotations

import re
from pathlib import Path

from executor.engine.registry import EXECUTABLES, FLOWABLES
from shared.flows.catalog import Role, core_catalog
from worker.catalog import TaskCatalog
from worker.tasks import core_tasks

DOCUMENT = Path(__file__).parents[3] / "docs" / "flows.md"
RUN = {
    name
    for name in (*FLOWABLES, *EXECUTABLES, *(task.type for task in TaskCatalog(core_tasks())))
    if "$" not in name  # a part of a ForEachItem: the executor writes it, no flow does
}


def test_every_type_that_runs_can_be_written():
    """No task type of the executor or of the workers is unknown to the catalog, by its name of today."""
    unknown = [
        name for name in sorted(RUN) if core_catalog().find(name) is None or core_catalog().canonical(name) != name
    ]

    assert unknown == []


def test_the_document_names_what_nothing_runs():
    """The section "Read, but not run" lists exactly the task types that neither the executor nor a worker has."""
    _, _, rest = DOCUMENT.read_text(encoding="utf-8").partition("\n## Read, but not run\n")
    listed = re.findall(r"^- `([\w.]+)`$", rest.partition("\n## ")[0], re.MULTILINE)

    missing = [spec.name for spec in core_catalog().of_role(Role.TASK) if spec.name not in RUN]
    assert listed == missing, "the section has to be:\n" + "\n".join(f"- `{name}`" for name in missing)
