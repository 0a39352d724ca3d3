"""Test rows of a generative model, reduced to numbers: what bootstrap and paired tests work on.

Both are `intervals.Judge`s. Legend of shapes: n rows, b resamples.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from luthier.evaluate.generation.overlap import corpus_bleu, corpus_chrf
from luthier.evaluate.intervals import FloatArray, IntArray

LIKELIHOOD_METRICS = ("loss", "perplexity", "token_accuracy")
_CORPUS: dict[str, Callable[[FloatArray], FloatArray]] = {"bleu": corpus_bleu, "chrf": corpus_chrf}


class _RowsJudge:
    """What both have in common: the point is the resample that draws every row once."""

    notes: Sequence[str] = ()

    def __init__(self, num_rows: int) -> None:
        self._num_rows = num_rows

    @property
    def num_rows(self) -> int:
        return self._num_rows

    def point(self, names: Sequence[str]) -> dict[str, float]:
        found = self.resampled(names, np.ones((self.num_rows, 1)))
        return {name: float(values[0]) for name, values in found.items()}

    def resampled(self, names: Sequence[str], weights: FloatArray) -> dict[str, FloatArray]:
        raise NotImplementedError

    def resampled_classes(self, weights: FloatArray) -> dict[str, FloatArray]:
        return {}

    def per_class(self) -> dict[str, dict[str, Any]]:
        return {}


class LikelihoodJudge(_RowsJudge):
    """Loss per weighted token, over all tokens of the rows drawn; `loss_sum`, `weight` and `correct` are [n]."""

    def __init__(self, loss_sum: FloatArray, weight: FloatArray, correct: FloatArray) -> None:
        super().__init__(len(loss_sum))
        self.loss_sum, self.weight, self.correct = loss_sum, weight, correct

    def take(self, rows: IntArray) -> LikelihoodJudge:
        return LikelihoodJudge(self.loss_sum[rows], self.weight[rows], self.correct[rows])

    def names(self) -> tuple[str, ...]:
        return LIKELIHOOD_METRICS

    def resampled(self, names: Sequence[str], weights: FloatArray) -> dict[str, FloatArray]:
        tokens = self.weight @ weights
        tokens = np.where(tokens > 0, tokens, np.nan)
        loss = (self.loss_sum @ weights) / tokens
        made = {"loss": loss, "perplexity": np.exp(loss), "token_accuracy": (self.correct @ weights) / tokens}
        return {name: made[name] for name in names}

    def row_values(self, name: str) -> FloatArray | None:
        return None  # a long row weighs more than a short one


class AnswerJudge(_RowsJudge):
    """`means`: per metric a value per row [n], NaN where the row has none; `counts`: bleu [n, 10], chrf [n, 18]."""

    def __init__(self, num_rows: int, means: Mapping[str, FloatArray], counts: Mapping[str, FloatArray]) -> None:
        super().__init__(num_rows)
        self.means = {name: values for name, values in means.items() if np.isfinite(values).any()}
        self.counts = dict(counts)

    def take(self, rows: IntArray) -> AnswerJudge:
        means = {name: values[rows] for name, values in self.means.items()}
        return AnswerJudge(len(rows), means, {name: values[rows] for name, values in self.counts.items()})

    def names(self) -> tuple[str, ...]:
        return (*self.means, *self.counts)

    def resampled(self, names: Sequence[str], weights: FloatArray) -> dict[str, FloatArray]:
        return {name: self._one(name, weights) for name in names}

    def _one(self, name: str, weights: FloatArray) -> FloatArray:
        if name in self.counts:
            return _CORPUS[name](self.counts[name].T @ weights)
        values = self.means[name]
        there = np.isfinite(values)
        rows = weights[there].sum(axis=0)
        mean: FloatArray = (values[there] @ weights[there]) / np.where(rows > 0, rows, np.nan)
        return mean

    def row_values(self, name: str) -> FloatArray | None:
        values = self.means.get(name)
        return values if values is not None and bool(np.isfinite(values).all()) else None
