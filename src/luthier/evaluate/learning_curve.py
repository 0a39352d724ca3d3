"""Would more rows help? Judges a learning curve: what twice the rows would bring, and whether that is known.

Every size was judged on the same held-out rows and with the same resamples of them, so what the rows have in
common cancels in differences. Legend of shapes: p sizes, s seeds of a size, d draws.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from luthier.evaluate.intervals import Interval, percentile_interval
from luthier.evaluate.metric_names import metric_name
from luthier.evaluate.power_law import PowerLaw, fit_power_law

FloatArray = npt.NDArray[np.float64]
Answer = Literal["worth", "not_worth", "cannot_say"]

LEAST_SIZES = 4
"""Three numbers describe the curve, so that three sizes would always fit."""
DRAWS = 500
"""Resamples of the held-out rows that every run is judged with."""
_WORTH_SHARE, _WORTH_RELATIVE = 0.01, 0.02
PLAIN_BELOW, PLAIN_ABOVE = 0.5, 2.0
"""The answer is plain when the whole interval of the gain lies below half, or above twice, of what counts."""


@dataclass(frozen=True)
class Size:
    """The runs with one number of training rows.

    Attributes:
        values: the metric of each seed (s,). draws: the same on each resample of the held-out rows (s, d).
        seconds: of all its runs.
    """

    share: float
    rows: int
    values: FloatArray
    draws: FloatArray
    seconds: float = 0.0


@dataclass(frozen=True)
class CurveJudgement:
    """What the curve says.

    Attributes:
        answer: whether twice the rows are worth labelling.
        sentence: the answer for people. reason: the rule behind it.
        now, doubled: the metric with all rows and with twice as many, on these held-out rows: the interval of
            `doubled` holds the luck of the seeds and of the fit, and not that of the rows, which both have in common.
        gain: how much better, positive where it is better. law: the fitted error curve; None of too few sizes.
        is_plain: whether the interval is so far on one side that larger sizes need not be trained.
    """

    answer: Answer
    sentence: str
    reason: str
    now: float | None
    doubled: Interval | None
    gain: Interval | None
    worth: float
    law: PowerLaw | None
    sizes: list[dict[str, Any]]
    is_plain: bool = False
    notes: list[str] = field(default_factory=list)


def judge_curve(
    sizes: Sequence[Size], *, metric: str, total_rows: int, worth: float | None = None, chance: float | None = None,
    seed: int = 0,
) -> CurveJudgement:
    """Fit the curve and say what twice `total_rows` would bring.

    Args:
        sizes: by rows, the smallest first; `draws` of all belong to the same resamples.
        worth: the smallest gain that counts; None: 0.01 of a share, 2 % of the present value of any other metric.
        chance: the metric of the most frequent answer on the same rows, where there is one.
    """
    known = metric_name(metric)
    sign = -1.0 if known.higher_is_better else 1.0
    offset = 1.0 if known.higher_is_better else 0.0
    errors = np.array([offset + sign * size.values.mean() for size in sizes])
    by_seeds, several = _seed_variance(sizes, errors)
    luck = np.random.default_rng(seed).standard_normal((sizes[0].draws.shape[1], len(sizes))) * np.sqrt(by_seeds)
    draws = np.stack([offset + sign * size.draws.mean(axis=0) for size in sizes], axis=1) + luck
    shown = [
        _shown(size, percentile_interval(float(size.values.mean()), (draws[:, i] - offset) / sign))
        for i, size in enumerate(sizes)
    ]  # fmt: skip
    counts = worth if worth is not None else (
        _WORTH_SHARE if known.is_share or known.higher_is_better else _WORTH_RELATIVE * float(errors[-1])
    )  # fmt: skip
    notes = [] if several else [
        "Every size was trained once, so that the intervals hold the chance of the rows but not that of the training."
    ]  # fmt: skip

    def cannot(reason: str, law: PowerLaw | None = None) -> CurveJudgement:
        sentence = f"The curve cannot say what more rows would bring: {reason}"
        return CurveJudgement("cannot_say", sentence, reason, None, None, None, counts, law, shown, notes=notes)

    if len(sizes) < LEAST_SIZES:
        return cannot(f"it has {len(sizes)} sizes, and it takes {LEAST_SIZES} to see a course.")
    if not np.isfinite(errors).all() or not np.isfinite(draws).all():
        return cannot(f"{_called(metric)} is undefined at some sizes.")
    rows = np.array([size.rows for size in sizes], dtype=np.float64)
    weights = 1 / np.maximum(draws.var(axis=0), (1e-3 * errors.max()) ** 2 + 1e-12)
    law, drawn = fit_power_law(rows, errors, weights), fit_power_law(rows, draws, weights)
    if chance is not None and not sign * (sizes[-1].values.mean() - chance) < -draws[:, -1].std():
        return cannot(
            f"with {int(rows[-1]):,} rows the model does no better than the most frequent answer "
            f"({_told(chance)}), so the curve has not begun.", law,
        )  # fmt: skip
    fall = percentile_interval(float(errors[0] - errors[-1]), draws[:, 0] - draws[:, -1])
    gains = drawn(total_rows) - drawn(2 * total_rows)
    gain = percentile_interval(float((law(total_rows) - law(2 * total_rows))[0]), gains)
    is_measured = sizes[-1].rows == total_rows
    now_error = float(errors[-1]) if is_measured else float(law(total_rows)[0])
    now = (now_error - offset) / sign
    level = now_error + (luck[:, -1] if is_measured else drawn(total_rows) - law(total_rows)) - gains
    doubled = percentile_interval(now - sign * gain.value, (level - offset) / sign)
    flat = f"from {int(rows[0]):,} to {int(rows[-1]):,} rows {_called(metric)} changed by no more than chance"
    if fall.high < 0:
        return cannot(
            f"{_called(metric)} became worse from {int(rows[0]):,} to {int(rows[-1]):,} rows. Look at the data and "
            "the learning rate first.", law,
        )  # fmt: skip
    if fall.low <= 0 and not (gain.high < counts and fall.high < counts):
        return cannot(f"{flat} ({_told(fall.value)}, {_told(fall.low)} to {_told(fall.high)} better).", law)
    answer: Answer = "worth" if gain.low >= counts else "not_worth" if gain.high < counts else "cannot_say"
    sentence = (
        f"Twice the rows ({2 * total_rows:,}) would bring {_called(metric)} from {_told(now)}"
        f"{'' if is_measured else ' (expected of all rows)'} to {_told(doubled.value)} "
        f"({_told(doubled.low)} to {_told(doubled.high)}): {_VERDICTS[answer]}."
    )
    likely = float((gains >= counts).mean())
    reason = f"A gain counts from {_told(counts)} on; the 95 % interval of the gain is " + (
        f"{_told(gain.low)} to {_told(gain.high)}, and {100 * likely:.0f} % of the resamples gain that much."
        + (f" The curve is flat: {flat}." if fall.low <= 0 else "")
    )
    plain = gain.high < PLAIN_BELOW * counts or gain.low > PLAIN_ABOVE * counts
    return CurveJudgement(answer, sentence, reason, now, doubled, gain, counts, law, shown, plain, notes)


_VERDICTS = {
    "worth": "worth labelling",
    "not_worth": "not worth it",
    "cannot_say": "the interval leaves open whether that is worth it",
}


def _seed_variance(sizes: Sequence[Size], errors: FloatArray) -> tuple[FloatArray, bool]:
    """(variance (p,) of a size's mean by the luck of its seeds, whether any size had several seeds).

    The spread relative to the error is taken to be the same at every size, and is pooled over them: most sizes
    have too few seeds to know it alone.
    """
    squares, freedom = 0.0, 0
    for size, error in zip(sizes, errors, strict=True):
        if len(size.values) > 1:
            squares += float(((size.values - size.values.mean()) ** 2).sum()) / max(error, 1e-9) ** 2
            freedom += len(size.values) - 1
    relative = squares / freedom if freedom else 0.0
    return np.array([relative * e**2 / len(s.values) for s, e in zip(sizes, errors, strict=True)]), freedom > 0


def _shown(size: Size, interval: Interval) -> dict[str, Any]:
    return {
        "share": size.share, "rows": size.rows, "seeds": len(size.values), **interval.to_dict(),
        "values": [float(value) for value in size.values], "seconds": size.seconds,
    }  # fmt: skip


def _called(metric: str) -> str:
    title = metric_name(metric).title
    is_word = title[1:2].islower() and not title.startswith(("Spearman", "Pearson"))
    return title[0].lower() + title[1:] if is_word else title


def _told(value: float) -> str:
    return f"{value:.3f}" if abs(value) < 10 else f"{value:.4g}"
