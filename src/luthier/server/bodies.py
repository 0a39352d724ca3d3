"""Bodies of requests, while they arrive: counted, timed, and read only for those who may call the route.

A route takes JSON, which is checked as a whole before the route sees it, unless its function is marked
`takes_files`: then it gets the bytes as they come.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

from starlette.types import Message, Receive, Scope, Send

from luthier.core import clock
from luthier.server import strict_json
from luthier.server.auth import is_open
from luthier.server.errors import ApiError
from luthier.server.exchange import Exchange
from luthier.server.settings import ServerSettings

FORM_BYTES = 2**20
"""What a form may hold beside its file."""
OPEN_BYTES = 4096
"""Of a body that is read of somebody without a key."""
_LINGER_SECONDS = 2.0

Endpoint = TypeVar("Endpoint", bound=Callable[..., Any])


def takes_files(endpoint: Endpoint) -> Endpoint:
    """Mark a route's function: its body is a form with a file, and may be as large as a file may be."""
    endpoint.takes_files = True  # type: ignore[attr-defined]
    return endpoint


class BodyReader:
    """The `receive` of one request."""

    def __init__(self, scope: Scope, receive: Receive, exchange: Exchange, settings: ServerSettings) -> None:
        self._scope = scope
        self._receive = receive
        self._exchange = exchange
        self._settings = settings
        self._limit = 0
        self._bytes = 0
        self._waited = 0.0

    async def __call__(self) -> Message:
        """The next message; raises what makes the body unacceptable."""
        if self._exchange.body_over:
            return await self._receive()  # its empty end where there is no body, then only that the client leaves
        if self._limit:
            return await self._piece()
        endpoint = self._scope.get("endpoint")
        everybody = is_open(endpoint)
        if self._exchange.refusal is not None and not everybody:
            raise self._exchange.refusal
        files = getattr(endpoint, "takes_files", False)
        self._limit = self._settings.max_file_bytes + FORM_BYTES if files else self._settings.max_json_bytes
        if everybody:
            self._limit = OPEN_BYTES
        self._check_length()
        self._check_type(files)
        return await (self._piece() if files else self._json())

    def _check_length(self) -> None:
        length = self._exchange.headers.get(b"content-length")
        if length is not None and length.isdigit() and int(length[:20]) > self._limit:
            raise self._too_large()

    def _check_type(self, files: bool) -> None:
        kind = (self._exchange.text(b"content-type") or "").partition(";")[0].strip().lower()
        wanted = "multipart/form-data" if files else "application/json"
        if kind != wanted:
            raise ApiError(415, f"The body must be {wanted}.", code="unsupported_media_type")

    async def _json(self) -> Message:
        pieces = []
        while True:
            message = await self._piece()
            if message["type"] != "http.request":
                return message
            pieces.append(message.get("body", b""))
            if not message.get("more_body", False):
                break
        body = b"".join(pieces)
        if body:
            strict_json.check(body)
        return {"type": "http.request", "body": body, "more_body": False}

    async def _piece(self) -> Message:
        settings = self._settings
        budget = settings.body_grace_seconds + self._bytes / settings.body_bytes_per_second - self._waited
        began = clock.monotonic()
        try:
            async with asyncio.timeout(max(budget, 0.0)):
                message = await self._receive()
        except TimeoutError:
            raise ApiError(408, "The body of the request came too slowly.", code="request_timeout") from None
        self._waited += clock.monotonic() - began
        if message["type"] == "http.request":
            self._bytes += len(message.get("body", b""))
            if self._bytes > self._limit:
                raise self._too_large()
            if not message.get("more_body", False):
                self._exchange.body_over = True
        return message

    def _too_large(self) -> ApiError:
        return ApiError(413, f"The body of the request is larger than {self._limit:,} bytes.", code="request_too_large")


async def finish_unread(receive: Receive, send: Send, message: Message) -> None:
    """Send the last of an answer to a request whose body was not read.

    The connection ends after it. Closed with unread bytes, it would be reset, and the client might never see why: so
    the whole answer goes out first, and what still arrives is dropped for a moment.
    """
    await send({**message, "more_body": True})
    try:
        async with asyncio.timeout(_LINGER_SECONDS):
            while True:
                dropped = await receive()
                if dropped["type"] != "http.request" or not dropped.get("more_body", False):
                    break
    except TimeoutError:
        pass
    await send({"type": "http.response.body", "body": b"", "more_body": False})
