"""The metrics' names: how people read them, which way is better, which task has which."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from luthier.core.errors import RecipeError, nearest
from luthier.core.recipe import TASKS
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
}


def metrics_of(task: str, several_labels: bool = False) -> tuple[str, ...]:
    """Every metric that a task can have; an unknown task is a `RecipeError`."""
    if task == "classify":
        room = label_sets if several_labels else classification
        return (*room.METRICS, *room.SCORE_METRICS, *room.PROBABILITY_METRICS)
    if task == "regress":
        return regression.METRICS
    if task == "extract":
        return extraction.METRICS
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
    return "f1", True
