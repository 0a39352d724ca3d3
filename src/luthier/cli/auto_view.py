"""What an automatic run shows: a live table of candidates on a terminal, plain lines elsewhere, and the result."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from luthier.cli import output
from luthier.cli.progress import duration, progress
from luthier.core import clock
from luthier.core.events import Event, Listener

if TYPE_CHECKING:
    from rich.console import Console
    from rich.live import Live
    from rich.table import Table

_REFRESH_SECONDS = 0.2
_ROWS = 14
_STATES = {"running": "trains", "paused": "waits", "complete": "complete", "failed": "failed", "stopped": "stopped"}


@contextlib.contextmanager
def auto_progress(*, quiet: bool) -> Iterator[Listener]:
    """The listener for this terminal, on stderr."""
    if quiet or not sys.stderr.isatty():
        with progress(quiet=quiet) as listener:
            yield _without_steps(listener)
        return
    view = LiveTable(output.stderr_console())
    try:
        yield view
    finally:
        view.close()


def _without_steps(listener: Listener) -> Listener:
    def listen(event: Event) -> None:
        if event.kind != "step" and (event.kind != "trial" or event.message):
            listener(event)

    return listen


class LiveTable:
    """One table, drawn again when something changed, with messages above it."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._rows: dict[int, dict[str, Any]] = {}
        self._state: dict[str, Any] = {}
        self._told_at = self._drawn = float("-inf")
        self._step = ""
        self._live: Live | None = None

    def __call__(self, event: Event) -> None:
        """Show one event."""
        if event.kind == "trial":
            self._rows[event.data["number"]] = self._state = event.data
            self._told_at = clock.monotonic()
            self._draw(force=True)
        elif event.kind == "step":
            self._step = f"step {event.data.get('step')} of {event.data.get('total_steps')}"
            self._draw(force=False)
        elif event.message and event.kind not in ("failed", "interrupted"):
            mark = {"warn": "warning: ", "error": "error: ", "info": ""}[event.level]
            self._console.print(f"{mark}{output.clean(event.message)}", soft_wrap=True)

    def close(self) -> None:
        """Leave the last table standing."""
        if self._live is not None:
            self._step = ""
            self._live.update(self.table(), refresh=True)
            self._live.stop()
            self._live = None

    def _draw(self, *, force: bool) -> None:
        if not self._rows or (not force and clock.monotonic() - self._drawn < _REFRESH_SECONDS):
            return
        self._drawn = clock.monotonic()
        if self._live is None:
            from rich.live import Live

            self._live = Live(self.table(), console=self._console, auto_refresh=False)
            self._live.start()
        self._live.update(self.table(), refresh=True)

    def table(self) -> Table:
        """The candidates as they stand: those at work first, then by value."""
        from rich.table import Table

        state = self._state
        elapsed = state["elapsed"] + max(0.0, clock.monotonic() - self._told_at)
        parts = [f"{len(self._rows)} candidates", f"{duration(elapsed)} of {duration(state['budget'])}"]
        table = Table(title="  ".join([*parts, *([self._step] if self._step else [])]), title_justify="left", box=None,
                      pad_edge=False)  # fmt: skip
        table.add_column("candidate")
        table.add_column("")
        for name in ("epoch", state["metric"], "seconds"):
            table.add_column(name, justify="right")
        sign = 1.0 if state["higher_is_better"] else -1.0
        rows = sorted(
            self._rows.values(),
            key=lambda row: (row["state"] != "running", row["value"] is None, -sign * (row["value"] or 0.0)),
        )
        for row in rows[:_ROWS]:
            is_best = row["number"] == state["best"]
            value = "" if row["value"] is None else told(state["metric"], row["value"])
            table.add_row(
                f"{'* ' if is_best else '  '}{output.clean(row['name'])}", _STATES[row["state"]],
                f"{row['epoch']}/{row['epochs']}", value, f"{row['seconds']:.1f}",
                style="bold" if is_best else "dim" if row["state"] == "failed" else "",
            )  # fmt: skip
        return table


def show(report: Mapping[str, Any], folder: Path) -> None:
    """The verdict, the candidates, and where to look."""
    from rich.table import Table

    console = output.stdout_console()
    table = Table(box=None, pad_edge=False)
    table.add_column("candidate")
    for name in ("epochs", report["metric"], "seconds", "trained parameters"):
        table.add_column(name, justify="right")
    sign = 1.0 if report["higher_is_better"] else -1.0
    best = report["best"]["trial"] if report["best"] else None
    known = [one for one in report["trials"] if one["value"] is not None]
    for one in sorted(known, key=lambda one: (one["number"] != best, -sign * one["value"]))[:_ROWS]:
        table.add_row(
            f"{'* ' if one['number'] == best else '  '}{one['name']}", f"{one['epoch']}/{one['epochs']}",
            told(report["metric"], one["value"]), f"{one['seconds']:.1f}", f"{one['trainable_parameters']:,}",
        )  # fmt: skip
    console.print(table)
    console.print(report["verdict"])
    for note in report["notes"]:
        console.print(f"note: {output.clean(note)}")
    if report["best"] and report["best"]["recipe_file"]:
        console.print(f"recipe: {report['best']['recipe_file']}", soft_wrap=True)
    console.print(f"report: {folder / 'auto.html'}", soft_wrap=True)


def told(metric: str, value: float) -> str:
    """A value of a metric for people."""
    from luthier.evaluate.report import told as tell

    return tell(metric, value)
