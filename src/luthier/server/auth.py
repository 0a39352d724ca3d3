"""Who asks. Every route needs a key, unless its function is marked `open_to_all`; nothing looks at paths.

The gate finds out who asks before the body is read (`Authenticator`); the app's own dependency (`require`)
turns away who may not call the matched route.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

from fastapi import Depends, FastAPI, Request
from fastapi.routing import RouteContext, iter_route_contexts

from luthier.jobs.records import Identity
from luthier.server import cookies, store_call
from luthier.server.errors import ApiError
from luthier.server.exchange import exchange_of

if TYPE_CHECKING:
    from luthier.jobs.store import Store
    from luthier.server.exchange import Exchange

_SECRET = re.compile(r"lu-[A-Za-z0-9_-]{40,100}")
READING = frozenset({"GET", "HEAD"})

Endpoint = TypeVar("Endpoint", bound=Callable[..., Any])


def open_to_all(endpoint: Endpoint) -> Endpoint:
    """Mark a route's function: it may be called without a key."""
    endpoint.open_to_all = True  # type: ignore[attr-defined]
    return endpoint


class Authenticator:
    """Finds the identity of a key or a session; one that the store remembers costs no thread and no question."""

    def __init__(self, store: Callable[[], Store]) -> None:
        self._store = store

    async def admit(self, exchange: Exchange) -> None:
        """Write into the exchange who asks, and why they may not. A cookie counts where there is no key."""
        authorization = exchange.text(b"authorization")
        if authorization is not None or b"cookie" not in exchange.headers:
            exchange.identity = await self.identify(authorization)
            exchange.refusal = refusal(exchange.identity, exchange.method)
            return
        token = cookies.token_of(exchange.headers)
        if token is not None:
            sessions = self._store().sessions
            exchange.identity = sessions.recall(token) or await store_call.run(sessions.authenticate, token)
        exchange.refusal = refusal(exchange.identity, exchange.method)
        if exchange.identity is not None and token is not None:
            exchange.token = token
            if exchange.method not in READING:
                exchange.refusal = cookies.check_csrf(token, exchange.headers) or exchange.refusal

    async def identify(self, authorization: str | None) -> Identity | None:
        """Who a header ``Authorization: Bearer lu-...`` speaks for."""
        scheme, _, secret = (authorization or "").partition(" ")
        if scheme.lower() != "bearer" or not _SECRET.fullmatch(secret):
            return None
        keys = self._store().keys
        return keys.recall(secret) or await store_call.run(keys.authenticate, secret)


def refusal(identity: Identity | None, method: str) -> ApiError | None:
    """Why somebody may not use `method` at all."""
    if identity is None:
        return ApiError(
            401,
            "A key is needed: send the header 'Authorization: Bearer lu-...' with one that is neither revoked nor "
            "expired. Make one with luthier keys create.",
            code="invalid_api_key",
            headers={"www-authenticate": "Bearer"},
        )
    if identity.role == "read" and method not in READING:
        return ApiError(403, "This key may only read.", code="read_only_key")
    return None


def is_open(endpoint: Any) -> bool:
    """Whether a route's function is marked `open_to_all`."""
    return bool(getattr(endpoint, "open_to_all", False))


async def require(request: Request) -> None:
    """The app's dependency on every route: turn away who may not call it."""
    if is_open(request.scope["endpoint"]):
        return
    refused = exchange_of(request.scope).refusal
    if refused is not None:
        raise refused


async def _caller(request: Request) -> Identity:
    exchange = exchange_of(request.scope)
    if exchange.refusal is not None:
        raise exchange.refusal
    assert exchange.identity is not None  # who is not refused is known
    return exchange.identity


async def _admin(identity: Annotated[Identity, Depends(_caller)]) -> Identity:
    if identity.role != "admin":
        raise ApiError(403, "This needs an admin key.", code="admin_only")
    return identity


Caller = Annotated[Identity, Depends(_caller)]
"""Who asks, for a route's function."""
AdminCaller = Annotated[Identity, Depends(_admin)]
"""Who asks, for routes that only admin keys may call."""


def routes_of(app: FastAPI) -> Iterator[tuple[RouteContext, str, str]]:
    """(route, path with the names of its parameters, method) of all that `app` serves."""
    for route in iter_route_contexts(app.routes):
        for method in sorted(route.methods or ()):
            yield route, route.path or "", method


def open_to_all_paths(app: FastAPI) -> set[tuple[str, str]]:
    """(path, method) of the routes that need no key."""
    return {(path, method) for route, path, method in routes_of(app) if is_open(route.endpoint)}
