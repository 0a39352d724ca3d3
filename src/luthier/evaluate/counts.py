"""Precision, recall and F1 from counts: of one test set, or of every bootstrap resample at once.

Legend of shapes: n rows, k classes, b resamples. Hits, predicted and gold count, per class, right
answers, answers and references.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from luthier.evaluate.intervals import FloatArray


def sums(
    groups: npt.NDArray[np.int64], num_groups: int, weights: FloatArray, values: FloatArray | None = None
) -> FloatArray:
    """Weighted sums [num_groups, b] of `values` (or ones) by group [n]; group -1 counts nowhere."""
    from scipy.sparse import csr_matrix

    inside = groups >= 0
    data = np.ones(len(groups)) if values is None else values
    matrix: Any = csr_matrix((data[inside], (groups[inside], np.flatnonzero(inside))), shape=(num_groups, len(groups)))
    product: FloatArray = matrix @ weights
    return product


def ratio(numerator: Any, denominator: Any) -> FloatArray:
    """Element-wise quotient, 0 where the denominator is 0 (scikit-learn's ``zero_division=0``)."""
    top, bottom = np.asarray(numerator, dtype=np.float64), np.asarray(denominator, dtype=np.float64)
    return np.divide(top, bottom, out=np.zeros(np.broadcast_shapes(top.shape, bottom.shape)), where=bottom != 0)


def count_metrics(
    names: Sequence[str], hits: FloatArray, predicted: FloatArray, gold: FloatArray, prefix: str = "micro_"
) -> dict[str, FloatArray]:
    """Micro and macro precision, recall and F1 [b] from counts [k, b] (hits, predictions, references).

    Macro means run over classes with a reference or a prediction, as scikit-learn's do.
    `prefix` is "" where the plain name means micro (spans).
    """
    present = (predicted + gold) > 0
    num_present = present.sum(axis=0)
    tp, p, g = hits.sum(axis=0), predicted.sum(axis=0), gold.sum(axis=0)
    made = {
        f"{prefix}precision": lambda: ratio(tp, p),
        f"{prefix}recall": lambda: ratio(tp, g),
        f"{prefix}f1": lambda: ratio(2 * tp, p + g),
        "macro_precision": lambda: ratio(ratio(hits, predicted).sum(axis=0), num_present),
        "macro_recall": lambda: ratio(ratio(hits, gold).sum(axis=0), num_present),
        "macro_f1": lambda: ratio(ratio(2 * hits, predicted + gold).sum(axis=0), num_present),
        "weighted_f1": lambda: ratio((ratio(2 * hits, predicted + gold) * gold).sum(axis=0), g),
    }
    return {name: made[name]() for name in names if name in made}


def class_metrics(hits: Any, predicted: Any, gold: Any) -> dict[str, FloatArray]:
    """Precision, recall and F1 of each class; shapes as given ([k] or [k, b])."""
    return {
        "precision": ratio(hits, predicted),
        "recall": ratio(hits, gold),
        "f1": ratio(2 * hits, predicted + gold),
    }


def class_table(
    labels: Sequence[str],
    hits: Any,
    predicted: Any,
    gold: Any,
    ranked: Mapping[int, tuple[float, float]] | None = None,
) -> dict[str, dict[str, Any]]:
    """Precision, recall, F1, references (support) and predictions per class; `ranked` adds AUC and AP."""
    found = class_metrics(hits, predicted, gold)
    table: dict[str, dict[str, Any]] = {}
    for i, label in enumerate(labels):
        table[label] = {name: float(values[i]) for name, values in found.items()}
        table[label] |= {"support": int(gold[i]), "predicted": int(predicted[i])}
        if ranked and i in ranked:
            table[label]["roc_auc"], table[label]["average_precision"] = ranked[i]
    return table
