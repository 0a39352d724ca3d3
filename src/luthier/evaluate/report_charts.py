"""The charts of a run's report: against what it must beat, its training, and how far its scores can be trusted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from luthier.core.recipe import LANGUAGE_TASKS
from luthier.evaluate.charts import Chart, Series
from luthier.evaluate.generation.judges import LIKELIHOOD_METRICS
from luthier.evaluate.intervals import wilson
from luthier.evaluate.metric_names import METRIC_NAMES, metric_name
from luthier.evaluate.report_words import baseline_name

Point = tuple[float, float]


def against(report: Mapping[str, Any], metric: str) -> Chart | None:
    """One metric of this model and of every baseline, with intervals; None where there is nothing to show."""
    known = metric_name(metric)
    rivals = [(baseline_name(name), values.get(metric, {})) for name, values in report["baselines"].items()]
    named = [("This model", report["metrics"].get(metric, {})), *rivals]
    named = [(name, value) for name, value in named if value.get("value") is not None]
    if not named or named[0][0] != "This model":
        return None

    def series(name: str, some: Sequence[tuple[str, Mapping[str, Any]]], muted: bool) -> Series:
        return Series(
            name,
            [one for one, _ in some],
            [value["value"] for _, value in some],
            [value.get("low") for _, value in some],
            [value.get("high") for _, value in some],
            kind="bars",
            muted=muted,
        )

    drawn = [series("This model", named[:1], False)]
    if len(named) > 1:
        drawn.append(series("Compared with", named[1:], True))
    note = "Whiskers are 95 % bootstrap intervals."
    if not known.higher_is_better:
        note = f"Lower is better. {note}"
    rows = f"{report['rows']:,} {report['evaluated_on']} rows"
    if report["task"] in LANGUAGE_TASKS and metric not in LIKELIHOOD_METRICS:  # those are of all rows
        rows = f"{report['answered']:,} answers"
    title = f"{known.title} on {'the same ' if len(named) > 1 else ''}{rows}"
    return Chart(title, "model", known.title, drawn, note=note, percent_y=known.is_share, legend=False)


def training(report: Mapping[str, Any]) -> list[Chart]:
    """The losses over the run, and the validation metric where it is another."""
    x = _axis(report)
    found = []
    losses = [
        Series("training loss", *_columns(_curve(report, "train_loss", x))),
        Series("validation loss", *_columns(_curve(report, "validation_loss", x))),
    ]
    losses = [one for one in losses if len(one.x)]
    if losses:
        found.append(Chart("Loss while training", x, "loss", losses, vertical_line=_mark(report)))
    if report["validation_metric"] != "loss":
        known = METRIC_NAMES.get(report["validation_metric"])
        name = "validation " + (known.title.lower() if known else "metric")
        points = _curve(report, "validation_metric", x)
        if points:
            line = Series(name, *_columns(points))
            share = bool(known and known.is_share)
            title = name[0].upper() + name[1:]
            found.append(Chart(title, x, name, [line], percent_y=share, vertical_line=_mark(report)))
    return found


def reliability(report: Mapping[str, Any]) -> Chart | None:
    """The share of right answers over the confidence, beside the diagonal of one whose scores can be trusted."""
    bins = (report["calibration"] or {}).get("bins") or []
    if not bins:
        return None
    intervals = [wilson(item["accuracy"], item["rows"]) for item in bins]
    measured = Series(
        "right answers",
        [item["confidence"] for item in bins],
        [item["accuracy"] for item in bins],
        [low for low, _ in intervals],
        [high for _, high in intervals],
        kind="points",
    )
    perfect = Series("trustworthy scores", [0.0, 1.0], [0.0, 1.0], muted=True)
    note = "Whiskers are 95 % intervals (Wilson): long ones are of bins with few rows."
    title = "Share of right answers by confidence"
    return Chart(title, "confidence", "share right", [perfect, measured], note=note, percent_y=True)


def confidences(report: Mapping[str, Any]) -> Chart | None:
    """How many rows were answered with which confidence."""
    bins = (report["calibration"] or {}).get("bins") or []
    if not bins:
        return None
    middles = [(item["low"] + item["high"]) / 2 for item in bins]
    rows = Series("rows", middles, [item["rows"] for item in bins], kind="bars", muted=True)
    return Chart("Rows by confidence", "confidence", "rows", [rows])


def thinned(points: Sequence[Point], most: int = 200) -> list[Point]:
    """At most `most` points: neighbours are averaged, so that a noisy curve keeps its course."""
    if len(points) <= most:
        return list(points)
    edges = [round(i * len(points) / most) for i in range(most + 1)]
    groups = [points[a:b] for a, b in pairwise(edges)]
    return [(sum(x for x, _ in group) / len(group), sum(y for _, y in group) / len(group)) for group in groups]


def _curve(report: Mapping[str, Any], key: str, x: str) -> list[Point]:
    return thinned([(point[x], point[key]) for point in report["curves"] if point.get(key) is not None])


def _columns(points: Sequence[Point]) -> tuple[list[float], list[float]]:
    return [x for x, _ in points], [y for _, y in points]


def _axis(report: Mapping[str, Any]) -> str:
    return "epoch" if all(point.get("epoch") is not None for point in report["curves"]) else "step"


def _mark(report: Mapping[str, Any]) -> tuple[float, str] | None:
    best: float | None = (report["overfitting"] or {}).get("best_epoch")
    return (best, "kept") if best is not None and _axis(report) == "epoch" else None
