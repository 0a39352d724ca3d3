"""`luthier serve`: binds the port, opens the parts, answers until a signal, and leaves nothing running."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import signal
import socket
import threading
from collections.abc import Callable, Generator, Sequence
from types import FrameType

import uvicorn
from fastapi import APIRouter

from luthier.core.errors import UsageError
from luthier.jobs.store import Store
from luthier.jobs.supervisor import Supervisor
from luthier.server import logs, parts
from luthier.server.app import create_app
from luthier.server.protocol import protocol_for, watch
from luthier.server.settings import ServerSettings

log = logging.getLogger("luthier.server")
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_BACKLOG = 2048


class Server(uvicorn.Server):
    """uvicorn, which ends at the first signal in order and at the second at once; the supervisor stops meanwhile."""

    supervisor: Supervisor

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to answer, and to watch the connections."""
        await super().startup(sockets)
        self._watch = asyncio.create_task(watch(self.server_state))

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Take no more requests and finish those under way, while the workers save and stop."""
        log.info("stopping")
        stopping = asyncio.create_task(asyncio.to_thread(self.supervisor.stop, parts.WORKER_SECONDS))
        await super().shutdown(sockets)
        await stopping
        self._watch.cancel()

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        """The signals are ours (`_signals`), for the whole life of the server and not only while uvicorn runs."""
        yield


def serve(
    settings: ServerSettings,
    store: Store,
    listener: socket.socket,
    ready: Callable[[], None],
    others: Sequence[APIRouter] = (),
) -> None:
    """Answer on `listener` until SIGTERM, SIGINT or SIGHUP; `ready` is called when the first request can come.
    `others` are served beside the API: the pages."""
    with logs.to_stderr(settings.log_format, settings.log_level):
        asyncio.run(_serve(settings, store, listener, ready, others))


async def _serve(
    settings: ServerSettings,
    store: Store,
    listener: socket.socket,
    ready: Callable[[], None],
    others: Sequence[APIRouter],
) -> None:
    with _signals() as wanted:
        async with parts.opened(settings, store) as state:
            server = Server(
                uvicorn.Config(
                    create_app(settings, state=state, others=others),
                    loop="asyncio",
                    http=protocol_for(settings),
                    ws="none",
                    lifespan="on",
                    log_config=None,
                    access_log=False,
                    proxy_headers=False,
                    server_header=False,
                    timeout_keep_alive=settings.keep_alive_seconds,
                    timeout_graceful_shutdown=settings.shutdown_seconds,
                )
            )
            server.supervisor = state.supervisor
            wanted.stops(server)
            log.info("listening")
            ready()
            await server.serve([listener])
        log.info("stopped")


class _Wanted:
    """What the signals said so far."""

    def __init__(self) -> None:
        self._stop = False
        self._server: Server | None = None

    def stops(self, server: Server) -> None:
        """The server that is to stop; at once, if that was said before it was there."""
        self._server = server
        server.should_exit = self._stop

    def hear(self, number: int, frame: FrameType | None) -> None:
        """A signal."""
        if self._stop:
            os._exit(128 + number)  # the kernel takes the children along
        self._stop = True
        if self._server is not None:
            self._server.should_exit = True


@contextlib.contextmanager
def _signals() -> Generator[_Wanted]:
    """The first signal ends the server in order, a second one at once; from before its parts are opened until they are
    closed."""
    wanted = _Wanted()
    if threading.current_thread() is not threading.main_thread():
        yield wanted
        return
    # One that is ignored, as SIGHUP under nohup, stays so.
    ours = [number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, wanted.hear) for number in ours}
    try:
        yield wanted
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def bind(settings: ServerSettings) -> socket.socket:
    """The listening socket. Raises `UsageError` when the address is taken or not this machine's."""
    host = settings.host.strip("[]")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, settings.port), family=family, backlog=_BACKLOG)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise UsageError(
                f"port {settings.port} is taken by another program.",
                where=host,
                remedy="Is a server running already? Else choose another with --port.",
                code="port_in_use",
                param="port",
            ) from None
        raise UsageError(
            f"the server cannot listen here: {error.strerror or error}.",
            where=f"{host}:{settings.port}",
            remedy="Choose another --host or --port.",
            code="cannot_listen",
            param="host",
        ) from None
    # asyncio does it only for sockets whose protocol is named; without it the second packet of an answer waits 40 ms.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # what is accepted inherits it
    listener.setblocking(False)
    return listener


def address_of(listener: socket.socket) -> str:
    """Where a client on this machine finds the server, without /v1."""
    host, port = listener.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
