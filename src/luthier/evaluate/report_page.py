"""The report as one self-contained HTML page: no script, no request to anywhere, pictures inline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any

from luthier.core.recipe import LANGUAGE_TASKS
from luthier.evaluate.metric_names import METRIC_NAMES, metric_name
from luthier.evaluate.pictures import Bar, Series, bar_chart, line_chart
from luthier.evaluate.pictures_of_classes import confusion_heatmap, reliability_diagram

_SHOWN_CLASSES = 12
_SHOWN_ERRORS = 8
_SHOWN_ANSWERS = 5
_HEADINGS = {
    "majority": "Majority",
    "tfidf": "TF-IDF",
    "dictionary": "Dictionary",
    "frozen": "Frozen base",
    "scratch": "From scratch",
    "base": "Untuned base",
}
_COLUMNS = {
    "roc_auc": "ROC-AUC",
    "average_precision": "Average precision",
    "mse": "MSE",
    "rmse": "RMSE",
    "mae": "MAE",
    "r2": "R²",
}
_Facts = list[tuple[str, str]]


def render_page(report: Mapping[str, Any]) -> str:
    """The page of a report.json value (as built, or read back from the file)."""
    from jinja2 import Environment, StrictUndefined

    source = resources.files("luthier.evaluate").joinpath("templates/report.html").read_text(encoding="utf-8")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"number": number, "answer": answer_text, "unbroken": unbroken, "heading": heading}
    page: str = environment.from_string(source).render(
        report=report,
        title=f"{report['model']}, {report['task']}",
        metrics=_metric_rows(report),
        baseline_names=[baseline_name(name) for name in report["baselines"]],
        bars=_bars(report),
        primary_title=metric_name(report["primary_metric"]).title,
        loss_chart=_loss_chart(report),
        metric_chart=_metric_chart(report),
        confusion=report["confusion"],
        heatmap=_heatmap(report["confusion"]),
        reliability=reliability_diagram((report["calibration"] or {}).get("bins") or []),
        classes=_class_rows(report),
        class_columns=_class_columns(report),
        shown_classes=_SHOWN_CLASSES,
        shown_errors=_SHOWN_ERRORS,
        sections=[
            (name, facts(report[key]))
            for name, key in (("Forgetting", "forgetting"), ("Fairness", "fairness"))
            if report[key]
        ],
        writes=report["task"] in LANGUAGE_TASKS,
        shown_answers=_SHOWN_ANSWERS,
        notes=facts(report.get("notes") or {}),
        data=facts(report["data"]),
        cost=facts(report["cost"]),
        machine=facts(report["environment"]),
    )
    return page


def baseline_name(name: str) -> str:
    """A baseline as a short heading."""
    return _HEADINGS.get(name, name)


def number(value: Any, digits: int = 3) -> str:
    """A metric's value; a dash where it is undefined."""
    return "–" if value is None else f"{value:.{digits}f}"  # noqa: RUF001 - a typographic dash


def heading(name: str) -> str:
    """A column of the class table."""
    return _COLUMNS.get(name, name.capitalize())


def unbroken(sentence: str) -> str:
    """A percent sign stays with its number at the end of a line."""
    return sentence.replace(" %", "\u00a0%")


def answer_text(value: Any) -> str:
    """What was expected or predicted, as text: a label, labels, numbers or spans."""
    if value is None:
        return "no answer"
    if isinstance(value, float):
        return f"{value:.3g}"
    if isinstance(value, Mapping):
        return f"{value['label']}: “{value['text']}”"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return "; ".join(answer_text(item) for item in value) or "nothing"
    return str(value)


def facts(value: Mapping[str, Any], prefix: str = "") -> _Facts:
    """Nested values as (name, text) rows: ``rows.test: 3080`` becomes ("rows, test", "3,080")."""
    found: _Facts = []
    for key, item in value.items():
        name = prefix + ("time" if key == "seconds" else key.replace("_", " "))
        if isinstance(item, Mapping):
            found += facts(item, f"{name}, ")
        elif isinstance(item, list):
            if item and all(isinstance(one, Mapping) for one in item):
                for i, one in enumerate(item, start=1):
                    found += facts(one, f"{name} {i}, " if len(item) > 1 else f"{name}, ")
            else:
                found.append((name, ", ".join(_fact(key, one) for one in item) or "none"))
        elif item is not None and item != "":
            found.append((name.removesuffix(" bytes"), _fact(key, item)))
    return found


