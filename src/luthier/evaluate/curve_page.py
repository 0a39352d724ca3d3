"""A learning curve as one self-contained HTML page, the verdict first."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

import numpy as np

from luthier.evaluate import page
from luthier.evaluate.charts import Chart, Series

Report = Mapping[str, Any]


def render_curve(report: Report) -> str:
    """The page of a curve.json value."""
    chart = _chart(report)
    sections = [
        ("Why", _why(report)),
        ("The curve", chart.html("chart-curve") if chart is not None else ""),
        ("Every size", page.table(f"{report['metric_title']} by size", _COLUMNS, _rows(report))),
        ("How it was measured", _how(report)),
        ("Every run", page.table("Every run", ["Folder", "Rows", "Seed", report["metric_title"]], _runs(report))),
    ]
    kicker = f"Luthier learning curve · {report['created_at']}"
    return page.render("Would more rows help?", report["sentence"], sections, kicker=kicker, footer=_FOOTER)


_FOOTER = (
    "Intervals are 95 %: bootstrap over the held-out rows, which all sizes share, and over the seeds. The forecast's "
    "leaves out which rows were held out, as that is the same before and after."
)
_COLUMNS = ["Training rows", "Share", "Runs", "Value", "Interval", "Time"]


def _why(report: Report) -> str:
    parts = [] if report["reason"] in report["sentence"] else [report["reason"]]
    parts += [report["stopped"]["text"]] if report["stopped"] else []
    parts += [report["overfitting"]]
    return "".join(f"<p>{escape(part)}</p>" for part in parts)


def _how(report: Report) -> str:
    text = (
        f"{report['model']}, {report['task']}, {report['method']}: nested and stratified shares of "
        f"{report['rows']:,} training rows, all judged on the same {report['held_out_rows']:,} held-out rows. Each "
        "run's own report lies in its folder."
    )
    notes = "".join(f'<p class="warning">{escape(note)}</p>' for note in report["notes"])
    law = report["law"]
    if law is None:
        return f"<p>{escape(text)}</p>{notes}"
    what = f"1 - {report['metric_title']}" if report["higher_is_better"] else report["metric_title"]
    fitted = f"{law['a']:.4g} + {law['b']:.4g} · n<sup>-{law['c']:.3f}</sup>"
    source = "(Hestness et al. 2017, Rosenfeld et al. 2020), by least squares weighted by each size's variance."
    return f'<p>{escape(text)}</p>{notes}<p class="note">Fitted: {escape(what)} = {fitted} {source}</p>'


def _rows(report: Report) -> list[list[str]]:
    rows = [
        [
            f"{size['rows']:,}", f"{100 * size['share']:.0f} %", str(size["seeds"]), _told(size["value"]),
            _between(size), f"{size['seconds']:.0f} s",
        ]
        for size in report["sizes"]
    ]  # fmt: skip
    if report["doubled"] is not None:
        doubled = report["doubled"]
        rows.append([f"{2 * report['rows']:,}", "200 %", "0", _told(doubled["value"]), _between(doubled), "expected"])
    return rows


def _runs(report: Report) -> list[list[str]]:
    return [
        [str(one["run"]), f"{one['rows']:,}", str(one["seed"]), _told(one["value"])]
        for one in report["runs"]
        if "run" in one
    ]


def _told(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"  # noqa: RUF001 - a typographic dash


def _between(cell: Mapping[str, Any]) -> str:
    return "" if cell["low"] is None else f"{cell['low']:.4f} to {cell['high']:.4f}"


def _chart(report: Report) -> Chart | None:
    sizes = [size for size in report["sizes"] if size["value"] is not None and size["low"] is not None]
    if not sizes:
        return None
    series = [
        Series(
            "measured", [size["rows"] for size in sizes], [size["value"] for size in sizes],
            low=[size["low"] for size in sizes], high=[size["high"] for size in sizes], kind="points",
        )
    ]  # fmt: skip
    if report["law"] is not None:
        places = [float(x) for x in np.geomspace(sizes[0]["rows"], 2 * report["rows"], 40)]
        series.append(Series("fitted curve", places, [law_value(report, x) for x in places]))
    if report["doubled"] is not None:
        doubled = report["doubled"]
        series.append(
            Series(
                "expected with twice the rows", [2 * report["rows"]], [doubled["value"]], low=[doubled["low"]],
                high=[doubled["high"]], kind="points",
            )
        )  # fmt: skip
    title = f"{report['metric_title']} by the number of training rows"
    return Chart(title, "training rows", report["metric_title"], series, log_x=True)


def law_value(report: Report, rows: float) -> float:
    """The metric that the fitted curve gives for so many rows."""
    law = report["law"]
    error: float = law["a"] + law["b"] * rows ** -law["c"]
    return 1 - error if report["higher_is_better"] else error
