"""How a report tells values: numbers, names, answers, and nested facts as rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

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


def baseline_name(name: str) -> str:
    """A baseline as a short heading."""
    return _HEADINGS.get(name, name)


def number(value: Any, digits: int = 3) -> str:
    """A metric's value; a dash where it is undefined."""
    return "–" if value is None else f"{value:.{digits}f}"  # noqa: RUF001 - a typographic dash


def heading(name: str) -> str:
    """A column of the class table."""
    return _COLUMNS.get(name, name.capitalize())


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
        name = prefix + {"seconds": "time", "bytes": "size"}.get(key, key.replace("_", " "))
        if key == "label_counts" and isinstance(item, Mapping):  # its keys are the user's, told as they are
            found.append((name, ", ".join(f"{label} {_fact(label, count)}" for label, count in item.items())))
        elif isinstance(item, Mapping):
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
