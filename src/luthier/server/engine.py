"""The server's side of the inference engine: starts it, asks it, starts it again when it dies."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import secrets
from collections import deque
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any, Literal

from luthier.core import clock
from luthier.core.answering import MAX_LINE, MAX_SOCKET_PATH, EngineOptions, EngineReply, EngineRequest
from luthier.core.errors import StorageError
from luthier.jobs.children import Child, computing_environment, devices_here
from luthier.server.errors import ApiError, unavailable

START_SECONDS = 30.0
"""How long a request waits for an engine that is starting, and the engine may take to listen."""
STOP_SECONDS = 3.0
_FIRST_PAUSE_SECONDS = 0.1
_LONGEST_PAUSE_SECONDS = 30.0
_STABLE_SECONDS = 60.0
"""An engine that lived so long was no failure at starting: the pauses begin again from the shortest."""
_LOOK_SECONDS = 0.02
_INBOX_BYTES = 64 * 2**20
"""Of replies that one request's reader has not taken; then the request is given up. The others never wait for it."""
_log = logging.getLogger(__name__)

State = Literal["stopped", "starting", "ready", "pausing"]


class EngineClient:
    """One engine process and the requests that are under way in it.

    Used in one event loop. The engine is started by `start`, or by the first request. It dies with the thread that
    runs the loop.

    Args:
        socket: where the engine is to listen; its folder must belong to the server's user alone.

    Raises:
        StorageError: the path is too long for a socket.
    """

    def __init__(self, socket: Path, options: EngineOptions | None = None) -> None:
        if len(os.fsencode(socket)) > MAX_SOCKET_PATH:
            raise StorageError(
                f"the path of the engine's socket has more than {MAX_SOCKET_PATH} bytes.",
                where=str(socket),
                remedy="Choose a home folder with a shorter path.",
                code="path_too_long",
            )
        self._socket = socket
        self._options = options or EngineOptions()
        self._keeper: asyncio.Task[None] | None = None
        self._connected = asyncio.Event()
        self._writer: asyncio.StreamWriter | None = None
        self._inboxes: dict[str, _Inbox] = {}
        self._child: Child | None = None
        self._state: State = "stopped"
        self._restarts = -1
        self._failures = 0
        self._next_start = 0.0
        self._closed = False

    async def start(self) -> None:
        """Start the engine, without waiting until it is ready."""
        if self._keeper is None and not self._closed:
            self._keeper = asyncio.create_task(self._keep(), name="luthier-engine")

    async def close(self) -> None:
        """Stop the engine; requests under way end with an error."""
        self._closed = True
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.gather(self._keeper, return_exceptions=True)
        self._state = "stopped"

    def running(self) -> bool:
        """Whether the engine can be asked now."""
        return self._writer is not None

    def status(self) -> dict[str, Any]:
        """For /healthz and /metrics: state (stopped, starting, ready, pausing), restarts, requests under way, pid,
        and the seconds until the next start where it is pausing."""
        pausing = self._state == "pausing"
        return {
            "state": self._state,
            "restarts": max(0, self._restarts),
            "failures_in_a_row": self._failures,
            "requests": len(self._inboxes),
            "pid": self._child.pid if self._child else None,
            "retry_seconds": max(0.0, self._next_start - clock.monotonic()) if pausing else 0.0,
        }

    async def ask(self, request: EngineRequest) -> AsyncGenerator[EngineReply]:
        """The engine's replies, the last of which is ``end`` or ``error``.

        To be closed (`aclosing`): who goes away before the end cancels the request. Raises `ApiError`: 503 with
        retry-after where the engine is away or dies, 413 for a request that is too long.
        """
        try:
            line = request.to_line()
        except ValueError:
            raise ApiError(400, "The request holds a number that is not finite.", code="invalid_value") from None
        if len(line) > MAX_LINE:
            raise ApiError(413, "The request is too long for the inference engine.", code="request_too_large")
        await self._ready()
        writer, inbox = self._writer, _Inbox()
        assert writer is not None
        if request.id in self._inboxes:
            raise ValueError(f"the request {request.id} is under way already")
        self._inboxes[request.id] = inbox
        ended = False
        try:
            writer.write(line)
            await writer.drain()
            while not ended:
                reply = await inbox.get()
                ended = reply.event in ("end", "error")
                yield reply
        except ConnectionError:
            raise _restarted() from None
        finally:
            del self._inboxes[request.id]
            if not ended:
                self._cancel(request.id, writer)

    async def _ready(self) -> None:
        if self._closed:
            raise unavailable("The server is shutting down.", code="shutting_down")
        await self.start()
        wait = self._next_start - clock.monotonic()
        if self._state == "pausing" and wait > 1:
            raise unavailable(
                "The inference engine died several times in a row and is started again later.",
                code="engine_restarting",
                seconds=int(wait) + 1,
            )
        try:
            async with asyncio.timeout(START_SECONDS):
                while self._writer is None:
                    await self._connected.wait()
        except TimeoutError:
            raise unavailable("The inference engine is still starting.", code="engine_starting", seconds=5) from None

    def _cancel(self, request_id: str, writer: asyncio.StreamWriter) -> None:
        if writer is self._writer and not writer.is_closing():
            writer.write(
                EngineRequest("cancel-" + secrets.token_hex(8), "cancel", body={"target": request_id}).to_line()
            )

    async def _keep(self) -> None:
        """Run the engine, again and again, after pauses that double while it fails."""
        while True:
            began = clock.monotonic()
            try:
                self._restarts += 1
                await self._run()
            except OSError as error:
                _log.error("the inference engine could not be started: %s", error)
            lived = clock.monotonic() - began
            self._failures = 1 if lived > _STABLE_SECONDS else self._failures + 1
            doublings = min(self._failures - 1, 20)  # a float has an end, and failures may go on for days
            pause = min(_FIRST_PAUSE_SECONDS * 2**doublings, _LONGEST_PAUSE_SECONDS)
            _log.warning("the inference engine ended after %.1f s; it is started again in %.1f s", lived, pause)
            self._state, self._next_start = "pausing", clock.monotonic() + pause
            await asyncio.sleep(pause)

    async def _run(self) -> None:
        """From the start of one process to its end."""
        self._state = "starting"
        argv = ["-m", "luthier.serve.engine", "--socket", str(self._socket), "--parent", str(os.getpid())]
        argv += ["--options", self._options.to_text()]
        # The engine is to be killed with this thread, so this thread must start it.
        child = Child.spawn(argv, computing_environment(self._device()), stderr=2)
        self._child = child
        try:
            reader, writer = await self._connect(child)
            self._writer, self._state = writer, "ready"
            self._connected.set()
            await self._read(reader)
        finally:
            if self._writer is not None:
                self._writer.close()
            self._writer, self._child = None, None
            self._connected.clear()
            for inbox in self._inboxes.values():
                inbox.fail(_restarted())
            child.hang_up()
            await _end(child)

    def _device(self) -> str:
        here = devices_here()[0]
        return here if self._options.device == "auto" else "cpu" if self._options.device == "cpu" else "cuda"

    async def _connect(self, child: Child) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        until = clock.monotonic() + START_SECONDS
        while True:
            with contextlib.suppress(FileNotFoundError, ConnectionRefusedError):
                return await asyncio.open_unix_connection(str(self._socket), limit=MAX_LINE)
            if child.process.poll() is not None:
                raise OSError(f"it ended with status {child.process.returncode}")
            if clock.monotonic() > until:
                raise OSError(f"it did not listen within {START_SECONDS:.0f} s")
            await asyncio.sleep(_LOOK_SECONDS)

    async def _read(self, reader: asyncio.StreamReader) -> None:
        """Give each reply to its request, until the engine hangs up."""
        while True:
            try:
                line = await reader.readline()
                if not line.endswith(b"\n"):
                    return
                reply = EngineReply.from_line(line)
            except (ValueError, ConnectionError, RecursionError):
                _log.exception("the inference engine does not keep to the protocol")
                return
            inbox = self._inboxes.get(reply.id)
            if inbox is not None:
                inbox.put(reply, len(line))


