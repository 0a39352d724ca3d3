"""ROC-AUC and average precision of many resamples at once.

scikit-learn's `sample_weight` gives one resample per call; here the rows are sorted once into
slots around the positives' scores, and every resample is a product with the weight matrix.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from luthier.evaluate.counts import sums
from luthier.evaluate.intervals import FloatArray

BoolArray = npt.NDArray[np.bool_]


def resampled_ranking(scores: FloatArray, positive: BoolArray, weights: FloatArray) -> tuple[FloatArray, FloatArray]:
    """(ROC-AUC [b], average precision [b]) of one class from `scores` [n] and `positive` [n].

    NaN for a resample without a positive (or, for the AUC, a negative) row.
    """
    thresholds = np.unique(scores[positive])
    m = len(thresholds)
    # slot 2j + 1 holds scores equal to threshold j, slot 2j those between thresholds j - 1 and j
    slots = np.searchsorted(thresholds, scores, "left") + np.searchsorted(thresholds, scores, "right")
    negatives = sums(np.where(positive, -1, slots), 2 * m + 1, weights)
    positives = sums(np.where(positive, slots // 2, -1), m, weights)
    below = np.cumsum(negatives, axis=0)[0:-1:2]
    ties = negatives[1::2]
    with np.errstate(divide="ignore", invalid="ignore"):
        all_positive, all_negative = positives.sum(axis=0), negatives.sum(axis=0)
        auc = (positives * (below + ties / 2)).sum(axis=0) / (all_positive * all_negative)
        hits = np.cumsum(positives[::-1], axis=0)[::-1]
        precision = hits / (hits + all_negative - below)
        average = np.where(positives > 0, positives * precision, 0.0).sum(axis=0) / all_positive
    return auc, average


def mean_ranking(scores: FloatArray, truth: BoolArray, weights: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Macro means ([b], [b]) over the classes that a resample holds; `scores`, `truth` [n, k]."""
    b = weights.shape[1]
    totals = np.zeros((2, b))
    counts = np.zeros((2, b))
    for column in range(truth.shape[1]):
        positive = truth[:, column]
        if positive.any() and not positive.all():
            for row, values in enumerate(resampled_ranking(scores[:, column], positive, weights)):
                usable = np.isfinite(values)
                totals[row] += np.where(usable, values, 0.0)
                counts[row] += usable
    with np.errstate(invalid="ignore"):
        auc, average = totals / counts
    return auc, average


def point_ranking(scores: FloatArray, truth: BoolArray) -> dict[int, tuple[float, float]]:
    """scikit-learn's (ROC-AUC, average precision) of every class that has positive and negative rows."""
    from sklearn.metrics import average_precision_score, roc_auc_score

    return {
        column: (
            float(roc_auc_score(truth[:, column], scores[:, column])),
            float(average_precision_score(truth[:, column], scores[:, column])),
        )
        for column in range(truth.shape[1])
        if truth[:, column].any() and not truth[:, column].all()
    }
