"""Which approach to take, and what would change that.

The best one, or the simplest of those within one standard error of it (Breiman et al. 1984, the 1 SE rule): an arm that
cannot be told apart from the best, but looks ten points worse, is a tie and no recommendation.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from luthier.approaches.arm import Arm, Prices
from luthier.approaches.scored import Scorer
from luthier.approaches.wording import TERMINAL, Wording
from luthier.evaluate.intervals import PairedTest
from luthier.evaluate.metric_names import metric_name
from luthier.evaluate.report import listed, told

_SIMPLEST = ("prompt", "retrieval", "baseline", "assistant", "fine-tuning")
"""Families by how little has to be kept in order; it decides between equally good arms that cost about the same."""
_ABOUT = 3.0
"""Costs that differ by less than this factor are about the same."""
_NOTICED = 0.01
"""Dollars per 1,000 requests below which nobody would choose by them."""
_SLOW_MS = 50.0
_FEWEST = 8
"""Rows that an arm without all answers must have for its score to be mentioned."""


@dataclass(frozen=True)
class Decision:
    """`arm` is recommended; `ties` are the names of those that cannot be told apart from the best."""

    arm: Arm | None
    best: Arm | None
    ties: list[str]
    text: str
    summary: str = ""
    """The text without what would flip it."""
    flips: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """JSON."""
        return {
            "arm": self.arm.name if self.arm else None,
            "best": self.best.name if self.best else None,
            "ties": self.ties,
            "text": self.text,
            "flips": self.flips,
        }


def verdict(arms: Sequence[Arm], scorer: Scorer, prices: Prices, *, rows: int, wording: Wording = TERMINAL) -> Decision:
    """The decision between the arms that answered all held-out rows.

    Args:
        rows: held-out rows.
        wording: what can be asked for is called so where this is read.
    """
    whole = [arm for arm in arms if arm.state == "measured" and arm.rows == rows and arm.score]
    if not whole:
        text = "Nothing was measured on all held-out rows, so there is no verdict."
        return Decision(None, None, [], text, text)
    best = max(whole, key=lambda arm: scorer.value(arm.predictions))
    if metric_name(scorer.metric).is_share and scorer.value(best.predictions) <= 0:
        text = (
            f"Take none of them yet: no arm gave one right answer on {rows:,} held-out rows "
            f"({metric_name(scorer.metric).title}). Ask for less at once, give more rows, or a larger model"
            f"{wording.larger_model}."
        )
        return Decision(None, best, [], text, text)
    found = scorer.verdicts(best.predictions, {arm.name: arm.predictions for arm in whole if arm is not best})
    tied = [arm for arm in whole if arm is not best and found[arm.name][2] == "cannot tell them apart"]
    near = [arm for arm in tied if found[arm.name][0].difference.value <= _standard_error(found[arm.name][0])]
    chosen = _simplest([best, *near], prices)
    ties = [arm.name for arm in [best, *tied] if arm is not chosen]
    flips = list(_unfinished(chosen, arms, scorer, wording))
    flips += list(_flips(chosen, [arm for arm in (best, *tied) if arm is not chosen], whole, scorer, prices))
    flips += list(_few_rows(chosen, scorer, wording))
    summary = _summary(chosen, best, tied, whole, found, scorer, rows)
    text = summary + (f" It would flip {'; '.join(flips)}." if flips else "")
    return Decision(chosen, best, ties, text, summary, flips)


def _standard_error(test: PairedTest) -> float:
    return (test.difference.high - test.difference.low) / 3.92


def _simplest(arms: Sequence[Arm], prices: Prices) -> Arm:
    """The one that costs least, by decades, then the simplest, then the first (which is the best)."""

    def cost(arm: Arm) -> float:
        parts = [arm.build_cost(prices), arm.thousand_cost(prices)]
        return float("inf") if None in parts else sum(part for part in parts if part is not None)

    least = min(cost(arm) for arm in arms)
    near = [arm for arm in arms if cost(arm) <= max(_ABOUT * least, 0.01)] or list(arms)
    return min(near, key=lambda arm: _SIMPLEST.index(arm.family))


def _summary(
    chosen: Arm, best: Arm, tied: Sequence[Arm], whole: Sequence[Arm], found: Any, scorer: Scorer, rows: int,
) -> str:  # fmt: skip
    title = metric_name(scorer.metric).title
    assert chosen.score is not None
    assert best.score is not None
    value = chosen.score.interval
    text = (
        f"Take {chosen.name}: {title} {told(scorer.metric, value.value)} on {rows:,} held-out rows "
        f"(95 % interval {told(scorer.metric, value.low).removesuffix(' %')} to {told(scorer.metric, value.high)})."
    )
    others = [arm.name for arm in (best, *tied) if arm is not chosen]
    if others:
        text += f" It cannot be told apart from {listed(others[:6])}"
        text += f" and {len(others) - 6} more" if len(others) > 6 else ""
        text += " on these rows"
        text += "." if chosen is best else "; it is as good within one standard error, and simpler or cheaper to keep."
    worse = [arm for arm in whole if arm is not best and arm not in tied]
    if worse and chosen is best:
        rival = max(worse, key=lambda arm: scorer.value(arm.predictions))
        difference = found[rival.name][0].difference
        amount = 100 * difference.value if metric_name(scorer.metric).is_share else difference.value
        unit = " points" if metric_name(scorer.metric).is_share else ""
        text += f" It is better than the next, {rival.name}, by {amount:.3g}{unit}."
    return text


def _unfinished(chosen: Arm, arms: Sequence[Arm], scorer: Scorer, wording: Wording) -> Iterator[str]:
    """Arms that looked better on the rows that they answered while there was time, and those that had no turn."""
    looked = [
        (scorer.value(arm.predictions), arm)
        for arm in arms
        if arm.state == "dropped" and arm.rows >= _FEWEST
        and scorer.value(arm.predictions) > scorer.value(chosen.predictions[: arm.rows])
    ]  # fmt: skip
    if looked:
        value, arm = max(looked, key=lambda item: item[0])
        sign = 1.0 if scorer.higher_is_better else -1.0
        theirs, ours = sign * value, sign * scorer.value(chosen.predictions[: arm.rows])
        yield (
            f"perhaps, with {wording.more_time}: on the {arm.rows:,} rows that {arm.name} answered while there was "
            f"time it reached {told(scorer.metric, theirs)}, {chosen.name} {told(scorer.metric, ours)} on the same"
        )
    waiting = [arm.name for arm in arms if arm.state == "not run" and "budget" in arm.why]
    if waiting:
        more = f" and {len(waiting) - 4} more" if len(waiting) > 4 else ""
        yield f"perhaps, with {wording.more_time}: {listed(waiting[:4])}{more} had no turn"


def _flips(chosen: Arm, tied: Sequence[Arm], whole: Sequence[Arm], scorer: Scorer, prices: Prices) -> Iterator[str]:
    """What would make another arm the right one, each with its number."""
    following = [arm for arm in whole if arm.following and arm.following.seconds is not None]
    ours = chosen.following
    if following and (ours is None or ours.seconds is None or ours.share.value < 0.5):
        keenest = max(following, key=lambda arm: (_share(arm), scorer.value(arm.predictions)))
        if keenest.following and keenest.following.share.value >= 0.5:
            yield (
                f"if your facts change often: {keenest.name} answered {100 * keenest.following.share.value:.0f} % of "
                f"altered facts as they now are, {chosen.name} "
                + (f"{100 * ours.share.value:.0f} %" if ours else "needs new training for that")
            )
    cost = chosen.thousand_cost(prices)
    for arm in tied:
        theirs = arm.thousand_cost(prices)
        if cost is not None and theirs is not None and cost >= _NOTICED and 10 * theirs < cost:
            yield f"if volume decides: {arm.name} costs {money(theirs)} per 1,000 requests, {chosen.name} {money(cost)}"
            break
    for arm in tied:
        if (
            (chosen.latency_ms or 0.0) >= _SLOW_MS
            and arm.latency_ms
            and 3 * arm.latency_ms < (chosen.latency_ms or 0.0)
        ):
            yield f"if {chosen.latency_ms:.0f} ms are too long: {arm.name} answers in {arm.latency_ms:.0f} ms"
            break


def _few_rows(chosen: Arm, scorer: Scorer, wording: Wording) -> Iterator[str]:
    value = chosen.score.interval if chosen.score else None
    if value is not None and value.high - value.low > 0.1 and metric_name(scorer.metric).is_share:
        yield (
            f"perhaps, with more held-out rows: the interval is {100 * (value.high - value.low):.0f} points wide, and "
            f"{wording.growth} tells what more training rows would bring"
        )


def _share(arm: Arm) -> float:
    return arm.following.share.value if arm.following else 0.0


def money(dollars: float | None) -> str:
    """Dollars with as many digits as count."""
    if dollars is None:
        return "unknown"
    if dollars == 0:
        return "$0"
    if dollars < 0.0001:
        return "< $0.0001"
    return f"${dollars:,.2f}" if dollars >= 0.1 else f"${dollars:.1g}"
