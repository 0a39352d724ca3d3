"""General samples among the training rows (rehearsal: Robins 1995; for instruction tuning Scialom et al. 2022).

They are rows like all others: planned, packed, weighted and resumed with them.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from luthier.core.errors import DataError
from luthier.core.recipe import Recipe
from luthier.data.general import open_replay
from luthier.data.prepare import Prepared, View, names_of
from luthier.data.samples import Sample
from luthier.data.tokens import fingerprint


class Mixed:
    """The training rows, and after them the general ones; planning shuffles both together."""

    def __init__(self, rows: View, general: Sequence[Sample]) -> None:
        self.rows, self.general = rows, general

    def __len__(self) -> int:
        return len(self.rows) + len(self.general)

    def __iter__(self) -> Iterator[Sample]:
        return itertools.chain(self.rows, self.general)

    @property
    def identity(self) -> tuple[Any, ...]:
        """What the run's identity and the caches depend on; empty without general rows."""
        if not self.general:
            return ()
        return ("replay", fingerprint([(one.text, one.text_pair, repr(one.target)) for one in self.general]))


def mixed_rows(recipe: Recipe, prepared: Prepared, base: str) -> Mixed:
    """The rows that a run learns: r general ones to n of its own, with r / (n + r) = `train.replay`.

    They are drawn by the seed without repetition, and all once more where the file has too few.
    Raises `RecipeError` (`no_replay`) and `DataError`.
    """
    share = recipe.train.replay
    if not share:
        return Mixed(prepared.train, ())
    known: Any = dict(recipe.data.columns) or None
    general = open_replay(recipe.data.replay, prepared.task, base, known)
    _check_labels(general, prepared)
    count = max(1, round(share / (1 - share) * len(prepared.train)))
    generator = np.random.default_rng([recipe.train.seed, 0x5E9])
    rounds = -(-count // len(general))
    order = np.concatenate([generator.permutation(len(general)) for _ in range(rounds)])[:count]
    return Mixed(prepared.train, [general[int(place)] for place in order])


def _check_labels(general: Sequence[Sample], prepared: Prepared) -> None:
    if prepared.task not in ("classify", "extract"):
        return
    for sample in general:
        unknown = sorted(set(names_of(sample)) - set(prepared.labels))
        if unknown:
            raise DataError(
                f"the label {unknown[0]!r} of a general sample is none of the training data's.",
                where=sample.place,
                remedy="Replay rows of the same labels, or use train.kl_to_base or train.average.",
                code="unknown_label",
                param="data.replay",
            )
