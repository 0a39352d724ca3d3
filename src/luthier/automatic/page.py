"""The page of an automatic run: the verdict first, then what quality costs, every candidate, and how it went."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any

from luthier.evaluate.charts import Chart, Series
from luthier.evaluate.metric_names import metric_name
from luthier.evaluate.page import render, table
from luthier.evaluate.report import told

Report = Mapping[str, Any]
_FOOTER = (
    "Candidates are compared on validation rows, which also chose the winner: its figure there flatters it a little. "
    "The fresh run is judged on the test rows where there are some."
)


def page_of(report: Report, *, use: str | None = None) -> str:
    """HTML that works offline. `use` says what to do with the model; without it, what can be done with the folder."""
    sections = [
        ("What to do with it", _use(report) if use is None else f"<p>{escape(use)}</p>"),
        ("Quality against training time", _trade_chart(report)),
        ("The choice", _pareto(report)),
        ("How it went", _timeline(report)),
        ("Every candidate", _table(report)),
        ("Notes", _notes(report)),
    ]
    kicker = f"Luthier auto · {report['created_at']}"
    title = f"Automatic fine-tuning: {report['task']}"
    return render(title, report["verdict"], sections, kicker=kicker, footer=_FOOTER)


def _use(report: Report) -> str:
    best = report["best"]
    if best is None:
        return ""
    run = ""
    if best["run"]:
        *_, parent, name = Path(best["run"]).parts
        place = f"{parent}/{name}" if parent == "trials" else name
        run = f'<a href="{escape(place)}/report.html">The report of its last run</a> has the proof. '
    return (
        "<p><code>luthier predict</code> with this folder answers with the best model. "
        f"{run}<code>recipe.yaml</code> is its recipe, and <code>luthier train recipe.yaml</code> trains it "
        "again.</p>"
    )


def _shown(report: Report) -> list[Mapping[str, Any]]:
    return [one for one in report["trials"] if one["value"] is not None]


def _trade_chart(report: Report) -> str:
    shown = _shown(report)
    if not shown:
        return ""
    metric = metric_name(report["metric"])
    best = report["best"]["trial"] if report["best"] else None
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for one in shown:
        kind = "winner" if one["number"] == best else "no other is better in everything" if one["pareto"] else "others"
        groups.setdefault(kind, []).append(one)
    series = [
        Series(
            kind, [max(0.01, one["seconds_of_all"] or 0.0) for one in members], [one["value"] for one in members],
            kind="points", text=[one["name"] for one in members],
        )
        for kind, members in groups.items()
    ]  # fmt: skip
    note = "Seconds are those of the whole schedule, measured or, for a candidate that was stopped, extrapolated."
    chart = Chart(
        f"{metric.title} and training time of each candidate", "seconds of training", metric.title, series, log_x=True,
        percent_y=metric.is_share, note=note,
    )  # fmt: skip
    return chart.html("trade")


def _pareto(report: Report) -> str:
    rows = [
        [one["name"] + _mark(report, one), told(report["metric"], one["value"]), _seconds(one["seconds_of_all"]),
         f"{one['trainable_parameters'] or 0:,}"]
        for one in sorted(_shown(report), key=lambda one: one["seconds_of_all"] or 0.0)
        if one["pareto"] or _mark(report, one)
    ]  # fmt: skip
    if not rows:
        return ""
    columns = ["Candidate", report["metric_title"], "Training", "Trained parameters"]
    caption = "The winner, and the candidates that no other beats in quality, seconds and size together"
    return table(caption, columns, rows)


def _timeline(report: Report) -> str:
    shown = sorted((one for one in _shown(report) if one["at"]), key=lambda one: one["at"])
    if len(shown) < 2:
        return ""
    metric = metric_name(report["metric"])
    sign = 1 if report["higher_is_better"] else -1
    best: list[float] = []
    for one in shown:
        best.append(max([*best[-1:], one["value"]], key=lambda value: sign * value))
    times = [one["at"] for one in shown]
    series = [
        Series("each candidate", times, [one["value"] for one in shown], kind="points",
               text=[one["name"] for one in shown]),
        Series("the best so far", times, best),
    ]  # fmt: skip
    if report["baseline"] is not None:
        value = report["baseline"]["value"]
        series.append(Series("linear model on word counts", [times[0], times[-1]], [value, value]))
    chart = Chart(
        f"{metric.title} as time went by", "seconds of the budget", metric.title, series, percent_y=metric.is_share
    )
    return chart.html("timeline")


def _mark(report: Report, one: Mapping[str, Any]) -> str:
    best = report["best"]
    return " (winner)" if best is not None and one["number"] == best["trial"] else ""


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:,.2f} s" if value < 1 else f"{value:,.1f} s"


def _table(report: Report) -> str:
    sign = 1 if report["higher_is_better"] else -1
    trials = sorted(report["trials"], key=lambda one: (one["value"] is None, -sign * (one["value"] or 0.0)))
    rows = [
        [
            one["name"] + _mark(report, one), "-" if one["value"] is None else told(report["metric"], one["value"]),
            "-" if one["loss"] is None else f"{one['loss']:.3g}", f"{one['epoch']} of {one['epochs']}",
            _seconds(one["seconds"]), f"{one['trainable_parameters'] or 0:,}",
            one["error"] or ("stopped early: no better" if one["stopped_early"] else one["state"]),
        ]
        for one in trials
    ]  # fmt: skip
    columns = ["Candidate", report["metric_title"], "Loss", "Epochs", "Trained", "Trained parameters", "State"]
    return table(f"On {report['rows']['validation']:,} validation rows", columns, rows)


def _notes(report: Report) -> str:
    used = f"{report['seconds']:.0f} of {report['budget']:.0f} seconds were used."
    final = report["final"] or {}
    items = [used, *report["notes"], *(final.get("warnings") or [])]
    return "<ul>" + "".join(f"<li>{escape(str(item))}</li>" for item in items) + "</ul>"
