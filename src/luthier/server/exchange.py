"""One request and its answer, as the parts of the server share it: found in the scope, gone with the request."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from luthier.core import clock

if TYPE_CHECKING:
    from luthier.jobs.records import Identity
    from luthier.server.errors import ApiError

_KEY = "luthier.exchange"


@dataclass(slots=True)
class Exchange:
    """What is known of a request.

    Attributes:
        headers: by lower-case name; of a name that came twice, the last.
        refusal: why the caller may call no route but those that are open to all; None: it may.
        token: of the session whose cookie speaks for the caller; None where a key does.
        extra: headers that the answer gets beside those of every answer.
        body_over: the body was read to its end, or there is none.
        status: of the answer, once it has begun; 0 before.
    """

    method: str
    headers: dict[bytes, bytes]
    id: str = field(default_factory=lambda: "req_" + secrets.token_hex(16))
    began: float = field(default_factory=clock.monotonic)
    identity: Identity | None = None
    refusal: ApiError | None = None
    token: str | None = None
    extra: list[tuple[bytes, bytes]] = field(default_factory=list)
    body_over: bool = True
    status: int = 0

    def text(self, name: bytes) -> str | None:
        """A header's value."""
        value = self.headers.get(name)
        return None if value is None else value.decode("latin-1")


def begin(scope: Any) -> Exchange:
    """The exchange of a request that has just come."""
    headers = dict(scope["headers"])
    exchange = Exchange(scope["method"], headers)
    exchange.body_over = headers.get(b"content-length", b"0") == b"0" and b"transfer-encoding" not in headers
    scope[_KEY] = exchange
    return exchange


def exchange_of(scope: Any) -> Exchange:
    """The exchange of the request with this scope."""
    exchange: Exchange = scope[_KEY]
    return exchange
