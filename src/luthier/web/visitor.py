"""Who looks at a page."""

from __future__ import annotations

from dataclasses import dataclass

from fastapi import Request

from luthier.server.cookies import csrf_of
from luthier.server.exchange import exchange_of


@dataclass(frozen=True)
class Visitor:
    """Somebody whose session (or key) is good. `csrf` is what the page's own requests must carry; "" with a key."""

    role: str
    csrf: str


def visitor_of(request: Request) -> Visitor | None:
    """The visitor; None for who must log in first."""
    exchange = exchange_of(request.scope)
    if exchange.identity is None:
        return None
    return Visitor(exchange.identity.role, csrf_of(exchange.token) if exchange.token is not None else "")
