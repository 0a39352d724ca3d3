"""What an encoder forgot, against its base: which texts it finds alike, and what a linear probe reads from them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from luthier.core.predictor import Embedder
from luthier.data.samples import Sample
from luthier.evaluate.forgetting.summary import Finding, Outcome
from luthier.evaluate.intervals import Interval, paired_test, percentile_interval, resample_weights
from luthier.evaluate.linear import FrozenFeatures

NEIGHBOURS = 10
MOVED_BELOW = 0.8
"""Fewer than eight in ten neighbours the same, surely: the features have moved."""
_FOLDS = 4


def judge_reader(
    name: str, base: Embedder, tuned: Embedder, anchors: Sequence[Sample], *, resamples: int = 1000
) -> Finding:
    """Agreement of nearest neighbours and, where each anchor has a class, the accuracy of a linear probe.

    The probe is fitted and judged on parts of the anchors in turn, with the same parts for both models.
    """
    texts = [sample.input for sample in anchors]
    before, after = base.embed(texts), tuned.embed(texts)
    same = neighbour_agreement(before, after)
    agreement = _mean(same, resamples)
    k = min(NEIGHBOURS, len(texts) - 1)
    sentence = (
        f"Of the {k} nearest neighbours of {len(texts)} {name}, {agreement.value:.0%} stayed the same "
        f"(95 % interval {agreement.low:.0%} to {agreement.high:.0%})"
    )
    tests: dict[str, dict[str, Any]] = {"neighbours": {"base": 1.0, "tuned": agreement.value, **_ends(agreement)}}
    outcome: Outcome = "moved" if agreement.high < MOVED_BELOW else "kept"
    labels = [sample.target for sample in anchors]
    if all(isinstance(label, str) for label in labels) and _enough(labels):
        probe = [_probe(vectors, labels) for vectors in (before, after)]
        test = paired_test(probe[1], probe[0], resamples=resamples)
        values = [float(right.mean()) for right in probe]
        tests["probe"] = {"base": values[0], "tuned": values[1], "difference": test.difference.to_dict(),
                          "p_value": test.p_value, "test": test.test}  # fmt: skip
        if test.verdict == "worse":
            outcome = "forgot"
        elif test.verdict == "better":
            outcome = "gained"
        points = [100 * number for number in (test.difference.value, test.difference.low, test.difference.high)]
        change = f"{points[0]:+.1f} points, 95 % interval {points[1]:+.1f} to {points[2]:+.1f}"
        sentence += f"; a linear probe of their topics is right for {values[1]:.1%}, of the base {values[0]:.1%}"
        sentence += f" ({change})"
    opening = {"forgot": "It forgot. ", "moved": "Its features moved, and no loss of ability is shown. ",
               "kept": "No forgetting is shown. ", "gained": "It forgot nothing. "}[outcome]  # fmt: skip
    return Finding(
        name, len(texts), "share of the same nearest neighbours", 1.0, agreement.value, 1.0 - agreement.value, outcome,
        f"{opening}{sentence}.", tests,
    )  # fmt: skip


def neighbour_agreement(before: NDArray[Any], after: NDArray[Any], k: int = NEIGHBOURS) -> NDArray[np.float64]:
    """Per row the share of its k nearest rows (cosine) that are the same in both [n]; with few rows k = n - 1."""
    k = min(k, len(before) - 1)
    if k < 1:
        raise ValueError("one text has no neighbours")
    first, second = (_nearest(vectors, k) for vectors in (before, after))
    return np.array([len(np.intersect1d(a, b)) / k for a, b in zip(first, second, strict=True)])


def _nearest(vectors: NDArray[Any], k: int) -> NDArray[np.int64]:
    values = np.asarray(vectors, np.float64)
    values = values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-12)
    likeness = values @ values.T
    np.fill_diagonal(likeness, -np.inf)
    found: NDArray[np.int64] = np.argsort(-likeness, axis=1, kind="stable")[:, :k]
    return found


def _mean(values: NDArray[np.float64], resamples: int) -> Interval:
    draws = np.concatenate([values @ weights for weights in resample_weights(len(values), resamples, 0)]) / len(values)
    return percentile_interval(float(values.mean()), draws)


def _ends(interval: Interval) -> dict[str, float]:
    return {"low": interval.low, "high": interval.high}


def _enough(labels: Sequence[Any]) -> bool:
    """Each class in each fold."""
    _, counts = np.unique(labels, return_counts=True)
    return len(counts) > 1 and int(counts.min()) >= _FOLDS


def _probe(vectors: NDArray[Any], labels: Sequence[Any]) -> NDArray[np.float64]:
    """Whether a linear head, fitted on the other folds, is right about each row: 1 or 0 [n]."""
    seen: dict[Any, int] = {}
    folds = np.zeros(len(labels), np.int64)
    for place, label in enumerate(labels):
        folds[place] = seen.get(label, 0) % _FOLDS
        seen[label] = seen.get(label, 0) + 1
    right = np.zeros(len(labels))
    by_place = {str(place): vector for place, vector in enumerate(vectors)}

    def embed(texts: Sequence[Any]) -> NDArray[Any]:
        return np.stack([by_place[text] for text in texts])

    for fold in range(_FOLDS):
        fit_on = [Sample(str(place), None, labels[place]) for place in np.flatnonzero(folds != fold).tolist()]
        held = np.flatnonzero(folds == fold).tolist()
        answers = FrozenFeatures("classify", embed).fit(fit_on).predict([str(place) for place in held])
        right[held] = [answer.label == labels[place] for answer, place in zip(answers, held, strict=True)]
    return right
