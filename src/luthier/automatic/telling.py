"""What an automatic run says of its candidates: a line of news, and a row of the live table."""

from __future__ import annotations

from typing import Any

from luthier.automatic.entry import Entry
from luthier.evaluate.report import told


def line(entry: Entry, state: str, metric: str, best: Entry | None) -> str:
    """``full: accuracy 91.2 % after epoch 3 of 9, the best so far``; nothing for one that begins."""
    if state == "failed":
        return f"{entry.candidate.name} failed: {entry.error}"
    last = entry.last
    if state == "running" or last is None:
        return ""
    text = f"{entry.candidate.name}: {metric} {told(metric, last.value)} after epoch {last.epoch} of {entry.epochs}"
    return f"{text}{', the best so far' if best is entry else ''}"


def row(entry: Entry, state: str, best: Entry | None, published: int | None) -> dict[str, Any]:
    """A row of the live table. `published` is the number of the one whose model answers, -1 the base itself."""
    last = entry.last
    return {
        "number": entry.number, "name": entry.candidate.name, "state": state, "epochs": entry.epochs,
        "epoch": last.epoch if last else 0, "value": last.value if last else None, "seconds": entry.seconds,
        "error": entry.error, "best": best.number if best else None, "published": published,
    }  # fmt: skip
