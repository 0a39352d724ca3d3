"""How sure a number is: bootstrap intervals, and paired tests between two models on the same rows.

A resample of n rows is written as n weights (how often each row was drawn), so that every metric
becomes a function of a weight matrix and a thousand resamples cost a few matrix products.
Legend of shapes: n rows, b resamples.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
Verdict = Literal["better", "worse", "cannot tell them apart"]

CONFIDENCE = 0.95
SIGNIFICANCE = 0.05
_Z = 1.959963984540054  # of 95 %
_CELLS_PER_CHUNK = 4_000_000  # n x b weights held at once: 32 MB


@dataclass(frozen=True, slots=True)
class Interval:
    """A value with its 95 % interval; NaN where the metric is undefined on these rows."""

    value: float
    low: float
    high: float

    @property
    def defined(self) -> bool:
        return not np.isnan(self.value)

    def to_dict(self) -> dict[str, float | None]:
        """``{value, low, high}``, None for what is not a finite number (JSON has no NaN)."""
        return {
            name: float(number) if np.isfinite(number) else None
            for name, number in (("value", self.value), ("low", self.low), ("high", self.high))
        }


class Judge(Protocol):
    """The rows of one test set, reduced to what its metrics need."""

    @property
    def num_rows(self) -> int: ...

    @property
    def notes(self) -> Sequence[str]:
        """What a reader of the metrics must know."""
        ...

    def take(self, rows: IntArray) -> Judge:
        """Only these rows, by their places [m]."""
        ...

    def names(self) -> tuple[str, ...]:
        """Metrics that can be had from these rows."""
        ...

    def point(self, names: Sequence[str]) -> dict[str, float]:
        """Metrics on the rows as they are."""
        ...

    def resampled(self, names: Sequence[str], weights: FloatArray) -> dict[str, FloatArray]:
        """Metrics [b] of every resample, `weights` [n, b] saying how often each row was drawn."""
        ...

    def resampled_classes(self, weights: FloatArray) -> dict[str, FloatArray]:
        """Metrics [k, b] of each class, span label or target, in every resample."""
        ...

    def row_values(self, name: str) -> FloatArray | None:
        """Per-row values [n] whose mean is the metric, or None when it is no mean over rows."""
        ...

    def per_class(self) -> dict[str, dict[str, Any]]:
        """Metrics of each class, span label or target, in the order of `resampled_classes`."""
        ...


def resample_weights(num_rows: int, resamples: int, seed: int) -> Iterator[FloatArray]:
    """Weights [n, b'] of `resamples` draws with replacement, in chunks of bounded memory."""
    generator = np.random.default_rng(seed)
    at_once = max(1, _CELLS_PER_CHUNK // max(num_rows, 1))
    done = 0
    while done < resamples:
        b = min(at_once, resamples - done)
        drawn = generator.integers(0, num_rows, size=(num_rows, b)) * b + np.arange(b)
        counts = np.bincount(drawn.ravel(), minlength=num_rows * b)
        yield counts.reshape(num_rows, b).astype(np.float64)
        done += b


def percentile_interval(value: float, draws: FloatArray) -> Interval:
    """The percentile interval (Efron and Tibshirani 1993, chapter 13) of `draws` around `value`."""
    usable = draws[np.isfinite(draws)]
    if np.isnan(value) or not len(usable):
        return Interval(value, float("nan"), float("nan"))
    tail = 100 * (1 - CONFIDENCE) / 2
    low, high = np.percentile(usable, [tail, 100 - tail])
    # The value of a metric that is biased under resampling can fall outside its own percentiles.
    return Interval(value, min(float(low), value), max(float(high), value))


def wilson(share: float, rows: int) -> tuple[float, float]:
    """The 95 % score interval of a share of `rows` (Wilson 1927)."""
    spread = _Z * _Z / rows
    middle = (share + spread / 2) / (1 + spread)
    half = _Z / (1 + spread) * math.sqrt(share * (1 - share) / rows + spread / (4 * rows))
    return max(0.0, middle - half), min(1.0, middle + half)


def bootstrap(judge: Judge, names: Sequence[str], *, resamples: int = 1000, seed: int = 0) -> dict[str, Interval]:
    """Every metric with its interval; `resamples` 0 gives intervals of no width known (NaN)."""
    values = judge.point(names)
    draws: dict[str, list[FloatArray]] = {name: [] for name in names}
    for weights in resample_weights(judge.num_rows, resamples, seed):
        for name, chunk in judge.resampled(names, weights).items():
            draws[name].append(chunk)
    empty: FloatArray = np.empty(0)
    return {name: percentile_interval(values[name], np.concatenate([empty, *draws[name]])) for name in names}


def bootstrap_classes(judge: Judge, *, resamples: int = 1000, seed: int = 0) -> dict[str, dict[str, Any]]:
    """`judge.per_class()`, each class with ``intervals``: {metric: [low, high]}."""
    draws: dict[str, list[FloatArray]] = {}
    for weights in resample_weights(judge.num_rows, resamples, seed):
        for name, chunk in judge.resampled_classes(weights).items():
            draws.setdefault(name, []).append(chunk)
    together = {name: np.concatenate(chunks, axis=1) for name, chunks in draws.items()}
    table = judge.per_class()
    for i, values in enumerate(table.values()):
        found = {name: percentile_interval(values[name], each[i]) for name, each in together.items()}
        values["intervals"] = {name: [interval.low, interval.high] for name, interval in found.items()}
    return table


@dataclass(frozen=True, slots=True)
class PairedTest:
    """Ours minus theirs on the same rows; positive is better for us."""

    difference: Interval
    p_value: float
    test: Literal["mcnemar", "bootstrap"]
    verdict: Verdict


def decide(difference: Interval, p_value: float) -> Verdict:
    """A difference counts when both its test and its interval say so."""
    if p_value < SIGNIFICANCE and difference.low > 0:
        return "better"
    if p_value < SIGNIFICANCE and difference.high < 0:
        return "worse"
    return "cannot tell them apart"


def mcnemar(a_right: npt.NDArray[np.bool_], b_right: npt.NDArray[np.bool_]) -> float:
    """Exact two-sided p-value of McNemar's test: a binomial test on the rows where one is right."""
    from scipy.stats import binomtest

    only_a = int(np.sum(a_right & ~b_right))
    only_b = int(np.sum(~a_right & b_right))
    if only_a + only_b == 0:
        return 1.0
    return float(binomtest(only_a, only_a + only_b, 0.5).pvalue)


def bootstrap_p_value(draws: FloatArray) -> float:
    """Two-sided p-value of "no difference": the smaller tail of the differences, doubled; never 0."""
    usable = draws[np.isfinite(draws)]
    tail = min(int(np.sum(usable <= 0)), int(np.sum(usable >= 0)))
    return float(min(1.0, 2 * (tail + 1) / (len(usable) + 1)))


def paired_test(
    a_rows: npt.ArrayLike,
    b_rows: npt.ArrayLike,
    *,
    higher_is_better: bool = True,
    resamples: int = 1000,
    seed: int = 0,
) -> PairedTest:
    """Compare two models by their values on the same rows ([n] each; a metric that is a mean).

    The interval comes from a paired bootstrap of the difference. When every value is 0 or 1 (right
    or wrong) the p-value is McNemar's exact one, else the bootstrap's.
    """
    a = np.asarray(a_rows, dtype=np.float64)
    b = np.asarray(b_rows, dtype=np.float64)
    if a.shape != b.shape or a.ndim != 1 or not len(a):
        raise ValueError(f"both models need one value for each of the same rows, not {a.shape} and {b.shape}")
    gain = (a - b) if higher_is_better else (b - a)
    draws = np.concatenate([gain @ weights for weights in resample_weights(len(gain), resamples, seed)]) / len(gain)
    difference = percentile_interval(float(gain.mean()), draws)
    if np.isin(a, (0, 1)).all() and np.isin(b, (0, 1)).all():
        p_value = mcnemar(a == 1, b == 1)
        return PairedTest(difference, p_value, "mcnemar", decide(difference, p_value))
    p_value = bootstrap_p_value(draws)
    return PairedTest(difference, p_value, "bootstrap", decide(difference, p_value))


def paired_bootstrap(
    a: Judge, b: Judge, name: str, *, higher_is_better: bool = True, resamples: int = 1000, seed: int = 0
) -> PairedTest:
    """Compare two models by a metric that is no mean over rows (F1, Spearman): the same draws for both."""
    if a.num_rows != b.num_rows:
        raise ValueError(f"both models must have answered the same rows, not {a.num_rows} and {b.num_rows}")
    sign = 1.0 if higher_is_better else -1.0
    draws = np.concatenate(
        [
            sign * (a.resampled([name], weights)[name] - b.resampled([name], weights)[name])
            for weights in resample_weights(a.num_rows, resamples, seed)
        ]
    )
    difference = percentile_interval(sign * (a.point([name])[name] - b.point([name])[name]), draws)
    p_value = bootstrap_p_value(draws)
    return PairedTest(difference, p_value, "bootstrap", decide(difference, p_value))


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down correction (1979) of p-values for their number; order kept."""
    order = np.argsort(p_values, kind="stable")
    adjusted = [0.0] * len(p_values)
    largest = 0.0
    for rank, index in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[int(index)]))
        adjusted[int(index)] = largest
    return adjusted
