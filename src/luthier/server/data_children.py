"""Processes that read data for a request: few at once, bounded in time, gone when nobody waits for them."""

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
from luthier.server.errors import ApiError, unavailable
from luthier.server.state import AppState

LONGEST_SECONDS = 300.0
READING_SECONDS = 1800.0
"""Where a file is read whole and written again, which takes as long as the disk does."""
AT_ONCE = 2
"""Each reads a whole file."""
MOST_WAITING = 16
_NAME = "data_children"


class _Turn:
    """How many run and wait."""

    def __init__(self) -> None:
        self.free = asyncio.Semaphore(AT_ONCE)
        self.waiting = 0


@contextlib.asynccontextmanager
async def turn(state: AppState) -> AsyncIterator[None]:
    """Wait for a turn. Raises 503 where too many wait."""
    known = state.extras.get(_NAME)
    if not isinstance(known, _Turn):
        known = state.extras[_NAME] = _Turn()
    if known.waiting >= MOST_WAITING:
        raise unavailable("Too many data sets are being read; try again in a moment.", code="busy")
    known.waiting += 1
    try:
        async with known.free:
            yield
    finally:
        known.waiting -= 1


async def ask(
    module: str, request: dict[str, Any], *, param: str, what: str = "data", seconds: float | None = None
) -> dict[str, Any]:
    """What ``python -m module PARENT`` answers to one request.

    Raises:
        ApiError: 400 where it took too long (code ``<what>_timeout``), or broke down (``<what>_failed``).
    """
    limit = seconds or LONGEST_SECONDS
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", module, str(os.getpid()),
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
        env=minimal_environment(), process_group=0,
    )  # fmt: skip
    try:
        async with asyncio.timeout(limit):
            answer, _ = await process.communicate(to_line(request))
    except TimeoutError:
        message = f"The {what} took longer than {limit:.0f} seconds; give a part of the rows."
        raise ApiError(400, message, param=param, code=f"{what}_timeout") from None
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
    if process.returncode != 0 or not answer:
        raise ApiError(
            400, f"The {what} could not be read through: its process ran out of memory or broke down.", param=param,
            code=f"{what}_failed",
        )  # fmt: skip
    told: dict[str, Any] = json.loads(answer)
    return told
