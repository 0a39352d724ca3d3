"""A table of trials that is drawn again while they run, with messages above it; plain lines without a terminal."""

from __future__ import annotations

import contextlib
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from luthier.cli import output
from luthier.cli.progress import progress
from luthier.core import clock
from luthier.core.events import Event, Listener

if TYPE_CHECKING:
    from rich.console import Console
    from rich.live import Live
    from rich.table import Table

_REFRESH_SECONDS = 0.2


class LiveTable(ABC):
    """Listens to events: those of kind trial are its rows, by their number; steps are told in its title.

    Attributes:
        between: stands between a step and the number of steps.
    """

    between = " of "

    def __init__(self, console: Console) -> None:
        self._console = console
        self._rows: dict[int, dict[str, Any]] = {}
        self._state: dict[str, Any] = {}
        self._told_at = self._drawn = float("-inf")
        self._step = ""
        self._live: Live | None = None

    @abstractmethod
    def table(self) -> Table:
        """The rows as they stand."""

    @property
    def elapsed(self) -> float:
        """Seconds since the beginning, as the last row told them and the clock goes on."""
        return float(self._state.get("elapsed", 0.0)) + max(0.0, clock.monotonic() - self._told_at)

    def __call__(self, event: Event) -> None:
        """Show one event."""
        if event.kind in ("trial", "known"):
            self._rows[event.data["number"]] = self._state = event.data
            self._told_at, self._step = clock.monotonic(), ""
            self._draw(force=True)
        elif event.kind == "step":
            self._step = f"step {event.data.get('step')}{self.between}{event.data.get('total_steps')}"
            self._draw(force=False)
        elif event.message and event.kind not in ("failed", "interrupted"):
            self._step = ""
            mark = {"warn": "warning: ", "error": "error: ", "info": ""}[event.level]
            self._console.print(f"{mark}{output.clean(event.message)}", soft_wrap=True)

    def close(self) -> None:
        """Leave the last table standing."""
        if self._live is not None:
            self._step = ""
            self._live.stop()  # draws it for the last time
            self._live = None

    def _draw(self, *, force: bool) -> None:
        if not self._rows or (not force and clock.monotonic() - self._drawn < _REFRESH_SECONDS):
            return
        self._drawn = clock.monotonic()
        if self._live is None:
            from rich.live import Live

            # Drawn again each second by a thread of its own: the time goes on while a trial says nothing.
            self._live = Live(console=self._console, get_renderable=self.table, refresh_per_second=1)
            self._live.start()
        self._live.refresh()


@contextlib.contextmanager
def live_progress(
    view: Callable[[Console], LiveTable], *, quiet: bool, is_line: Callable[[Event], bool]
) -> Iterator[Listener]:
    """The listener for this terminal, on stderr; where there is none, the events that `is_line` takes are lines."""
    if quiet or not sys.stderr.isatty():
        with progress(quiet=quiet) as listener:
            yield lambda event: listener(event) if is_line(event) else None
        return
    shown = view(output.stderr_console())
    try:
        yield shown
    finally:
        shown.close()


def told(metric: str, value: float) -> str:
    """A value of a metric for people."""
    from luthier.evaluate.report import told as tell

    return tell(metric, value)
