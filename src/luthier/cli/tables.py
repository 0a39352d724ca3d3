"""Metrics as tables: ours beside what it has to beat, each with its interval."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

MAIN_METRICS = (
    "accuracy",
    "macro_f1",
    "micro_f1",
    "subset_accuracy",  # classify
    "r2",
    "mae",
    "pearson",
    "spearman",  # regress
    "f1",
    "precision",
    "recall",  # extract
    "loss",
    "perplexity",
    "token_accuracy",  # chat, complete
)
"""Metrics in the order in which they are shown; a report has those of its task."""

BASELINE_NAMES = {
    "majority": "always the most frequent answer",
    "base": "the base model, untuned",
    "tfidf": "TF-IDF + linear model",
    "frozen": "frozen base + linear head",
    "scratch": "same architecture, from scratch",
}
"""What a baseline is, in words; others are shown by their name."""

COLUMNS_SHOWN = 3
LIKELIHOOD = ("loss", "perplexity", "token_accuracy")


def interval(cell: Mapping[str, Any] | None) -> str:
    """``0.934 [0.921, 0.946]``; a dash where the metric is not defined."""
    if not cell or cell.get("value") is None:
        return "-"
    value = f"{cell['value']:.3f}"
    if cell.get("low") is None or cell.get("high") is None:
        return value
    return f"{value} [{cell['low']:.3f}, {cell['high']:.3f}]"


def main_metrics(metrics: Mapping[str, Any]) -> list[str]:
    """The few metrics that a person looks at first."""
    if "loss" in metrics:  # a model that writes: its report has the telling ones first
        telling = [name for name in metrics if name not in LIKELIHOOD]
        return ["loss", *telling, "perplexity"][:COLUMNS_SHOWN]
    known = [name for name in MAIN_METRICS if name in metrics]
    return (known or sorted(metrics))[:COLUMNS_SHOWN]


def before_after(report: Mapping[str, Any]) -> Table | None:
    """Baselines above, ours below, over the same test rows; None when the run was not judged."""
    metrics: dict[str, Any] = report.get("metrics") or {}
    if not metrics:
        return None
    from rich.markup import escape
    from rich.table import Table

    names = main_metrics(metrics)
    table = Table(
        title="before and after, on the same test rows (95 % interval)",
        title_justify="left",
        box=None,
        pad_edge=False,
    )
    table.add_column("")
    for name in names:
        table.add_column(escape(name))
    for baseline, values in (report.get("baselines") or {}).items():
        shown = BASELINE_NAMES.get(baseline, str(baseline))
        table.add_row(f"before  {shown}", *(interval(values.get(name)) for name in names))
    table.add_row("after   this run", *(interval(metrics[name]) for name in names))
    return table


def all_metrics(metrics: Mapping[str, Any]) -> Table:
    """Every metric with its interval, the main ones first."""
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for column in ("metric", "value [95 % interval]"):
        table.add_column(column)
    first = [name for name in MAIN_METRICS if name in metrics]
    for name in [*first, *(name for name in metrics if name not in first)]:
        table.add_row(escape(name), interval(metrics[name]))
    return table


def verdict(report: Mapping[str, Any]) -> str:
    """The report's sentence of what was proven, or nothing."""
    found = report.get("verdict")
    if isinstance(found, Mapping):
        found = found.get("text") or found.get("sentence")
    return str(found) if found else ""


GROUPS_SHOWN = 12


def fairness(found: Mapping[str, Any]) -> RenderableType:
    """Whom does it fail: the sentences, a table per column, and what to do."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    parts: list[RenderableType] = [Text("Whom does it fail?", style="bold"), Text(found["verdict"])]
    for column in found["columns"]:
        shown = [one for one in column["measures"] if one["kind"] == "main"]
        table = Table(title=f"By {column['column']}", title_justify="left")
        table.add_column("group")
        table.add_column("rows", justify="right")
        for one in shown:
            table.add_column(one["title"])
        for group in column["groups"][:GROUPS_SHOWN]:
            cells = [interval(group["measures"].get(one["name"])) for one in shown]
            table.add_row(Text(group["name"], style="" if group["judged"] else "dim"), f"{group['rows']:,}", *cells)
        parts += ["", table, *(Text(f"· {sentence}") for sentence in column["sentences"])]
        parts += [Text(f"→ {advice}", style="green") for advice in column["advice"]]
    parts += [Text(f"· {one['sentence']}") for one in found["unusable"]]
    parts += ["", *(Text(f"· {swap['sentence']}") for swap in found["swaps"])]
    return Group(*parts)
