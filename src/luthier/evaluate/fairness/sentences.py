"""What was found, as a manager reads it, and what to do."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from luthier.evaluate.comparison import PEOPLE_CALL_IT
from luthier.evaluate.fairness.by_group import SMALLEST, ByGroup, Difference, Gap
from luthier.evaluate.fairness.measures import Measure
from luthier.evaluate.intervals import Interval
from luthier.evaluate.report import listed

_MOST = 12
_WORTH_A_RATIO = 1.05


def amount(measure: Measure, value: float) -> str:
    """A value of a measure: shares in percent."""
    if not math.isfinite(value):
        return "undefined"
    return f"{100 * value:.1f} %" if measure.is_share else f"{value:.3g}"


def _distance(measure: Measure, interval: Interval) -> str:
    numbers = [100 * number if measure.is_share else number for number in (interval.low, interval.high)]
    low, high = (f"{round(number, 1) + 0.0:.1f}" if measure.is_share else f"{number:.3g}" for number in numbers)
    return f"95 % interval of the difference {low} to {high}" + (" points" if measure.is_share else "")


def told_p(p_value: float) -> str:
    """p < 0.001, or p = 0.03."""
    return "p < 0.001" if p_value < 0.001 else f"p = {p_value:.2g}"


def difference_sentence(column: str, found: Difference) -> str:
    """One group against all others: "Rows of 'b' (region) are answered wrongly 2.1 times as often as the others"."""
    measure = found.measure
    who = f"{found.group!r} ({column})"
    one, other = amount(measure, found.one.interval.value), amount(measure, found.other.interval.value)
    sure = f"{found.one.counted:,} rows; {_distance(measure, found.difference)}; {told_p(found.p_value)}"
    if measure.name == "error_rate" and measure.kind == "main":
        often = "less often than the others" if found.verdict == "better" else "more often than the others"
        if found.verdict == "worse" and found.ratio >= _WORTH_A_RATIO:
            often = f"{found.ratio:.1f} times as often as the others"
        return f"Rows of {who} are answered wrongly {often} ({one} against {other}, {sure})."
    if measure.name == "overconfidence" and found.one.interval.value > 0:
        return (
            f"The scores promise too much in {who}: confidence is {apart(measure, found.one.interval.value)} above "
            f"accuracy, against {apart(measure, found.other.interval.value)} in the others ({sure})."
        )
    return f"The {measure.title} is {one} in {who}, against {other} in the others ({sure})."


def apart(measure: Measure, value: float) -> str:
    """A distance between two values: of shares in points."""
    return f"{100 * value:.1f} points" if measure.is_share else f"{value:.3g}"


def gap_sentence(column: str, gap: Gap, rows: Mapping[str, int]) -> str:
    """The widest gap of a column where none was shown to be real."""
    one, other = gap.high, gap.low
    chance = "; as the widest of several, it may be chance" if len(rows) > 2 else ""
    return (
        f"No group of {column!r} is shown to differ from the others. The farthest apart are {one!r} and {other!r}, by "
        f"{apart(gap.measure, gap.difference.value)} in the {gap.measure.title} ({rows[one]:,} and {rows[other]:,} "
        f"rows; {_distance(gap.measure, gap.difference)}){chance}."
    )


def tuning_sentence(gap: Gap, before: str) -> str:
    """What tuning did to the gap."""
    assert gap.before is not None and gap.change is not None
    other = PEOPLE_CALL_IT.get(before, before)
    start = (
        f"{gap.high!r} and {gap.low!r} are {apart(gap.measure, gap.difference.value)} apart in the "
        f"{gap.measure.title}; with {other} it was {apart(gap.measure, gap.before)}: "
    )
    if gap.change.low > 0:
        return start + "tuning made the gap wider."
    if gap.change.high < 0:
        return start + "tuning made the gap narrower."
    return start + "whether tuning changed that cannot be told."


def _worth_telling(found: ByGroup) -> tuple[list[Difference], list[Difference]]:
    """(differences of the deciding measures, of the others). Where one group is worse the others are better than the
    rest that holds it, which tells nothing new; and too little confidence harms nobody."""
    shown = [item for item in found.differences if item.shown]
    main = [item for item in shown if item.measure.kind == "main"]
    main = [item for item in main if item.verdict == "worse"] or main
    rest = [
        item
        for item in shown
        if (item.measure.kind == "rate" and item.verdict != "better")
        or (item.measure.kind == "trust" and item.verdict == "higher" and item.one.interval.value > 0)
    ]
    return main, sorted(rest, key=lambda item: item.p_value)


def column_sentences(found: ByGroup, before: str) -> tuple[list[str], list[str]]:
    """(what is true of this column's groups, what to do about it)."""
    column = found.grouping.column
    main, rest = _worth_telling(found)
    sentences = [difference_sentence(column, item) for item in [*main, *rest][:_MOST]]
    left = len(main) + len(rest) - _MOST
    if left > 0:
        sentences.append(f"{left} more differences stand in the tables.")
    gaps = [gap for gap in found.gaps if gap.measure.kind == "main"]
    if not main and gaps:
        sentences.insert(0, gap_sentence(column, gaps[0], found.rows))
    if gaps and gaps[0].before is not None:
        sentences.append(tuning_sentence(gaps[0], before))
    small = [f"{name!r} ({rows})" for name, rows in found.rows.items() if rows < SMALLEST]
    if small:
        more = f" and {len(small) - 8} more" if len(small) > 8 else ""
        named = ", ".join(small[:8]) + more
        sentences.append(f"Groups of {column!r} with fewer than {SMALLEST} rows are listed, not judged: {named}.")
    worse = list(dict.fromkeys(item.group for item in main if item.verdict == "worse"))
    if not worse:
        worse = list(dict.fromkeys(item.group for item in rest if item.verdict == "worse"))
    return sentences, [_advice(found, group) for group in worse[:_MOST]]


def _advice(found: ByGroup, group: str) -> str:
    train = found.grouping.train
    who = f"{group!r} ({found.grouping.column})"
    if train is None:
        return f"{who}: see how many training rows are of this group, and read its wrong answers."
    rows, total = train.get(group, 0), sum(train.values())
    fair = total / max(len(train), 1)
    if rows == 0:
        return f"{who}: the training data has no row of this group; collect some."
    share = f"{rows:,} of {total:,} training rows ({100 * rows / total:.1f} %)"
    if rows < fair / 2:
        return f"{who}: only {share} are of this group; collect more, or repeat them in the training file."
    return (
        f"{who}: {share} are of this group, so it is not rare; read its wrong answers: other words, "
        "wrong labels, or harder questions?"
    )


def swap_sentence(found: Mapping[str, Any], before: str, writes: bool) -> str:
    """How often a swap changes the answer."""
    what = f"Swapping {found['title']}"
    if not found["rows"]:
        return f"{what}: no text has such a word."
    share = found["share"]
    if share["value"] is None:
        sentence = f"{what} in {found['rows']:,} texts"
        shift = found["mean_shift"]["value"]
        return sentence + ("." if shift is None else f" moves the loss per token by {shift:.3g} on average.")
    sentence = (
        f"{what} changes the answer in {found['changed']:,} of {found['answered']:,} texts "
        f"({100 * share['value']:.1f} %, 95 % interval {100 * share['low']:.1f} to {100 * share['high']:.1f} %)"
    )
    if not found["judged"]:
        return sentence + ": too few texts to judge."
    earlier = found.get("before")
    if earlier is None or earlier["share"]["value"] is None:
        return sentence + "."
    other = PEOPLE_CALL_IT.get(before, before)
    verdicts = {"steadier": "tuning made it steadier", "less steady": "tuning made it less steady"}
    verdict = verdicts.get(earlier["verdict"], "the two cannot be told apart")
    return f"{sentence}; with {other} in {earlier['changed']:,} ({100 * earlier['share']['value']:.1f} %): {verdict}."


def verdict_of(columns: list[ByGroup], unusable: Mapping[str, str], swaps: list[dict[str, Any]]) -> str:
    """The whole in one sentence."""
    parts = []
    failing = [
        f"{item.group!r} ({column.grouping.column})"
        for column in columns
        for item in column.differences
        if item.measure.kind == "main" and item.verdict == "worse"
    ]
    if failing:
        parts.append(f"the model serves {listed(list(dict.fromkeys(failing))[:5])} worse than the others")
    elif columns:
        names = listed([repr(one.grouping.column) for one in columns])
        parts.append(f"no group of {names} is shown to be served worse")
    parts += [f"{column!r} could not be judged" for column in unusable]
    judged = [item for item in swaps if item["judged"] and item["share"]["value"] is not None]
    if judged:
        worst = max(judged, key=lambda item: float(item["share"]["value"]))
        share = float(worst["share"]["value"])
        parts.append(
            f"swapping {worst['title']} changes {100 * share:.1f} % of the answers" if share else
            f"no swap changed an answer ({sum(item['answered'] for item in judged):,} texts)"
        )  # fmt: skip
    text = "; ".join(parts) or "there was nothing to judge"
    return text[0].upper() + text[1:] + "."
