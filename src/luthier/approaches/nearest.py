"""Retrieval alone: the answer of the rows, or the passage, that is nearest to the question."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from luthier.approaches.answering import Usage
from luthier.approaches.index import Index, Passage, Search
from luthier.approaches.questions import Asking
from luthier.core.predictor import Prediction
from luthier.data.samples import Sample

_SHARPNESS = 20.0
"""Of the weights of neighbours that are compared by meaning: exp(20 cos)."""


class Nearest:
    """The `count` nearest training rows vote with their labels, average their numbers, or lend the nearest's text.

    For documents it gives the nearest passage as it stands.
    """

    def __init__(self, index: Index, rows: Sequence[Sample], asking: Asking, count: int, how: Search) -> None:
        self.index, self.rows, self.count, self.how = index, list(rows), count, how
        self._asking = asking
        self.usage = Usage()

    def answer(self, samples: Sequence[Sample]) -> list[Prediction]:
        """One answer per row, in order."""
        questions = [self._asking.question(sample) for sample in samples]
        return [self._answer(found) for found in self.index.search(questions, self.count, self.how)] if samples else []

    def _answer(self, found: Sequence[tuple[Passage, float]]) -> Prediction:
        passages = [passage for passage, _ in found]
        scores = np.asarray([score for _, score in found])
        if self._asking.writes:
            return Prediction(output=passages[0].text)
        spread = _SHARPNESS * (scores - scores.max()) if self.how == "meaning" else np.log(np.maximum(scores, 1e-9))
        weights = np.exp(spread - spread.max())
        weights /= weights.sum()
        targets = [self.rows[passage.row].target for passage in passages]
        form = self._asking.form
        if form.task == "regress":
            values = np.asarray(targets, dtype=np.float64)
            mean = (weights[:, None] * values).sum(axis=0)
            return Prediction(score=float(mean[0]), values=tuple(mean.tolist()))
        votes = dict.fromkeys(form.labels, 0.0)
        for target, weight in zip(targets, weights.tolist(), strict=True):
            for label in _labels(target):
                votes[label] += weight
        if form.several_labels:
            return Prediction(labels=tuple(label for label in form.labels if votes[label] >= 0.5), scores=votes)
        label = max(votes, key=lambda name: votes[name])
        return Prediction(label=label, score=votes[label], scores=votes)


def _labels(target: Any) -> tuple[str, ...]:
    return (target,) if isinstance(target, str) else tuple(target or ())
