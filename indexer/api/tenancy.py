"""Tenancy: the one place where a tenant is put on what is asked for and taken off what is found.

Handlers reach stored things only through `Tenant`; what belongs to another tenant looks as if it weren't there.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, BinaryIO, Final

from fastapi import Depends, Path, Request
from starlette.types import ASGIApp, Receive, Scope, Send

from indexer.api.errors import not_found, refused
from indexer.api.services import Services
from indexer.bulk.jobs import Job
from indexer.kept import Snapshot
from shared.flow_directory import FlowDirectory
from shared.key_values import KeyValues
from shared.messages import FlowStored
from shared.model.document import Kind
from shared.model.flow import Flow
from shared.model.query import Bucket, Found, Page, Query

DEFAULT_TENANT: Final = "main"
"""The tenant of paths that name none, as in Kestra's open edition."""

RESOURCES: Final = frozenset(
    {
        "flows",
        "executions",
        "taskruns",
        "bulk-actions",
        "logs",
        "metrics",
        "namespaces",
        "triggers",
        "stats",
        "plugins",
        "templates",
    }
    | {"configs", "usages", "dashboards", "blueprints", "basicAuth"}
)
"""First segments of Kestra's paths: `/api/v1/flows` has no tenant, so none of them can be a tenant's name."""

_TENANT: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,99}\Z")
_PREFIX: Final = "/api/v1/"
_UNSAFE: Final = re.compile(r"(^|/)\.\.?(/|$)|//|\\|\x00")


class TenantPaths:
    """Middleware: `/api/v1/flows/…` is `/api/v1/main/flows/…`, so that each route exists once."""

    def __init__(self, app: ASGIApp) -> None:
        """Wraps the application."""
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope.get("path", "")
        if scope["type"] == "http" and path.startswith(_PREFIX):
            rest = path[len(_PREFIX) :]
            if rest.partition("/")[0] in RESOURCES:
                raw = scope.get("raw_path")
                scope = dict(scope, path=f"{_PREFIX}{DEFAULT_TENANT}/{rest}")
                if raw is not None:
                    scope["raw_path"] = f"{_PREFIX}{DEFAULT_TENANT}/".encode() + raw[len(_PREFIX) :]
        await self._app(scope, receive, send)


