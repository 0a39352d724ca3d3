"""Asking the engine on behalf of a client: which model, with what deadline, and what its errors are over HTTP."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncGenerator, Coroutine, Sequence
from contextlib import aclosing
from typing import Any, Literal, TypeVar

from starlette.requests import Request

from luthier import __version__
from luthier.core.answering import EngineReply, EngineRequest, ModelRef, Operation
from luthier.jobs.ids import random_characters
from luthier.jobs.records import Endpoint, Identity
from luthier.server import store_call
from luthier.server.errors import ApiError, unavailable
from luthier.server.names import Resolved, resolve_model
from luthier.server.state import AppState
from luthier.server.traffic import CALL, count_tokens

Result = TypeVar("Result")

SILENCE_SECONDS = 300.0
"""How long the engine may say nothing about a request: a large model is loaded, or others are before it."""
_PARAMS = {"json_schema": "response_format"}
"""What the engine calls otherwise than OpenAI."""
_WAITING = 64
"""Replies that may wait for a slow reader before the engine's are left unread."""


async def model_to_ask(
    state: AppState, identity: Identity, name: str, *, does: Literal["write", "embed", "predict"]
) -> Resolved:
    """The model that a client calls `name`, which may be that of a dedicated endpoint.

    Raises `ApiError`: 404 for no such model, 409 where its endpoint is stopped, 400 where it does not do this.
    """
    endpoint = None if name.startswith("ft:") else await endpoint_called(state, identity, name)
    call = CALL.get()
    if endpoint is not None and call is not None:
        call.endpoint_id = endpoint.id
    if endpoint is not None and endpoint.state == "stopped":
        raise ApiError(
            409,
            f"The endpoint {name!r} is stopped. Start it: POST /luthier/v1/endpoints/{endpoint.id}/start.",
            code="endpoint_stopped",
            param="model",
        )
    found = await resolve_model(state, identity, name if endpoint is None else endpoint.model)
    writes = found.kind == "generative"
    if does == "write" and not writes:
        raise ApiError(
            400,
            f"The model {name!r} does not write: it reads a whole text and answers with numbers. "
            "Ask it by POST /luthier/v1/predict, or for vectors by POST /v1/embeddings.",
            code="model_does_not_write",
            param="model",
        )
    if does == "predict" and not (writes or found.task):
        raise ApiError(
            400,
            f"The model {name!r} is a base without a task. Fine-tune it first, or ask it for vectors by "
            "POST /v1/embeddings.",
            code="model_does_not_predict",
            param="model",
        )
    if does == "embed" and writes:
        raise ApiError(
            400,
            f"The model {name!r} writes; vectors come from encoders, such as 'minilm'.",
            code="model_does_not_embed",
            param="model",
        )
    return found


async def endpoint_called(state: AppState, identity: Identity, name: str) -> Endpoint | None:
    """The project's dedicated endpoint of that name, if it has one."""
    every = await store_call.run(state.store.endpoints.list, identity.project_id)
    return next((one for one in every if one.name == name), None)


def engine_request(op: Operation, model: ModelRef | None, identity: Identity, body: dict[str, Any]) -> EngineRequest:
    """A request with an id of its own."""
    return EngineRequest("ask-" + random_characters(24), op, model, identity.project_id, body)


async def replies(
    state: AppState, request: EngineRequest, silence_seconds: float = SILENCE_SECONDS
) -> AsyncGenerator[EngineReply]:
    """What the engine answers, without its `end`. Raises `ApiError` for its errors and its silence.

    To be closed (`aclosing`): a request that nobody reads any more is cancelled at the engine.
    """
    async with aclosing(state.engine.ask(request)) as said:
        while True:
            try:
                async with asyncio.timeout(silence_seconds):
                    reply = await anext(said, None)
            except TimeoutError:
                raise unavailable("The model did not answer in time. Try again later.", code="model_timeout") from None
            if reply is None:
                raise unavailable("The inference engine stopped in the middle of the answer. Try again.")
            count_tokens(reply.event, reply.data)
            if reply.event == "error":
                raise engine_error(reply.data)
            if reply.event == "end":
                return
            yield reply


async def all_replies(state: AppState, request: EngineRequest) -> list[EngineReply]:
    """`replies` as a list."""
    async with aclosing(replies(state, request)) as said:
        return [reply async for reply in said]


async def merged_replies(state: AppState, asked: Sequence[EngineRequest]) -> AsyncGenerator[tuple[int, EngineReply]]:
    """The replies to all requests as they come, each with the place of its request."""
    queue: asyncio.Queue[tuple[int, EngineReply] | Exception | None] = asyncio.Queue(_WAITING)

    async def follow(place: int, one: EngineRequest) -> None:
        try:
            async with aclosing(replies(state, one)) as said:
                async for reply in said:
                    await queue.put((place, reply))
        except Exception as error:
            await queue.put(error)
        else:
            await queue.put(None)

    followers = [asyncio.ensure_future(follow(place, one)) for place, one in enumerate(asked)]
    try:
        unfinished = len(followers)
        while unfinished:
            found = await queue.get()
            if isinstance(found, Exception):
                raise found
            if found is None:
                unfinished -= 1
            else:
                yield found
    finally:
        for follower in followers:
            follower.cancel()
        await asyncio.gather(*followers, return_exceptions=True)


def engine_error(data: dict[str, Any]) -> ApiError:
    """An error of the engine as an answer: a user's mistake is a 400, a full engine a 503, the rest a 500."""
    kind, code, param = data.get("kind"), data.get("code") or None, data.get("param")
    param = _PARAMS.get(str(param), param)
    message = str(data.get("message") or "The inference engine failed.")
    if kind == "user":
        return ApiError(400, message, code=code, param=param)
    if kind == "busy":
        return unavailable(message, code=code or "engine_busy")
    return ApiError(500, "The inference engine could not answer this request.", code=code or "server_error")


async def unless_gone(request: Request, work: Coroutine[Any, Any, Result]) -> Result:
    """The result of `work`, which is cancelled when the client hangs up."""
    task = asyncio.ensure_future(work)
    watcher = asyncio.ensure_future(_gone(request))
    try:
        await asyncio.wait({task, watcher}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ApiError(499, "The client closed the connection.", code="client_closed_request")
        return task.result()
    finally:
        for one in (task, watcher):
            one.cancel()
        await asyncio.gather(task, watcher, return_exceptions=True)


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def fingerprint(model: Resolved) -> str:
    """What OpenAI's system_fingerprint is for: it changes with the program or the weights."""
    ref = model.ref
    told = f"{__version__}\n{ref.name}\n{ref.base}\n{ref.folder}"
    return "fp_" + hashlib.sha256(told.encode()).hexdigest()[:10]
