"""The section of the report page: sentences first, then a picture and tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from luthier.evaluate.charts import Chart, Series
from luthier.evaluate.metric_names import metric_name

_MOST_GROUPS = 30
_MOST_TESTS = 200
_MOST_MEASURES = 5


def fairness_context(report: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """What the template needs of report.json's ``fairness``; None where it was not measured."""
    fairness = report.get("fairness")
    if not fairness:
        return None
    columns = fairness["columns"]
    return {
        "fairness": fairness,
        "told": _told,
        "range_of": _range,
        "title_of": lambda name: metric_name(name).title,
        "shown": {column["column"]: column["measures"][:_MOST_MEASURES] for column in columns},
        "metrics": {
            column["column"]: list(dict.fromkeys(name for group in column["groups"] for name in group["metrics"]))
            for column in columns
        },
        "charts": {
            column["column"]: _chart(column, report["evaluated_on"], f"chart-group-{number}")
            for number, column in enumerate(columns, start=1)
        },
        "most_groups": _MOST_GROUPS,
        "most_tests": _MOST_TESTS,
    }


def _chart(column: Mapping[str, Any], evaluated_on: str, identity: str) -> str:
    main = column["measures"][0]
    failing = {one["group"] for one in column["differences"]
               if one["verdict"] == "worse" and one["measure"] == main["name"]}  # fmt: skip
    cells = [
        (group["name"], group["measures"][main["name"]])
        for group in column["groups"][:_MOST_GROUPS]
        if group["judged"] and (group["measures"].get(main["name"]) or {}).get("value") is not None
    ]
    if not cells:
        return ""

    def bars(name: str, chosen: list[tuple[str, Any]], muted: bool) -> Series:
        return Series(
            name, [group for group, _ in chosen], [cell["value"] for _, cell in chosen],
            low=[cell["low"] for _, cell in chosen], high=[cell["high"] for _, cell in chosen],
            kind="bars", muted=muted,
        )  # fmt: skip

    worse = [(group, cell) for group, cell in cells if group in failing]
    others = [(group, cell) for group, cell in cells if group not in failing]
    series = [bars("worse than the others", worse, False)] if worse else []
    series += [bars("no difference shown" if worse else "groups", others, bool(worse))] if others else []
    title = f"{main['title'][0].upper()}{main['title'][1:]} by {column['column']} on the {evaluated_on} rows"
    return Chart(title, column["column"], main["title"], series, percent_y=bool(main["is_share"])).html(identity)


def _number(value: float | None, is_share: bool) -> str:
    if value is None:
        return "undefined"
    return f"{100 * value:.1f}" if is_share else f"{value:.3g}"


def _told(value: float | None, measure: Mapping[str, Any]) -> str:
    text = _number(value, measure["is_share"])
    return text + "\u00a0%" if measure["is_share"] and value is not None else text


def _range(cell: Mapping[str, Any], measure: Mapping[str, Any]) -> str:
    low, high = (_number(cell[end], measure["is_share"]) for end in ("low", "high"))
    return f"{low} to {high}" + ("\u00a0%" if measure["is_share"] else "")
