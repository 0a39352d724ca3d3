"""The process that tells the tokens of rows: begun when it is needed, kept warm for a while, never two."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator
from typing import Any

from fastapi import FastAPI

from luthier.jobs.children import minimal_environment
from luthier.jobs.worker_wire import to_line
from luthier.server.errors import ApiError, unavailable
from luthier.server.state import AppState

WARM_SECONDS = 300.0
LONGEST_SECONDS = 60.0
MOST_WAITING = 16
_LINE_BYTES = 64 * 2**20
_NAME = "token_reader"


class TokenReader:
    """One process, one question at a time."""

    def __init__(self) -> None:
        self._turn = asyncio.Lock()
        self._waiting = 0
        self._process: Process | None = None
        self._idle: asyncio.TimerHandle | None = None

    @classmethod
    def of(cls, state: AppState) -> TokenReader:
        """The server's."""
        known = state.extras.get(_NAME)
        if not isinstance(known, cls):
            known = state.extras[_NAME] = cls()
        return known

    async def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """The answer. Raises 400 where the row is too much for the process, 503 where too many wait."""
        if self._waiting >= MOST_WAITING:
            raise unavailable("Too many rows are being read; try again in a moment.", code="busy")
        self._waiting += 1
        try:
            async with self._turn:
                return await self._ask(request)
        finally:
            self._waiting -= 1

    async def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        if self._idle is not None:
            self._idle.cancel()
        line = b""
        try:
            process = await self._ready()
            assert process.stdin is not None
            assert process.stdout is not None
            with contextlib.suppress(OSError, TimeoutError):
                async with asyncio.timeout(LONGEST_SECONDS):
                    process.stdin.write(to_line(request))
                    await process.stdin.drain()
                    line = await process.stdout.readline()
        finally:
            if not line.endswith(b"\n"):
                await self.close()  # also where the client left: what it asked for is not answered to the next
        if not line:
            raise ApiError(400, "The row's tokens could not be counted in time.", param="row", code="tokens_failed")
        self._idle = asyncio.get_running_loop().call_later(WARM_SECONDS, self._end)
        told: dict[str, Any] = json.loads(line)
        return told

    async def _ready(self) -> Process:
        if self._process is None or self._process.returncode is not None:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "luthier.jobs.row_tokens", str(os.getpid()),
                stdin=PIPE, stdout=PIPE, stderr=DEVNULL, env=minimal_environment(OMP_NUM_THREADS="1"),
                process_group=0, limit=_LINE_BYTES,
            )  # fmt: skip
        return self._process

    def _end(self) -> None:
        if self._process is not None and self._process.returncode is None and not self._turn.locked():
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)

    async def close(self) -> None:
        """End the process."""
        process, self._process = self._process, None
        if self._idle is not None:
            self._idle.cancel()
        if process is not None:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
            await process.wait()


@contextlib.asynccontextmanager
async def token_reading(app: FastAPI) -> AsyncIterator[None]:
    """The lifespan of a router: the process ends with the server."""
    try:
        yield
    finally:
        await TokenReader.of(app.state.luthier).close()
