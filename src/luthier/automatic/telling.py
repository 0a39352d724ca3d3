"""What an automatic run tells of a candidate, as an event that a table, a log and a server understand."""

from __future__ import annotations

from luthier.automatic.entry import Entry
from luthier.core.events import Event
from luthier.evaluate.report import told


def trial_event(
    entry: Entry, state: str, *, metric: str, higher_is_better: bool, best: Entry | None, published: int | None,
    elapsed: float, budget: float,
) -> Event:  # fmt: skip
    """A candidate as it is now. `published` is the number of the one whose model answers, -1 the base itself."""
    last = entry.last
    text = ""
    if state == "failed":
        text = f"{entry.candidate.name} failed: {entry.error}"
    elif state != "running" and last is not None:
        text = f"{entry.candidate.name}: {metric} {told(metric, last.value)} after epoch {last.epoch} of "
        text += f"{entry.epochs}{', the best so far' if best is entry else ''}"
    return Event("trial", text, data={
        "number": entry.number, "name": entry.candidate.name, "state": state, "epochs": entry.epochs,
        "epoch": last.epoch if last else 0, "value": last.value if last else None, "metric": metric,
        "seconds": entry.seconds, "error": entry.error, "best": best.number if best else None, "published": published,
        "elapsed": elapsed, "budget": budget, "higher_is_better": higher_is_better,
    })  # fmt: skip
