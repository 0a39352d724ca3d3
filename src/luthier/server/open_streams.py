"""Streams that are open: each ends when its key does, and after the longest time that one may last.

A stream is looked at once a second together with all others, so that one which waits for news pays nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Iterator
from dataclasses import dataclass, field

import anyio

from luthier.core import clock
from luthier.core.errors import LuthierError
from luthier.server import store_call
from luthier.server.errors import ApiError
from luthier.server.state import AppState

LOOK_SECONDS = 1.0
_NAME = "open_streams"
_log = logging.getLogger(__name__)


@dataclass(eq=False)
class OpenStream:
    """One stream: `ended` says why it was stopped; its work is in `scope`."""

    key_id: str
    began: float
    scope: anyio.CancelScope = field(default_factory=anyio.CancelScope)
    ended: ApiError | None = None

    def stop(self, error: ApiError) -> None:
        """End the work, wherever it waits."""
        self.ended = self.ended or error
        self.scope.cancel()


class OpenStreams:
    """The streams of a server; `OpenStreams.of(state)` is that."""

    def __init__(self, state: AppState, look_seconds: float = LOOK_SECONDS) -> None:
        self.look_seconds = look_seconds
        self._state = state
        self._open: set[OpenStream] = set()
        self._watch: asyncio.Task[None] | None = None

    @classmethod
    def of(cls, state: AppState) -> OpenStreams:
        """Made at the first call."""
        known = state.extras.get(_NAME)
        if not isinstance(known, cls):
            known = state.extras[_NAME] = cls(state)
        return known

    @contextlib.contextmanager
    def opened(self, key_id: str) -> Iterator[OpenStream]:
        """A stream of this key, for the length of the block."""
        stream = OpenStream(key_id, clock.monotonic())
        self._open.add(stream)
        if self._watch is None or self._watch.done() or self._watch.get_loop() is not asyncio.get_running_loop():
            self._watch = asyncio.create_task(self._look_again())
        try:
            yield stream
        finally:
            self._open.discard(stream)

    async def _look_again(self) -> None:
        """While there are any."""
        while self._open:
            await asyncio.sleep(self.look_seconds)
            try:
                await self._look()
            except LuthierError as error:  # the store is away: keys are looked at when it is back
                _log.warning("the keys of open streams could not be looked at: %s", error.code)

    async def _look(self) -> None:
        oldest = clock.monotonic() - self._state.settings.stream_seconds
        for stream in tuple(self._open):
            if stream.began < oldest:
                stream.stop(ApiError(408, "The stream is too old. Ask again from the last event.", code="stream_over"))
        ids = {stream.key_id for stream in self._open}
        over = await store_call.run(self._state.store.keys.over, ids) if ids else ids
        for stream in tuple(self._open):
            if stream.key_id in over:
                stream.stop(ApiError(401, "The key was revoked or has expired.", code="invalid_api_key"))
