"""One column's groups: every metric of each, and each held against all others.

Legend of shapes: n rows, b resamples.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from luthier.data.groups import NO_GROUP
from luthier.evaluate.fairness.measures import Measure
from luthier.evaluate.fairness.two_samples import Side, Test, difference_of, p_value_of, ratio_of, side_of
from luthier.evaluate.intervals import SIGNIFICANCE, FloatArray, IntArray, Interval, holm, resample_weights

SMALLEST = 10
"""Rows below which a group is listed and not judged."""
MOST_JUDGED = 50
"""Groups that are judged, the largest ones."""
_SEED = 20_001


@dataclass(frozen=True)
class Grouping:
    """Which group each row of the test data is in.

    Attributes:
        names: groups, the largest first.
        codes: place in `names` of each row [n].
        train: rows of each group in the training data; None where that has no such column.
    """

    column: str
    names: list[str]
    codes: IntArray
    train: Mapping[str, int] | None = None

    @classmethod
    def of(cls, column: str, groups: Sequence[str], train: Mapping[str, int] | None = None) -> Grouping:
        """From each row's group."""
        names, codes, counts = np.unique(np.asarray(groups, dtype=object).astype(str), return_inverse=True,
                                         return_counts=True)  # fmt: skip
        order = np.argsort(-counts, kind="stable")
        place = np.empty(len(order), dtype=np.int64)
        place[order] = np.arange(len(order))
        return cls(column, [str(name) for name in names[order]], place[codes], train)


@dataclass(frozen=True)
class Difference:
    """A group against all other rows under one measure; `p_value` is corrected (Holm).

    `verdict` is better, worse, or cannot tell them apart; for what should be near 0, higher or lower.
    """

    group: str
    measure: Measure = field(repr=False)
    one: Side = field(repr=False)
    other: Side = field(repr=False)
    difference: Interval
    ratio: float
    p_value: float
    test: Test
    verdict: str

    @property
    def shown(self) -> bool:
        """Whether it is more than chance."""
        return self.verdict != "cannot tell them apart"

    def to_dict(self) -> dict[str, Any]:
        return {
            "group": self.group,
            "measure": self.measure.name,
            "title": self.measure.title,
            "label": self.measure.label,
            "value": self.one.interval.value,
            "others": self.other.interval.value,
            "rows": self.one.counted,
            "others_rows": self.other.counted,
            "difference": self.difference.to_dict(),
            "ratio": self.ratio,
            "p_value": self.p_value,
            "test": self.test,
            "verdict": self.verdict,
            "is_share": self.measure.is_share,
        }


@dataclass(frozen=True)
class Gap:
    """The largest distance between two groups under one measure: fairlearn's ``difference()`` and ``ratio()``.

    `before` is the same pair's distance for the model before tuning, `change` what tuning did to it.
    """

    measure: Measure = field(repr=False)
    low: str
    high: str
    difference: Interval
    ratio: float
    before: float | None = None
    change: Interval | None = None

    def to_dict(self) -> dict[str, Any]:
        return {
            "measure": self.measure.name,
            "title": self.measure.title,
            "is_share": self.measure.is_share,
            "low": self.low,
            "high": self.high,
            "difference": self.difference.to_dict(),
            "ratio": self.ratio,
            "before": self.before,
            "change": self.change.to_dict() if self.change else None,
        }


@dataclass(frozen=True)
class ByGroup:
    """What is known of one column.

    Attributes:
        sides: per measure, each group that has rows under it (groups too small to be judged too).
        judged: groups with enough rows.
    """

    grouping: Grouping
    rows: dict[str, int]
    judged: list[str]
    measures: list[Measure]
    sides: dict[str, dict[str, Side]]
    differences: list[Difference]
    gaps: list[Gap]


def by_group(
    grouping: Grouping,
    measures: Sequence[Measure],
    *,
    before: Sequence[Measure] = (),
    resamples: int = 1000,
    seed: int = 0,
) -> ByGroup:
    """Measure each group, and hold each that has `SMALLEST` rows against all other rows.

    `before` holds the same measures of the model before tuning. P-values are corrected for the number of tests
    (Holm 1979): those of the deciding measures among themselves, and all others among themselves.
    """
    counts = np.bincount(grouping.codes, minlength=len(grouping.names))
    rows = {name: int(count) for name, count in zip(grouping.names, counts, strict=True)}
    judged = [name for name in grouping.names if rows[name] >= SMALLEST][:MOST_JUDGED]
    sides: dict[str, dict[str, Side]] = {}
    for measure in measures:
        codes = grouping.codes[measure.rows]
        for g, name in enumerate(grouping.names[: 2 * MOST_JUDGED]):
            side = side_of(measure, np.flatnonzero(codes == g), resamples=resamples, seed=seed + g)
            if side.counted:
                sides.setdefault(measure.name, {})[name] = side
    earlier = {measure.name: measure for measure in before}
    return ByGroup(
        grouping,
        rows,
        judged,
        list(measures),
        sides,
        _differences(grouping, measures, judged, sides, resamples, seed),
        [
            gap
            for measure in measures
            if (gap := _gap(measure, judged, sides, earlier.get(measure.name), resamples, seed)) is not None
        ],
    )


