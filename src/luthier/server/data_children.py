"""Processes that read data for a request: few at once, bounded in time, gone when nobody waits for them."""

from __future__ import annotations

import contextlib
from typing import Any

from luthier.server import helpers
from luthier.server.errors import ApiError
from luthier.server.helpers import Turns
from luthier.server.state import AppState

LONGEST_SECONDS = 300.0
READING_SECONDS = 1800.0
"""Where a file is read whole and written again, which takes as long as the disk does."""
AT_ONCE = 2
"""Each reads a whole file."""
MOST_WAITING = 16
_NAME = "data_children"


def turn(state: AppState) -> contextlib.AbstractAsyncContextManager[None]:
    """Wait for a turn. Raises 503 where too many wait."""
    return Turns.of(state, _NAME, AT_ONCE, MOST_WAITING).turn("data sets")


async def ask(
    module: str, request: dict[str, Any], *, param: str, what: str = "data", seconds: float | None = None
) -> dict[str, Any]:
    """What ``python -m module PARENT`` answers to one request.

    Raises:
        ApiError: 400 where it took too long (code ``<what>_timeout``), or broke down (``<what>_failed``).
    """
    limit = seconds or LONGEST_SECONDS
    try:
        answer = await helpers.asked(module, request, limit)
    except TimeoutError:
        message = f"The {what} took longer than {limit:.0f} seconds; give a part of the rows."
        raise ApiError(400, message, param=param, code=f"{what}_timeout") from None
    if answer is None:
        raise ApiError(
            400, f"The {what} could not be read through: its process ran out of memory or broke down.", param=param,
            code=f"{what}_failed",
        )  # fmt: skip
    return answer
