"""What a run says while it works: a bar on a terminal, plain lines everywhere else."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from luthier.cli import output
from luthier.core import clock
from luthier.core.events import Event, Listener, ignore

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID

SECONDS_BETWEEN_LINES = 10.0


@contextlib.contextmanager
def progress(*, quiet: bool) -> Iterator[Listener]:
    """The listener for this terminal, on stderr; warnings and errors are shown even when quiet."""
    if quiet:
        yield _without_the_end(_only_warnings)
    elif sys.stderr.isatty():
        view = BarView(output.stderr_console())
        try:
            yield _without_the_end(view)
        finally:
            view.close()
    else:
        yield _without_the_end(LineView())


def _without_the_end(listener: Listener) -> Listener:
    """A run that fails or is stopped also raises, and `output.print_error` tells that: once is enough."""

    def listen(event: Event) -> None:
        if event.kind not in ("failed", "interrupted"):
            listener(event)

    return listen


def _only_warnings(event: Event) -> None:
    if event.level in ("warn", "error") and event.message:
        output.note(f"{_mark(event)}{output.clean(event.message)}")
    else:
        ignore(event)


def _mark(event: Event) -> str:
    return {"warn": "warning: ", "error": "error: ", "info": ""}[event.level]


def step_text(data: dict[str, Any]) -> str:
    """``loss 0.412  12,300 tokens/s  0:41 left``: what is known of it."""
    parts = []
    if data.get("loss") is not None:
        parts.append(f"loss {data['loss']:.3f}")
    if data.get("tokens_per_second"):
        parts.append(f"{data['tokens_per_second']:,.0f} tokens/s")
    if data.get("seconds_left") is not None:
        parts.append(f"{duration(data['seconds_left'])} left")
    return "  ".join(parts)


def evaluation_text(data: dict[str, Any]) -> str:
    """``epoch 2: train loss 0.41, validation loss 0.52, accuracy 0.913 (best so far)``."""
    parts = []
    if data.get("train_loss") is not None:
        parts.append(f"train loss {data['train_loss']:.3f}")
    if data.get("validation_loss") is not None:
        parts.append(f"validation loss {data['validation_loss']:.3f}")
    if data.get("metric") is not None and data.get("metric_name") != "loss":  # that is said already
        parts.append(f"{data.get('metric_name', 'metric')} {data['metric']:.3f}")
    best = " (best so far)" if data.get("best") else ""
    epoch = data.get("epoch")
    shown = f"epoch {epoch:g}: " if isinstance(epoch, int | float) else ""
    return f"{shown}{', '.join(parts)}{best}"


def gate_text(data: dict[str, Any]) -> str:
    """``G8 ok    longest batch first: fits``; a red gate says what to do."""
    remedy = "" if data.get("ok") or not data.get("remedy") else f" {data['remedy']}"
    state = "ok " if data.get("ok") else "RED"
    return f"{data.get('id', ''):<3} {state} {data.get('name', '')}: {data.get('detail', '')}{remedy}"


def duration(seconds: float) -> str:
    """``0:41``, ``12:05``, ``2:03:10``."""
    whole = max(0, round(seconds))
    hours, minutes = divmod(whole // 60, 60)
    return f"{hours}:{minutes:02}:{whole % 60:02}" if hours else f"{minutes}:{whole % 60:02}"


class LineView:
    """Plain lines, a step at most every ten seconds: for logs, pipes and CI."""

    def __init__(self) -> None:
        self._last_line = float("-inf")

    def __call__(self, event: Event) -> None:
        """Print what is worth a line."""
        if event.kind == "step":
            if clock.monotonic() - self._last_line < SECONDS_BETWEEN_LINES:
                return
            self._last_line = clock.monotonic()
            total = event.data.get("total_steps") or "?"
            output.note(f"step {event.data.get('step')}/{total}  {step_text(event.data)}")
        elif event.kind == "evaluation":
            output.note(evaluation_text(event.data))
        elif event.kind == "gate":
            output.note(output.clean(gate_text(event.data)))
        elif event.kind == "checkpoint" and event.level == "info":
            return
        elif event.message:
            output.note(f"{_mark(event)}{output.clean(event.message)}")


class BarView:
    """Gates as a small table, then one bar, with a line above it for each evaluation."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._gates: list[dict[str, Any]] = []
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        self._metric = ""

    def __call__(self, event: Event) -> None:
        """Show one event."""
        if event.kind == "gate":
            self._gates.append(event.data)
            return
        self._show_gates()
        if event.kind == "step":
            self._step(event.data)
        elif event.kind == "evaluation":
            data = event.data
            if data.get("metric") is not None:
                self._metric = f"{data.get('metric_name', 'metric')} {data['metric']:.3f}"
            self._console.print(evaluation_text(data))
        elif event.message and not (event.kind == "checkpoint" and event.level == "info"):
            self._console.print(f"{_mark(event)}{output.clean(event.message)}", soft_wrap=True)

    def close(self) -> None:
        """Take the bar away; what is above it stays."""
        self._show_gates()
        if self._bar is not None:
            self._bar.stop()

    def _show_gates(self) -> None:
        if not self._gates:
            return
        from rich.table import Table

        table = Table(title="before the first step", title_justify="left", box=None, pad_edge=False)
        for column in ("gate", "", "checked", "found"):
            table.add_column(column)
        for data in self._gates:
            found = str(data.get("detail", ""))
            if not data.get("ok") and data.get("remedy"):
                found += f" {data['remedy']}"
            state = "ok" if data.get("ok") else "RED"
            table.add_row(str(data.get("id", "")), state, str(data.get("name", "")), output.clean(found))
        self._gates = []
        self._console.print(table)

    def _step(self, data: dict[str, Any]) -> None:
        if self._bar is None:
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

            self._bar = Progress(
                TextColumn("training"),
                BarColumn(bar_width=24),
                MofNCompleteColumn(),
                TextColumn("{task.fields[shown]}"),
                console=self._console,
                transient=True,
            )
            self._task = self._bar.add_task("training", total=data.get("total_steps"), shown="")
            self._bar.start()
        assert self._task is not None
        shown = "  ".join(part for part in (self._metric, step_text(data)) if part)
        self._bar.update(self._task, completed=data.get("step", 0), total=data.get("total_steps"), shown=shown)
