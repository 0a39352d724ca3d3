"""The clock beside a training: ends it when its time is over, and keeps its chatter away."""

from __future__ import annotations

from luthier.core import clock
from luthier.core.events import Event, Listener

TIME_OVER = "its time was over"
"""Why a candidate failed that the clock ended before its first result."""


class TimeIsUp(Exception):
    """A training was ended because its time was over; what it had saved is kept."""


class Watch:
    """The listener of all runs of a session: steps and new warnings are passed on, and past `deadline` (in the clock's
    seconds) the next event raises `TimeIsUp`."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
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
        if event.kind in ("step", "judging", "evaluation", "gate", "message") and clock.monotonic() > self.deadline:
            raise TimeIsUp
