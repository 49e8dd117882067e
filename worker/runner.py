"""Runner: runs attempts and reports how they ended, as Kestra would see them end."""

from __future__ import annotations

import logging
import threading
import time
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from shared.dead_letters import dead_letter
from shared.expressions.errors import Refusal, RenderError
from shared.messages import AttemptDeclined, AttemptEnded, AttemptEvent, AttemptStarted, RunTaskRun
from shared.model.moment import Millis, parse_duration
from shared.ports import Inbound, Outbound, RecordTooLarge, Topic
from worker import gauges
from worker.attempt import Attempt, Interruption
from worker.catalog import TaskCatalog
from worker.context import Context
from worker.deadlines import Deadline, Deadlines
from worker.large_values import TooLargeError, stored
from worker.properties import PropertyError, bind
from worker.reporter import Report, Reporter
from worker.services import Services
from worker.storage import StorageError, task_run_root
from worker.task import Result, Task, TaskError
from worker.working_directory import PROPERTY, WorkingDirectory

STOP_WITHIN: Final = 5.0
"""Seconds after which a task that was asked to stop is given up. Half of the executor's 10 s for a kill, so that its
result is there before the executor stops waiting."""
LONGEST_ERROR: Final = 16 * 1024
"""Characters of an attempt's error; the log has the whole text."""
_QUIET: Final = frozenset((Interruption.LOST, Interruption.UNWANTED))
_EXPECTED: Final = (TaskError, RenderError, PropertyError, StorageError, FileNotFoundError, Refusal)
"""Errors whose text says all: their stack traces would only tell of this program's inside."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an attempt ended."""

    state: str
    outputs: Mapping[str, Any] | None = None
    error: str | None = None
    attributes: Mapping[str, Any] | None = None
    trace: str = ""  #: where the task was when it raised

    @property
    def raised(self) -> bool:
        """Whether the task did not come to its end."""
        return bool(self.trace)


