"""Two groups of rows, one measure: how far apart they are, how sure that is, and whether chance explains it.

Bootstraps draw within each group. Legend of shapes: b resamples.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from luthier.evaluate.fairness.measures import Measure
from luthier.evaluate.intervals import (
    FloatArray,
    IntArray,
    Interval,
    bootstrap_p_value,
    percentile_interval,
    resample_weights,
    wilson,
)

Test = Literal["fisher", "permutation", "bootstrap"]
PERMUTATIONS = 4999
LARGEST_PERMUTED = 20_000
"""Rows up to which group memberships are shuffled; beyond, the bootstrap's own p-value does."""
_CELLS = 4_000_000


@dataclass(frozen=True)
class Side:
    """One group under one measure: its value with interval, and what the resamples gave."""

    rows: IntArray
    interval: Interval
    counted: int
    draws: FloatArray


def side_of(measure: Measure, rows: IntArray, *, resamples: int, seed: int) -> Side:
    """The measure over `rows` (places in its arrays), with a bootstrap of them.

    A resample of a proportion's rows is a draw of how many hits, misses and rows without a say it holds: a
    multinomial one. Where all rows agree, resamples do too and have no width: Wilson's interval (1927) stands there.
    """
    value = measure.of(rows)
    hits, counts = measure.values[rows], measure.counts[rows]
    counted = int((counts > 0).sum())
    if np.isnan(value) or not resamples:
        return Side(rows, Interval(value, float("nan"), float("nan")), counted, np.full(resamples, np.nan))
    if measure.is_binary:
        n, hit = len(rows), float(hits.sum())
        chances = np.array([hit, counts.sum() - hit, n - counts.sum()]) / n
        drawn = np.random.default_rng(seed).multinomial(n, chances, size=resamples).astype(np.float64)
        draws = _quotient(drawn[:, 0], drawn[:, :2].sum(axis=1))
        if value in (0.0, 1.0):
            return Side(rows, Interval(value, *wilson(int(hit) / counted, counted)), counted, draws)
    else:
        parts = [(hits @ weights, counts @ weights) for weights in resample_weights(len(rows), resamples, seed)]
        draws = _quotient(np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts]))
    return Side(rows, percentile_interval(value, draws), counted, draws)


def _quotient(numerator: FloatArray, denominator: FloatArray) -> FloatArray:
    found = np.full(len(numerator), np.nan)
    np.divide(numerator, denominator, out=found, where=denominator > 0)
    return found


def difference_of(one: Side, other: Side) -> Interval:
    """`one` minus `other`: the bootstrap's percentiles; where a side has no width, Newcombe's method 10 (1998)."""
    value = one.interval.value - other.interval.value
    flat = [side for side in (one, other) if side.draws.size and np.ptp(side.draws[np.isfinite(side.draws)]) == 0]
    if not flat:
        return percentile_interval(value, one.draws - other.draws)
    a, b = one.interval, other.interval
    down = float(np.hypot(a.value - a.low, b.high - b.value))
    up = float(np.hypot(a.high - a.value, b.value - b.low))
    return Interval(value, value - down, value + up)


def ratio_of(one: Side, other: Side) -> float:
    """How many times as large `one` is; NaN where the other is 0."""
    return one.interval.value / other.interval.value if other.interval.value > 0 else float("nan")


def p_value_of(measure: Measure, one: Side, other: Side, *, seed: int) -> tuple[float, Test]:
    """(p-value of "no difference", two-sided; which test gave it).

    Proportions: Fisher's exact test. Means and quotients: memberships shuffled (Pitman 1937), the p-value never 0
    (Phipson and Smyth 2010).
    """
    if measure.is_binary:
        from scipy.stats import fisher_exact

        table = [[measure.values[side.rows].sum(), (measure.counts - measure.values)[side.rows].sum()]
                 for side in (one, other)]  # fmt: skip
        return float(fisher_exact(np.round(table).astype(np.int64)).pvalue), "fisher"
    pooled = np.concatenate([one.rows, other.rows])
    says = measure.counts[pooled] > 0
    inside = (np.arange(len(pooled)) < len(one.rows))[says]
    pooled = pooled[says]
    if len(pooled) > LARGEST_PERMUTED:
        return bootstrap_p_value(one.draws - other.draws), "bootstrap"
    return _shuffled(measure.values[pooled], measure.counts[pooled], inside, seed), "permutation"


def _shuffled(values: FloatArray, counts: FloatArray, inside: np.ndarray, seed: int) -> float:
    generator = np.random.default_rng(seed)
    n, m = len(values), int(inside.sum())
    sums = np.column_stack([values, counts])
    totals = sums.sum(axis=0)

    def gap(within: FloatArray) -> FloatArray:
        outside = totals - within
        distance: FloatArray = np.abs(within[..., 0] / within[..., 1] - outside[..., 0] / outside[..., 1])
        return distance

    seen = float(gap(sums[inside].sum(axis=0)))
    larger, done, at_once = 0, 0, max(1, _CELLS // n)
    while done < PERMUTATIONS:
        b = min(at_once, PERMUTATIONS - done)
        order = np.argpartition(generator.random((b, n)), m - 1, axis=1)[:, :m]
        larger += int((gap(sums[order].sum(axis=1)) >= seen * (1 - 1e-9)).sum())
        done += b
    return (larger + 1) / (PERMUTATIONS + 1)
