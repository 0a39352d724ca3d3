"""The page of a decision: the verdict first, the picture of quality against cost, then every arm."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from luthier.approaches.arm import Arm
from luthier.approaches.verdict import money
from luthier.deciding.decided import Decided
from luthier.evaluate.charts import Chart, Series
from luthier.evaluate.metric_names import metric_name
from luthier.evaluate.page import render, table
from luthier.evaluate.report import told

_LEAST = 1e-6
"""Dollars per 1,000 requests that a logarithmic axis can show."""


def page_of(decided: Decided) -> str:
    """HTML that works offline."""
    flips = [f"It would flip {flip}." for flip in decided.decision.flips]
    sections = [
        ("Quality against cost", _quality_chart(decided)),
        ("What would flip it", _list(flips)),
        ("All arms", _table(decided)),
        ("When knowledge changes", _changes(decided)),
        ("What was not measured", _unmeasured(decided)),
    ]
    return render(f"Decision: {decided.rows.task}", decided.decision.summary, sections)


def _quality_chart(decided: Decided) -> str:
    metric = metric_name(decided.metric)
    families: dict[str, list[Arm]] = {}
    for arm in decided.arms:
        if arm.score is not None and arm.state == "measured" and arm.thousand_cost(decided.prices) is not None:
            families.setdefault(arm.family, []).append(arm)
    series = []
    for family, arms in families.items():
        intervals = [arm.score.interval for arm in arms if arm.score]
        series.append(
            Series(
                family,
                [max(_LEAST, arm.thousand_cost(decided.prices) or 0.0) for arm in arms],
                [interval.value for interval in intervals],
                low=[interval.low for interval in intervals],
                high=[interval.high for interval in intervals],
                kind="points",
                text=[arm.name for arm in arms],
            )
        )
    if not series:
        return ""
    note = f"Prices: this machine ${decided.prices.hour:g} an hour"
    if decided.prices.prompt is not None or decided.prices.completion is not None:
        note += (
            f"; the endpoint ${decided.prices.prompt or 0:g} and ${decided.prices.completion or 0:g} a million tokens"
        )
    chart = Chart(
        f"{metric.title} and cost of each arm", "dollars per 1,000 requests", metric.title, series, log_x=True,
        percent_y=metric.is_share, note=note + ".",
    )  # fmt: skip
    return chart.html("quality-cost")


def _table(decided: Decided) -> str:
    metric = decided.metric
    title = metric_name(metric).title
    chosen = decided.decision.arm
    rows = []
    for arm in sorted(decided.arms, key=lambda arm: (arm.state != "measured", -_value(arm, decided))):
        mark = " (recommended)" if arm is chosen else " (tie)" if arm.name in decided.decision.ties else ""
        value = "-"
        if arm.score is not None:
            interval = arm.score.interval
            figures = [told(metric, number) for number in (interval.value, interval.low, interval.high)]
            value = f"{figures[0]} ({figures[1].removesuffix(' %')} to {figures[2]})"
        rows.append(
            (
                arm.name + mark,
                arm.family,
                value,
                f"{arm.build_seconds:,.1f} s",
                money(arm.build_cost(decided.prices)),
                money(arm.thousand_cost(decided.prices)) if arm.rows else "-",
                "-" if arm.latency_ms is None else f"{arm.latency_ms:,.1f} ms",
                "; ".join(part for part in (arm.detail, arm.why and f"{arm.state}: {arm.why}") if part),
            )
        )
    names = ("Arm", "Kind", title, "Build", "Cost to build", "Cost of 1,000", "Latency", "What it is")
    return table(f"{title} on {len(decided.rows.held_out):,} held-out rows, with 95 % intervals", names, rows)


def _value(arm: Arm, decided: Decided) -> float:
    if arm.score is None:
        return float("-inf")
    value = arm.score.interval.value
    return value if metric_name(decided.metric).higher_is_better else -value


def _changes(decided: Decided) -> str:
    rows, asked = [], 0
    for arm in decided.arms:
        found = arm.following
        if found is None:
            continue
        asked = max(asked, found.asked)
        until = f"{found.seconds:.2f} s" if found.seconds is not None else "a new training or prompt"
        share = f"{100 * found.share.value:.0f} % ({100 * found.share.low:.0f} to {100 * found.share.high:.0f})"
        rows.append((arm.name, share, until))
    if not rows:
        return ""
    return (
        f"<p>{asked} facts of the data were altered in what each arm looks things up in, and asked for again, without "
        "any training.</p>"
        + table("Altered facts that were answered as they now are", ("Arm", "Followed", "In force after"), rows)
    )


def _unmeasured(decided: Decided) -> str:
    items = [f"{arm.name}: {arm.why}" for arm in decided.arms if arm.state != "measured"]
    items += decided.notes
    if not any(arm.family == "assistant" for arm in decided.arms):
        items.append("No model that follows instructions was at hand: --endpoint URL --name MODEL adds one.")
    if all(arm.following is None for arm in decided.arms):
        items.append("Nothing was said of changing knowledge.")
    return _list(items)


def _list(items: Sequence[str]) -> str:
    return "<ul>" + "".join(f"<li>{escape(item)}</li>" for item in items) + "</ul>" if items else ""
