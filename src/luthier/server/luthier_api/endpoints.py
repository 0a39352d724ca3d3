"""Dedicated endpoints: a name of the project's own for a model, loaded when it starts, unloaded when it is idle.

An endpoint shares the weights with all others that call the model. Idle for `idle_seconds` it is scaled to zero: the
next call loads it again.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Iterable
from typing import Annotated, Any, Literal

from fastapi import APIRouter, FastAPI, Path, Request, Response
from pydantic import Field, WithJsonSchema

from luthier.core.errors import LuthierError
from luthier.jobs.ids import new_id
from luthier.jobs.records import Endpoint, Identity
from luthier.server import store_call
from luthier.server.auth import Caller
from luthier.server.errors import ApiError
from luthier.server.names import find_base, resolve_model
from luthier.server.openai.answering import all_replies, endpoint_called, engine_request, unless_gone
from luthier.server.openai.answers import PageShape, Shape, json_response, list_of, now
from luthier.server.openai.body import Body, ModelName
from luthier.server.state import AppState, State

_log = logging.getLogger(__name__)
MAX_ENDPOINTS = 100
"""Of one project."""
_SHORTEST_IDLE = 10
_LONGEST_IDLE = 30 * 86_400
WATCH_SECONDS = 5.0
_STATUS_SECONDS = 5.0
_UNLOAD_SECONDS = 30.0
_NOBODY = Identity("", "", "read")

EndpointId = Annotated[str, Path(max_length=128, pattern=r"^[A-Za-z0-9_-]+$")]


class EndpointRequest(Body):
    """`idle_seconds`: 0 keeps the model loaded for as long as there is memory for it."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")]
    model: ModelName
    idle_seconds: Annotated[
        int,
        Field(ge=0, le=_LONGEST_IDLE),
        WithJsonSchema(
            {
                "anyOf": [
                    {"type": "integer", "const": 0},
                    {"type": "integer", "minimum": _SHORTEST_IDLE, "maximum": _LONGEST_IDLE},
                ],
                "default": 600,
            }
        ),
    ] = 600


class EndpointObject(Shape):
    """An endpoint. `loaded` is null where the engine does not say so in time."""

    id: str
    object: Literal["endpoint"]
    name: str
    model: str
    state: Literal["running", "stopped"]
    idle_seconds: int
    loaded: bool | None
    created_at: int


class EndpointList(PageShape):
    data: list[EndpointObject]


class EndpointDeleted(Shape):
    id: str
    object: Literal["endpoint.deleted"]
    deleted: bool


@contextlib.asynccontextmanager
async def _watching(app: FastAPI) -> AsyncIterator[None]:
    task = asyncio.ensure_future(watch_endpoints(app.state.luthier))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


router = APIRouter(prefix="/luthier/v1/endpoints", tags=["Endpoints"], lifespan=_watching)


@router.post("", operation_id="createEndpoint", response_model=EndpointObject)
async def create_endpoint(request: Request, body: EndpointRequest, caller: Caller, state: State) -> Response:
    """Make an endpoint and load its model. Its name is then a `model` for every other call of the project."""
    if 0 < body.idle_seconds < _SHORTEST_IDLE:
        raise ApiError(400, f"idle_seconds is 0 (never) or at least {_SHORTEST_IDLE}.", param="idle_seconds")
    if await store_call.run(find_base, state.settings.home, body.name) is not None:
        raise ApiError(409, f"There is a base model called {body.name!r}.", param="name", code="name_taken")
    every = await store_call.run(state.store.endpoints.list, caller.project_id)
    if any(one.name == body.name for one in every):
        raise ApiError(409, f"There is an endpoint {body.name!r} already.", param="name", code="endpoint_exists")
    if len(every) >= MAX_ENDPOINTS:
        raise ApiError(409, f"A project has at most {MAX_ENDPOINTS} endpoints.", code="too_many_endpoints")
    if await endpoint_called(state, caller, body.model) is not None:
        raise ApiError(400, "An endpoint is made of a model, not of another endpoint.", param="model")
    endpoint = Endpoint(new_id("ep_"), caller.project_id, body.name, body.model, "running", body.idle_seconds, now())
    await unless_gone(request, _load(state, caller, endpoint))
    await store_call.run(state.store.endpoints.create, endpoint)
    return json_response(_shape(endpoint, {body.model}))


@router.get("", operation_id="listEndpoints", response_model=EndpointList)
async def list_endpoints(caller: Caller, state: State) -> Response:
    """All endpoints of the project, newest first."""
    every = await store_call.run(state.store.endpoints.list, caller.project_id)
    loaded = await _loaded(state)
    return json_response(list_of([_shape(one, loaded) for one in every]))


@router.get("/{endpoint_id}", operation_id="getEndpoint", response_model=EndpointObject)
async def get_endpoint(endpoint_id: EndpointId, caller: Caller, state: State) -> Response:
    """One endpoint."""
    endpoint = await store_call.run(state.store.endpoints.get, caller.project_id, endpoint_id)
    return json_response(_shape(endpoint, await _loaded(state)))


