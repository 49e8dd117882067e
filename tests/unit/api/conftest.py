"""An API over ports in memory, with a small executor that answers its commands."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from indexer.api.app import create_app
from indexer.bulk.jobs import Jobs
from indexer.recent import Recent
from shared.flow_directory import FlowDirectory
from shared.ports import Topic
from shared.settings import IndexerSettings, Settings
from tests.unit.api.fakes import MemoryBlobs, MemoryLog, MemoryStore, SmallExecutor

FLOW = """\
id: hello
namespace: company.team
labels:
  team: blue
inputs:
  - id: name
    type: STRING
    required: false
    defaults: "you"
  - id: age
    type: INT
    required: false
  - id: data
    type: FILE
    required: false
tasks:
  - id: t
    type: io.kestra.plugin.core.debug.Return
    format: "{{ inputs.name }}"
"""


@dataclass
class Api:
    """The application with everything around it, called without a socket."""

    app: FastAPI
    log: MemoryLog
    store: MemoryStore
    blobs: MemoryBlobs
    recent: Recent
    executor: SmallExecutor

    def call(self, method: str, path: str, **options: Any) -> httpx.Response:
        """One request."""
        return asyncio.run(self._call(method, path, **options))

    async def _call(self, method: str, path: str, **options: Any) -> httpx.Response:
        transport = httpx.ASGITransport(self.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            return await client.request(method, path, **options)

    def get(self, path: str, **options: Any) -> httpx.Response:
        return self.call("GET", path, **options)

    def post(self, path: str, **options: Any) -> httpx.Response:
        return self.call("POST", path, **options)

    def save(self, source: str = FLOW, root: str = "/api/v1/main") -> dict[str, Any]:
        """Store a flow that must be accepted."""
        answer = self.post(f"{root}/flows", content=source, headers={"content-type": "application/x-yaml"})
        assert answer.status_code == 200, answer.text
        return answer.json()

    def run(self, path: str = "company.team/hello", root: str = "/api/v1/main", **options: Any) -> dict[str, Any]:
        """Create an execution that must be accepted."""
        answer = self.post(f"{root}/executions/{path}", **options)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def ended(self, execution_id: str, root: str = "/api/v1/main") -> dict[str, Any]:
        """The execution once it ended."""
        answer = self.get(f"{root}/executions/{execution_id}/follow")
        assert answer.status_code == 200
        return self.get(f"{root}/executions/{execution_id}").json()


@pytest.fixture
def api() -> Iterator[Api]:
    """An API that is at work."""
    log, store, blobs = MemoryLog(), MemoryStore(), MemoryBlobs()
    settings = Settings(
        indexer=IndexerSettings(answer_within=2.0),
        encryption_key="I6EGNzRESu3X3pKZidrqCGOHQFUFC0yK",
        secrets={"webhook_key": "secretKey"},
    )
    flows = FlowDirectory(log.tail([Topic.FLOWS]))
    recent = Recent(log, flows, 100)
    executor = SmallExecutor(log, store).start()
    recent.start()
    try:
        yield Api(
            create_app(log, store, blobs, flows, recent, Jobs(log), settings), log, store, blobs, recent, executor
        )
    finally:
        executor.close()
        recent.close()
