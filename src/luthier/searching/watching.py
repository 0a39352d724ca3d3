"""What a search says while it works: an event for each trial that changed, whoever trained it."""

from __future__ import annotations

from collections import Counter
from typing import Any

from luthier.core.events import Event, Listener
from luthier.evaluate.report import told
from luthier.search.study import Study
from luthier.search.trial import Trial
from luthier.searching.clockwork import Clockwork
from luthier.searching.found import ranked


class Watch:
    """Compares the study with what was told before. `look` may be called whenever it pleases."""

    def __init__(self, study: Study, clockwork: Clockwork, listener: Listener) -> None:
        self._study, self._clockwork, self._listener = study, clockwork, listener
        self._before: dict[int, Trial] = {}
        self._warned: set[str] = set()
        self._trial = ""

    def told(self, event: Event) -> None:
        """The listener of a worker in this process."""
        if event.kind in ("begun", "told"):
            self.look()
        else:
            self._listener(event)

    def of_a_trial(self, event: Event) -> None:
        """The listener of the runs themselves: of them only progress, and each warning once; there are many."""
        if event.kind == "step":
            self._listener(event)
            return
        ended = event.kind in ("failed", "interrupted")
        if event.level != "info" and not ended and event.message not in self._warned:
            self._warned.add(event.message)
            self._listener(event)

    def tell_known(self) -> None:
        """Tell of the trials of earlier sittings: rows of a live table, which are no news."""
        self.look("known")

    def look(self, kind: str = "trial") -> None:
        """Tell of each trial that is not as it was: `trial` events, whose data is a row of the live table."""
        if not self._study.is_begun:
            return
        trials = self._study.trials()
        changed = [trial for trial in trials if self._before.get(trial.number) != trial]
        self._before = {trial.number: trial for trial in trials}
        if not changed:
            return
        best = ranked(self._study).best
        state = {
            "counts": dict(Counter(trial.state for trial in trials)), "trials": len(trials),
            "most_trials": self._study.most_trials, "elapsed": self._clockwork.elapsed,
            "budget": self._clockwork.budget, "metric": self._study.metric,
            "best": None if best is None else best.number,
        }  # fmt: skip
        for trial in changed:
            is_best = best is not None and best.number == trial.number and trial.state != "running"
            text = self._line(trial, is_best) if kind == "trial" else ""
            self._listener(Event(kind, text, data=state | row(trial) | {"is_best": is_best}))

    def _line(self, trial: Trial, is_best: bool) -> str:
        """``trial 7: accuracy 91.2 % after epoch 3 of 9, paused  (method lora, rank 8)``."""
        names = ", ".join(f"{name} {shown(value)}" for name, value in trial.params.items())
        if trial.state == "failed":
            return f"trial {trial.number} failed: {trial.error}"
        last = trial.last
        if last is None:
            return f"trial {trial.number}: {names}"
        value = told(self._study.metric, last.value)
        best = ", goes on" if trial.state == "running" else ", the best so far" if is_best else ""
        return f"trial {trial.number}: {self._study.metric} {value} after epoch {last.epoch} of {trial.epochs}{best}"


def row(trial: Trial) -> dict[str, Any]:
    """A trial as a row of the live table."""
    last = trial.last
    return {
        "number": trial.number, "state": trial.state, "params": dict(trial.params), "epochs": trial.epochs,
        "epoch": last.epoch if last else 0, "value": last.value if last else None,
        "seconds": last.seconds if last else 0.0, "error": trial.error,
    }  # fmt: skip


def shown(value: Any) -> str:
    """A parameter's value in few digits."""
    return f"{value:.3g}" if isinstance(value, float) else str(value)
