"""The model card: README.md beside the model, as the Hugging Face hub reads it."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

import yaml

from luthier.core.recipe import LANGUAGE_TASKS
from luthier.evaluate.metric_names import metric_name
from luthier.evaluate.report_page import baseline_name, facts, number

_SHOWN_EXAMPLES = 3
_PIPELINES = {
    "classify": "text-classification",
    "regress": "text-classification",
    "extract": "token-classification",
    "chat": "text-generation",
    "complete": "text-generation",
}
_HUB_METRICS = {
    "accuracy": "accuracy",
    "macro_f1": "f1",
    "micro_f1": "f1",
    "f1": "f1",
    "precision": "precision",
    "recall": "recall",
    "roc_auc": "roc_auc",
    "mse": "mse",
    "mae": "mae",
    "pearson": "pearsonr",
    "spearman": "spearmanr",
    "perplexity": "perplexity",
    "bleu": "bleu",
    "chrf": "chrf",
    "rougeL": "rouge",
    "exact_match": "exact_match",
}
_ANSWERS = {
    "classify": "one of the labels below for a text",
    "regress": "a number for a text (or a pair of texts)",
    "extract": "labelled spans of a text",
    "chat": "the assistant's next turn of a conversation",
    "complete": "how a text goes on",
}


def model_card(report: Mapping[str, Any]) -> str:
    """README.md of a report.json value: YAML front matter (the hub's metadata), then Markdown."""
    parts = [
        _front_matter(report),
        f"# {report['model']}, tuned to {report['task']}",
        report["verdict"],
        "## Intended use",
        _intended_use(report),
    ]
    if report["load_hint"]:
        parts += ["## How to load it", f"```python\n{report['load_hint'].strip()}\n```"]
    parts += [
        "## Training data",
        _table(["what", "value"], facts(report["data"])),
        "## Metrics",
        f"On {report['rows']:,} {report['evaluated_on']} rows, with 95 % bootstrap intervals.",
        _metrics(report),
        _examples(report.get("examples") or []),
        "## Limits",
        _limits(report),
        "## Training",
        f"Method: {report['method']}.",
        _table(["what", "value"], facts(report["cost"])),
    ]
    if report["reproduce"]:
        parts += ["To reproduce:", f"```sh\n{report['reproduce'].strip()}\n```"]
    return "\n\n".join(part for part in parts if part) + "\n"


def _front_matter(report: Mapping[str, Any]) -> str:
    metadata: dict[str, Any] = {}
    if report["license"]:
        metadata["license"] = report["license"].lower()
    if report["base_model"]:
        metadata["base_model"] = report["base_model"]
    metadata["pipeline_tag"] = _PIPELINES[report["task"]]
    metadata["tags"] = ["luthier", report["task"], report["method"]]
    metadata["metrics"] = sorted({_HUB_METRICS[name] for name in report["metrics"] if name in _HUB_METRICS})
    return "---\n" + yaml.safe_dump(metadata, sort_keys=False, allow_unicode=True) + "---"


def _intended_use(report: Mapping[str, Any]) -> str:
    if report["task"] in LANGUAGE_TASKS:
        return (
            f"It writes {_ANSWERS[report['task']]}, for requests like those it was trained on: the same language, "
            "subject and form. It can state what is false with full confidence. Measure it on your own rows before "
            "you rely on it."
        )
    several = " (any number of them)" if report["several_labels"] else ""
    use = (
        f"It gives {_ANSWERS[report['task']]}{several}, for texts like those it was trained on: the same language, "
        "kind of text and labels. Measure it on your own rows before you rely on it elsewhere."
    )
    labels = report["labels"]
    if not labels or report["task"] == "regress":
        return use
    more = f" and {len(labels) - 100} more" if len(labels) > 100 else ""
    return use + "\n\nLabels: " + ", ".join(f"`{label}`" for label in labels[:100]) + more + "."


def _metrics(report: Mapping[str, Any]) -> str:
    rows = []
    for name, value in report["metrics"].items():
        interval = "" if value["low"] is None else f"{number(value['low'])} to {number(value['high'])}"
        others = [number((other.get(name) or {}).get("value")) for other in report["baselines"].values()]
        rows.append((metric_name(name).title, number(value["value"]), interval, *others))
    return _table(["metric", "this model", "95 % interval", *map(baseline_name, report["baselines"])], rows)


def _examples(examples: list[dict[str, Any]]) -> str:
    """The first answers as they came, neither chosen nor polished."""
    if not examples:
        return ""
    told = ["## Examples", "The first questions of the test rows; the answers are not chosen."]
    for one in examples[:_SHOWN_EXAMPLES]:
        parts = (("Asked", one["text"]), ("Expected", one["expected"]), ("Answered", one["predicted"]))
        told.append("\n\n".join(f"{name}:\n\n{_quoted(text)}" for name, text in parts))
    return "\n\n".join(told)


def _quoted(text: str) -> str:
    """A code block that nothing in the text can end."""
    return "\n".join("    " + line for line in text.splitlines()) or "    (nothing)"


def _limits(report: Mapping[str, Any]) -> str:
    limits = []
    table = report["per_class"]
    if report["task"] != "regress" and len(table) > 1:
        weakest = sorted(table, key=lambda label: table[label]["f1"] or 0.0)[:5]
        limits.append(
            "Weakest labels: " + ", ".join(f"`{label}` (F1 {number(table[label]['f1'], 2)})" for label in weakest) + "."
        )
    if report["confusion"] and report["confusion"]["pairs"]:
        pair = report["confusion"]["pairs"][0]
        limits.append(
            f"Most often confused: `{pair['expected']}` answered as `{pair['predicted']}` ({pair['count']} rows)."
        )
    if report.get("rows") and report["task"] in LANGUAGE_TASKS and report["rows"] < 100:
        limits.append(f"It was judged on {report['rows']} rows only; the intervals say how little that proves.")
    if report["overfitting"]:
        limits.append(report["overfitting"]["sentence"])
    limits += report["warnings"]
    limits.append("What the base model learned from its own training data, biases included, is still in it.")
    return "\n".join(f"- {limit}" for limit in limits)


def _table(head: list[str], rows: list[Any]) -> str:
    def row(cells: Any) -> str:
        return (
            "| "
            + " | ".join(escape(str(cell), quote=False).replace("|", "\\|").replace("\n", " ") for cell in cells)
            + " |"
        )

    return "\n".join([row(head), row(["---"] * len(head)), *map(row, rows)]) if rows else ""
