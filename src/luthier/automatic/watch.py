"""The clock beside a training: ends it when its time is over, and keeps its chatter away."""

from __future__ import annotations

from collections.abc import Callable

from luthier.core import clock
from luthier.core.events import Event, Listener

NOTED_EVERY = 2.0
"""Seconds of training between two notes of the time: what a kill can make uncounted."""
TIME_OVER = "its time was over"
"""Why a candidate failed that the clock ended before its first result."""


class TimeIsUp(Exception):
    """A training was ended because its time was over; what it had saved is kept."""


class Watch:
    """The listener of all runs of a session: steps and new warnings are passed on, and past `deadline` (in the clock's
    seconds) the next event raises `TimeIsUp`. `note` writes down how late it is, every few seconds of training."""

    def __init__(self, listener: Listener, note: Callable[[], None]) -> None:
        self._listener, self._note = listener, note
        self._noted_at = clock.monotonic()
        self.deadline = float("inf")
        self._warned: set[str] = set()

    def _is_news(self, event: Event) -> bool:
        return event.kind not in ("failed", "interrupted") and event.message not in self._warned

    def __call__(self, event: Event) -> None:
        """Hear one event of a run."""
        if event.kind == "step":
            self._listener(event)
        elif event.level != "info" and self._is_news(event):
            self._warned.add(event.message)
            self._listener(event)
        if event.kind in ("step", "judging", "evaluation", "gate", "message"):
            if clock.monotonic() - self._noted_at >= NOTED_EVERY:
                self._noted_at = clock.monotonic()
                self._note()
            if clock.monotonic() > self.deadline:
                raise TimeIsUp
