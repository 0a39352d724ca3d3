"""Retrieval on top of a tuned model: its probabilities mixed with those of its nearest training rows.

Khandelwal et al. 2020 ("Generalization through memorization"), for classes and numbers.
"""

from __future__ import annotations

from collections.abc import Sequence

from luthier.approaches.answering import Approach, Usage
from luthier.core.predictor import Prediction
from luthier.data.samples import Sample


class Mixture:
    """`share` of `first`'s answer and the rest of `second`'s; both give scores, or numbers."""

    def __init__(self, first: Approach, second: Approach, share: float) -> None:
        self._first, self._second, self.share = first, second, share
        self.usage = Usage()

    def answer(self, samples: Sequence[Sample]) -> list[Prediction]:
        """One answer per row, in order."""
        pairs = zip(self._first.answer(samples), self._second.answer(samples), strict=True)
        return [mixed(one, other, self.share) for one, other in pairs]


def mixed(one: Prediction, other: Prediction, share: float) -> Prediction:
    """One answer out of two."""
    if one.values is not None and other.values is not None:
        values = tuple(share * a + (1 - share) * b for a, b in zip(one.values, other.values, strict=True))
        return Prediction(score=values[0], values=values)
    names = one.scores.keys() | other.scores.keys()
    scores = {name: share * one.scores.get(name, 0.0) + (1 - share) * other.scores.get(name, 0.0) for name in names}
    if one.labels is not None:
        labels = tuple(name for name in one.scores if scores[name] >= 0.5)
        return Prediction(labels=labels, scores=scores)
    label = max(sorted(scores), key=lambda name: scores[name])
    return Prediction(label=label, score=scores[label], scores=scores)
