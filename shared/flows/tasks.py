"""Tasks: reads tasks, triggers, conditions and listeners by the types of the catalog."""

from __future__ import annotations

from typing import Any, Final

from croniter import croniter

from shared.flows.catalog import Catalog, Kind, Property, Role, TypeSpec, UnknownTypeError
from shared.flows.document import Node, Scalar, Sequence, Table, plain
from shared.flows.parts import Placed, read_inputs, read_retry, read_worker_group
from shared.flows.rules import check_inputs
from shared.flows.types.terms import COMMON_TASK, COMMON_TRIGGER, CORE
from shared.flows.values import SLUG, Values, is_template
from shared.model.flow import Listener, Task, Trigger

_OWN_TRIGGER_FIELDS: Final = ("id", "type", "disabled")


class TaskReader:
    """Reads the tasks of one flow. `placed` holds every task read, parents before children, with its place and type."""

    def __init__(self, values: Values, catalog: Catalog) -> None:
        self.values = values
        self.catalog = catalog
        self.placed: list[tuple[Task, TypeSpec, Placed]] = []

    def tasks(self, node: Node | None, path: str) -> tuple[Task, ...]:
        """A list of tasks; what cannot be read is in the report and left out."""
        read = (self.task(item, below) for item, below in self.values.items(node, path, "a list of tasks"))
        return tuple(task for task in read if task is not None)

    def task(self, node: Node, path: str, depends_on: tuple[str, ...] = ()) -> Task | None:
        """One task with everything below it."""
        table = self.values.table(node, path, "a task")
        if table is None:
            return None
        identifier = self.values.identifier(table, "id", path, SLUG)
        spec = self._spec(table, path, Role.TASK)
        if spec is None:
            return None
        common = tuple(p for p in COMMON_TASK if spec.lookup(p.name) is None)
        if not spec.is_open:
            self.values.only(table, path, [p.name for p in (*common, *spec.properties)], spec.name)
        index = len(self.placed)  # parents stand before their children
        properties, branches = self._properties(table, spec, path, [p.name for p in common])
        read = self._assemble(table, path, identifier or "", spec, properties, branches, depends_on)
        self.placed.insert(index, (read, spec, Placed(read, path, table.mark_of("id"))))
        return read

    def _assemble(
        self,
        table: Table,
        path: str,
        identifier: str,
        spec: TypeSpec,
        properties: dict[str, Any],
        branches: dict[str, tuple[Task, ...]],
        depends_on: tuple[str, ...],
    ) -> Task:
        common: dict[str, Any] = {}
        for prop in COMMON_TASK:
            node = table.get(prop.name)
            if node is not None and prop.name not in ("id", "type", "retry", "workerGroup"):
                common[prop.name] = self.values.property(node, prop, f"{path}.{prop.name}")
        return Task(
            id=identifier,
            type=spec.name,
            properties=properties,
            branches=branches,
            depends_on=depends_on,
            disabled=bool(common.get("disabled")),
            run_if=common.get("runIf"),
            allow_failure=bool(common.get("allowFailure")),
            allow_warning=bool(common.get("allowWarning")),
            retry=read_retry(self.values, table.get("retry"), f"{path}.retry"),
            timeout=common.get("timeout"),
            log_level=common.get("logLevel"),
            worker_group=read_worker_group(self.values, table.get("workerGroup"), f"{path}.workerGroup"),
        )

    def _spec(self, table: Table, path: str, role: Role) -> TypeSpec | None:
        node = table.get("type")
        if node is None:
            self.values.report.add(table.mark_of("type"), f"{path}.type", "must not be null")
            return None
        name = self.values.text(node, f"{path}.type")
        if name is None:
            return None
        try:
            return self.catalog.get(name, role)
        except UnknownTypeError as error:
            self.values.report.add(node.mark, f"{path}.type", str(error))
            return None

    def _properties(
        self, table: Table, spec: TypeSpec, path: str, common: list[str]
    ) -> tuple[dict[str, Any], dict[str, tuple[Task, ...]]]:
        """The type's own properties, and the child tasks by branch."""
        properties: dict[str, Any] = {}
        branches: dict[str, tuple[Task, ...]] = {}
        for prop in spec.properties:
            node, below = table.get(prop.name), f"{path}.{prop.name}"
            if prop.is_branch:
                self._branch(branches, table, spec, prop, path)
            elif node is not None:
                properties[prop.name] = self._value(node, prop, below)
            elif prop.required:
                self.values.report.add(table.mark_of(prop.name), below, "must not be null")
        if spec.is_open:
            known = {p.name for p in spec.properties}.union(common)
            properties.update({key: plain(node) for key, node in table.entries.items() if key not in known})
        return properties, branches

    def _value(self, node: Node, prop: Property, path: str) -> Any:
        if prop.kind is Kind.INPUTS:
            placed = read_inputs(self.values, node, path)
            check_inputs(self.values.report, placed)
            return tuple(place.item for place in placed)
        if prop.kind is Kind.CONDITIONS:
            return self.conditions(node, path)
        if prop.kind is Kind.NAMED_CONDITIONS:
            return self._named_conditions(node, path)
        return self.values.property(node, prop, path)

    def _branch(
        self, branches: dict[str, tuple[Task, ...]], table: Table, spec: TypeSpec, prop: Property, path: str
    ) -> None:
        node, below = table.get(prop.name), f"{path}.{prop.name}"
        if node is None or (isinstance(node, Sequence) and not node.items):
            if prop.required:
                self._missing_children(table, spec, prop, path)
        elif prop.kind is Kind.TASK:
            child = self.task(node, below)
            branches[prop.name] = () if child is None else (child,)
        elif prop.kind is Kind.CASES:
            cases = self.values.table(node, below, "a mapping of values to lists of tasks")
            for key, tasks in (cases.entries if cases else {}).items():
                branches[f"{prop.name}.{key}"] = self.tasks(tasks, f"{below}.{key}")
        elif prop.kind is Kind.DAG:
            branches[prop.name] = self._dag(node, below)
        else:
            branches[prop.name] = self.tasks(node, below)

    def _missing_children(self, table: Table, spec: TypeSpec, prop: Property, path: str) -> None:
        if spec.name == f"{CORE}.flow.WorkingDirectory":
            shown = table.get("id")
            subject = shown.text if isinstance(shown, Scalar) else path
            self.values.report.add(table.mark, path, "The 'tasks' property cannot be empty", subject=subject)
        else:
            self.values.report.add(
                table.mark_of(prop.name), f"{path}.{prop.name}", "must not be empty: expected a list of tasks"
            )

    def _dag(self, node: Node, path: str) -> tuple[Task, ...]:
        found: list[Task] = []
        for item, below in self.values.items(node, path, "a list of {task, dependsOn}"):
            table = self.values.table(item, below, "a mapping with task and dependsOn")
            if table is None:
                continue
            self.values.only(table, below, ("task", "dependsOn"), "DagTask")
            task_node = table.get("task")
            if task_node is None:
                self.values.report.add(table.mark, f"{below}.task", "must not be null")
                continue
            depends_on = self.values.texts(table.get("dependsOn"), f"{below}.dependsOn")
            child = self.task(task_node, f"{below}.task", depends_on)
            if child is not None:
                found.append(child)
        return tuple(found)

    # conditions, triggers, listeners

    def conditions(self, node: Node | None, path: str) -> tuple[dict[str, Any], ...]:
        """Conditions with their canonical type."""
        read = (self._condition(item, below) for item, below in self.values.items(node, path, "a list of conditions"))
        return tuple(condition for condition in read if condition is not None)

    def _named_conditions(self, node: Node, path: str) -> dict[str, Any]:
        table = self.values.table(node, path, "conditions by name")
        read = {key: self._condition(value, f"{path}.{key}") for key, value in (table.entries if table else {}).items()}
        return {key: condition for key, condition in read.items() if condition is not None}

    def _condition(self, node: Node, path: str) -> dict[str, Any] | None:
        table = self.values.table(node, path, "a condition")
        spec = None if table is None else self._spec(table, path, Role.CONDITION)
        if table is None or spec is None:
            return None
        optional_id = () if spec.lookup("id") else ("id",)  # the corpus' flows name conditions
        if not spec.is_open:
            self.values.only(table, path, ["type", *optional_id, *(p.name for p in spec.properties)], spec.name)
        properties, _ = self._properties(table, spec, path, ["type", "id"])
        return {"type": spec.name, **properties}

    def triggers(self, node: Node | None, path: str) -> tuple[Placed, ...]:
        """The flow's triggers, each with its place."""
        found: list[Placed] = []
        for item, below in self.values.items(node, path, "a list of triggers"):
            table = self.values.table(item, below, "a trigger")
            if table is None:
                continue
            identifier = self.values.identifier(table, "id", below, SLUG)
            spec = self._spec(table, below, Role.TRIGGER)
            if spec is None:
                continue
            found.append(Placed(self._trigger(table, spec, below, identifier or ""), below, table.mark_of("id")))
        return tuple(found)

    def _trigger(self, table: Table, spec: TypeSpec, path: str, identifier: str) -> Trigger:
        common = tuple(p for p in COMMON_TRIGGER if spec.lookup(p.name) is None)
        if not spec.is_open:
            self.values.only(table, path, [p.name for p in (*common, *spec.properties)], spec.name)
        properties, _ = self._properties(table, spec, path, [p.name for p in common])
        for prop in common:
            node = table.get(prop.name)
            if node is not None and prop.name not in _OWN_TRIGGER_FIELDS:
                properties[prop.name] = self._value(node, prop, f"{path}.{prop.name}")
        disabled = table.get("disabled")
        self._check_trigger(table, spec, path, properties)
        return Trigger(
            id=identifier,
            type=spec.name,
            disabled=self.values.boolean(disabled, f"{path}.disabled", default=False) if disabled else False,
            properties=properties,
        )

    def _check_trigger(self, table: Table, spec: TypeSpec, path: str, properties: dict[str, Any]) -> None:
        cron = properties.get("cron")
        if spec.name == f"{CORE}.trigger.Schedule" and isinstance(cron, str) and not is_template(cron):
            seconds = bool(properties.get("withSeconds"))
            fields = len(cron.split())
            named = cron.startswith("@")
            if not (named or fields == (6 if seconds else 5)) or not croniter.is_valid(
                cron, second_at_beginning=seconds
            ):
                wanted = "6 fields, seconds first" if seconds else "5 fields or a name such as @daily"
                message = f"invalid cron expression '{cron}': expected {wanted}"
                self.values.report.add(table.mark_of("cron"), f"{path}.cron", message)
        conditions = properties.get("conditions") or ()
        several = [one for one in conditions if one["type"] == f"{CORE}.condition.MultipleCondition"]
        if several and spec.name == f"{CORE}.trigger.Webhook":
            message = "invalid webhook: conditions of type MultipleCondition are not supported"
            self.values.report.add(table.mark_of("conditions"), path, message)

    def listeners(self, node: Node | None, path: str) -> tuple[Listener, ...]:
        """The flow's deprecated listeners."""
        found: list[Listener] = []
        for item, below in self.values.items(node, path, "a list of listeners"):
            table = self.values.table(item, below, "a listener")
            if table is None:
                continue
            self.values.only(table, below, ("conditions", "tasks", "description"), "Listener")
            tasks_node = table.get("tasks")
            if tasks_node is None or (isinstance(tasks_node, Sequence) and not tasks_node.items):
                self.values.report.add(
                    table.mark_of("tasks"), f"{below}.tasks", "must not be empty: expected a list of tasks"
                )
            conditions = self.conditions(table.get("conditions"), f"{below}.conditions")
            found.append(Listener(conditions, self.tasks(tasks_node, f"{below}.tasks")))
        return tuple(found)
