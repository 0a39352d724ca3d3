"""What an automatic run shows: a live table of candidates on a terminal, plain lines elsewhere, and the result."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from luthier.cli import output
from luthier.cli.live_table import LiveTable, live_progress, told
from luthier.cli.progress import duration
from luthier.core.events import Event, Listener
from luthier.core.words import plural

if TYPE_CHECKING:
    from rich.table import Table

_ROWS = 14
_STATES = {"running": "trains", "paused": "waits", "complete": "complete", "failed": "failed", "stopped": "stopped"}


def auto_progress(*, quiet: bool) -> AbstractContextManager[Listener]:
    """The listener for this terminal, on stderr."""

    def is_line(event: Event) -> bool:
        return event.kind not in ("step", "known") and (event.kind != "trial" or bool(event.message))

    return live_progress(AutoTable, quiet=quiet, is_line=is_line)


class AutoTable(LiveTable):
    """Candidates of an automatic run."""

    def table(self) -> Table:
        """The candidates as they stand: those at work first, then by value."""
        from rich.table import Table

        state = self._state
        parts = [plural(len(self._rows), "candidate")]
        parts += [f"{duration(self.elapsed)} of {duration(state['budget'])}"]
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
    """The candidates, the verdict, and where to look."""
    best = report["best"]
    recipe = [f"recipe: {best['recipe_file']}"] if best and best["recipe_file"] else []
    show_result(report, [*recipe, f"report: {folder / 'auto.html'}"])


def show_result(report: Mapping[str, Any], places: Sequence[str]) -> None:
    """The same with `places` where to look, a line each."""
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
            f"{'* ' if one['number'] == best else '  '}{output.clean(one['name'])}", f"{one['epoch']}/{one['epochs']}",
            told(report["metric"], one["value"]), f"{one['seconds']:.1f}", f"{one['trainable_parameters']:,}",
        )  # fmt: skip
    console.print(table)
    console.print(output.clean(report["verdict"]))
    for note in report["notes"]:
        console.print(f"note: {output.clean(note)}")
    for place in places:
        console.print(place, soft_wrap=True)
