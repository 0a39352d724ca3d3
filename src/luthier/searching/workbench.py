"""Where the trials of a search are trained: what they share is made once in each process."""

from __future__ import annotations

import os
from collections import OrderedDict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from luthier.api import absolute
from luthier.core import durable
from luthier.core.errors import RecipeError
from luthier.core.events import Listener, ignore
from luthier.core.recipe import LANGUAGE_TASKS, Recipe
from luthier.core.rundir import RunDir
from luthier.data.prepare import Prepared
from luthier.evaluate.scorers import scorer_for
from luthier.proof import calibration
from luthier.train.shared import Shared
from luthier.train.trial import Trial

LIVE_BYTES = 1 << 30
"""Of trials that wait in memory for their next rung; the least recently trained go to disk first."""


@dataclass(frozen=True)
class Rung:
    """What is known of a trial after `epoch` epochs.

    Attributes:
        value: the best validation metric so far, which is that of the state that a run keeps.
        loss: the validation loss at the same epoch.
        seconds: training and validation so far, without what is shared.
        trainable_parameters: how many numbers train.
        stopped_early: patience ended the trial (`train.patience`); going on changes nothing.
        history: per epoch `step`, `epoch`, `train_loss`, `validation_loss`, `validation_metric`, `metric_name`.
    """

    epoch: int
    value: float
    loss: float
    seconds: float
    trainable_parameters: int
    stopped_early: bool
    history: list[dict[str, Any]] = field(default_factory=list)


class Workbench:
    """What the trials over one data set share in one process: rows, tokens, loaded base, frozen activations.

    `recipe` is any of the trials' (without ``{search: ...}``): its data are read here, once. Trials may differ in
    everything, and share what their settings have in common. Raises `DataError`, `ModelError`, and `RecipeError`
    (`no_held_out_rows`) where nothing is held out to compare trials on.

    Attributes:
        metric: name of the validation metric.
        higher_is_better: its direction.
    """

    def __init__(self, recipe: Recipe, *, listener: Listener = ignore) -> None:
        recipe = absolute(recipe)
        self._listener = listener
        self._shared = Shared()
        self._live: OrderedDict[Path, Trial] = OrderedDict()
        if recipe.model != "auto":
            self._shared.source(recipe.model)
        prepared = self._shared.prepared(recipe)
        if prepared.validation is None or not len(prepared.validation):
            raise RecipeError(
                "nothing is held out, and trials are compared on validation rows.",
                remedy="Set data.validation to a share, for example 0.1, or to a file.",
                code="no_held_out_rows",
                param="data.validation",
            )
        if prepared.task in LANGUAGE_TASKS:
            self.metric, self.higher_is_better = "loss", False
        else:
            scorer = scorer_for(prepared.task, prepared.several_labels)
            self.metric, self.higher_is_better = scorer.name, scorer.higher_is_better

    @property
    def shared_seconds(self) -> float:
        """Seconds so far for what trials share: reading, tokens, the base, frozen activations, gates."""
        return self._shared.seconds

    def prepared(self, recipe: Recipe) -> Prepared:
        """The rows of `recipe`, as its trials have them."""
        return self._shared.prepared(absolute(recipe))

    def open(self, recipe: Recipe, folder: Path) -> TrialRun:
        """The trial that trains `recipe` in `folder`, an ordinary run folder: a new one, or one begun before with the
        same recipe (in another process, or killed), which goes on from its newest checkpoint."""
        folder = Path(folder).resolve()
        trial = self._live.get(folder)
        recipe = absolute(recipe)
        if trial is None or trial.recipe != recipe:
            run = RunDir(durable.make_folder(folder))
            trial = Trial(recipe, run, scorer_for=scorer_for, shared=self._shared, listener=self._listener)
        return TrialRun(self, trial)

    def _trained(self, trial: Trial) -> None:
        """Keep `trial` in memory as long as there is room."""
        self._live[trial.run.path] = trial
        self._live.move_to_end(trial.run.path)
        while len(self._live) > 1 and sum(each.bytes for each in self._live.values()) > LIVE_BYTES:
            self._live.popitem(last=False)[1].rest()

    def _forget(self, trial: Trial) -> None:
        self._live.pop(trial.run.path, None)


class TrialRun:
    """One trial on a `Workbench`."""

    def __init__(self, bench: Workbench, trial: Trial) -> None:
        self._bench, self._trial = bench, trial

    @property
    def path(self) -> Path:
        """The trial's folder."""
        return self._trial.run.path

    def advance(self, epochs: int) -> Rung:
        """Train to the end of epoch `epochs` of `recipe.train.epochs` (the rate's schedule is that of all epochs).

        A trial that is there already answers at once. Raises `TrainingError` where the loss diverges or a preflight
        gate is red, `StorageError`, and `Interrupted` after a signal, with everything saved.
        """
        try:
            progress = self._trial.advance(epochs)
        except BaseException:
            self._bench._forget(self._trial)
            raise
        self._bench._trained(self._trial)
        history = [dict(entry) for entry in progress.history if entry["epoch"] <= epochs]
        sign = 1.0 if self._bench.higher_is_better else -1.0
        best = max(history, key=lambda entry: (sign * entry["validation_metric"], -entry["validation_loss"]))
        return Rung(
            history[-1]["epoch"],
            best["validation_metric"],
            best["validation_loss"],
            progress.seconds,
            self._trial.trainable_parameters,
            progress.stopped_early and progress.epoch <= epochs,
            history,
        )

    def forward_seconds(self) -> float:
        """Seconds that one row takes through the model without a gradient; after the first `advance` or `export`."""
        return self._trial.forward_seconds()

    def export(self, folder: Path) -> None:
        """Write the model of the best state so far into `folder`, calibrated, as a run's ``model/``."""
        self._trial.export(folder, calibration)
        self._bench._trained(self._trial)

    def rest(self) -> None:
        """Give the trial's memory back: it will not be trained further, or later from its checkpoint."""
        self._bench._forget(self._trial)
        self._trial.rest()


def default_workers() -> int:
    """How many processes train trials side by side where nobody said: one for each core, each with one thread; one
    where there is a GPU, which trials would have to share (docs/benchmarks/search_speed.md)."""
    import torch

    if torch.cuda.is_available():
        return 1
    return max(1, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
