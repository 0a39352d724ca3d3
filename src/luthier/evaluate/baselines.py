"""What a fine-tuned model must beat: simple answers that take seconds to learn.

Each has `fit(samples)`, which gives a Predictor. The dictionary for spans is in `gazetteer`, the
TF-IDF and frozen-features models are in `linear`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

import numpy as np

from luthier.core.errors import DataError
from luthier.core.predictor import Prediction, TextInput
from luthier.data.samples import Sample
from luthier.evaluate.metric_names import metrics_of
from luthier.evaluate.regression import numbers

_STREAMED_AT_ONCE = 256


class BatchPredictor:
    """The Predictor's `stream` on top of its `predict`."""

    def __init__(self, task: str, labels: Sequence[str]) -> None:
        self._task = task
        self._labels = list(labels)

    @property
    def task(self) -> str:
        return self._task

    @property
    def labels(self) -> Sequence[str]:
        return self._labels

    def predict(self, texts: Sequence[TextInput]) -> list[Prediction]:
        """Answer `texts`, in order."""
        raise NotImplementedError

    def stream(self, texts: Iterable[TextInput]) -> Iterator[Prediction]:
        """Answer one by one in bounded memory, in order."""
        iterator = iter(texts)
        while batch := list(islice(iterator, _STREAMED_AT_ONCE)):
            yield from self.predict(batch)


class ConstantPredictor(BatchPredictor):
    """Always the same answer."""

    def __init__(self, task: str, labels: Sequence[str], prediction: Prediction) -> None:
        super().__init__(task, labels)
        self.prediction = prediction

    def predict(self, texts: Sequence[TextInput]) -> list[Prediction]:
        return [self.prediction] * len(texts)


class Majority:
    """The most frequent class with the classes' shares as scores; the labels that most rows have;
    the mean; no span (as most tokens are in none).

    `labels` are class names, target names or span labels; found in the samples when empty.
    """

    def __init__(self, task: str, *, labels: Sequence[str] = (), several_labels: bool = False) -> None:
        metrics_of(task, several_labels)
        self.task = task
        self.labels = list(labels)
        self.several_labels = several_labels

    def fit(self, samples: Iterable[Sample]) -> ConstantPredictor:
        """Learn from samples, streamed; a `DataError` when there is none."""
        targets = (sample.target for sample in samples if sample.target is not None)
        if self.task == "classify":
            return self._fit_labels(targets)
        if self.task == "regress":
            return self._fit_mean(targets)
        return ConstantPredictor("extract", self.labels, Prediction(spans=()))

    def _fit_labels(self, targets: Iterable[Any]) -> ConstantPredictor:
        counts: Counter[str] = Counter()
        rows = 0
        for target in targets:
            rows += 1
            counts.update([target] if isinstance(target, str) else target)
        _some(rows)
        labels = self.labels or sorted(counts)
        scores = {label: counts[label] / rows for label in labels}
        if self.several_labels:
            chosen = tuple(label for label in labels if scores[label] >= 0.5)
            return ConstantPredictor("classify", labels, Prediction(scores=scores, labels=chosen))
        label = max(labels, key=lambda name: scores[name])
        return ConstantPredictor("classify", labels, Prediction(label=label, score=scores[label], scores=scores))

    def _fit_mean(self, targets: Iterable[Any]) -> ConstantPredictor:
        rows, total = 0, np.zeros(1)
        for target in targets:
            rows += 1
            total = total + np.asarray(numbers(target))
        _some(rows)
        values = tuple(float(value) for value in total / rows)
        return ConstantPredictor("regress", self.labels, Prediction(score=values[0], values=values))


def _some(rows: int) -> None:
    if not rows:
        raise DataError(
            "there is no row with a target to learn a baseline from.",
            code="no_rows",
            remedy="Give data with the task's label, score or spans column.",
        )
