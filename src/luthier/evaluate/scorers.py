"""Validation metrics that stream: batch by batch, a few numbers of state, never a logit kept."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from luthier.core.predictor import Prediction, Scorer
from luthier.evaluate.extraction import span_keys
from luthier.evaluate.label_sets import chosen_labels
from luthier.evaluate.metric_names import metrics_of
from luthier.evaluate.regression import answer, numbers


class AccuracyScorer:
    """The share of rows with the right label; 0 before the first row."""

    name = "accuracy"
    higher_is_better = True

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self._right = 0
        self._rows = 0

    def update(self, predictions: Sequence[Prediction], references: Sequence[Any]) -> None:
        self._right += sum(
            prediction.label == reference for prediction, reference in zip(predictions, references, strict=True)
        )
        self._rows += len(references)

    def value(self) -> float:
        return self._right / max(self._rows, 1)


class _OverlapScorer:
    """Micro F1 of what rows assert against what holds: 2 hits / (asserted + holding), 0 for 0/0."""

    higher_is_better = True

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self._hits = 0
        self._total = 0

    def value(self) -> float:
        return 2 * self._hits / self._total if self._total else 0.0


class MicroF1Scorer(_OverlapScorer):
    """Micro F1 of label sets."""

    name = "micro_f1"

    def update(self, predictions: Sequence[Prediction], references: Sequence[Any]) -> None:
        for prediction, reference in zip(predictions, references, strict=True):
            asserted = set(chosen_labels(prediction))
            holding = {reference} if isinstance(reference, str) else set(reference or ())
            self._hits += len(asserted & holding)
            self._total += len(asserted) + len(holding)


class SpanF1Scorer(_OverlapScorer):
    """Exact-match F1 of spans (CoNLL)."""

    name = "f1"

    def update(self, predictions: Sequence[Prediction], references: Sequence[Any]) -> None:
        for prediction, reference in zip(predictions, references, strict=True):
            asserted, holding = span_keys(prediction.spans), span_keys(reference)
            self._hits += (asserted & holding).total()
            self._total += asserted.total() + holding.total()


class PearsonScorer:
    """Pearson's r, the mean over targets; 0 where one side never changes and r is undefined.

    Batches are merged as centred moments (Chan, Golub and LeVeque 1979): plain sums of squares
    cancel when the mean is large.
    """

    name = "pearson"
    higher_is_better = True

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self._rows = 0
        self._means: Any = 0.0
        self._moments: Any = 0.0  # [2, 2, t]: centred sums of products of (truth, answer)

    def update(self, predictions: Sequence[Prediction], references: Sequence[Any]) -> None:
        if not references:
            return
        values = np.array(
            [
                [numbers(reference) for reference in references],
                [answer(prediction) for prediction in predictions],
            ],
            dtype=np.float64,
        )
        n, rows = values.shape[1], self._rows
        means = values.mean(axis=1)
        centred = values - means[:, None]
        step = means - self._means
        self._moments = (
            self._moments
            + np.einsum("ait,bit->abt", centred, centred)
            + np.einsum("at,bt->abt", step, step) * (rows * n / (rows + n))
        )
        self._means = self._means + step * (n / (rows + n))
        self._rows = rows + n

    def value(self) -> float:
        if not self._rows:
            return 0.0
        spread = np.sqrt(self._moments[0, 0] * self._moments[1, 1])
        r = np.divide(self._moments[0, 1], spread, out=np.zeros_like(spread), where=spread > 0)
        return float(r.mean())


def scorer_for(task: str, several_labels: bool = False) -> Scorer:
    """The scorer that watches validation while training; an unknown task is a `RecipeError`."""
    metrics_of(task, several_labels)
    if task == "classify":
        return MicroF1Scorer() if several_labels else AccuracyScorer()
    return PearsonScorer() if task == "regress" else SpanF1Scorer()
