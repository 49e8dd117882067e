"""Work: what a bulk action does to one execution, as commands whose ids follow from the job.

A page that is carried out a second time, after a crash or by two runners at once, sends the same commands with the
same ids: the executor answers them as it did the first time. A replay's new execution has such an id too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from indexer.api import actions
from indexer.api.actions import Action
from indexer.api.commands import Question
from indexer.api.errors import ApiError, refused
from indexer.api.tenancy import Tenant
from shared.bulk_actions import BulkActionRequested, Item, query_of
from shared.messages import ExecutionCommand, ReplayExecution, RestartExecution
from shared.model.document import TERMINATED_NAMES, Kind
from shared.model.identifier import derive_id
from shared.model.moment import from_iso

Document = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Option:
    """An option of an action."""

    types: tuple[type, ...]
    expected: str
    default: Any = None


_FLAG: Final = ((bool,), "true or false")
_TEXT: Final = ((str,), "a text")

Options = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Deed:
    """An action of this name: how it is made with its options, for a found task run or for none, and what options."""

    make: Callable[[Options, str | None], Action]
    options: Mapping[str, Option]
    each_task_run: bool = False  #: it acts on the found task runs themselves, all of them


def _replay(options: Options, task_run_id: str | None) -> Action:
    start = options["from"] or ("start" if task_run_id is None else "taskRun")
    if start not in ("start", "taskRun"):
        raise refused(f"options.from: expected start or taskRun, not {start}")
    return actions.replay(task_run_id=task_run_id if start == "taskRun" else None, latest=options["latestRevision"])


def _change_state(options: Options, task_run_id: str | None) -> Action:
    assert task_run_id is not None
    return actions.change_task_run_state(task_run_id, _needed(options, "state"))


def _set_labels(options: Options, _: str | None) -> Action:
    labels = _needed(options, "labels")
    if not all(isinstance(label, dict) and {*label} == {"key", "value"} for label in labels):
        raise refused("options.labels: expected a list of {key, value}")
    return actions.set_labels([(str(label["key"]), str(label["value"])) for label in labels], replace=False)


def _delete(_: Options, __: str | None) -> Action:
    def make(tenant: Tenant, document: Document) -> Question:
        state = document["state"]["current"]
        if state not in TERMINATED_NAMES:
            raise refused(f"the execution is {state}: it must have ended")
        return actions.delete()(tenant, document)

    return make


def _needed(options: Options, name: str) -> Any:
    if not options[name]:
        raise refused(f"options.{name}: is missing")
    return options[name]


DEEDS: Final[Mapping[str, Deed]] = {
    "restart": Deed(lambda o, _: actions.restart(revision=o["revision"]), {"revision": Option((int,), "a number")}),
    "replay": Deed(_replay, {"from": Option(*_TEXT), "latestRevision": Option(*_FLAG, default=False)}),
    "kill": Deed(lambda o, _: actions.kill(cascade=o["cascade"]), {"cascade": Option(*_FLAG, default=True)}),
    "pause": Deed(lambda _o, _: actions.pause(), {}),
    "resume": Deed(lambda _o, _: actions.resume(), {}),
    "force-run": Deed(lambda _o, _: actions.force_run(), {}),
    "unqueue": Deed(lambda o, _: actions.unqueue(o["state"]), {"state": Option(*_TEXT)}),
    "change-state": Deed(_change_state, {"state": Option(*_TEXT)}, each_task_run=True),
    "change-status": Deed(lambda o, _: actions.change_state(_needed(o, "status")), {"status": Option(*_TEXT)}),
    "set-labels": Deed(_set_labels, {"labels": Option((list,), "a list of {key, value}")}),
    "delete": Deed(
        _delete, {"deleteLogs": Option(*_FLAG, default=True), "deleteStorage": Option(*_FLAG, default=True)}
    ),
}
"""Actions by name."""


def checked(action: str, on: Kind, options: Mapping[str, Any]) -> dict[str, Any]:
    """The options, with the defaults of those that are not given. Raises 422 naming what is wrong."""
    deed = DEEDS.get(action)
    if deed is None:
        raise refused(f"action: expected one of {', '.join(DEEDS)}, not {action}")
    if deed.each_task_run and on is not Kind.TASK_RUN:
        raise refused(f"on: {action} acts on task runs: expected taskruns")
    for name, value in options.items():
        option = deed.options.get(name)
        if option is None:
            known = f"expected one of {', '.join(deed.options)}" if deed.options else "it has none"
            raise refused(f"options.{name}: {action} has no such option; {known}")
        if value is not None and type(value) not in option.types:
            raise refused(f"options.{name}: expected {option.expected}")
    given = {name: value for name, value in options.items() if value is not None}
    complete = {name: option.default for name, option in deed.options.items()} | given
    try:
        deed.make(complete, "")
    except ApiError as error:
        raise refused(error.message if error.message.startswith("options.") else f"options: {error.message}") from error
    return complete


def questions(tenant: Tenant, request: BulkActionRequested, item: Item, document: Document) -> list[Question]:
    """The commands for an execution. Blocks. Raises ApiError with the reason where it can't be asked."""
    deed = DEEDS[request.action]
    if request.action == "delete" and request.on is Kind.EXECUTION:
        _check_still_asked_for(request, document)
    task_runs = item.task_runs if deed.each_task_run else (item.task_runs[:1] or (None,))
    return [
        _named(
            deed.make(request.options, task_run_id)(tenant, document),
            request,
            task_run_id if deed.each_task_run else None,
        )
        for task_run_id in task_runs
    ]


def _check_still_asked_for(request: BulkActionRequested, document: Document) -> None:
    """A deletion can't be taken back: what was restarted and has ended again since the listing is another matter."""
    query, state = query_of(request.query), document["state"]
    if query.states and state["current"] not in query.states:
        raise refused(f"the execution is {state['current']} now, which was not asked for")
    end = state.get("endDate")
    if query.ended_to is not None and end is not None and from_iso(end) > query.ended_to:
        raise refused(f"the execution has ended again since, at {end}")


def _named(question: Question, request: BulkActionRequested, part: str | None) -> Question:
    """The question with ids that follow from the job, the execution and the task run."""
    command = question.command
    assert isinstance(command, ExecutionCommand)
    whole = request.id, command.execution_id, part or ""
    named = replace(command, command_id=derive_id(request.at, "command", *whole))
    if isinstance(named, ReplayExecution | RestartExecution) and named.new_execution_id is not None:
        new = derive_id(request.at, "execution", *whole)
        return replace(question, command=replace(named, new_execution_id=new), target=new)
    return replace(question, command=named)
