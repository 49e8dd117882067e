"""Parser: a flow's YAML as a `Flow`, or every problem that it has."""

from __future__ import annotations

import re
from typing import Any, Final

from shared.flows import rules
from shared.flows.catalog import Catalog
from shared.flows.defaults import apply_defaults, read_defaults
from shared.flows.document import Node, Scalar, Sequence, Table, plain, read_document
from shared.flows.parts import read_concurrency, read_inputs, read_outputs, read_retry, read_slas, read_worker_group
from shared.flows.plugins import installed_catalog
from shared.flows.problem import START, FlowError, Problem, Report
from shared.flows.tasks import TaskReader
from shared.flows.values import Values
from shared.model.flow import Flow

__all__ = ["FLOW_PROPERTIES", "FlowError", "Problem", "parse_flow"]

FLOW_PROPERTIES: Final = (
    "id", "namespace", "revision", "tenantId", "description", "labels", "inputs", "variables", "tasks", "errors",
    "finally", "afterExecution", "listeners", "triggers", "pluginDefaults", "taskDefaults", "concurrency", "outputs",
    "retry", "sla", "workerGroup", "disabled", "deleted", "source", "updated",
)  # fmt: skip
"""What a flow may have. Tenant, revision, deleted, source and updated are the server's: accepted, because people send
back what the API gave them, and not used."""

_FLOW_ID: Final = (re.compile(r"[a-zA-Z0-9][a-zA-Z0-9._-]*\Z"), "^[a-zA-Z0-9][a-zA-Z0-9._-]*")
_NAMESPACE: Final = (re.compile(r"[a-z0-9][a-z0-9._-]*\Z"), "^[a-z0-9][a-z0-9._-]*")
FLOW_ID_LENGTH: Final = 100
NAMESPACE_LENGTH: Final = 150
"""Both as in Kestra, whose column widths they are: keys and paths of this product count on them too."""


def parse_flow(
    source: str,
    *,
    tenant: str = "main",
    revision: int = 1,
    file: str | None = None,
    catalog: Catalog | None = None,
) -> Flow:
    """The flow that the YAML (or JSON) text describes, with `pluginDefaults` merged and aliases resolved.

    `file` only names the text in problems. `catalog` defaults to the product's types and those of installed plugins.
    Raises FlowError with every problem.
    """
    report = Report(file)
    tree = read_document(source, report)
    if tree is not None and not isinstance(tree, Table):
        report.add(START, "", "Illegal flow source: expected a mapping with id, namespace and tasks")
    if not isinstance(tree, Table):
        report.raise_if_any()
        raise FlowError((Problem(file, 1, 1, "", "must not be empty: expected a flow"),))
    flow = _read_flow(tree, report, catalog or installed_catalog(), source, tenant, revision)
    report.raise_if_any()
    return flow


def _read_flow(tree: Table, report: Report, catalog: Catalog, source: str, tenant: str, revision: int) -> Flow:
    values = Values(report)
    values.only(tree, "", FLOW_PROPERTIES, "Flow")
    flow_id = values.identifier(tree, "id", "", _FLOW_ID, FLOW_ID_LENGTH)
    namespace = values.identifier(tree, "namespace", "", _NAMESPACE, NAMESPACE_LENGTH)
    if flow_id in rules.RESERVED_IDS:
        report.add(tree.mark_of("id"), "id", f"Flow id is a reserved keyword: {flow_id}")
    merged = apply_defaults(tree, read_defaults(values, tree, catalog), catalog)

    reader = TaskReader(values, catalog)
    if _is_empty(merged):
        report.add(tree.mark_of("tasks"), "tasks", "must not be empty: expected a list of tasks")
    tasks = reader.tasks(merged.get("tasks"), "tasks")
    errors = reader.tasks(merged.get("errors"), "errors")
    finally_ = reader.tasks(merged.get("finally"), "finally")
    after_execution = reader.tasks(merged.get("afterExecution"), "afterExecution")
    listeners = reader.listeners(merged.get("listeners"), "listeners")
    rules.check_tasks(report, reader.placed, catalog, namespace, flow_id)

    triggers = reader.triggers(merged.get("triggers"), "triggers")
    rules.check_unique(report, triggers, "trigger id", [place.item.id for place in triggers])
    inputs = read_inputs(values, merged.get("inputs"), "inputs")
    rules.check_inputs(report, inputs)
    outputs = read_outputs(values, merged.get("outputs"))
    rules.check_unique(report, outputs, "output", [place.item.id for place in outputs])
    labels = values.labels(merged.get("labels"), "labels")
    rules.check_labels(report, labels, tree.mark_of("labels"))
    variables = merged.get("variables")
    variables_table = values.table(variables, "variables") if variables else None
    description, disabled = merged.get("description"), merged.get("disabled")
    return Flow(
        tenant=tenant,
        namespace=namespace or "",
        id=flow_id or "",
        revision=revision,
        source=source,
        tasks=tasks,
        errors=errors,
        finally_=finally_,
        after_execution=after_execution,
        listeners=listeners,
        inputs=tuple(place.item for place in inputs),
        outputs=tuple(place.item for place in outputs),
        variables=plain(variables_table) if variables_table else {},
        labels=tuple(labels.items()),
        concurrency=read_concurrency(values, merged.get("concurrency")),
        retry=read_retry(values, merged.get("retry"), "retry"),
        sla=read_slas(values, merged.get("sla")),
        triggers=tuple(place.item for place in triggers),
        disabled=values.boolean(disabled, "disabled", default=False) if disabled else False,
        description=values.text(description, "description") if description else None,
        worker_group=read_worker_group(values, merged.get("workerGroup"), "workerGroup"),
        raw=_raw(tree),
    )


def _is_empty(flow: Table) -> bool:
    tasks = flow.get("tasks")
    return tasks is None or (isinstance(tasks, Sequence) and not tasks.items)


def _raw(tree: Table) -> dict[str, Any]:
    return {key: _as_written(node) for key, node in tree.entries.items()}


def _as_written(node: Node) -> Any:
    """The plain value, but the id of a task, trigger, input and the like is a text where it looks like a number too."""
    if isinstance(node, Sequence):
        return [_as_written(item) for item in node.items]
    if isinstance(node, Table):
        found = {key: _as_written(value) for key, value in node.entries.items()}
        identifier = node.get("id")
        if "type" in found and isinstance(identifier, Scalar):
            found["id"] = identifier.text
        return found
    return plain(node)