class _Inbox:
    """Replies to one request that its reader has not taken yet."""

    def __init__(self) -> None:
        self._replies: deque[tuple[EngineReply, int]] = deque()
        self._bytes = 0
        self._error: ApiError | None = None
        self._news = asyncio.Event()

    def put(self, reply: EngineReply, size: int) -> None:
        if self._error is not None:
            return
        self._replies.append((reply, size))
        self._bytes += size
        if self._bytes > _INBOX_BYTES:
            self._replies.clear()
            self._error = unavailable("The answer was read too slowly.", code="slow_reader")
        self._news.set()

    def fail(self, error: ApiError) -> None:
        """What came before is still read."""
        self._error = self._error or error
        self._news.set()

    async def get(self) -> EngineReply:
        while not self._replies:
            if self._error is not None:
                raise self._error
            self._news.clear()
            await self._news.wait()
        reply, size = self._replies.popleft()
        self._bytes -= size
        return reply


async def _end(child: Child) -> None:
    """Wait a moment for a process whose stdin was closed, then kill its group. Not to be interrupted."""

    def wait() -> None:
        if child.wait(STOP_SECONDS) is None:
            child.kill()
            child.wait()

    await asyncio.shield(asyncio.get_running_loop().run_in_executor(None, wait))


def _restarted() -> ApiError:
    return unavailable("The inference engine was restarted while it answered. Try again.", code="engine_restarted")
