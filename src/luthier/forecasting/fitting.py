"""From the times of some steps to those of all."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def spread(costs: NDArray[np.float64], most: int) -> NDArray[np.int64]:
    """Indices of at most `most` steps that stand for all of them: from cheap to dear, evenly."""
    order = np.argsort(costs, kind="stable")
    return order[np.unique(np.linspace(0, len(order) - 1, min(most, len(order))).round().astype(np.int64))]


def fit_line(measured: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """(a, b), both at least 0, with seconds = a + b x cost, by the smallest relative deviations (reweighted least
    squares); proportional where the costs hardly differ or the steps are few."""
    costs, seconds = (np.asarray(part, np.float64) for part in zip(*measured, strict=True))
    if len(measured) < 4 or costs.max() < 1.2 * costs.min():
        return 0.0, float(seconds.sum() / max(costs.sum(), 1e-12))
    weights = 1.0 / np.maximum(seconds, 1e-9)
    fixed = rate = 0.0
    for _ in range(20):
        design = np.stack([weights, weights * costs], axis=1)
        (fixed, rate), *_ = np.linalg.lstsq(design, weights * seconds, rcond=None)
        apart = np.abs(fixed + rate * costs - seconds) / seconds
        weights = 1.0 / (seconds * np.sqrt(np.maximum(apart, 0.02)))
    if fixed < 0:
        return 0.0, float(np.median(seconds / np.maximum(costs, 1e-12)))
    if rate < 0:
        return float(np.median(seconds)), 0.0
    return float(fixed), float(rate)