def _fact(key: str, value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if key.endswith("bytes") and isinstance(value, int | float):
        return f"{value / 2**30:.2f} GiB" if value >= 2**30 else f"{value / 2**20:.0f} MiB"
    if key == "seconds" and isinstance(value, int | float):
        return f"{value:.1f} s" if value < 120 else f"{value / 60:.1f} min ({value:,.0f} s)"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    return str(value)


def _metric_rows(report: Mapping[str, Any]) -> list[dict[str, Any]]:
    rows = []
    for name, value in report["metrics"].items():
        others = [baseline.get(name, {}).get("value") for baseline in report["baselines"].values()]
        known = metric_name(name)
        everyone = [one for one in [value["value"], *others] if one is not None]
        best = (max if known.higher_is_better else min)(everyone, default=None)
        rows.append(
            {
                "title": known.title,
                "lower": not known.higher_is_better,
                "ours": value,
                "others": others,
                "best": best,
                "is_primary": name == report["primary_metric"],
            }
        )
    return sorted(rows, key=lambda row: not row["is_primary"])


def _bars(report: Mapping[str, Any]) -> str:
    name = report["primary_metric"]
    ours = report["metrics"].get(name, {})
    values = [("This model", ours, True)]
    values += [(baseline_name(key), baseline.get(name, {}), False) for key, baseline in report["baselines"].items()]
    bars = [
        Bar(title, value["value"], value["low"], value["high"], is_ours)
        for title, value, is_ours in values
        if value.get("value") is not None
    ]
    return bar_chart(bars, label=f"{metric_name(name).title} of this model and the baselines, with 95 % intervals")


def _curve(report: Mapping[str, Any], key: str, x: str) -> list[tuple[float, float]]:
    return [(point[x], point[key]) for point in report["curves"] if point.get(key) is not None]


def _axis(report: Mapping[str, Any]) -> str:
    return "epoch" if all(point.get("epoch") is not None for point in report["curves"]) else "step"


def _mark(report: Mapping[str, Any]) -> float | None:
    best: float | None = (report["overfitting"] or {}).get("best_epoch")
    return best if _axis(report) == "epoch" else None


def _loss_chart(report: Mapping[str, Any]) -> str:
    x = _axis(report)
    series = [
        Series("training loss", _curve(report, "train_loss", x), "train"),
        Series("validation loss", _curve(report, "validation_loss", x), "ours"),
    ]
    return line_chart(series, x_name=x, label="Training and validation loss", mark=_mark(report), mark_name="kept")


def _metric_chart(report: Mapping[str, Any]) -> str:
    if report["validation_metric"] == "loss":
        return ""  # it is the loss chart's own curve
    x = _axis(report)
    known = METRIC_NAMES.get(report["validation_metric"])
    name = "validation " + (known.title.lower() if known else "metric")
    series = [Series(name, _curve(report, "validation_metric", x), "ours")]
    return line_chart(series, x_name=x, label=name, mark=_mark(report), mark_name="kept")


def _heatmap(confusion: Mapping[str, Any] | None) -> str:
    if confusion is None or confusion["matrix"] is None:
        return ""
    return confusion_heatmap(confusion["labels"], confusion["matrix"])


def _class_columns(report: Mapping[str, Any]) -> list[str]:
    first: Mapping[str, Any] = next(iter(report["per_class"].values()), {})
    return [name for name in first if name != "intervals"]


def _class_rows(report: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Classes with their metrics, the worst F1 (or Spearman) first."""
    leading = "spearman" if report["task"] == "regress" else "f1"
    rows = []
    for label, values in report["per_class"].items():
        interval = (values.get("intervals") or {}).get(leading) or [None, None]
        rows.append(
            {
                "label": label,
                "lead": values.get(leading),
                "low": interval[0],
                "high": interval[1],
                "cells": [
                    (values.get(name), isinstance(values.get(name), int))
                    for name in _class_columns(report)
                    if name != leading
                ],
            }
        )
    return sorted(rows, key=lambda row: (row["lead"] is None, row["lead"]))
