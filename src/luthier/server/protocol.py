"""Connections: uvicorn's HTTP protocol, with the deadlines and limits that it does not have.

What a connection owes is looked at once a second, for all connections together, so that a request pays nothing:
headers must be there in time, and an answer must be taken. Bodies are timed where they are read (`bodies`).
"""

from __future__ import annotations

import asyncio
import json
import socket
from http import HTTPStatus
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from luthier.core import clock
from luthier.server.settings import ServerSettings

MOST_HEADER_BYTES = 64 * 1024
"""Of a request line and all headers together; the parser itself has no limit."""
_ONCE = frozenset({b"host", b"authorization", b"content-length", b"transfer-encoding"})
_EVERY_SECONDS = 1.0
_FIRST_BYTES, _MOST_BYTES = 16 * 1024, 256 * 1024
"""What is read at once, and of a body before its route asks for it: little at first, for a thousand bodies may wait for
their turn; more as it comes, so that a large one is read in large pieces."""
_UNSENT_BYTES = 32 * 1024
"""Of an answer that the kernel has no room for; then whoever writes it waits."""
_SEND_BUFFER_BYTES = 256 * 1024
"""What the kernel keeps of an answer that nobody reads; it grows to megabytes where it is not told."""


class Connection(HttpToolsProtocol):
    """One connection. `settings` is set by `protocol_for`."""

    settings: ServerSettings

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for the first request, unless there are too many connections."""
        self.in_headers = False
        self.header_bytes = 0
        self.headers_since: float | None = clock.monotonic()
        self.unsent_since: float | None = None
        super().connection_made(transport)
        self._read_at_once(_FIRST_BYTES)
        transport.set_write_buffer_limits(_UNSENT_BYTES)
        _limit_unread(transport, self.settings.stall_seconds)
        if len(self.connections) > self.settings.max_connections:
            self._refuse(503, "The server has too many connections. Try again.", "too_many_connections")

    def on_message_begin(self) -> None:
        """A request begins; its headers have to end."""
        self.in_headers = True
        if self.headers_since is None:
            self.headers_since = clock.monotonic()
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header. What says twice where a body ends, or who is meant, is a trick."""
        lower = name.lower()
        if lower in _ONCE and any(known == lower for known, _ in self.headers):
            raise ValueError("a header that must be unique came twice")
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """The clock of the headers stops."""
        self.in_headers = False
        self.headers_since = None
        self.header_bytes = 0
        self._read_at_once(_FIRST_BYTES)
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """A part of a body. No more of it is read before the route asks, which resumes the reading."""
        super().on_body(body)
        if len(self.cycle.body) >= self.at_once and not self.cycle.response_complete:
            self.flow.pause_reading()
            self._read_at_once(min(2 * self.at_once, _MOST_BYTES))

    def _read_at_once(self, count: int) -> None:
        self.at_once = count
        self.transport.max_size = count  # type: ignore[attr-defined] # of asyncio's transport, whose recv it is the size of

    def data_received(self, data: bytes) -> None:
        """Bytes of a request. Those of headers are counted, also of one that comes before the last is answered."""
        if self.transport.is_closing():
            return
        super().data_received(data)
        if self.in_headers:
            self.header_bytes += len(data)
            if self.header_bytes > MOST_HEADER_BYTES:
                self._refuse(431, "The headers of the request are too large.", "headers_too_large")
        elif self.headers_since is None and self._idle():
            self.headers_since = clock.monotonic()  # empty lines, which begin no request

    def _idle(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def send_400_response(self, msg: str) -> None:
        """What is no HTTP gets the same shape of error as everything else."""
        self._refuse(400, "The request is no valid HTTP.", "invalid_http")

    def pause_writing(self) -> None:
        """The client takes nothing: from now on it must take some in time."""
        super().pause_writing()
        self.unsent_since = self.unsent_since or clock.monotonic()

    def resume_writing(self) -> None:
        """It did."""
        super().resume_writing()
        self.unsent_since = None

    def look(self, now: float) -> None:
        """Drop the connection when it is overdue."""
        settings = self.settings
        if self.headers_since is not None and now - self.headers_since > settings.header_seconds:
            self.transport.abort()
        elif self.transport.get_write_buffer_size() == 0:
            self.unsent_since = None
        elif self.unsent_since is None:
            self.unsent_since = now
        elif now - self.unsent_since > settings.stall_seconds:
            self.transport.abort()

    def _refuse(self, status: int, message: str, code: str) -> None:
        if not self._idle():  # in the middle of another answer
            self.transport.abort()
            return
        kind = "server_error" if status == 503 else "invalid_request_error"
        body = json.dumps({"error": {"message": message, "type": kind, "param": None, "code": code}}).encode()
        head = (
            f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\ncontent-type: application/json\r\n"
            f"content-length: {len(body)}\r\nx-content-type-options: nosniff\r\nretry-after: 2\r\n"
            "connection: close\r\n\r\n"
        )
        self.transport.write(head.encode() + body)
        self.transport.close()


def _limit_unread(transport: asyncio.Transport, seconds: float) -> None:
    """How much of an answer the kernel keeps for a client that takes nothing, and for how long.

    `look` sees only what the kernel has no more room for, which the few events of a stream may never be.
    """
    connection = transport.get_extra_info("socket")
    if connection is not None and connection.family in (socket.AF_INET, socket.AF_INET6):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER_BYTES)
        if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, max(1, int(seconds * 1000)))


def protocol_for(settings: ServerSettings) -> type[Connection]:
    """The class of connections that uvicorn is given."""
    return type("Connection", (Connection,), {"settings": settings})


async def watch(server_state: ServerState, every: float = _EVERY_SECONDS) -> None:
    """Look at all connections every so many seconds, until cancelled."""
    while True:
        await asyncio.sleep(every)
        now = clock.monotonic()
        for connection in tuple[Any, ...](server_state.connections):
            connection.look(now)
