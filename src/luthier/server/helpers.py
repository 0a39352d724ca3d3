"""Processes that the server asks one question: they may import what the server may not, and take what memory they
are given."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from typing import Any

from luthier.jobs.children import minimal_environment
from luthier.jobs.worker_wire import to_line
from luthier.server.errors import unavailable
from luthier.server.state import AppState


class Turns:
    """How many helpers of one kind run and wait. `Turns.of(state, name)` is a server's own."""

    def __init__(self, at_once: int, most_waiting: int) -> None:
        self.free = asyncio.Semaphore(at_once)
        self.waiting = 0
        self._most_waiting = most_waiting

    @classmethod
    def of(cls, state: AppState, name: str, at_once: int, most_waiting: int) -> Turns:
        """Made at the first call."""
        known = state.extras.get(name)
        if not isinstance(known, cls):
            known = state.extras[name] = cls(at_once, most_waiting)
        return known

    @contextlib.asynccontextmanager
    async def turn(self, what: str) -> AsyncIterator[None]:
        """Wait for one's turn. Raises `ApiError` 503 where too many wait; `what` says of what."""
        if self.waiting >= self._most_waiting:
            raise unavailable(f"Too many {what} wait; try again in a moment.", code="busy")
        self.waiting += 1
        try:
            async with self.free:
                yield
        finally:
            self.waiting -= 1


async def asked(module: str, request: dict[str, Any], seconds: float) -> dict[str, Any] | None:
    """The answer of ``python -m module`` to one line; None where it broke down. It is killed when nobody waits for it
    any more. Raises `TimeoutError`."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", module, str(os.getpid()),
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
        env=minimal_environment(), process_group=0,
    )  # fmt: skip
    try:
        async with asyncio.timeout(seconds):
            answer, _ = await process.communicate(to_line(request))
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
    if process.returncode != 0 or not answer:
        return None
    told: dict[str, Any] = json.loads(answer)
    return told
