"""The app: routes behind one gate, made anew for each server and each test."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from fastapi import APIRouter, Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from luthier.core import clock
from luthier.core.errors import LuthierError
from luthier.server import health, metrics, openapi
from luthier.server.auth import Authenticator, require, routes_of
from luthier.server.errors import ApiError, from_http, from_luthier, from_validation
from luthier.server.exchange import exchange_of
from luthier.server.gate import Gate
from luthier.server.limits import RateLimiter
from luthier.server.luthier_api import (
    answers,
    autos,
    catalogue,
    check,
    compare,
    curves,
    dataset_checks,
    dataset_fixes,
    dataset_tokens,
    datasets,
    decisions,
    endpoint_traffic,
    endpoints,
    examples,
    exports,
    extend,
    forecasts,
    jobs,
    keys,
    lineage,
    predict,
    recipes,
    reports,
    searches,
    session,
    system,
)
from luthier.server.metrics import Metrics
from luthier.server.openai import (
    chat,
    completions,
    embeddings,
    files,
    fine_tuning,
    graders,
    job_events,
    models,
    permissions,
    responses,
    uploads,
)
from luthier.server.settings import ServerSettings
from luthier.server.state import AppState

ROUTERS = (
    fine_tuning.router,  # first, as routes are tried in turn, and clients ask for their jobs all the time
    job_events.router,
    health.router,
    metrics.router,
    openapi.router,
    files.router,
    uploads.router,
    permissions.router,
    models.router,
    chat.router,
    completions.router,
    embeddings.router,
    responses.router,
    graders.router,
    jobs.router,
    curves.router,
    answers.router,
    compare.router,
    recipes.router,
    forecasts.router,
    extend.router,
    searches.router,
    decisions.router,
    autos.router,
    reports.router,
    check.router,
    predict.router,
    endpoints.router,
    keys.router,
    session.router,
    system.router,
    examples.router,
    datasets.router,
    dataset_checks.router,
    dataset_tokens.router,
    dataset_fixes.router,
    catalogue.router,
    lineage.router,
    exports.router,
    endpoint_traffic.router,
)
"""Everything that is served. A router needs no word about keys: the app asks for one."""

STORE_THREADS = 8


def create_app(
    settings: ServerSettings, *, state: AppState | None = None, others: Sequence[APIRouter] = ()
) -> FastAPI:
    """The app on `state` (`parts.opened` gives one). Without, it can be described, but not asked. `others` are served
    too, after the API's own: the pages, which stand above this room."""
    counters = Metrics()
    app = FastAPI(
        title="Luthier",
        openapi_url=None,  # our own route, which needs a key
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        dependencies=[Depends(require)],
        lifespan=_lifespan,
    )
    app.state.settings = settings
    app.state.luthier = state
    app.state.metrics = counters
    app.state.began = clock.monotonic()
    app.state.authenticator = Authenticator(lambda: app.state.luthier.store)
    app.add_middleware(
        Gate,
        settings=settings,
        authenticator=app.state.authenticator,
        limiter=RateLimiter(settings.requests_per_second, settings.request_burst),
        metrics=counters,
    )
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(RequestValidationError, _validation_error)
    app.add_exception_handler(LuthierError, _luthier_error)
    for router in (*ROUTERS, *others):
        app.include_router(router)
    app.state.templates = {route.endpoint: path for route, path, _ in routes_of(app)}
    document: dict[str, Any] = {}

    def describe() -> dict[str, Any]:
        if not document:
            document.update(openapi.describe(app))
        return document

    app.openapi = describe  # type: ignore[method-assign]
    return app


@contextlib.asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(STORE_THREADS, "luthier-store"))
    yield


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    refused = exchange_of(request.scope).refusal
    if refused is not None and not isinstance(error, ApiError):
        return refused.response()  # who has no key does not learn which addresses there are
    return from_http(error).response()


async def _validation_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    return from_validation(error.errors()).response()


async def _luthier_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, LuthierError)
    return from_luthier(error).response()
