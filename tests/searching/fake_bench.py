"""A bench whose trials learn a formula instead of weights: the same numbers in every process, kept on disk."""

from __future__ import annotations

import json
import math
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from luthier.core import durable
from luthier.core.errors import TrainingError
from luthier.core.recipe import Recipe

BEST_RATE = 1e-3


class FakeBench:
    """Accuracy rises with the epochs, towards a limit that the learning rate and the seed decide."""

    metric = "accuracy"
    higher_is_better = True

    def __init__(self, *, noise: float = 0.0, diverges_above: float = math.inf) -> None:
        self.noise, self.diverges_above = noise, diverges_above
        self.advances: list[tuple[str, int, int]] = []
        """(folder, from epoch, to epoch) of each call that trained."""

    def open(self, recipe: Recipe, folder: Path) -> FakeRun:
        return FakeRun(self, recipe, folder)


class FakeRun:
    def __init__(self, bench: FakeBench, recipe: Recipe, folder: Path) -> None:
        self.bench, self.recipe, self.folder = bench, recipe, folder
        durable.make_folder(folder)

    @property
    def epochs(self) -> int:
        asked = self.recipe.train.epochs
        return asked if isinstance(asked, int) else 9

    def done(self) -> int:
        """Epochs that are kept."""
        state = self.folder / "epochs.json"
        return int(json.loads(state.read_text())["epochs"]) if state.is_file() else 0

    def advance(self, epochs: int) -> SimpleNamespace:
        state, done = self.folder / "epochs.json", self.done()
        rate = self.recipe.train.learning_rate
        if rate > self.bench.diverges_above:
            raise TrainingError("training diverged: the loss of step 3 is nan.", code="nonfinite_loss")
        if epochs > done:
            self.bench.advances.append((self.folder.name, done, epochs))
            resolved = self.recipe.replace(**{"train.epochs": self.epochs})
            durable.write_text(self.folder / "recipe.yaml", resolved.to_yaml())
            durable.write_json(state, {"epochs": epochs})
        seed = [self.recipe.train.seed, *self.folder.name.encode()]
        luck = self.bench.noise * float(np.random.default_rng(seed).standard_normal())
        rank = getattr(self.recipe.method, "rank", 8)
        limit = 0.9 - 0.05 * abs(math.log10(rate / BEST_RATE)) - 0.002 * abs(math.log2(rank / 8)) + luck
        history = [
            {"epoch": epoch, "validation_metric": limit * (1 - 0.5**epoch), "validation_loss": 1.0 / epoch}
            for epoch in range(1, epochs + 1)
        ]
        return SimpleNamespace(
            epoch=epochs, value=history[-1]["validation_metric"], loss=1.0 / epochs, seconds=float(epochs),
            trainable_parameters=1000 * rank, stopped_early=False, history=history,
        )  # fmt: skip
