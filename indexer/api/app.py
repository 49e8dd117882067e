"""App: the REST API and the pages as one ASGI application."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

from fastapi import FastAPI
from prometheus_client import CollectorRegistry

from indexer.api import (
    bulk_actions,
    dead_letters,
    errors,
    evaluation,
    execution_actions,
    executions,
    files,
    flows,
    logs,
    namespaces,
    operations,
    task_runs,
    tracked_actions,
    webhooks,
)
from indexer.api.commands import Commands
from indexer.api.operations import ApiCollector
from indexer.api.outside import ServerOutside
from indexer.api.services import Services
from indexer.api.tenancy import TenantPaths
from indexer.bulk.jobs import Jobs
from indexer.dead_letters import DeadLetters
from indexer.letter_replay import LetterReplay
from indexer.pages import pages
from indexer.recent import Recent
from shared.expressions.renderer import Renderer
from shared.flow_directory import FlowDirectory
from shared.ports import BlobStore, DocumentStore, EventLog
from shared.settings import Settings

DESCRIPTION: Final = """Kestra's paths for flows, executions, task runs and logs. Each path is also
there without the tenant (`/api/v1/flows/search`), which then is `main`. Errors are `{"message": …}`."""


PREFIX: Final = "/api/v1/{tenant}"


def create_app(
    log: EventLog,
    store: DocumentStore,
    blobs: BlobStore,
    flows_known: FlowDirectory,
    recent: Recent,
    jobs: Jobs,
    settings: Settings,
    *,
    renderer: Renderer | None = None,
    registry: CollectorRegistry | None = None,
    on_stop: Callable[[], None] | None = None,
) -> FastAPI:
    """The application. `recent` and `flows_known` are read by their own threads or by the caller.

    `renderer`: for templates of inputs, webhook keys and eval; by default one that knows secrets and key values.
    `registry`: further metrics to show; the API's own are registered there. `on_stop`: called when the server stops.
    """
    services = Services(
        store=store,
        blobs=blobs,
        flows=flows_known,
        recent=recent,
        jobs=jobs,
        commands=Commands(log, recent, settings.indexer.answer_within),
        renderer=renderer or Renderer(ServerOutside(blobs, settings)),
        settings=settings,
        dead_letters=DeadLetters(log),
        letter_replay=LetterReplay(log, lambda: store, settings.indexer),
    )

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        if on_stop is not None:
            on_stop()

    app = FastAPI(title="Runyard", version="0.1.0", description=DESCRIPTION, lifespan=lifespan, redirect_slashes=False)
    app.state.services = services
    app.state.registry = registry or CollectorRegistry()
    app.state.registry.register(ApiCollector(services))
    # The first route that fits is taken: paths with fixed words come before those with parameters in their place.
    for module in (
        webhooks,
        bulk_actions,
        execution_actions,
        files,
        evaluation,
        executions,
        task_runs,
        tracked_actions,
        logs,
        flows,
        namespaces,
    ):
        app.include_router(module.router, prefix=PREFIX)
    app.include_router(logs.metrics_router, prefix=PREFIX)
    app.include_router(dead_letters.router)
    app.include_router(operations.router)
    app.include_router(pages.router)
    errors.install(app)
    app.add_middleware(TenantPaths)
    return app