class Runner:
    """Runs attempts on the threads of the pool."""

    def __init__(self, services: Services, tasks: TaskCatalog, reporter: Reporter, deadlines: Deadlines) -> None:
        """`tasks`: the types that can be run here."""
        self._services = services
        self._tasks = tasks
        self._reporter = reporter
        self._deadlines = deadlines
        self._clock = services.clock
        self._abandoned: set[Attempt] = set()
        self._lock = threading.Lock()

    @property
    def abandoned(self) -> int:
        """Slots that tasks take which were given up and don't end."""
        return len(self._abandoned)

    def is_brief(self, command: RunTaskRun) -> bool:
        """Whether the task only computes; one with a shared folder copies files, whatever its type."""
        task = self._tasks.find(str(command.task.get("type")))
        return task is not None and task.brief and PROPERTY not in command.task

    def run(self, attempt: Attempt) -> None:
        """Run an attempt to its end. Never raises: whatever goes wrong fails the attempt."""
        if attempt.interruption is not None:
            self.hand_back(attempt, attempt.interruption)
            return
        started_at = self._clock()
        try:
            self._run(attempt, started_at)
        except Exception as error:  # noqa: BLE001 - a defect here must not leave an attempt without a result
            _log.exception("%s could not be run", attempt)
            if attempt.settle():
                self._report(attempt, [self._ended(attempt, Outcome("FAILED", error=_text(error)), started_at, [])])

    def _run(self, attempt: Attempt, started_at: Millis) -> None:
        pending: list[Outbound] = [self._started(attempt, started_at)]
        if not attempt.brief:
            self._reporter.report(Report(tuple(pending)))
            pending.clear()

        def write(records: list[Outbound]) -> None:
            if attempt.brief:
                pending.extend(records)
            else:
                self._write(attempt, records)

        context = Context(attempt, self._services, write)
        try:
            outcome = self._judged(attempt, context, self._perform(attempt, context))
            self._finish(attempt, context, outcome, started_at, pending)
        finally:
            context.close()

    def _write(self, attempt: Attempt, records: list[Outbound]) -> None:
        while not self._reporter.has_room() and not attempt.cancelled.is_set():
            time.sleep(0.01)  # the log is away or slow: the task waits, not the memory
        if not attempt.settled and attempt.interruption not in _QUIET:
            self._reporter.report(Report(tuple(records)))

    def _perform(self, attempt: Attempt, context: Context) -> Outcome:
        """Render and run. Everything that a task raises becomes an outcome."""
        command = attempt.command
        timer: Deadline | None = None
        try:
            context.prepare()
            task_type = self._type(command.task.get("type"))
            timer = self._timeout(attempt, context)
            outcome = self._outcome(task_type, context)
        except BaseException as error:  # noqa: BLE001 - SystemExit of a task too must not end the worker's thread
            outcome = self._failed(attempt, context, error)
        finally:
            if timer is not None:
                timer.cancel()
        return outcome

    def _outcome(self, task_type: type[Task], context: Context) -> Outcome:
        directory = WorkingDirectory.of(context)
        if directory is not None:
            directory.enter()
        try:
            result = self._made(task_type, context).run(context)
        finally:  # also after a failure: with `allowFailure` the next child goes on with the files
            attributes = None if directory is None else directory.leave()
        if not isinstance(result, Result):
            return Outcome("SUCCESS", result, attributes=attributes)
        both = {**(attributes or {}), **(result.attributes or {})}
        return Outcome(result.state, result.outputs, result.error, both or None)

    def _made(self, task_type: type[Task], context: Context) -> Task:
        """The task with its properties. A constructor that raises is its package's fault: the command is kept, too."""
        command = context.command
        try:
            return bind(task_type, command.task, context.rendering)
        except _EXPECTED:
            raise
        except Exception as error:
            reason = f"the constructor of {command.task.get('type')} raised: {_text(error)}"
            inbox = Inbound(Topic.TASK_RUN_COMMANDS, 0, 0, command.session, command.to_bytes(), 0)
            letter = dead_letter(inbox, context.hidden(reason), "worker", self._clock())
            letter = replace(letter, origin=_origin(command))
            self._reporter.bury(letter, "plugin")
            raise

    def _type(self, name: object) -> type[Task]:
        task_type = self._tasks.find(str(name))
        if task_type is None:
            raise TaskError(f"No worker here knows the task type '{name}'{self._tasks.lacking()}")
        return task_type

    def _timeout(self, attempt: Attempt, context: Context) -> Deadline | None:
        """Interrupt the attempt after its `timeout`, which is rendered for each attempt."""
        template = attempt.command.timeout
        if template is None:
            return None
        text = context.render(str(template)) or ""
        try:
            millis = parse_duration(text)
        except ValueError as error:
            raise PropertyError(f"property `timeout`: {error}") from None
        attempt.allowed = millis
        return self._deadlines.after(millis / 1000, lambda: self.interrupt(attempt, Interruption.TIMEOUT))

    def _failed(self, attempt: Attempt, context: Context, error: BaseException) -> Outcome:
        outputs = error.outputs if isinstance(error, TaskError) else None
        text = _text(error)
        trace = "".join(traceback.format_exception(error))
        if attempt.interruption is None:
            context.logger.error(text)
            if not isinstance(error, _EXPECTED):
                context.logger.trace(trace)
        return Outcome("FAILED", outputs, text, trace=trace)

    def _judged(self, attempt: Attempt, context: Context, outcome: Outcome) -> Outcome:
        """The outcome in the light of an interruption."""
        reason = attempt.interruption
        if reason is Interruption.KILL:
            return Outcome("KILLED")
        if reason is Interruption.TIMEOUT:
            text = _timeout_text(attempt)
            context.logger.error(text)
            # Kestra's second line is the stack trace of the interrupted task: it shows what took so long.
            context.logger.trace("%s\n%s", text, outcome.trace)
            return Outcome("FAILED", outcome.outputs, text)
        return outcome

    def _finish(
        self, attempt: Attempt, context: Context, outcome: Outcome, started_at: Millis, pending: list[Outbound]
    ) -> None:
        if attempt.interruption in _QUIET:
            record = None
        elif attempt.interruption is Interruption.DRAIN and outcome.raised:
            record = self._declined(attempt, "drain")
        else:
            outcome, record = self._within_limits(attempt, context, outcome, started_at)
        if not attempt.settle():
            gauges.LATE.inc()
            with self._lock:
                self._abandoned.discard(attempt)
            _log.warning("%s ended %s after it was given up; its result is dropped", attempt, outcome.state)
        elif record is None:
            attempt.session.release(attempt.key)
        else:
            gauges.ended(outcome.state)
            self._report(attempt, [*pending, record])

    def _within_limits(
        self, attempt: Attempt, context: Context, outcome: Outcome, started_at: Millis
    ) -> tuple[Outcome, Outbound]:
        """The ended record; large outputs go to the blob store, what can't be kept fails the attempt."""
        limits = self._services.settings.blobs
        if outcome.error is not None:
            outcome = replace(outcome, error=context.hidden(outcome.error))
        try:
            record = self._ended(attempt, outcome, started_at, context.logger.errors())
            if outcome.outputs and record.value is not None and len(record.value) > limits.soft_limit:
                command = attempt.command
                path = f"{task_run_root(command)}/outputs-{command.attempt}-{command.dispatch}.json"
                reference = stored(outcome.outputs, path, self._services.blobs, limits.hard_limit)
                outcome = replace(outcome, outputs=reference)
                record = self._ended(attempt, outcome, started_at, context.logger.errors())
        except TooLargeError as error:
            text = f"Unable to emit the worker task result to the queue: {error}"
        except Exception as error:  # noqa: BLE001 - values that aren't JSON, a blob store of any make that fails
            text = f"The outputs can't be stored: {_text(error)}"
        else:
            return outcome, record
        context.logger.error(text)
        outcome = Outcome("FAILED", error=text)
        return outcome, self._ended(attempt, outcome, started_at, context.logger.errors())

    # ------------------------------------------------------------------ ends that the task doesn't choose

    def interrupt(self, attempt: Attempt, reason: Interruption) -> None:
        """Ask an attempt to stop; give it up when it doesn't within `STOP_WITHIN`."""
        if attempt.interrupt(reason):
            self._deadlines.after(STOP_WITHIN, lambda: self.abandon(attempt))

    def abandon(self, attempt: Attempt) -> None:
        """Report an attempt that doesn't stop. Its slot stays taken until it really ends."""
        reason = attempt.interruption
        with self._lock:  # so that an end at this moment finds the attempt among the abandoned
            if reason is None or not attempt.settle():
                return
            self._abandoned.add(attempt)
        _log.warning("%s does not stop (%s) and is given up", attempt, reason)
        self._report_interrupted(attempt, reason)

    def hand_back(self, attempt: Attempt, reason: Interruption) -> None:
        """End an attempt that has not begun."""
        if attempt.settle():
            self._report_interrupted(attempt, reason)

    def decline(self, attempt: Attempt, reason: str) -> None:
        """Send an attempt that has not begun elsewhere."""
        if attempt.settle():
            gauges.DECLINED.labels(reason).inc()
            self._report(attempt, [self._declined(attempt, reason)])

    def _report_interrupted(self, attempt: Attempt, reason: Interruption) -> None:
        if reason in _QUIET:
            attempt.session.release(attempt.key)
        elif reason is Interruption.DRAIN:
            self._report(attempt, [self._declined(attempt, "drain")])
        else:
            killed = reason is Interruption.KILL
            outcome = Outcome("KILLED") if killed else Outcome("FAILED", error=_timeout_text(attempt))
            gauges.ended(outcome.state)
            self._report(attempt, [self._ended(attempt, outcome, self._clock(), [])])

    # ------------------------------------------------------------------ records

    def _report(self, attempt: Attempt, records: Sequence[Outbound]) -> None:
        def durable() -> None:
            attempt.session.release(attempt.key)

        def instead(error: RecordTooLarge) -> Sequence[Outbound]:
            text = f"Unable to emit the worker task result to the queue: {TooLargeError(error.size, error.limit)}"
            small = self._ended(attempt, Outcome("FAILED", error=text), self._clock(), [])
            kept = [record for record in records if record != error.record]
            return kept if error.record.topic is not Topic.TASK_RUN_EVENTS else [*kept, small]

        self._reporter.report(Report(records, durable, instead))

    @staticmethod
    def _record(event: AttemptEvent) -> Outbound:
        return Outbound(Topic.TASK_RUN_EVENTS, event.execution_id, event.to_bytes())

    def _started(self, attempt: Attempt, at: Millis) -> Outbound:
        command = attempt.command
        session = attempt.session.id
        return self._record(
            AttemptStarted(command.execution_id, command.task_run_id, command.attempt, command.dispatch, session, at)
        )

    def _ended(
        self, attempt: Attempt, outcome: Outcome, started_at: Millis, error_logs: list[dict[str, Any]]
    ) -> Outbound:
        command = attempt.command
        event = AttemptEnded(
            execution_id=command.execution_id,
            task_run_id=command.task_run_id,
            attempt=command.attempt,
            dispatch=command.dispatch,
            session=attempt.session.id,
            at=self._clock(),
            state=outcome.state,
            started_at=started_at,
            outputs=None if outcome.outputs is None else dict(outcome.outputs),
            error=None if outcome.error is None else _storable(outcome.error)[:LONGEST_ERROR],
            error_logs=error_logs,
            attributes=None if outcome.attributes is None else dict(outcome.attributes),
        )
        return self._record(event)

    def _declined(self, attempt: Attempt, reason: str) -> Outbound:
        command = attempt.command
        event = AttemptDeclined(
            execution_id=command.execution_id,
            task_run_id=command.task_run_id,
            attempt=command.attempt,
            dispatch=command.dispatch,
            session=attempt.session.id,
            at=self._clock(),
            reason=reason,
        )
        return self._record(event)


def _storable(text: str) -> str:
    """The text without what UTF-8 has no bytes for."""
    return text.encode(errors="replace").decode()


def _origin(command: RunTaskRun) -> str:
    """Where a command came from: workers know its inbox by the session, and not its offset."""
    work = f"{command.task_run_id}/{command.attempt}/{command.dispatch}"
    return f"{Topic.TASK_RUN_COMMANDS}/{command.session}/{work}"


def _text(error: BaseException) -> str:
    """The text of an error; one of an unexpected type is named, since its text alone often says little."""
    text = str(error)
    if isinstance(error, _EXPECTED) and text:
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _timeout_text(attempt: Attempt) -> str:
    """Kestra's words for it."""
    seconds, millis = divmod(attempt.allowed, 1000)
    return f"Timeout after {seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}.{millis:03d}"
