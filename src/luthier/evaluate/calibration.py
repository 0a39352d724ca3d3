"""Whether a score means what it says, and how to make it so."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from luthier.evaluate.intervals import FloatArray

NUM_BINS = 15
_LOG_TEMPERATURE = (float(np.log(0.05)), float(np.log(20.0)))
_SMALLEST_KEPT = 20  # rows; an accuracy over fewer is too loose to choose a threshold by


def bin_of(confidence: FloatArray, bins: int = NUM_BINS) -> npt.NDArray[np.int64]:
    """The bin [n] of each confidence among `bins` of equal width, the upper edge inside."""
    return np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)


@dataclass(frozen=True, slots=True)
class Bin:
    """Rows whose confidence lies in (low, high]: mean confidence beside the share that was right."""

    low: float
    high: float
    rows: int
    confidence: float
    accuracy: float


def reliability(confidence: FloatArray, correct: npt.ArrayLike, bins: int = NUM_BINS) -> list[Bin]:
    """The reliability diagram's bins (Guo et al. 2017); empty bins are left out."""
    right = np.asarray(correct, dtype=np.float64)
    index = bin_of(confidence, bins)
    rows = np.bincount(index, minlength=bins)
    mean_confidence = np.bincount(index, confidence, bins) / np.maximum(rows, 1)
    accuracy = np.bincount(index, right, bins) / np.maximum(rows, 1)
    return [
        Bin(i / bins, (i + 1) / bins, int(rows[i]), float(mean_confidence[i]), float(accuracy[i]))
        for i in range(bins)
        if rows[i]
    ]


def calibration_error(confidence: FloatArray, correct: npt.ArrayLike, bins: int = NUM_BINS) -> float:
    """Expected calibration error (Guo et al. 2017): the mean gap of the bins, weighted by rows."""
    if not len(confidence):
        return float("nan")
    found = reliability(confidence, correct, bins)
    return sum(item.rows * abs(item.accuracy - item.confidence) for item in found) / len(confidence)


def _softmax_loss(logits: FloatArray, targets: npt.NDArray[np.int64], scale: float) -> float:
    scaled = logits * scale
    highest = scaled.max(axis=1)
    log_total = highest + np.log(np.exp(scaled - highest[:, None]).sum(axis=1))
    return float(np.mean(log_total - scaled[np.arange(len(targets)), targets]))


def _sigmoid_loss(logits: FloatArray, targets: FloatArray, scale: float) -> float:
    scaled = logits * scale
    return float(np.mean(np.logaddexp(0.0, scaled) - targets * scaled))


def fit_temperature(logits: npt.ArrayLike, targets: npt.ArrayLike) -> float:
    """The temperature T that makes softmax(logits / T) likeliest on validation rows (Guo et al. 2017).

    Args:
        logits: [n, k].
        targets: class indices [n], or for sigmoid outputs a 0/1 matrix [n, k].

    Deterministic; between 0.05 and 20, and never below 1 where every row is right, since nothing then says how sure is
    too sure; 1.0 when there are no rows or only one class, where nothing
    can be learned.
    """
    from scipy.optimize import minimize_scalar

    values = np.asarray(logits, dtype=np.float64)
    truth = np.asarray(targets)
    if values.ndim != 2 or truth.shape not in (values.shape[:1], values.shape):
        raise ValueError(f"logits [n, k] and targets [n] or [n, k] do not fit: {values.shape}, {truth.shape}")
    if not len(values) or (truth.ndim == 1 and values.shape[1] < 2):
        return 1.0

    def loss(log_temperature: float) -> float:
        scale = float(np.exp(-log_temperature))
        if truth.ndim == 1:
            return _softmax_loss(values, truth.astype(np.int64), scale)
        return _sigmoid_loss(values, truth.astype(np.float64), scale)

    found = minimize_scalar(loss, bounds=_LOG_TEMPERATURE, method="bounded", options={"xatol": 1e-6})
    chosen = values.argmax(axis=1) == truth if truth.ndim == 1 else (values > 0) == (truth > 0.5)
    if bool(np.all(chosen)):  # the likelihood has no maximum: it would rise until every score is 1
        return max(1.0, float(np.exp(found.x)))
    return float(np.exp(found.x))


@dataclass(frozen=True, slots=True)
class AbstainPoint:
    """What happens when answers scored below `threshold` are withheld."""

    threshold: float
    coverage: float
    accuracy: float


@dataclass(frozen=True, slots=True)
class AbstainCurve:
    """Coverage against accuracy; `suggestion` answers the most rows at the accuracy asked for."""

    points: list[AbstainPoint]
    target_accuracy: float | None
    suggestion: AbstainPoint | None

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def abstain_curve(
    scores: npt.ArrayLike,
    correct: npt.ArrayLike,
    *,
    target_accuracy: float | None = None,
    num_points: int = 21,
) -> AbstainCurve:
    """Accuracy of the answers kept, from all rows (threshold = lowest score) to the surest few.

    Args:
        scores: the answers' scores [n].
        correct: whether each was right [n].
        target_accuracy: suggests the lowest threshold that reaches it on at least 20 rows (or on
            all, when there are fewer); no suggestion when none does.
    """
    score = np.asarray(scores, dtype=np.float64)
    right = np.asarray(correct, dtype=np.float64)
    if not len(score):
        return AbstainCurve([], target_accuracy, None)
    order = np.argsort(-score, kind="stable")
    sorted_scores = score[order]
    accuracy = np.cumsum(right[order]) / np.arange(1, len(score) + 1)
    # rows of equal score are kept or withheld together
    ends = np.flatnonzero(np.append(sorted_scores[1:] != sorted_scores[:-1], True))

    def point(end: int) -> AbstainPoint:
        return AbstainPoint(float(sorted_scores[end]), (end + 1) / len(score), float(accuracy[end]))

    wanted = np.linspace(len(score) / num_points, len(score), num_points) - 1
    chosen = sorted({int(ends[min(np.searchsorted(ends, place), len(ends) - 1)]) for place in wanted}, reverse=True)
    suggestion = None
    if target_accuracy is not None:
        smallest = min(_SMALLEST_KEPT, len(score))
        good = [int(end) for end in ends if end + 1 >= smallest and accuracy[end] >= target_accuracy]
        suggestion = point(good[-1]) if good else None
    return AbstainCurve([point(end) for end in chosen], target_accuracy, suggestion)