def _differences(
    grouping: Grouping,
    measures: Sequence[Measure],
    judged: Sequence[str],
    sides: Mapping[str, Mapping[str, Side]],
    resamples: int,
    seed: int,
) -> list[Difference]:
    found: list[Difference] = []
    place = {name: g for g, name in enumerate(grouping.names)}
    for measure in measures:
        codes = grouping.codes[measure.rows]
        tested: list[tuple[str, Side, Side]] = []
        for name in judged:
            one = sides.get(measure.name, {}).get(name)
            if one is None or one.counted < SMALLEST:
                continue
            others = np.flatnonzero(codes != place[name])
            other = side_of(measure, others, resamples=resamples, seed=seed + _SEED + place[name])
            if other.counted >= SMALLEST:
                tested.append((name, one, other))
        if len(grouping.names) == 2 and len(tested) == 2:  # one test seen from both ends
            tested = [max(tested, key=lambda item: _badness(measure, item[1]))]
        for name, one, other in tested:
            p_value, test = p_value_of(measure, one, other, seed=seed)
            found.append(Difference(name, measure, one, other, difference_of(one, other), ratio_of(one, other),
                                    p_value, test, ""))  # fmt: skip
    return _corrected(found)


def _badness(measure: Measure, side: Side) -> float:
    value = side.interval.value
    return {"lower": value, "higher": -value, "zero": abs(value)}[measure.better]


def _corrected(found: Sequence[Difference]) -> list[Difference]:
    p_values = [item.p_value for item in found]
    for main in (True, False):
        family = [i for i, item in enumerate(found) if (item.measure.kind == "main") is main]
        for i, corrected in zip(family, holm([found[i].p_value for i in family]), strict=True):
            p_values[i] = corrected
    return [
        replace(item, p_value=p_value, verdict=_verdict(item.measure, item.difference, p_value))
        for item, p_value in zip(found, p_values, strict=True)
    ]


def _verdict(measure: Measure, difference: Interval, p_value: float) -> str:
    """As `intervals.decide`: both the test and the interval must say so."""
    if not (p_value < SIGNIFICANCE and (difference.low > 0 or difference.high < 0)):
        return "cannot tell them apart"
    if measure.better == "zero":
        return "higher" if difference.value > 0 else "lower"
    return "better" if (difference.value > 0) == (measure.better == "higher") else "worse"


def _gap(
    measure: Measure,
    judged: Sequence[str],
    sides: Mapping[str, Mapping[str, Side]],
    before: Measure | None,
    resamples: int,
    seed: int,
) -> Gap | None:
    there = {name: side for name, side in sides.get(measure.name, {}).items()
             if name in judged and side.counted >= SMALLEST}  # fmt: skip
    if len(there) < 2:
        return None
    low = min(there, key=lambda name: there[name].interval.value)
    high = max(there, key=lambda name: there[name].interval.value)
    if low == high:  # all are equal
        low, high = list(there)[:2]
    one, other = there[high], there[low]
    earlier, change = None, None
    if before is not None and len(before.values) == len(measure.values):
        earlier = before.of(one.rows) - before.of(other.rows)
        change = _change(measure, before, one.rows, other.rows, resamples, seed)
    return Gap(measure, low, high, difference_of(one, other), ratio_of(one, other), earlier, change)


def _change(
    after: Measure, before: Measure, high: IntArray, low: IntArray, resamples: int, seed: int
) -> Interval:
    """How much wider the gap is after tuning than before: both models on the same resamples."""

    def shift(rows: IntArray, shuffle: int) -> FloatArray:
        parts = []
        for weights in resample_weights(len(rows), resamples, shuffle):
            now, then = ((part.values[rows] @ weights) / np.maximum(part.counts[rows] @ weights, 1e-12)
                         for part in (after, before))  # fmt: skip
            parts.append(now - then)
        return np.concatenate([np.empty(0), *parts])

    value = (after.of(high) - after.of(low)) - (before.of(high) - before.of(low))
    draws = shift(high, seed + 1) - shift(low, seed + 2)
    tails = np.percentile(draws, [2.5, 97.5]) if len(draws) else (math.nan, math.nan)
    return Interval(value, float(tails[0]), float(tails[1]))


def unusable_because(grouping: Grouping) -> str:
    """Why the groups of a column cannot be held against each other, in words; empty where they can."""
    rows = len(grouping.codes)
    counts = np.bincount(grouping.codes, minlength=len(grouping.names))
    if grouping.names == [NO_GROUP]:
        return "every cell is empty"
    if len(grouping.names) == 1:
        return f"all {rows:,} rows are of one group, {grouping.names[0]!r}, so there is nothing to compare it with"
    if len(grouping.names) == rows:
        return f"each of the {rows:,} rows has a group of its own: it is an id, not a group"
    if (counts >= SMALLEST).sum() < 2:
        largest = int(counts.max())
        return (
            f"{len(grouping.names):,} groups share {rows:,} rows, and fewer than two have {SMALLEST} or more "
            f"(the largest has {largest:,})"
        )
    return ""
