"""What Prometheus reads at /metrics. Each app has a registry of its own."""

from __future__ import annotations

import asyncio
import contextlib
import math
import secrets
from collections.abc import Iterator
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import PlainTextResponse, Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

from luthier.core import clock
from luthier.core.answering import EngineRequest
from luthier.core.errors import LuthierError
from luthier.server import store_call
from luthier.server.errors import ApiError
from luthier.server.state import AppState, State

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0)
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_PATIENCE_SECONDS = 1.0
STATUSES = ("validating_files", "queued", "running", "paused", "succeeded", "failed", "cancelled")


class Metrics:
    """Counts of requests, kept as they are answered; the rest is asked for at each reading."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        GCCollector(registry=registry)
        PlatformCollector(registry=registry)
        self._requests = Counter(
            "luthier_http_requests", "Requests answered.", ("method", "route", "status"), registry=registry
        )
        self._seconds = Histogram(
            "luthier_http_request_seconds",
            "From a request's headers to the end of its answer.",
            ("route",),
            buckets=_SECONDS,
            registry=registry,
        )
        self._jobs = Gauge("luthier_jobs", "Jobs, by status.", ("status",), registry=registry)
        self._oldest = Gauge("luthier_queue_oldest_seconds", "Age of the oldest job that waits.", registry=registry)
        self._parts = Gauge("luthier_up", "Whether a part of the service works.", ("part",), registry=registry)
        self._restarts = Gauge("luthier_engine_restarts", "How often the engine was started again.", registry=registry)
        self._asked = Gauge("luthier_engine_requests", "Requests under way in the engine.", registry=registry)
        self._engine = Gauge("luthier_engine", "What the engine says of itself.", ("what",), registry=registry)
        self._children: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}

    def observe(self, method: str, route: str, status: int, seconds: float) -> None:
        """A request was answered."""
        found = self._children.get((method, route, status))
        if found is None:
            known = method if method in _METHODS else "other"
            found = (self._requests.labels(known, route, str(status)), self._seconds.labels(route))
            if known == method:
                self._children[method, route, status] = found
        found[0].inc()
        found[1].observe(seconds)

    async def text(self, state: AppState) -> bytes:
        """Everything, in Prometheus' words."""
        try:
            counts = await store_call.run(state.store.jobs.counts)
            waiting = await store_call.run(state.store.jobs.with_status, "queued", "validating_files")
        except LuthierError:
            self._parts.labels("store").set(0)
            self._jobs.clear()  # nothing is known now; old numbers would look like new ones
            self._oldest.set(math.nan)
        else:
            self._parts.labels("store").set(1)
            for status in STATUSES:
                self._jobs.labels(status).set(counts.get(status, 0))
            oldest = min((job.created_at for job in waiting), default=None)
            self._oldest.set(0 if oldest is None else max(0.0, clock.now().timestamp() - oldest))
        self._parts.labels("supervisor").set(state.supervisor.alive())
        self._parts.labels("engine").set(state.engine.running())
        engine = state.engine.status()
        self._restarts.set(engine["restarts"])
        self._asked.set(engine["requests"])
        said = await _engine_says(state)
        self._engine.clear()
        for name, value in _numbers(said):
            self._engine.labels(name).set(value)
        return generate_latest(self.registry)


async def _engine_says(state: AppState) -> dict[str, Any]:
    if not state.engine.running():
        return {}
    with contextlib.suppress(ApiError, TimeoutError):
        async with asyncio.timeout(_PATIENCE_SECONDS):
            request = EngineRequest("metrics_" + secrets.token_hex(8), "status")
            async with contextlib.aclosing(state.engine.ask(request)) as replies:
                async for reply in replies:
                    if reply.event == "status":
                        return reply.data
    return {}


def _numbers(data: dict[str, Any]) -> Iterator[tuple[str, float]]:
    models = data.get("models") or []
    if data:
        yield "models", len(models)
        yield "model_bytes", sum(model.get("bytes", 0) for model in models)
    for name, value in data.items():
        if isinstance(value, int | float) and not isinstance(value, bool):
            yield name, value


router = APIRouter(tags=["Server"])


@router.get(
    "/metrics",
    response_class=PlainTextResponse,
    operation_id="getMetrics",
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
)
async def metrics(request: Request, state: State) -> Response:
    """Counters for Prometheus."""
    counters: Metrics = request.app.state.metrics
    return Response(await counters.text(state), media_type=CONTENT_TYPE_LATEST)
