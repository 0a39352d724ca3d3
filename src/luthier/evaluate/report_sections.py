"""The sections of a run's report, in their order.

A section is a name, a heading and a function that says what its template is given, or None where it has nothing to
tell. Its template is ``templates/sections/NAME.html``; one that does not exist yet is shown as plain facts. A new
section is a template and a line in `SECTIONS`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from luthier.core.recipe import LANGUAGE_TASKS
from luthier.evaluate import report_charts
from luthier.evaluate.confusion_picture import confusion
from luthier.evaluate.fairness.section import fairness_context
from luthier.evaluate.forgetting.section import forgetting_context
from luthier.evaluate.metric_names import metric_name
from luthier.evaluate.report_words import baseline_name, facts
from luthier.evaluate.unmeasured import unmeasured

Report = Mapping[str, Any]
Context = Mapping[str, Any]

_SHOWN_CLASSES = 12
_SHOWN_ERRORS = 8
_SHOWN_ANSWERS = 5


@dataclass(frozen=True, slots=True)
class Section:
    """One section; `context` gives what its template needs besides `report` and `writes`."""

    name: str
    heading: str | Callable[[Report], str]
    context: Callable[[Report], Context | None]

    def title(self, report: Report) -> str:
        return self.heading if isinstance(self.heading, str) else self.heading(report)


def of_key(key: str) -> Callable[[Report], Context | None]:
    """The context of a section that tells one key of the report: its value as `it`, and flat as `facts`."""
    return lambda report: {"it": report[key], "facts": facts(report[key])} if report.get(key) else None


def writes(report: Report) -> bool:
    """Whether the model of this report writes answers."""
    return report["task"] in LANGUAGE_TASKS


def _given(key: str) -> Callable[[Report], Context | None]:
    return lambda report: {} if report.get(key) else None


def _against(report: Report) -> Context | None:
    names = dict.fromkeys([report["primary_metric"], report.get("headline_metric")])
    charts = [(name, report_charts.against(report, name)) for name in names if name]
    drawn = [chart.html(f"chart-{name}") for name, chart in charts if chart is not None]
    return {"charts": drawn} if drawn or report["comparisons"] else None


def _metrics(report: Report) -> Context | None:
    rows = []
    for name, value in report["metrics"].items():
        others = [baseline.get(name, {}).get("value") for baseline in report["baselines"].values()]
        known = metric_name(name)
        everyone = [one for one in [value["value"], *others] if one is not None]
        rows.append(
            {
                "title": known.title,
                "lower": not known.higher_is_better,
                "ours": value,
                "others": others,
                "best": (max if known.higher_is_better else min)(everyone, default=None),
                "is_primary": name == report["primary_metric"],
            }
        )
    rows.sort(key=lambda row: not row["is_primary"])
    names = [baseline_name(name) for name in report["baselines"]]
    return {"metrics": rows, "baseline_names": names} if rows else None


def _training(report: Report) -> Context | None:
    charts = [chart.html(f"chart-training-{i}") for i, chart in enumerate(report_charts.training(report), start=1)]
    return {"charts": charts} if charts or report["overfitting"] else None


def _answers(report: Report) -> Context | None:
    return {"shown": _SHOWN_ANSWERS} if writes(report) and report.get("examples") else None


def _confusion(report: Report) -> Context | None:
    found = report["confusion"]
    if not found:
        return None
    picture = "" if found["matrix"] is None else confusion(found["labels"], found["matrix"])
    return {"confusion": found, "heatmap": picture}


def _classes(report: Report) -> Context | None:
    """Classes with their metrics, the worst F1 (or Spearman) first; one lone target is told by the metrics."""
    leading = "spearman" if report["task"] == "regress" else "f1"
    first: Mapping[str, Any] = next(iter(report["per_class"].values()), {})
    columns = [name for name in first if name != "intervals"]
    rows = []
    for label, values in report["per_class"].items():
        low, high = (values.get("intervals") or {}).get(leading) or [None, None]
        cells = [(values.get(name), isinstance(values.get(name), int)) for name in columns if name != leading]
        rows.append({"label": label, "lead": values.get(leading), "low": low, "high": high, "cells": cells})
    rows.sort(key=lambda row: (row["lead"] is None, row["lead"]))
    if not rows or (len(rows) == 1 and report["task"] == "regress"):
        return None
    return {"classes": rows, "columns": columns, "shown": _SHOWN_CLASSES}


def _calibration(report: Report) -> Context | None:
    picture, rows = report_charts.reliability(report), report_charts.confidences(report)
    if picture is None or rows is None:
        return None
    return {"reliability": picture.html("chart-reliability"), "confidences": rows.html("chart-confidences")}


def _errors(report: Report) -> Context | None:
    return {"shown": _SHOWN_ANSWERS if writes(report) else _SHOWN_ERRORS} if report["worst_errors"] else None


def _reproduce(report: Report) -> Context | None:
    known = any(report[key] for key in ("reproduce", "recipe", "load_hint"))
    return {"machine": facts(report["environment"])} if known else None


SECTIONS = (
    Section("against", "Against what it must beat", _against),
    Section("warnings", "To keep in mind", _given("warnings")),
    Section("metrics", "Metrics", _metrics),
    Section("samples", "The same questions, before and after", _given("samples")),
    Section("answers", lambda report: f"Answers to {report['evaluated_on']} rows", _answers),
    Section("training", "Training", _training),
    Section("confusion", "What it confuses", _confusion),
    Section(
        "classes", lambda report: "Targets" if report["task"] == "regress" else "Classes, the weakest first", _classes
    ),
    Section("calibration", "Can its scores be trusted?", _calibration),
    Section("errors", "Worst errors", _errors),
    Section("hardest", "Hardest rows", _given("worst_rows")),
    Section("forgetting", "What it forgot", forgetting_context),
    Section("fairness", "Whom does it fail?", fairness_context),
    Section("memorisation", "Memorisation", of_key("memorisation")),
    Section("unmeasured", "What was not measured", lambda report: {"unmeasured": unmeasured(report)}),
    Section("notes", "Tokens", of_key("notes")),
    Section("facts_of_run", "Data and cost", lambda r: {"data": facts(r["data"]), "cost": facts(r["cost"])}),
    Section("reproduce", "How to reproduce and use it", _reproduce),
)
