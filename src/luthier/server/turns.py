"""Turns: how many of many requests hold memory or a process at the same time. The others wait."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Self


class Turns:
    """At most `at_once` turns are held; who holds one longer than `seconds` goes on without it.

    So a slow client delays the others by `seconds` at most, and never shuts them out.
    """

    def __init__(self, at_once: int, seconds: float) -> None:
        self._free = asyncio.Semaphore(at_once)
        self._seconds = seconds

    def turn(self) -> Turn:
        """One turn, for ``async with``."""
        return Turn(self._free, self._seconds)


class Turn:
    """Waits for its turn at the beginning of its block."""

    def __init__(self, free: asyncio.Semaphore, seconds: float) -> None:
        self._free, self._seconds = free, seconds
        self._held = False
        self._over: asyncio.TimerHandle | None = None

    async def __aenter__(self) -> Self:
        await self._free.acquire()
        self._held = True
        self._over = asyncio.get_running_loop().call_later(self._seconds, self._give_back)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._over is not None:
            self._over.cancel()
        self._give_back()

    def _give_back(self) -> None:
        if self._held:
            self._held = False
            self._free.release()
