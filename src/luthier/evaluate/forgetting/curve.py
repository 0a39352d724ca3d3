"""Task against retained ability, over the way from base to tuned, and where that curve bends."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from luthier.evaluate.metric_names import METRIC_NAMES

_STANDS_OUT = 0.05
"""Of the square between both ends: a bend nearer to the chord than this is noise."""


@dataclass(frozen=True, slots=True)
class TradeOff:
    """One state as measured: `share` of the way from base to tuned, or (None) the checkpoint of `step`."""

    share: float | None
    step: int | None
    task: float
    retained: float

    def to_dict(self) -> dict[str, Any]:
        """JSON for the report."""
        return {"share": self.share, "step": self.step, "task": self.task, "retained": self.retained}


@dataclass(frozen=True, slots=True)
class Knee:
    """Where the curve bends: `share` of the way, with these shares of the whole gain and of the whole loss."""

    share: float
    gain: float
    loss: float


def knee_of(points: Sequence[TradeOff], *, task_higher: bool, retained_higher: bool) -> Knee | None:
    """The point farthest above the chord between the ends (Kneedle, Satopaa et al. 2011); None without a bend.

    Both axes are scaled so that the base is (all retained, no gain) and the tuned end (nothing, all). Without gain, or
    without loss, there is nothing to trade.
    """
    way = sorted((point for point in points if point.share is not None), key=lambda point: point.share or 0.0)
    if len(way) < 3:
        return None
    base, tuned = way[0], way[-1]
    gain = (tuned.task - base.task) * (1 if task_higher else -1)
    loss = (base.retained - tuned.retained) * (1 if retained_higher else -1)
    if not (gain > 0 and loss > 0 and math.isfinite(gain) and math.isfinite(loss)):
        return None
    best: Knee | None = None
    farthest = _STANDS_OUT
    for point in way[1:-1]:
        gained = (point.task - base.task) / (tuned.task - base.task)
        lost = (point.retained - base.retained) / (tuned.retained - base.retained)
        distance = (gained - lost) / math.sqrt(2.0)  # the chord is where both are alike
        if distance > farthest:
            assert point.share is not None
            best, farthest = Knee(point.share, gained, lost), distance
    return best


def curve_report(
    points: Sequence[TradeOff], *, metric: str, task_higher: bool, retained: str, retained_higher: bool, run: str
) -> dict[str, Any]:
    """JSON for the report: the points, the knee, and how to use it."""
    knee = knee_of(points, task_higher=task_higher, retained_higher=retained_higher)
    known = METRIC_NAMES.get(metric)
    if knee is None:
        sentence = "The curve has no knee: no state between base and tuned keeps more than its share of the gain."
        use = ""
    else:
        sentence = (
            f"The knee is at {knee.share:g} of the way: {knee.gain:.0%} of the gain for {max(knee.loss, 0):.0%} of "
            "what was forgotten (the point farthest from the chord between base and tuned, Satopaa et al. 2011)."
        )
        use = f"luthier train --resume {run} --set train.average={knee.share:g}"
    return {
        "points": [point.to_dict() for point in points],
        "metric": metric,
        "metric_title": "Loss" if metric == "loss" else known.title if known else metric,
        "higher_is_better": task_higher,
        "retained": retained,
        "retained_higher_is_better": retained_higher,
        "judged_on": "validation",
        "knee": None if knee is None else {"share": knee.share, "gain": knee.gain, "loss": knee.loss},
        "sentence": sentence,
        "use": use,
    }
