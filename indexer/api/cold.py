"""Cold: commands about executions that have left the executor. It refuses them; then the executions are brought back.

What the executor has is newer than any document, so it is always asked first.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from prometheus_client import Counter

from indexer.api import snapshots
from indexer.api.commands import Question
from indexer.api.errors import ApiError
from indexer.api.reading import blocking, now
from indexer.api.tenancy import Tenant
from indexer.recent import Accepted, Answer, Rejected
from shared.messages import (
    HERE,
    NOT_HERE,
    ChangeExecutionState,
    ChangeTaskRunState,
    DeleteExecution,
    ExecutionCommand,
    RecallExecution,
    ReplayExecution,
    RestartExecution,
    SetLabels,
)
from shared.model.document import Kind
from shared.model.identifier import new_id

GROUP: Final = 20
"""Executions that are brought back together: each is some searches, and a search node takes about as many at once.

Fewer where they are large: their documents lie in memory here, and become state of the executor in one transaction."""

PER_TASK_RUN: Final = 0.002
"""Seconds more to wait for each task run: it takes a tenth of that (measured), and longer on a busy machine."""

TIMES: Final = 3
"""How often an execution is brought back for one command: where ended ones stay for a moment, it may leave between."""

_RECALLED_FOR: Final = (RestartExecution, ReplayExecution, ChangeTaskRunState, ChangeExecutionState, SetLabels)
"""Commands that can do something with an execution that has ended long ago."""

RECALLS: Final = Counter("runyard_api_recalls", "Executions that were brought back into the executor for a command")

_log = logging.getLogger(__name__)


async def ask(tenant: Tenant, question: Question) -> Answer | None:
    """As `ask_all`, for one command."""
    return (await ask_all(tenant, [question]))[0]


async def ask_all(tenant: Tenant, questions: Sequence[Question]) -> list[Answer | None]:
    """Publish commands and wait for their answers (None: none in time), executions that have left are brought back.

    Raises RecordTooLarge and JournalError.
    """
    commands = tenant.services.commands
    for question in questions:
        if question.batches:
            assert isinstance(question.command, ExecutionCommand)
            await _bring_batches(tenant, question.command.execution_id)
    answers = await commands.ask_all(questions)
    for _ in range(TIMES):
        absent = [number for number, answer in enumerate(answers) if _not_here(answer)]
        if not absent:
            break
        again: list[tuple[int, Question]] = []
        weights = await asyncio.gather(*(_weight(tenant, questions[number]) for number in absent))
        for group in groups(absent, weights):
            prepared = await _prepare_all(tenant, [questions[number] for number in group])
            for number, result in zip(group, prepared, strict=True):
                if isinstance(result, Question):
                    again.append((number, result))
                else:
                    answers[number] = result
        for (number, _question), answer in zip(
            again, await commands.ask_all([question for _, question in again]), strict=True
        ):
            answers[number] = answer
    return answers


async def _weight(tenant: Tenant, question: Question) -> int:
    assert isinstance(question.command, ExecutionCommand)
    return await blocking(snapshots.weight, tenant, question.command.execution_id)  # type: ignore[no-any-return]


def groups(numbers: Sequence[int], weights: Sequence[int]) -> list[list[int]]:
    """Numbers in groups, of which none has too many, nor too much weight: task runs."""
    found: list[list[int]] = []
    together = 0
    for number, weight in zip(numbers, weights, strict=True):
        if not found or len(found[-1]) >= GROUP or together + weight > snapshots.MOST:
            found.append([])
            together = 0
        found[-1].append(number)
        together += weight
    return found


def _not_here(answer: Answer | None) -> bool:
    return isinstance(answer, Rejected) and answer.reason == NOT_HERE


async def _prepare_all(tenant: Tenant, questions: Sequence[Question]) -> Sequence[Question | Rejected | None]:
    return await asyncio.gather(*(_prepare(tenant, question) for question in questions))


async def _prepare(tenant: Tenant, question: Question) -> Question | Rejected | None:
    """The question to ask now; or the answer to it, where that is known already."""
    command = question.command
    assert isinstance(command, ExecutionCommand)
    try:
        if isinstance(command, DeleteExecution):
            read_at = now()
            documents = await blocking(snapshots.documents_of, tenant, command.execution_id)
            return replace(question, command=replace(command, at=read_at, documents=documents))
        if not isinstance(command, _RECALLED_FOR):
            return await blocking(_has_ended, tenant, command.execution_id)  # type: ignore[no-any-return]
        refusal = await recall(tenant, command.execution_id)
    except ApiError as error:
        return Rejected(error.message)
    return question if refusal is None else refusal


async def _bring_batches(tenant: Tenant, restarted: str) -> None:
    """Bring the executions of batches back that the restart of a ForEachItem repeats, with those of their own.

    They may have left while the restarted one, which waited for the last of them, has not.
    """
    above, seen = [restarted], {restarted}
    while above:
        found = [await blocking(snapshots.batches_to_recall, tenant, execution_id) for execution_id in above]
        children = {child: weight for each in found for child, weight in each.items() if child not in seen}
        seen.update(children)
        above = list(children)
        for group in groups(range(len(above)), list(children.values())):
            await asyncio.gather(*(_bring_batch(tenant, above[number], restarted) for number in group))


async def _bring_batch(tenant: Tenant, child: str, execution_id: str) -> None:
    try:
        refusal = await recall(tenant, child)
        reason = None if refusal is None else refusal.reason
    except ApiError as error:
        reason = error.message
    if reason is not None:  # the batch then says so in its own words
        _log.warning("execution %s, a batch of %s, can't come back: %s", child, execution_id, reason)


async def recall(tenant: Tenant, execution_id: str) -> Rejected | None:
    """Bring an execution back. Raises 422."""
    read_at = now()  # the executor judges by it whether the snapshot still holds
    snapshot = await blocking(snapshots.snapshot_of, tenant, execution_id)
    carried = await blocking(snapshots.sent, tenant, snapshot)
    command = RecallExecution(execution_id, new_id(), read_at, tenant=tenant.name, snapshot=carried)
    more = len(snapshot["task_runs"]) * PER_TASK_RUN
    answer = await tenant.services.commands.ask(Question(command, execution_id), more)
    if answer is not None:
        await blocking(snapshots.clean_up, tenant, snapshot)
    if isinstance(answer, Accepted):
        RECALLS.inc()
        _log.info("execution %s is back in the executor", execution_id)
        return None
    if isinstance(answer, Rejected):
        return None if answer.reason == HERE else answer
    raise ApiError(
        503, f"Execution {execution_id} is coming back, which takes longer than usual: ask again in a moment"
    )


def _has_ended(tenant: Tenant, execution_id: str) -> Rejected:
    found = tenant.document(Kind.EXECUTION, execution_id, execution_id)
    if found is None:
        return Rejected(NOT_HERE)
    return Rejected(f"the execution is {found[1]['state']['current']}")
