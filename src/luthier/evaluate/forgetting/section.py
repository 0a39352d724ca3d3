"""What the report's section about forgetting shows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from luthier.evaluate.chart_data import Kind
from luthier.evaluate.charts import Chart, Series

_MEASURES = {"loss": "Loss, nats a token", "neighbours": "Same nearest neighbours", "probe": "Linear probe of topics"}


def forgetting_context(report: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """What the template needs; None where forgetting was not measured."""
    forgetting = report["forgetting"]
    if not forgetting:
        return None
    chart = trade_off_chart(forgetting["curve"])
    drawn = "" if chart is None else chart.html("chart-forgetting")
    return {"forgetting": forgetting, "measures": _MEASURES, "chart": drawn}


def trade_off_chart(curve: Mapping[str, Any] | None) -> Chart | None:
    """The task's metric over what was retained: the way from base to tuned, and the saved checkpoints."""
    if curve is None or not curve["points"]:
        return None
    way = [point for point in curve["points"] if point["share"] is not None]
    saved = [point for point in curve["points"] if point["share"] is None]
    drawn: list[tuple[str, list[Any], Kind, list[str] | None]] = [
        ("base to tuned", way, "line", None),
        ("share of the way", way, "points", [f"{point['share']:g}" for point in way]),
        ("checkpoint", saved, "points", [f"step {point['step']}" for point in saved]),
    ]
    series = [
        Series(name, [one["retained"] for one in points], [one["task"] for one in points], kind=kind, text=words)
        for name, points, kind, words in drawn
        if points
    ]
    return Chart(
        f"{curve['metric_title']} against {curve['retained']}",
        f"{curve['retained']} ({_better(curve['retained_higher_is_better'])})",
        f"{curve['metric_title']}, validation ({_better(curve['higher_is_better'])})",
        series,
        note="Each point is a state of the model: 0 the base, 1 the tuned model.",
    )


def _better(higher: bool) -> str:
    return "higher is better" if higher else "lower is better"
