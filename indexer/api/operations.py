"""Operations: whether the service works, and its numbers for Prometheus."""

from __future__ import annotations

from typing import Final

from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from indexer.api.errors import json_response
from indexer.api.reading import blocking
from indexer.api.services import Services

router: Final = APIRouter(tags=["Operations"])


@router.get("/health")
async def health(request: Request) -> Response:
    """200 while the log is read and the store answers; 503 with what is missing."""
    services: Services = request.app.state.services
    problem = services.recent.failure
    if problem is None:
        try:
            problem = await blocking(services.store.ready)
        except Exception as error:  # noqa: BLE001 (whatever the store raises is the answer)
            problem = f"search store: {error}"
    return json_response(
        {"status": "UP" if problem is None else "DOWN", "problem": problem}, 200 if problem is None else 503
    )


@router.get("/metrics")
def metrics(request: Request) -> Response:
    """Prometheus text: this API's numbers (and an executor's beside it), and those that the process has only once."""
    registry: CollectorRegistry = request.app.state.registry
    text = generate_latest(registry)
    if registry is not REGISTRY:
        text += generate_latest(REGISTRY)  # projector, worker, process
    return Response(text, media_type=CONTENT_TYPE_LATEST)


class ApiCollector(Collector):
    """The API's numbers, read when they are asked for."""

    def __init__(self, services: Services) -> None:
        """Reads from these services."""
        self._services = services

    def collect(self) -> list[Metric]:
        gauges: list[Metric] = [
            GaugeMetricFamily(f"runyard_api_{name}", name.replace("_", " "), value)
            for name, value in self._services.recent.gauges().items()
        ]
        commands = self._services.commands
        gauges.append(CounterMetricFamily("runyard_api_commands", "commands published", commands.published))
        gauges.append(CounterMetricFamily("runyard_api_commits", "commits that published them", commands.commits))
        return gauges
