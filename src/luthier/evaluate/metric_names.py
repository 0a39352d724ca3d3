"""The metrics' names: how people read them, which way is better, which task has which."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from luthier.core.errors import RecipeError, nearest
from luthier.core.recipe import LANGUAGE_TASKS, TASKS
from luthier.evaluate import classification, extraction, label_sets, regression


@dataclass(frozen=True, slots=True)
class MetricName:
    """A metric in words; `is_share` says that it lies between 0 and 1 and is told in percent."""

    title: str
    higher_is_better: bool = True
    is_share: bool = True


METRIC_NAMES: dict[str, MetricName] = {
    "accuracy": MetricName("Accuracy"),
    "subset_accuracy": MetricName("Subset accuracy"),
    "f1": MetricName("F1"),
    "precision": MetricName("Precision"),
    "recall": MetricName("Recall"),
    "exact_match": MetricName("Exact match"),
    "macro_f1": MetricName("F1, macro"),
    "micro_f1": MetricName("F1, micro"),
    "weighted_f1": MetricName("F1, weighted"),
    "macro_precision": MetricName("Precision, macro"),
    "micro_precision": MetricName("Precision, micro"),
    "macro_recall": MetricName("Recall, macro"),
    "micro_recall": MetricName("Recall, micro"),
    "roc_auc": MetricName("ROC-AUC, macro"),
    "average_precision": MetricName("Average precision, macro"),
    "log_loss": MetricName("Log-loss", higher_is_better=False, is_share=False),
    "calibration_error": MetricName("Calibration error", higher_is_better=False),
    "mse": MetricName("Mean squared error", higher_is_better=False, is_share=False),
    "rmse": MetricName("Root mean squared error", higher_is_better=False, is_share=False),
    "mae": MetricName("Mean absolute error", higher_is_better=False, is_share=False),
    "r2": MetricName("R²", is_share=False),
    "pearson": MetricName("Pearson correlation", is_share=False),
    "spearman": MetricName("Spearman correlation", is_share=False),
    "loss": MetricName("Loss", higher_is_better=False, is_share=False),
    "perplexity": MetricName("Perplexity", higher_is_better=False, is_share=False),
    "token_accuracy": MetricName("Token accuracy"),
    "token_f1": MetricName("F1 of words"),
    "bleu": MetricName("BLEU", is_share=False),
    "chrf": MetricName("chrF", is_share=False),
    "rouge1": MetricName("ROUGE-1"),
    "rouge2": MetricName("ROUGE-2"),
    "rougeL": MetricName("ROUGE-L"),
    "json_valid": MetricName("Valid JSON"),
    "json_fields": MetricName("F1 of JSON fields"),
    "json_exact": MetricName("All JSON fields right"),
    "code_compiles": MetricName("Code that compiles"),
    "tests_passed": MetricName("Code that passes its tests"),
}
LANGUAGE_METRICS = (
    "loss", "perplexity", "token_accuracy", "exact_match", "token_f1", "bleu", "chrf", "rouge1", "rouge2", "rougeL",
    "json_valid", "json_fields", "json_exact", "code_compiles", "tests_passed",
)  # fmt: skip
GRADER_PREFIX = "grader:"
"""Before the name of a grader, whose score is a metric."""


def metric_name(name: str) -> MetricName:
    """A metric in words; a grader's is called as the grader is."""
    if name.startswith(GRADER_PREFIX):
        return MetricName(f"Grader {name.removeprefix(GRADER_PREFIX)}", is_share=False)
    return METRIC_NAMES[name]


def metrics_of(task: str, several_labels: bool = False) -> tuple[str, ...]:
    """Every metric that a task can have; an unknown task is a `RecipeError`."""
    if task == "classify":
        room = label_sets if several_labels else classification
        return (*room.METRICS, *room.SCORE_METRICS, *room.PROBABILITY_METRICS)
    if task == "regress":
        return regression.METRICS
    if task == "extract":
        return extraction.METRICS
    if task in LANGUAGE_TASKS:
        return LANGUAGE_METRICS
    raise RecipeError(f"there is no task {task!r}.", remedy=nearest(task, TASKS), param="task")


def check_metrics(task: str, metrics: str | Sequence[str], *, several_labels: bool = False) -> tuple[str, ...]:
    """The metrics asked for, "auto" being all of the task's; an unknown one is a `RecipeError`."""
    known = metrics_of(task, several_labels)
    if metrics == "auto":
        return known
    asked = (metrics,) if isinstance(metrics, str) else tuple(dict.fromkeys(metrics))
    for name in asked:
        if name not in known:
            kind = "a classification with several labels" if several_labels else f"the task {task!r}"
            raise RecipeError(
                f"there is no metric {name!r} for {kind}.",
                remedy=nearest(name, known),
                param="evaluate.metrics",
                code="unknown_metric",
            )
    return asked


def primary_metric(task: str, several_labels: bool = False, *, constant: bool = False) -> tuple[str, bool]:
    """(name, higher_is_better) of the metric that decides between models.

    `constant` says that a correlation is undefined because one side never changes; the mean
    squared error decides then.
    """
    metrics_of(task, several_labels)
    if task == "classify":
        return ("micro_f1" if several_labels else "accuracy"), True
    if task == "regress":
        return ("mse", False) if constant else ("spearman", True)
    if task in LANGUAGE_TASKS:
        return "loss", False
    return "f1", True