@router.post("/{endpoint_id}/start", operation_id="startEndpoint", response_model=EndpointObject)
async def start_endpoint(request: Request, endpoint_id: EndpointId, caller: Caller, state: State) -> Response:
    """Load its model, and answer calls again."""
    endpoint = await store_call.run(state.store.endpoints.get, caller.project_id, endpoint_id)
    await unless_gone(request, _load(state, caller, endpoint))
    started = await store_call.run(state.store.endpoints.set_state, caller.project_id, endpoint_id, "running")
    return json_response(_shape(started, {started.model}))


@router.post("/{endpoint_id}/stop", operation_id="stopEndpoint", response_model=EndpointObject)
async def stop_endpoint(endpoint_id: EndpointId, caller: Caller, state: State) -> Response:
    """Answer no more calls by this name. The model itself can still be called by its own."""
    stopped = await store_call.run(state.store.endpoints.set_state, caller.project_id, endpoint_id, "stopped")
    await _unload_unless_used(state, caller, stopped)
    return json_response(_shape(stopped, await _loaded(state)))


@router.delete("/{endpoint_id}", operation_id="deleteEndpoint", response_model=EndpointDeleted)
async def delete_endpoint(endpoint_id: EndpointId, caller: Caller, state: State) -> Response:
    """Forget the endpoint. Its model stays."""
    deleted = await store_call.run(state.store.endpoints.delete, caller.project_id, endpoint_id)
    await _unload_unless_used(state, caller, deleted)
    return json_response({"id": endpoint_id, "object": "endpoint.deleted", "deleted": True})


async def watch_endpoints(state: AppState, seconds: float = WATCH_SECONDS) -> None:
    """Scale to zero what is idle, for ever."""
    while True:
        await asyncio.sleep(seconds)
        try:
            await scale_to_zero(state)
        except (ApiError, LuthierError, TimeoutError) as error:
            _log.warning("idle endpoints could not be looked after: %s", error)
        except Exception:
            _log.exception("idle endpoints could not be looked after")


async def scale_to_zero(state: AppState) -> list[str]:
    """Unload each model that was idle for longer than all its running endpoints allow; the names of these models."""
    if not state.engine.running():
        return []
    running = [one for one in await store_call.run(state.store.endpoints.list) if one.state == "running"]
    if not running:
        return []
    unloaded = []
    for told in await _status(state):
        mine = [one for one in running if one.model == told["name"]]
        if not mine or told.get("active") or any(one.idle_seconds == 0 for one in mine):
            continue
        if told["idle_seconds"] >= max(one.idle_seconds for one in mine):
            await _unload(state, mine[0])
            unloaded.append(str(told["name"]))
    return unloaded


async def _load(state: AppState, caller: Identity, endpoint: Endpoint) -> None:
    model = await resolve_model(state, caller, endpoint.model)
    await all_replies(state, engine_request("load", model.ref, caller, {}))


async def _unload_unless_used(state: AppState, caller: Identity, endpoint: Endpoint) -> None:
    """Free the memory of an endpoint's model, if no other running endpoint is made of it."""
    every = await store_call.run(state.store.endpoints.list)
    used = any(one.model == endpoint.model and one.state == "running" and one.id != endpoint.id for one in every)
    if used or not state.engine.running():
        return
    try:
        await _unload(state, endpoint)
    except (ApiError, LuthierError, TimeoutError) as error:
        _log.warning("the model of a stopped endpoint could not be unloaded: %s", error)


async def _unload(state: AppState, endpoint: Endpoint) -> None:
    owner = Identity("", endpoint.project_id, "read")
    model = await resolve_model(state, owner, endpoint.model)
    async with asyncio.timeout(_UNLOAD_SECONDS):
        await all_replies(state, engine_request("unload", model.ref, owner, {}))


async def _status(state: AppState) -> list[dict[str, Any]]:
    """What the engine says about the models that are loaded."""
    async with asyncio.timeout(_STATUS_SECONDS):
        replies = await all_replies(state, engine_request("status", None, _NOBODY, {}))
    return [model for reply in replies if reply.event == "status" for model in reply.data.get("models", [])]


async def _loaded(state: AppState) -> set[str] | None:
    """Names of the loaded models; None where the engine does not say so in time."""
    if not state.engine.running():
        return set()
    try:
        return {str(model["name"]) for model in await _status(state)}
    except (ApiError, TimeoutError):
        return None


def _shape(endpoint: Endpoint, loaded: Iterable[str] | None) -> dict[str, Any]:
    return {
        "id": endpoint.id,
        "object": "endpoint",
        "name": endpoint.name,
        "model": endpoint.model,
        "state": endpoint.state,
        "idle_seconds": endpoint.idle_seconds,
        "loaded": None if loaded is None else endpoint.model in loaded,
        "created_at": endpoint.created_at,
    }
