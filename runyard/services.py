"""Services: an executor, a worker or an indexer as a process: built, run until a signal, ended cleanly."""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Final, TypeVar

import uvicorn
from fastapi import FastAPI
from prometheus_client import REGISTRY, CollectorRegistry

from executor.service import Executor
from indexer.api.app import create_app
from indexer.api.outside import ServerOutside
from indexer.bulk.jobs import Jobs
from indexer.bulk.retention import Retention
from indexer.bulk.runner import Runner
from indexer.heartbeat import IndexerHeartbeat
from indexer.projector import Projector
from indexer.recent import Recent
from runyard.backends import Backends
from runyard.health import HealthServer
from shared.flow_directory import FlowDirectory
from shared.plugin_failures import tell_failures
from shared.ports import DocumentStore, JournalError, Topic
from shared.settings import Settings
from worker.catalog import TaskCatalog
from worker.worker import Worker

logger = logging.getLogger(__name__)

T = TypeVar("T")

STALLED: Final = 30.0
"""Seconds without a turn of its loop after which a worker is unhealthy."""
PATIENCE: Final = 120.0
"""Seconds that a starting service waits for Kafka or Elasticsearch: a search node takes half a minute to start."""


@contextmanager
def signals(stop: Callable[[], None]) -> Iterator[None]:
    """Call `stop` at SIGTERM and Ctrl-C, the second time as before: an impatient operator ends it at once."""
    before: dict[int, Any] = {}

    def handle(number: int, frame: FrameType | None) -> None:
        del frame
        signal.signal(number, before[number])
        logger.info("Stopping: %s", signal.Signals(number).name)
        stop()

    for number in (int(signal.SIGTERM), int(signal.SIGINT)):
        before[number] = signal.signal(number, handle)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def patiently(make: Callable[[], T], what: str) -> T:
    """Make something that needs a server, again and again while that starts."""
    until = time.monotonic() + PATIENCE
    while True:
        try:
            return make()
        except JournalError as error:
            if time.monotonic() > until:
                raise
            logger.warning("%s is not ready, trying again: %s", what, error)
            time.sleep(1.0)


def run_executor(backends: Backends, settings: Settings, host: str, port: int) -> None:
    """An executor until SIGTERM."""
    registry = CollectorRegistry()
    log = backends.event_log()
    journal = patiently(backends.journal, "Kafka")
    executor = Executor(journal, log, settings, ServerOutside(backends.blobs(), settings), registry)
    health = HealthServer(host, port, executor.problem, registry)
    with signals(executor.stop):
        executor.run()
    health.close()
    log.close()


def run_worker(backends: Backends, settings: Settings, host: str, port: int) -> None:
    """A worker until SIGTERM, which drains it."""
    log = backends.event_log()
    inbox = patiently(backends.inbox, "Kafka")
    worker = Worker(inbox, log, backends.blobs(), settings, TaskCatalog.installed(), documents=backends.documents)

    def problem() -> str | None:
        return f"the worker's loop has not come round for {STALLED:.0f} s" if worker.stalled(STALLED) else None

    health = HealthServer(host, port, problem, REGISTRY)
    with signals(worker.drain):
        worker.run()
    health.close()
    log.close()


class Api:
    """The indexer's parts around its web application: projector, tail of the log, flow directory."""

    def __init__(self, backends: Backends, settings: Settings, registry: CollectorRegistry | None = None) -> None:
        """Connected, but nothing runs yet."""
        registry = registry or CollectorRegistry()
        self.store: DocumentStore = backends.documents()
        self.log = backends.event_log()
        self.projector = Projector(self.log, self.store, settings)
        self.flows = FlowDirectory(patiently(lambda: self.log.tail([Topic.FLOWS]), "Kafka"))
        self.recent = Recent(self.log, self.flows, settings.indexer.follow_cache)
        self.jobs = Jobs(self.log)
        self.app: FastAPI = create_app(
            self.log, self.store, backends.blobs(), self.flows, self.recent, self.jobs, settings, registry=registry
        )
        self.runner = Runner(self.log, self.app.state.services)
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=run, name=name, daemon=True)
            for name, run in (("projector", self._project), ("bulk-actions", self._run_jobs))
        ]
        self._heartbeat = IndexerHeartbeat(self.log, lambda: self.projector.projected, lambda: self.projector.problem)

    def start(self) -> None:
        """Read the log and project it, on threads."""
        tell_failures(self.log, "indexer")
        self.flows.catch_up(60.0)
        self.recent.start()
        for thread in self._threads:
            thread.start()
        self._heartbeat.start()

    def _project(self) -> None:
        try:
            self.projector.run(self._stop)
        except Exception:
            logger.exception("The projector has ended: the index no longer follows the log")
            raise

    def _run_jobs(self) -> None:
        try:
            self.runner.run(self._stop, Retention(self.app.state.services).step)
        except Exception:
            logger.exception("The runner of bulk actions has ended: jobs go on in another indexer, or after a restart")
            raise

    def close(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(30)
        self._heartbeat.close()
        self.jobs.close()
        self.recent.close()
        self.flows.close()
        self.log.close()
        self.store.close()


def await_store(store: DocumentStore) -> None:
    """Wait until the search store can take documents. Raises RuntimeError with what is missing."""
    until = time.monotonic() + PATIENCE
    while (missing := store.ready()) is not None:
        if time.monotonic() > until:
            msg = f"the search store is not ready: {missing}"
            raise RuntimeError(msg)
        logger.warning("The search store is not ready, trying again: %s", missing)
        time.sleep(1.0)


def run_indexer(backends: Backends, settings: Settings, host: str, port: int) -> None:
    """An indexer with its API until SIGTERM."""
    api = Api(backends, settings)
    await_store(api.store)
    api.start()
    try:
        serve(api.app, host, port)
    finally:
        api.close()


def serve(app: FastAPI, host: str, port: int) -> None:
    """Serve a web application until SIGTERM or Ctrl-C. Open follow streams are ended after two seconds."""
    config = uvicorn.Config(
        app, host=host, port=port, log_config=None, access_log=False, timeout_graceful_shutdown=2, lifespan="on"
    )
    server = uvicorn.Server(config)
    # When it has ended, uvicorn raises the signal once more: without a handler the process would end there and then,
    # before the caller has closed the rest.
    with signals(lambda: None):
        run_server(server)


def run_server(server: uvicorn.Server) -> None:
    """Serve until a signal. Raises OSError when it cannot listen, where uvicorn would end the process by itself."""
    try:
        server.run()
    except SystemExit:
        if server.started:
            raise
    if not server.started:
        where = f"{server.config.host}:{server.config.port}"
        msg = f"cannot listen on {where}: the port is in use, or the address is not this machine's"
        raise OSError(msg)
