"""A run that is trained in parts, beside others over the same data and base: a trial of a search."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from luthier.core import clock, durable
from luthier.core.errors import Interrupted, LuthierError, TrainingError
from luthier.core.events import Event, Listener
from luthier.core.recipe import Recipe
from luthier.core.recipe_io import read_yaml
from luthier.core.rundir import RunDir
from luthier.models.trainable import load_trainable_state, trainable_state
from luthier.train.checkpoint import Progress, load_best
from luthier.train.collate import collate
from luthier.train.journal import Journal
from luthier.train.ready import Ready, ScorerFor, make_ready
from luthier.train.shared import Shared
from luthier.train.upkeep import Upkeep
from luthier.train.validate import Judge


class Trial:
    """Trains `recipe` in the folder of `run`, which is new or holds the same trial begun before.

    Between two calls of `advance` the model stays in memory until `rest`; after that, or in another process, the
    trial goes on from its newest checkpoint, with the same weights. Its files are written when `advance` returns, but
    not synced: where a power cut tears the newest checkpoint, the trial begins again and gives the same.

    Attributes:
        trainable_parameters: how many numbers train; 0 before the first `advance`.
        bytes: what the trial holds in memory besides the shared base, about; 0 at rest.
    """

    def __init__(
        self, recipe: Recipe, run: RunDir, *, scorer_for: ScorerFor, shared: Shared, listener: Listener
    ) -> None:
        self.recipe, self.run = recipe, run
        self._scorer_for, self._shared, self._listener = scorer_for, shared, listener
        self._ready: Ready | None = None
        self.trainable_parameters = self.bytes = 0

    def advance(self, epochs: int) -> Progress:
        """Train to the end of epoch `epochs`, if it is not there yet; the schedule is that of `train.epochs`.

        Raises `TrainingError`, `StorageError`; `Interrupted` after a signal, with everything saved.
        """
        upkeep = Upkeep(until_epoch=epochs, lean=True)
        with durable.synced(False), Journal(self.run, self._listener) as journal:
            try:
                if self._ready is None:
                    self._ready = self._make(journal, upkeep)
                ready = self._ready
                if ready.progress.epoch < epochs and not ready.progress.stopped_early:
                    ready.advance(journal, upkeep)
                    if ready.progress.epoch == ready.progress.planned_epochs or ready.progress.stopped_early:
                        journal(Event("finished", f"Trained {ready.progress.step} steps."))
                return ready.progress
            except Interrupted as stop:
                self.rest()
                journal(Event("interrupted", stop.message))
                raise
            except LuthierError as error:
                self.rest()
                journal(Event("failed", str(error), "error", {"code": error.code}))
                raise

    @torch.no_grad()
    def forward_seconds(self, most: int = 64) -> float:
        """Seconds that one row takes through the model without a gradient, measured on a few rows."""
        assert self._ready is not None
        self._ready.take_turn()
        parts = self._ready.parts
        table, runner, model = parts.table, parts.runner, parts.model
        rows = np.unique(np.linspace(0, len(table) - 1, min(most, len(table))).astype(np.int64))
        batches = [collate(table, part, runner.task.per_token) for part in runner.cut(rows, table.lengths)]
        training, least = model.training, float("inf")
        model.eval()
        for _ in range(2):
            began = clock.monotonic()
            for batch in batches:
                runner.forward(batch)
            least = min(least, clock.monotonic() - began)
        model.train(training)
        return least / len(rows)

    def export(self, folder: Path, extras_of: Callable[[Judge | None], dict[str, Any]]) -> None:
        """Write the model of the best state so far into `folder`; before the first epoch that is the base with what
        the method adds. `extras_of` gives settings for its luthier.json from the validation rows (temperature)."""
        with durable.synced(False), Journal(self.run, self._listener) as journal:
            if self._ready is None:
                self._ready = self._make(journal, Upkeep(lean=True))
        ready = self._ready
        ready.take_turn()
        model, progress, vocabulary = ready.parts.model, ready.progress, ready.parts.runner.forward.vocabulary
        if vocabulary is not None:
            vocabulary.publish()
        kept = {name: tensor.clone() for name, tensor in trainable_state(model).items()}
        training = model.training
        try:
            if progress.best_step:
                load_trainable_state(model, load_best(self.run, progress, ready.identity))
            model.eval()
            ready.parts.save(folder, extras_of(ready.parts.validator))
        finally:
            load_trainable_state(model, kept)
            model.train(training)

    def rest(self) -> None:
        """Give the memory back; what was trained is on disk."""
        self._ready, self.bytes = None, 0

    def _make(self, journal: Journal, upkeep: Upkeep) -> Ready:
        begun = self.run.recipe_yaml.is_file() and self.run.recipe_yaml.stat().st_size > 0
        if begun:
            where = self.run.recipe_yaml
            self._same_recipe(Recipe.build(read_yaml(where), where=str(where)))  # keys that it lacks: their defaults
        ready = make_ready(
            self.recipe, self.run, self._scorer_for, journal, resume=begun, from_scratch=False, preflight=True,
            upkeep=upkeep, shared=self._shared,
        )  # fmt: skip
        trained = trainable_state(ready.parts.model).values()
        self.trainable_parameters = sum(tensor.numel() for tensor in trained)
        self.bytes = 4 * sum(tensor.nbytes for tensor in trained)  # weights, gradients, the two moments of AdamW
        return ready

    def _same_recipe(self, begun: Recipe) -> None:
        """The checkpoint knows its data, base and method; a rate or a schedule only the recipe knows."""
        asked, before = self.recipe.model_dump(), begun.model_dump()
        for part in ("method", "freeze", "head", "train"):
            for key, value in asked[part].items():
                known = before[part].get(key)
                if value not in ("auto", known):
                    raise TrainingError(
                        f"this trial was begun with another {part}.{key}: {known!r}, not {value!r}.",
                        where=str(self.run.path),
                        remedy="Give the recipe that it was begun with, or a new folder.",
                        code="checkpoint_of_other_run",
                    )
