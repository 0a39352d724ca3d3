"""Waiting for a job to change, without asking the database again and again."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from luthier.server.state import AppState

_NAME = "openai.job_watch"
LONGEST_WAIT = 15.0
"""Seconds after which a watcher looks by itself, also where only this process changes jobs."""
_SHARED_WAIT = 1.0
"""The same where other processes change jobs, of which nothing is heard here."""


class JobWatch:
    """Who waits for which job. `JobWatch.of(state)` is the one of a server."""

    def __init__(self, longest_wait: float) -> None:
        self.longest_wait = longest_wait
        self._flags: dict[str, set[_Flag]] = {}

    @classmethod
    def of(cls, state: AppState) -> JobWatch:
        """The server's own; made and connected to the store at the first call."""
        known = state.extras.get(_NAME)
        if isinstance(known, cls):
            return known
        watch = cls(LONGEST_WAIT if state.store.database.exclusive else _SHARED_WAIT)
        state.extras[_NAME] = watch
        state.store.changed(watch.changed)
        return watch

    @contextmanager
    def following(self, job: str) -> Iterator[_Flag]:
        """A flag that is raised by every change from now on."""
        flag = _Flag()
        self._flags.setdefault(job, set()).add(flag)
        try:
            yield flag
        finally:
            flags = self._flags[job]
            flags.discard(flag)
            if not flags:
                del self._flags[job]

    def changed(self, job: str) -> None:
        """The store's listener: a job changed. It is called from any thread."""
        for flag in tuple(self._flags.get(job, ())):
            flag.raise_from_anywhere()


class _Flag:
    """An asyncio.Event that other threads may set."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._event = asyncio.Event()

    def raise_from_anywhere(self) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._event.set)

    def lower(self) -> None:
        """Call it before looking at the job, so that a change while looking is not missed."""
        self._event.clear()

    async def wait(self, seconds: float) -> bool:
        """Whether it was raised within that time."""
        try:
            async with asyncio.timeout(seconds):
                await self._event.wait()
        except TimeoutError:
            return False
        return True
