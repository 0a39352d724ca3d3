"""Server-sent events as OpenAI writes them."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Any

import anyio
from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from luthier.core.errors import LuthierError
from luthier.server.errors import ApiError, from_luthier
from luthier.server.exchange import exchange_of
from luthier.server.open_streams import OpenStreams
from luthier.server.openai.answering import unless_gone

DONE = b"data: [DONE]\n\n"
MAY_STREAM: dict[int | str, dict[str, Any]] = {
    200: {"content": {"text/event-stream": {}}, "description": "The answer; with stream=true, as it is written."}
}
"""For the document: of routes that answer in either way."""
_CLOSE_SECONDS = 5.0
_log = logging.getLogger(__name__)


def event(data: dict[str, Any], name: str = "") -> bytes:
    """One event. ASCII only: some clients take U+2028 for the end of a line."""
    head = f"event: {name}\n" if name else ""
    written = json.dumps(data, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return f"{head}data: {written}\n\n".encode()


def error_of(error: Exception) -> dict[str, Any]:
    """The inside of OpenAI's ``{"error": ...}``, for an answer whose status was already sent."""
    if isinstance(error, LuthierError):
        error = from_luthier(error)
    if isinstance(error, ApiError):
        return {"message": error.message, "type": error.type, "param": error.param, "code": error.code}
    _log.exception("a stream of events failed", exc_info=error)
    return {
        "message": "The server failed while it answered.",
        "type": "server_error",
        "param": None,
        "code": "server_error",
    }


def _error_event(error: dict[str, Any]) -> bytes:
    return event({"error": error})


Failed = Callable[[dict[str, Any]], bytes]


class EventStream(StreamingResponse):
    """Events while they come; when the client goes away, their source is closed at once, not when it is collected.

    It ends with the key that asked for it (`OpenStreams`); the last event says so.
    """

    media_type = "text/event-stream"

    def __init__(self, first: bytes, others: AsyncGenerator[bytes], failed: Failed = _error_event) -> None:
        self._others = others
        self._all = _joined(first, others)
        self._failed = failed
        self._scope: Scope = {}
        super().__init__(self._all, headers={"cache-control": "no-cache", "x-accel-buffering": "no"})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer."""
        self._scope = scope
        await super().__call__(scope, receive, send)

    async def stream_response(self, send: Send) -> None:
        """Send everything, and close the source."""
        streams = OpenStreams.of(self._scope["app"].state.luthier)
        identity = exchange_of(self._scope).identity
        assert identity is not None  # no stream is open to all
        try:
            with streams.opened(identity.key_id) as stream, stream.scope:
                await super().stream_response(send)
        finally:
            with anyio.move_on_after(_CLOSE_SECONDS, shield=True):
                await self._all.aclose()
                await self._others.aclose()
        if stream.ended is not None and stream.scope.cancelled_caught:
            await self._end(send, stream.ended)

    async def _end(self, send: Send, error: ApiError) -> None:
        """The last event. Where nobody reads it, the connection ends without."""
        if not exchange_of(self._scope).status:
            raise error
        with anyio.move_on_after(_CLOSE_SECONDS):
            await send({"type": "http.response.body", "body": self._failed(error_of(error)), "more_body": False})


async def event_stream(request: Request, events: AsyncGenerator[bytes], failed: Failed = _error_event) -> EventStream:
    """A stream, once its first event is there: what goes wrong before that is still an answer with a status.

    What goes wrong later is the last event: what `failed` makes of the inside of OpenAI's ``{"error": ...}``.
    """
    try:
        first = await unless_gone(request, _first(events))
    except BaseException:
        with anyio.move_on_after(_CLOSE_SECONDS, shield=True):
            await events.aclose()
        raise
    return EventStream(first, _or_failed(events, failed), failed)


async def _first(events: AsyncGenerator[bytes]) -> bytes:
    return await anext(events)


async def _or_failed(events: AsyncGenerator[bytes], failed: Failed) -> AsyncGenerator[bytes]:
    async with aclosing(events):
        try:
            async for one in events:
                yield one
        except Exception as error:
            yield failed(error_of(error))


async def _joined(first: bytes, others: AsyncGenerator[bytes]) -> AsyncGenerator[bytes]:
    yield first
    async for one in others:
        yield one
