"""Whether the best trial is better, or was lucky.

The best of many trials was picked because its value is high, and part of that is the seed's luck: its own value
promises too much (the winner's curse). So it is trained again with other seeds, and the runner-up with the same ones:
the new values were picked by nobody, and the pairs share whatever a seed does to both.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Verdict = Literal["clear", "tie", "reversed", "unknown"]


@dataclass(frozen=True)
class Mean:
    """A mean with its 95 % interval; without one where there are fewer than two values."""

    value: float
    low: float | None
    high: float | None
    count: int


@dataclass(frozen=True)
class Luck:
    """What training again has shown. Differences are positive where the best is better.

    Attributes:
        picked: the value by which the best trial was picked.
        best, runner_up: means over the new seeds.
        optimism: how much better the picked value is than the mean of the new ones: what picking made of luck.
        difference: best minus runner-up, over the pairs of equal seeds.
        verdict: `clear` (the whole interval of the difference is above 0), `reversed` (below), `tie`, or `unknown`
            where there were fewer than two seeds.
        noise: standard deviation between seeds of one recipe, pooled.
        expected_optimism: what picking the best of so many equal trials brings by luck alone, with this noise.
    """

    picked: float
    best: Mean
    runner_up: Mean | None
    optimism: float
    difference: Mean | None
    verdict: Verdict
    noise: float | None
    expected_optimism: float | None
    trials: int


def mean_of(values: Sequence[float], *, deviation: float | None = None, freedom: int | None = None) -> Mean:
    """The mean with Student's interval; `deviation` and its degrees of `freedom` where they were pooled."""
    count = len(values)
    value = statistics.fmean(values)
    if deviation is None and count >= 2:
        deviation, freedom = statistics.stdev(values), count - 1
    if deviation is None or not freedom:
        return Mean(value, None, None, count)
    half = student(freedom) * deviation / math.sqrt(count)
    return Mean(value, value - half, value + half, count)


def judge_luck(
    picked: float, best: Sequence[float], runner_up: Sequence[float], *, trials: int, higher_is_better: bool
) -> Luck | None:
    """Judge by the values with new seeds, in the order of the seeds; None without any.

    Args:
        picked: the value of the best trial in the search itself.
        trials: how many comparable trials it was picked from.
    """
    if not best:
        return None
    sign = 1.0 if higher_is_better else -1.0
    groups = [values for values in (best, runner_up) if len(values) >= 2]
    freedom = sum(len(values) - 1 for values in groups)
    noise = math.sqrt(sum((len(v) - 1) * statistics.variance(v) for v in groups) / freedom) if freedom else None
    mine = mean_of(best, deviation=noise, freedom=freedom)
    other = mean_of(runner_up, deviation=noise, freedom=freedom) if runner_up else None
    pairs = [sign * (a - b) for a, b in zip(best, runner_up, strict=False)]
    difference = mean_of(pairs) if pairs else None
    verdict: Verdict = "unknown"
    if difference is not None and difference.low is not None and difference.high is not None:
        above, below = difference.low > 0, difference.high < 0
        verdict = "clear" if above else "reversed" if below else "tie"
    expected = None if noise is None else noise * expected_maximum(trials)
    return Luck(picked, mine, other, sign * (picked - mine.value), difference, verdict, noise, expected, trials)


def student(freedom: int, level: float = 0.95) -> float:
    """Student's quantile for a two-sided interval."""
    from scipy.stats import t

    return float(t.ppf(0.5 + level / 2, freedom))


def expected_maximum(count: int) -> float:
    """The expected largest of `count` standard normal numbers (Blom 1958)."""
    if count < 2:
        return 0.0
    return statistics.NormalDist().inv_cdf((count - 0.375) / (count + 0.25))
