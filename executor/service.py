"""Service: an executor with everything it needs, and its life from start to a clean stop."""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Mapping
from functools import partial
from typing import Any, Final

import orjson
from prometheus_client import CollectorRegistry

from executor.dispatcher import Dispatcher
from executor.engine.draft import Environment
from executor.fleet import Fleet
from executor.plans import Plans
from executor.processor import Processor
from executor.skips import Skips
from executor.triggers import FlowTriggers
from shared.expressions import Outside, OutsideError, Place, Renderer, RenderError
from shared.flow_directory import FlowDirectory
from shared.flows.inputs import resolve_inputs, resolve_outputs
from shared.messages import Heartbeat
from shared.model.flow import Flow
from shared.model.identifier import new_id
from shared.model.reference import uri_of
from shared.plugin_failures import tell_failures
from shared.ports import EventLog, Journal, JournalError, Outbound, Topic
from shared.secrecy import sealed
from shared.settings import Settings

logger = logging.getLogger(__name__)

STALLED: Final = 30.0
"""Seconds without a finished step after which the executor is unhealthy: three transaction timeouts."""
HEARTBEAT: Final = 1.0
"""Seconds between an executor's own heartbeats."""
SNAPSHOTS_LAST: Final = 60_000
"""Milliseconds for which a reading of the search store holds at least, where ended executions stay for less: reading a
large one and sending it takes some seconds, and clocks differ."""


class Executor:
    """One executor service."""

    def __init__(
        self,
        journal: Journal,
        log: EventLog,
        settings: Settings,
        outside: Outside | None = None,
        registry: CollectorRegistry | None = None,
    ) -> None:
        """Nothing runs yet: `run` does, on its caller's thread."""
        self._journal = journal
        self._log = log
        self._settings = settings
        self.session = new_id()
        self._stop = threading.Event()
        self._renderer = Renderer(outside)
        chosen = settings.executor
        heartbeats = log.tail([Topic.HEARTBEATS], time.time_ns() // 1_000_000 - round(chosen.lease * 1000))
        self.flows = FlowDirectory(log.tail([Topic.FLOWS]))
        plans = Plans(self.flows)
        env = Environment(
            flows=plans,
            renderer=self._renderer,
            flow_outputs=self._flow_outputs,
            subflow_inputs=self._subflow_inputs,
            large_outputs=None if outside is None else partial(_large_outputs, outside),
            resubmissions=chosen.resubmissions,
            kill_deadline=round(chosen.kill_deadline * 1000),
            snapshots_last=max(SNAPSHOTS_LAST, round(chosen.keep_ended * 1000)),
            globals=settings.globals or None,
        )
        fleet = Fleet(heartbeats, chosen.lease)
        skips = Skips.of(chosen)
        dispatcher = Dispatcher(
            fleet, plans.of, chosen.lease, journal.partition_of, limit=settings.topics.max_message_bytes, skips=skips
        )
        self.processor = Processor(
            journal,
            dispatcher,
            env,
            triggers=FlowTriggers(self.flows, env, self._triggered_inputs),
            batch=chosen.batch,
            keep_ended=round(chosen.keep_ended * 1000),
            skips=skips,
            registry=registry,
        )

    def run(self) -> None:
        """Work until `stop`; then hand the partitions over. Errors of the journal are survived, others end it."""
        self.flows.catch_up(60.0)
        beats = threading.Thread(target=self._beat, name="executor-heartbeats", daemon=True)
        beats.start()
        self.processor.metrics.dead_letters.labels("plugin").inc(tell_failures(self._log, "executor"))
        logger.info("Executor %s is ready", self.session)
        try:
            while not self._stop.is_set():
                try:
                    self.processor.step()
                except JournalError as error:
                    logger.warning("The journal failed, going on: %s", error)
                    self._stop.wait(0.2)
                self.flows.poll()
        finally:
            self._stop.set()
            self._journal.close()
            beats.join(timeout=5)
            self.flows.close()
            logger.info("Executor %s has stopped", self.session)

    def stop(self) -> None:
        """End after the step in hand."""
        self._stop.set()

    def problem(self) -> str | None:
        """Why the executor is not healthy; None when it is."""
        age = time.monotonic() - self.processor.last_step
        return f"no step has finished for {age:.0f} s" if age > STALLED else None

    def _beat(self) -> None:
        while not self._stop.wait(HEARTBEAT):
            beat = Heartbeat(
                session=self.session,
                service="executor",
                at=time.time_ns() // 1_000_000,
                state="RUNNING" if self.problem() is None else "STALLED",
                host=socket.gethostname(),
            )
            try:
                self._log.publish([Outbound(Topic.HEARTBEATS, self.session, beat.to_bytes())])
            except JournalError as error:
                logger.warning("A heartbeat was not sent: %s", error)

    def _flow_outputs(self, flow: Flow, variables: Mapping[str, Any]) -> dict[str, Any]:
        resolved = resolve_outputs(flow.outputs, render=self._renderer.render_typed, variables=variables)
        values: dict[str, Any] = sealed(dict(resolved.valid()), self._settings.encryption_key)
        return values

    def _subflow_inputs(self, flow: Flow, given: Mapping[str, Any]) -> dict[str, Any]:
        resolved = resolve_inputs(flow.inputs, given, render=self._renderer.render_typed)
        values: dict[str, Any] = sealed(resolved.valid(), self._settings.encryption_key)
        return values

    def _triggered_inputs(self, flow: Flow, given: Mapping[str, Any]) -> dict[str, Any]:
        """Typed where they can be; the others as they are, and what is missing stays away (Kestra's rule)."""
        resolved = resolve_inputs(flow.inputs, given, render=self._renderer.render_typed)
        values: dict[str, Any] = sealed(resolved.lenient(given), self._settings.encryption_key)
        return values


def _large_outputs(outside: Outside, tenant: str, reference: Mapping[str, Any]) -> Mapping[str, Any]:
    """Outputs out of the blob store, for what the executor itself renders: a condition, a loop's values."""
    try:
        text = outside.stored_file(Place(tenant, None, None, None), uri_of(reference))
    except OutsideError as error:
        raise RenderError(str(error)) from error
    outputs: Mapping[str, Any] = orjson.loads(text)
    return outputs