class Tenant:
    """Everything stored, as one tenant sees it. The methods that read block: call them on a worker thread."""

    def __init__(self, name: str, services: Services) -> None:
        """`name`: checked to be a possible tenant."""
        self.name = name
        self.services = services

    # ------------------------------------------------------------------ documents

    def query(self, kind: Kind, **filters: Any) -> Query:
        """A query among the tenant's documents."""
        return Query(tenant=self.name, kind=kind, **filters)

    def search(self, query: Query, page: Page) -> Found:
        """Raises QueryError."""
        assert query.tenant == self.name
        return self.services.store.search(query, page)

    def histogram(self, query: Query, buckets: int) -> Sequence[Bucket]:
        """Counts by state over time."""
        assert query.tenant == self.name
        return self.services.store.histogram(query, buckets)

    def document(self, kind: Kind, document_id: str, execution_id: str) -> tuple[int, Mapping[str, Any]] | None:
        """A stored document with its version, as it is now."""
        found = self.services.store.get(kind, document_id, execution_id)
        if found is None or found.document is None or found.document.get("tenantId") != self.name:
            return None
        return found.version, found.document

    def recent(self, execution_id: str) -> Snapshot | None:
        """What the tail has of an execution."""
        return self.services.recent.snapshot(self.name, execution_id)

    def recent_task_run(self, task_run_id: str) -> tuple[int, Mapping[str, Any]] | None:
        """What the tail has of a task run."""
        return self.services.recent.task_run(self.name, task_run_id)

    # ------------------------------------------------------------------ bulk actions

    def job(self, job_id: str) -> Job | None:
        """A bulk action, as of the log's end."""
        self.services.jobs.catch_up()
        found = self.services.jobs.get(job_id)
        return None if found is None or found.request.tenant != self.name else found

    def jobs(self) -> list[Job]:
        """All bulk actions that are remembered, the latest first, as of the log's end."""
        self.services.jobs.catch_up()
        return self.services.jobs.of_tenant(self.name)

    # ------------------------------------------------------------------ flows

    @property
    def _flows(self) -> FlowDirectory:
        return self.services.flows

    def stored_flow(self, namespace: str, flow_id: str, revision: int | None = None) -> FlowStored | None:
        """A stored revision, also of a deleted flow."""
        return self._flows.stored(self.name, namespace, flow_id, revision)

    def flow(self, namespace: str, flow_id: str, revision: int | None = None) -> Flow | None:
        """A flow at a revision; the latest without one. Raises FlowError when its source is no longer valid."""
        return self._flows.get(self.name, namespace, flow_id, revision)

    def switched_off(self, flow: Flow) -> frozenset[str]:
        """The ids of a flow's triggers that are switched off."""
        return self._flows.switched_off(self.name, flow.namespace, flow.id)

    def revisions(self, namespace: str, flow_id: str) -> tuple[FlowStored, ...]:
        """Every revision of a flow, oldest first."""
        return self._flows.revisions(self.name, namespace, flow_id)

    def flows(self, namespace: str | None = None) -> Iterator[FlowStored]:
        """The latest revisions of flows of a namespace and those below it."""
        return self._flows.latest(self.name, namespace)

    # ------------------------------------------------------------------ files

    def put_file(self, path: str, content: BinaryIO) -> str:
        """Store a file of the tenant; returns its URI as Kestra has it, without the tenant."""
        uri = self.services.blobs.put(f"{self.name}/{_safe(path)}", content)
        # Where the namespace begins with the tenant's name, the URI without it would be read as one with it.
        return uri if path.startswith(f"{self.name}/") else uri.replace(f"kestra:///{self.name}/", "kestra:///", 1)

    def open_file(self, uri: str) -> BinaryIO:
        """A stored file. Raises 404 where it isn't there or isn't the tenant's."""
        try:
            return self.services.blobs.open(within_tenant(uri, self.name))
        except FileNotFoundError as error:
            raise not_found(f"file {uri}") from error

    def file_size(self, uri: str) -> int:
        """Bytes of a stored file. Raises 404."""
        try:
            return self.services.blobs.size(within_tenant(uri, self.name))
        except FileNotFoundError as error:
            raise not_found(f"file {uri}") from error

    def list_files(self, folder: str) -> Iterator[str]:
        """URIs of the files below a folder."""
        return self.services.blobs.list(f"{self.name}/{_safe(folder.strip('/'))}/")

    def delete_files(self, path: str) -> int:
        """Delete a file, or everything below a folder; how many files that were."""
        return self.services.blobs.delete(f"{self.name}/{_safe(path.strip('/'))}")

    def key_values(self, namespace: str) -> KeyValues:
        """The key values of a namespace."""
        return KeyValues(self.services.blobs, self.name, namespace)


def within_tenant(uri: str, tenant: str) -> str:
    """A file's URI below the tenant's root: one that doesn't begin there is taken to be relative to it. Raises 404."""
    path = uri.removeprefix("kestra://").lstrip("/")
    if not uri.startswith("kestra:///") or _UNSAFE.search(path):
        raise not_found(f"file {uri}")
    return f"kestra:///{path}" if path.startswith(f"{tenant}/") else f"kestra:///{tenant}/{path}"


def _safe(path: str) -> str:
    if _UNSAFE.search(path) or path.startswith("/"):
        raise refused(f"Invalid path: {path}")
    return path


def is_tenant(name: str) -> bool:
    """Whether a text can be a tenant's name."""
    return _TENANT.match(name) is not None and name not in RESOURCES


async def tenant_of(
    request: Request, tenant: Annotated[str, Path(description="the tenant; `main` by default")]
) -> Tenant:
    """The tenant of a request's path."""
    if not is_tenant(tenant):
        raise not_found(f"tenant {tenant}")
    return Tenant(tenant, request.app.state.services)


OfTenant = Annotated[Tenant, Depends(tenant_of)]
"""What a handler asks for to see the request's tenant's things."""
