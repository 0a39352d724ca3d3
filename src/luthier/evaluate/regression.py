"""Numbers: errors and correlations, the mean over targets and each target's own.

Legend of shapes: n rows, t targets, b resamples.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from luthier.core.errors import DataError
from luthier.core.predictor import Prediction
from luthier.evaluate.counts import sums
from luthier.evaluate.intervals import FloatArray, IntArray

METRICS = ("mse", "rmse", "mae", "r2", "pearson", "spearman")


def numbers(value: Any) -> tuple[float, ...]:
    """One or more numbers as a tuple."""
    return tuple(float(item) for item in value) if isinstance(value, tuple | list) else (float(value),)


def answer(prediction: Prediction) -> tuple[float, ...]:
    """The numbers that a prediction gives; a `DataError` when it gives none."""
    if prediction.values is not None:
        return prediction.values
    if prediction.score is None:
        raise DataError(
            "a prediction holds no number.",
            remedy="Every row of a regression needs a score.",
            code="no_number",
        )
    return (prediction.score,)


class NumberRows:
    """Collects answers as float64 pairs."""

    def __init__(self, labels: Sequence[str]) -> None:
        self.labels = list(labels)
        self._truth: list[tuple[float, ...]] = []
        self._answers: list[tuple[float, ...]] = []

    def add(self, references: Sequence[Any], predictions: Sequence[Prediction]) -> FloatArray:
        """Take a batch; gives the severity [batch]: the absolute error, summed over targets."""
        truth = [numbers(reference) for reference in references]
        answers = [answer(prediction) for prediction in predictions]
        widths = {len(row) for row in (*self._truth[:1], *truth, *answers)}
        if len(widths) > 1:
            raise DataError(
                f"rows and answers have different numbers of targets: {sorted(widths)}.",
                remedy="Give every row, and the model, the same targets.",
                code="targets_differ",
            )
        self._truth += truth
        self._answers += answers
        return np.array(
            [sum(abs(a - b) for a, b in zip(*pair, strict=True)) for pair in zip(truth, answers, strict=True)]
        )

    def judge(self) -> RegressionJudge:
        """The rows so far, ready to be measured."""
        truth = np.array(self._truth, dtype=np.float64)
        names = (
            self.labels
            if len(self.labels) == truth.shape[1]
            else ["score"]
            if truth.shape[1] == 1
            else [f"target {i + 1}" for i in range(truth.shape[1])]
        )
        return RegressionJudge(truth, np.array(self._answers, dtype=np.float64), names)


class RegressionJudge:
    """Metrics of `answers` [n, t] against `truth` [n, t].

    A correlation with a constant (and R2 of a constant truth) is undefined: NaN, with a note.
    """

    def __init__(self, truth: FloatArray, answers: FloatArray, targets: Sequence[str]) -> None:
        self.truth = truth
        self.answers = answers
        self.targets = list(targets)
        # rank groups [n] and their number, for Spearman's rho of resamples
        self._groups = [
            [np.unique(values[:, t], return_inverse=True)[1] for t in range(truth.shape[1])]
            for values in (truth, answers)
        ]
        self._constant_truth = np.ptp(truth, axis=0) == 0
        self._constant_answer = np.ptp(answers, axis=0) == 0
        self.notes: list[str] = []
        for t, name in enumerate(self.targets):
            if self._constant_truth[t]:
                self.notes.append(f"Every reference of {name!r} is the same: R2 and correlations mean nothing.")
            elif self._constant_answer[t]:
                self.notes.append(f"Every prediction of {name!r} is the same: correlations are undefined.")

    @property
    def num_rows(self) -> int:
        return len(self.truth)

    @property
    def constant(self) -> bool:
        """Whether correlations are undefined for some target."""
        return bool((self._constant_truth | self._constant_answer).any())

    def take(self, rows: IntArray) -> RegressionJudge:
        return RegressionJudge(self.truth[rows], self.answers[rows], self.targets)

    def names(self) -> tuple[str, ...]:
        return METRICS

    def row_values(self, name: str) -> FloatArray | None:
        error = self.answers - self.truth
        values = {"mse": error**2, "mae": np.abs(error)}
        return values[name].mean(axis=1) if name in values else None

    def point(self, names: Sequence[str]) -> dict[str, float]:
        table = list(self.per_class().values())
        return {name: float(np.mean([row[name] for row in table])) for name in names}

    def per_class(self) -> dict[str, dict[str, Any]]:
        """Every metric of each target."""
        return {name: self._point_of(t) for t, name in enumerate(self.targets)}

    def _point_of(self, t: int) -> dict[str, float]:
        from scipy.stats import pearsonr, spearmanr
        from sklearn import metrics

        truth, answers = self.truth[:, t], self.answers[:, t]
        undefined = float("nan")
        related = not (self._constant_truth[t] or self._constant_answer[t]) and len(truth) > 1
        return {
            "mse": float(metrics.mean_squared_error(truth, answers)),
            "rmse": float(metrics.root_mean_squared_error(truth, answers)),
            "mae": float(metrics.mean_absolute_error(truth, answers)),
            "r2": undefined if self._constant_truth[t] else float(metrics.r2_score(truth, answers)),
            "pearson": float(pearsonr(truth, answers).statistic) if related else undefined,
            "spearman": float(spearmanr(truth, answers).statistic) if related else undefined,
        }

    def resampled(self, names: Sequence[str], weights: FloatArray) -> dict[str, FloatArray]:
        found = self._resampled(names, weights)
        return {name: found[name].mean(axis=0) for name in names}

    def resampled_classes(self, weights: FloatArray) -> dict[str, FloatArray]:
        return self._resampled(METRICS, weights)

    def _resampled(self, names: Sequence[str], weights: FloatArray) -> dict[str, FloatArray]:
        """Metrics [t, b]."""
        error = self.answers - self.truth
        total = weights.sum(axis=0)
        squared = (error**2).T @ weights
        found: dict[str, FloatArray] = {"mse": squared / total, "rmse": np.sqrt(squared / total)}
        if "mae" in names:
            found["mae"] = np.abs(error).T @ weights / total
        if "r2" in names or "pearson" in names:
            truth = self.truth - self.truth.mean(axis=0)  # centred first: sums of squares cancel badly
            answers = self.answers - self.answers.mean(axis=0)
            truth_mean, answer_mean = truth.T @ weights / total, answers.T @ weights / total
            truth_spread = (truth**2).T @ weights - total * truth_mean**2
            answer_spread = (answers**2).T @ weights - total * answer_mean**2
            shared = (truth * answers).T @ weights - total * truth_mean * answer_mean
            truth_spread[self._constant_truth] = answer_spread[self._constant_answer] = 0.0
            found["r2"] = 1 - _quotient(squared, truth_spread)
            found["pearson"] = _quotient(shared, np.sqrt(truth_spread * answer_spread))
        if "spearman" in names:
            found["spearman"] = np.stack([self._spearman(t, weights) for t in range(len(self.targets))])
        return {name: found[name] for name in names}

    def _spearman(self, t: int, weights: FloatArray) -> FloatArray:
        """Spearman's rho [b]: Pearson's r of the ranks that the rows have within each resample."""
        ranks = [resampled_ranks(groups[t], weights) for groups in self._groups]
        total = weights.sum(axis=0)
        centred = [values - (total + 1) / 2 for values in ranks]  # the mean rank, ties or not
        shared = (weights * centred[0] * centred[1]).sum(axis=0)
        spreads = [(weights * values**2).sum(axis=0) for values in centred]
        return _quotient(shared, np.sqrt(spreads[0] * spreads[1]))


def resampled_ranks(groups: Any, weights: FloatArray) -> FloatArray:
    """Average ranks [n, b] of rows in ordered `groups` [n] of equal values, rows counted `weights` times."""
    sizes = sums(groups, int(groups.max()) + 1, weights)
    middle = np.cumsum(sizes, axis=0) - (sizes - 1) / 2
    ranks: FloatArray = middle[groups]
    return ranks


def _quotient(numerator: FloatArray, denominator: FloatArray) -> FloatArray:
    """NaN where the denominator is (nearly) 0, so that such resamples are passed over."""
    quotient = np.full(numerator.shape, np.nan)
    np.divide(numerator, denominator, out=quotient, where=denominator > 1e-12)
    return quotient
