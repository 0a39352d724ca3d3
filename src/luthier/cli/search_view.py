"""What a search shows: a live table on a terminal, plain lines everywhere else, and the result."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from luthier.cli import output
from luthier.cli.live_table import LiveTable, live_progress, told
from luthier.cli.progress import duration
from luthier.core.events import Listener

if TYPE_CHECKING:
    from rich.table import Table

_ROWS = 12
"""Of the live table: the best trials, and those that are at work."""


def search_progress(*, quiet: bool) -> AbstractContextManager[Listener]:
    """The listener of a search for this terminal, on stderr. Lines are of trials, not of their steps: a log of many
    runs would be long."""
    return live_progress(SearchTable, quiet=quiet, is_line=lambda event: event.kind not in ("step", "known"))


class SearchTable(LiveTable):
    """Trials of a search."""

    between = "/"

    def table(self) -> Table:
        """The trials as they stand: those at work, then the best."""
        from rich.table import Table

        state, counts = self._state, self._state.get("counts", {})
        begun = f"{state.get('trials', 0)} of {state.get('most_trials', '?')} trials begun"
        parts = [begun, f"{counts.get('complete', 0)} complete", f"{counts.get('paused', 0)} stopped early"]
        parts += [f"{counts['failed']} failed"] if counts.get("failed") else []
        parts += [duration(self.elapsed)]
        if state.get("budget"):
            parts[-1] += f" of {duration(state['budget'])}"
        parts += [self._step] if self._step else []
        table = Table(title="  ".join(parts), title_justify="left", box=None, pad_edge=False)
        for name, justify in (("trial", "right"), ("", "left"), ("epoch", "right"), (state.get("metric", ""), "right")):
            table.add_column(name, justify=justify)  # type: ignore[arg-type]
        table.add_column("parameters", overflow="ellipsis", no_wrap=True)
        for row in self._shown():
            value = "" if row["value"] is None else told(state["metric"], row["value"])
            epochs = f"{row['epoch']}/{row['epochs']}" if row["epochs"] else ""
            is_best = row["number"] == state.get("best")
            word = {"running": "trains", "paused": "stopped", "complete": "complete", "failed": "failed"}[row["state"]]
            table.add_row(
                f"{'* ' if is_best else ''}{row['number']}", word, epochs, value, settings_of(row["params"]),
                style="bold" if is_best else "dim" if row["state"] == "failed" else "",
            )  # fmt: skip
        return table

    def _shown(self) -> list[dict[str, Any]]:
        """The best one, those at work, then the best by epochs and value."""
        from luthier.evaluate.metric_names import metric_name

        sign = 1.0 if metric_name(self._state["metric"]).higher_is_better else -1.0
        rows = list(self._rows.values())
        rows.sort(key=lambda row: (-row["epoch"], -sign * row["value"] if row["value"] is not None else 0.0))
        at_work = [row for row in rows if row["state"] == "running"]
        others = [row for row in rows if row["state"] != "running"]
        others.sort(key=lambda row: row["number"] != self._state.get("best"))
        return (at_work + others)[:_ROWS]


def show(report: Mapping[str, Any], folder: Path) -> None:
    """The verdict, the best trials, what mattered, and where to look."""
    from rich.table import Table

    console = output.stdout_console()
    table = Table(box=None, pad_edge=False)
    for name, justify in (("trial", "right"), ("", "left"), ("epochs", "right"), (report["metric"], "right")):
        table.add_column(name, justify=justify)  # type: ignore[arg-type]
    table.add_column("parameters")
    best = report["best"]["trial"] if report["best"] else None
    for trial in _best_first(report)[:_ROWS]:
        table.add_row(
            f"{'* ' if trial['number'] == best else ''}{trial['number']}", trial["state"],
            f"{trial['epoch']}/{trial['epochs'] or '?'}", told(report["metric"], trial["value"]),
            settings_of(trial["params"]),
        )  # fmt: skip
    console.print(table)
    left = len(report["trials"]) - min(_ROWS, len(_best_first(report)))
    if left > 0:
        console.print(f"and {left} more in search.html")
    shares = report["importance"]["shares"]
    if shares:
        mattered = ", ".join(f"{name} {100 * share:.0f} %" for name, share in shares.items())
        console.print(f"what mattered: {mattered}")
    console.print(report["verdict"])
    for note in report["notes"]:
        console.print(f"note: {note}")
    if report["best"] and report["best"]["run"]:
        from luthier.cli.tables import interval, main_metrics

        intervals = report["best"]["intervals"]
        told_metrics = ", ".join(f"{name} {interval(intervals[name])}" for name in main_metrics(intervals))
        console.print(f"fresh run: {told_metrics}" if told_metrics else "fresh run: nothing was held out")
        console.print(f"recipe: {report['best']['recipe_file']}", soft_wrap=True)
    console.print(f"report: {folder / 'search.html'}", soft_wrap=True)


def _best_first(report: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    sign = 1.0 if report["higher_is_better"] else -1.0
    known = [trial for trial in report["trials"] if trial["value"] is not None]
    return sorted(known, key=lambda trial: (trial["state"] != "complete", -trial["epoch"], -sign * trial["value"]))


def settings_of(params: Mapping[str, Any]) -> str:
    """``rank 8, learning_rate 0.000593``: the last word of each key."""
    found = []
    for name, value in params.items():
        key = name.partition(" ")[0].rsplit(".", 1)[-1]
        found.append(f"{key} {value:.3g}" if isinstance(value, float) else f"{key} {value}")
    return output.clean(", ".join(found))
