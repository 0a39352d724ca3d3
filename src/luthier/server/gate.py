"""The one door: every request passes here, from its first header to the last byte of its answer.

In order: Host and browser checks, who asks, rate limit, the body while it arrives, the headers of every answer, what
went wrong in one shape, metrics, one log line.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from luthier.core import clock
from luthier.core.errors import LuthierError
from luthier.server import hosts
from luthier.server.auth import Authenticator
from luthier.server.bodies import BodyReader, finish_unread
from luthier.server.errors import ApiError, from_luthier
from luthier.server.exchange import Exchange, begin
from luthier.server.headers import SECURITY
from luthier.server.limits import RateLimiter
from luthier.server.logs import frames_of
from luthier.server.metrics import Metrics
from luthier.server.settings import ServerSettings
from luthier.server.traffic import CALL, Call, Traffic

log = logging.getLogger("luthier.server")
_CLIENT_LEFT = 499
"""The status in logs and metrics of a request whose client left before the answer (nginx's number)."""


class Gate:
    """Pure ASGI middleware, outermost."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        settings: ServerSettings,
        authenticator: Authenticator,
        limiter: RateLimiter,
        metrics: Metrics,
    ) -> None:
        self._app = app
        self._settings = settings
        self._names = settings.host_names
        self._authenticator = authenticator
        self._limiter = limiter
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return  # a WebSocket: not answered, which closes it
        exchange = begin(scope)
        answer = _Answer(exchange, receive, send)
        call = Call()
        CALL.set(call)
        try:
            await self._admit(scope, exchange)
            await self._app(scope, BodyReader(scope, receive, exchange, self._settings), answer)
        except ApiError as error:
            await self._fail(scope, answer, error)
        except LuthierError as error:
            await self._fail(scope, answer, from_luthier(error))
        except Exception as error:
            # The message may hold what the client sent: only the kind and the places are logged.
            log.error(
                "fault of the server",
                extra={"request_id": exchange.id, "error": type(error).__name__, "frames": frames_of(error)},
            )
            sorry = f"The server had an internal error. Its log has more under {exchange.id}."
            await self._fail(scope, answer, ApiError(500, sorry))
        finally:
            self._record(scope, exchange, call)

    async def _admit(self, scope: Scope, exchange: Exchange) -> None:
        hosts.check_host(exchange.text(b"host"), self._names)
        hosts.check_browser(exchange.headers)
        if exchange.headers.get(b"content-encoding", b"identity").lower() != b"identity":
            raise ApiError(415, "Bodies must come uncompressed.", code="unsupported_content_encoding")
        if "\0" in scope["path"] or b"%00" in scope["query_string"]:
            raise ApiError(400, "The address holds the character U+0000.", code="invalid_text")
        await self._authenticator.admit(exchange)
        name = exchange.identity.key_id if exchange.identity else str((scope.get("client") or ("",))[0])
        exchange.extra.extend(self._limiter.take(name))

    async def _fail(self, scope: Scope, answer: _Answer, error: ApiError) -> None:
        if answer.exchange.status:
            raise ConnectionAbortedError("an answer that had begun could not be finished")
        await error.response()(scope, answer.receive, answer)

    def _record(self, scope: Scope, exchange: Exchange, call: Call) -> None:
        seconds = clock.monotonic() - exchange.began
        route = template_of(scope)
        status = exchange.status or _CLIENT_LEFT
        self._metrics.observe(exchange.method, route, status, seconds)
        if call.endpoint_id is not None:
            failed = status >= 400 and status != _CLIENT_LEFT
            Traffic.of(scope["app"].state.luthier).record(call, seconds, failed=failed)
        if log.isEnabledFor(logging.INFO):
            log.info(
                "request",
                extra={
                    "request_id": exchange.id,
                    "method": exchange.method,
                    "route": route,
                    "status": status,
                    "ms": round(seconds * 1000, 1),
                    "key": exchange.identity.key_id if exchange.identity else None,
                },
            )


def template_of(scope: Scope) -> str:
    """The matched route's path with its parameters as names; ``-`` where none matched."""
    templates: dict[Any, str] = scope["app"].state.templates
    return templates.get(scope.get("endpoint"), "-")


class _Answer:
    """The `send` of one request: the headers that every answer has, and an orderly end."""

    def __init__(self, exchange: Exchange, receive: Receive, send: Send) -> None:
        self.exchange = exchange
        self.receive = receive
        self._send = send
        self._unread = False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.exchange.status = message["status"]
            self._unread = not self.exchange.body_over
            await self._send({**message, "headers": self._headers(message.get("headers", ()))})
        elif self._unread and message["type"] == "http.response.body" and not message.get("more_body", False):
            await finish_unread(self.receive, self._send, message)
        else:
            await self._send(message)
            if message.get("more_body", False):
                # A stream that never waits would keep everybody else waiting, and not see that its client left.
                await asyncio.sleep(0)

    def _headers(self, given: Any) -> list[tuple[bytes, bytes]]:
        exchange = self.exchange
        headers = list(given)
        names = {name for name, _ in headers}
        headers.extend(pair for pair in SECURITY if pair[0] not in names)
        headers.extend(pair for pair in exchange.extra if pair[0] not in names)
        headers.append((b"x-request-id", exchange.id.encode()))
        headers.append((b"openai-processing-ms", b"%d" % int((clock.monotonic() - exchange.began) * 1000)))
        if self._unread and b"connection" not in names:
            headers.append((b"connection", b"close"))
        return headers
