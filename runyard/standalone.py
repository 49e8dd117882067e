"""Standalone: executor, worker, indexer and API in one process, on one SQLite file."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from pathlib import Path
from queue import SimpleQueue
from typing import Self

import uvicorn
from prometheus_client import CollectorRegistry

from executor.service import Executor
from indexer.api.outside import ServerOutside
from runyard.backends import EmbeddedBackends
from runyard.services import Api, run_server, signals
from shared.settings import Settings
from worker.catalog import TaskCatalog
from worker.worker import Worker

logger = logging.getLogger(__name__)


class Standalone:
    """All services on threads of this process. A thread that ends by an error ends the whole, loudly."""

    def __init__(
        self, settings: Settings, directory: Path, *, synchronous: str = "NORMAL", tasks: TaskCatalog | None = None
    ) -> None:
        """Raises StorageError when the directory can't be used."""
        self._settings = settings.model_copy(
            update={"blobs": settings.blobs.model_copy(update={"directory": directory / "blobs"})}
        )
        self._backends = EmbeddedBackends(directory, synchronous)
        self._backends.prepare()
        registry = CollectorRegistry()
        self._log = self._backends.event_log()
        self.executor = Executor(
            self._backends.journal(),
            self._log,
            self._settings,
            ServerOutside(self._backends.blobs(), self._settings),
            registry,
        )
        self.worker = Worker(
            self._backends.inbox(),
            self._log,
            self._backends.blobs(),
            self._settings,
            tasks or TaskCatalog.installed(),
            documents=self._backends.documents,
        )
        self.api = Api(self._backends, self._settings, registry)
        self.failure: BaseException | None = None
        self._on_failure: Callable[[], None] | None = None
        self._server: uvicorn.Server | None = None
        self._serving: threading.Thread | None = None
        self._threads = [
            threading.Thread(target=self._run, args=(name, run), name=name, daemon=True)
            for name, run in (("executor", self.executor.run), ("worker", self.worker.run))
        ]

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _run(self, name: str, run: Callable[[], None]) -> None:
        try:
            run()
        except BaseException as error:
            logger.exception("The %s has ended", name)
            self.failure = error
            if self._on_failure is not None:
                self._on_failure()
            raise

    def start(self) -> None:
        """Start everything but the web server."""
        self.api.start()
        for thread in self._threads:
            thread.start()

    def serve(self, host: str, port: int, ready: Callable[[str], None]) -> None:
        """Serve the API until SIGTERM or Ctrl-C. `ready` is called with the address once it listens."""
        config = uvicorn.Config(
            self.api.app, host=host, port=port, log_config=None, access_log=False, timeout_graceful_shutdown=2
        )
        server = Announcing(config, ready)
        self._on_failure = self.end
        self._server = server
        with signals(lambda: None):  # else uvicorn's second signal ends the process before `close` has drained it
            run_server(server)
        if self.failure is not None:
            raise RuntimeError("a service has ended") from self.failure

    def listen(self, host: str, port: int) -> str:
        """Serve the API on a thread, until `close`; the address. Raises OSError when it cannot listen."""
        told: SimpleQueue[str | Exception] = SimpleQueue()
        config = uvicorn.Config(
            self.api.app, host=host, port=port, log_config=None, access_log=False, timeout_graceful_shutdown=1
        )
        self._server = server = Announcing(config, told.put)
        self._on_failure = self.end

        def run() -> None:
            try:
                run_server(server)
            except OSError as error:
                told.put(error)

        self._serving = threading.Thread(target=run, name="api", daemon=True)
        self._serving.start()
        answer = told.get()
        if isinstance(answer, Exception):
            raise answer
        return answer

    def end(self) -> None:
        """End serving."""
        if self._server is not None:
            self._server.should_exit = True

    def close(self) -> None:
        """Drain the worker, stop the rest, close the file."""
        self.end()
        if self._serving is not None:
            self._serving.join(15)
        self.worker.drain()
        if self._threads[1].ident is not None:
            self._threads[1].join(self._settings.worker.grace + 15)
        self.executor.stop()
        if self._threads[0].ident is not None:
            self._threads[0].join(15)
        self.api.close()
        self._log.close()
        self._backends.close()


class Announcing(uvicorn.Server):
    """A web server that says when it listens, and where (port 0 takes a free one)."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[str], None]) -> None:
        """`ready`: called once, with the address."""
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[object] | None = None) -> None:  # type: ignore[override]
        await super().startup(sockets)  # type: ignore[arg-type]
        if self.started:
            port = self.servers[0].sockets[0].getsockname()[1]
            self._ready(f"http://{self.config.host}:{port}")
