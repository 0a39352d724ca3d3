"""What a job of many parts (trials, arms, candidates) tells of each, in the worker: `progress.Progress` takes it."""

from __future__ import annotations

from typing import Any

from luthier.core import clock
from luthier.core.events import Event, Level, Listener

_ALIVE_SECONDS = 2.0


class PartsListener:
    """A listener for the runs inside of a job: messages go on, and steps only as signs of life, for there are many
    runs and each counts its steps from one."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._last = clock.monotonic()

    def __call__(self, event: Event) -> None:
        """One event of whatever runs."""
        if event.kind == "message":
            self._listener(event)
        elif clock.monotonic() - self._last >= _ALIVE_SECONDS:
            self._last = clock.monotonic()
            self._listener(Event("alive"))

    def part(
        self, name: str, change: str, message: str, about: dict[str, Any], *, done: int, total: int,
        level: Level = "info", seconds_left: float | None = None, again: bool = False,
    ) -> None:  # fmt: skip
        """Tell of a part that has changed. `change` makes it another piece of news than the last one of this part;
        `again`: it is told because a dead worker may not have."""
        data = {"part": name, "change": change, "about": about, "done": done, "total": total,
                "seconds_left": seconds_left, "again": again}  # fmt: skip
        self._listener(Event("progress", message, level, data))
