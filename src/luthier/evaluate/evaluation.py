"""Judges anything that is a Predictor: metrics with intervals, per class, and its worst errors."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Protocol

import numpy as np

from luthier.core.errors import DataError
from luthier.core.predictor import Prediction, Predictor, TextInput
from luthier.data.samples import Sample
from luthier.evaluate.classification import ClassificationJudge, LabelRows
from luthier.evaluate.extraction import SpanRows
from luthier.evaluate.intervals import FloatArray, Interval, Judge, bootstrap, bootstrap_classes
from luthier.evaluate.label_sets import LabelSetRows, LabelSetsJudge
from luthier.evaluate.metric_names import check_metrics, primary_metric
from luthier.evaluate.regression import NumberRows, RegressionJudge
from luthier.evaluate.worst_errors import WorstErrors

_LARGEST_MATRIX = 200  # classes; above it the report holds the confused pairs only
_NUM_PAIRS = 30
Keep = Callable[[Sample, Prediction, float], None]
"""Takes a row, its answer, and how wrong that is (0: right)."""


class Rows(Protocol):
    """Collects references and answers, keeping per row only what the metrics need."""

    labels: list[str]

    def add(self, references: Sequence[Any], predictions: Sequence[Prediction]) -> FloatArray:
        """Take a batch; gives how wrong each answer is [batch], 0 where it is right."""
        ...

    def judge(self) -> Judge: ...


def rows_for(task: str, labels: Sequence[str], several_labels: bool = False) -> Rows:
    """The collector of a task."""
    check_metrics(task, "auto", several_labels=several_labels)
    if task == "classify":
        return LabelSetRows(labels) if several_labels else LabelRows(labels)
    return NumberRows(labels) if task == "regress" else SpanRows(labels)


@dataclass(frozen=True)
class Evaluation:
    """What a model is worth on a test set.

    Attributes:
        metrics: every metric with its 95 % bootstrap interval.
        per_class: metrics of each class, span label or target, with ``intervals``.
        confusion: ``labels``, ``matrix`` (row = expected, column = predicted; None above 200
            classes), ``unanswered`` and the most confused ``pairs``; None unless each row has one label.
        worst_errors: the 50 worst, the surest (or farthest) first.
        calibration: reliability bins and abstain curve, where the scores are probabilities.
        judge: the rows, for paired comparisons with other models on the same rows.
    """

    task: str
    several_labels: bool
    labels: list[str]
    rows: int
    metrics: dict[str, Interval]
    per_class: dict[str, dict[str, Any]]
    confusion: dict[str, Any] | None
    calibration: dict[str, Any] | None
    worst_errors: list[dict[str, Any]]
    notes: list[str]
    judge: Judge = field(repr=False, compare=False)

    @property
    def primary(self) -> str:
        """The metric that decides between models."""
        constant = isinstance(self.judge, RegressionJudge) and self.judge.constant
        return primary_metric(self.task, self.several_labels, constant=constant)[0]

    def to_dict(self) -> dict[str, Any]:
        """JSON; `luthier eval --json` prints its ``metrics`` and ``rows``."""
        return {
            "task": self.task,
            "rows": self.rows,
            "labels": self.labels,
            "primary": self.primary,
            "metrics": {name: interval.to_dict() for name, interval in self.metrics.items()},
            "per_class": self.per_class,
            "confusion": self.confusion,
            "calibration": self.calibration,
            "worst_errors": self.worst_errors,
            "notes": self.notes,
        }


def evaluate_predictions(
    task: str,
    references: Sequence[Any],
    predictions: Sequence[Prediction],
    labels: Sequence[str],
    *,
    metrics: str | Sequence[str] = "auto",
    several_labels: bool = False,
    bootstrap: int = 1000,
    seed: int = 0,
    texts: Sequence[TextInput] | None = None,
) -> Evaluation:
    """Judge answers that are already there.

    Args:
        references: each row's target: a label, a tuple of labels, numbers or spans.
        labels: class or span labels, or target names, in the order of the model's outputs.
        bootstrap: resamples behind each interval; 0 = no intervals.
        texts: the rows' texts, to show the worst errors.

    Raises:
        RecipeError: an unknown task or metric (with the nearest known one).
        DataError: no rows, or not as many answers as references.
    """
    if len(references) != len(predictions):
        raise DataError(
            f"there are {len(predictions)} predictions for {len(references)} rows.",
            remedy="Predict every row once, in order.",
            code="rows_differ",
        )
    names = check_metrics(task, metrics, several_labels=several_labels)
    rows = rows_for(task, labels, several_labels)
    if not len(references):
        raise _no_rows()
    severity = rows.add(references, predictions)
    worst = WorstErrors(task, several_labels)
    if texts is not None:
        for i, text in enumerate(texts):
            first, second = (text, None) if isinstance(text, str) else text
            worst.see(severity[i], Sample(first, second, references[i], line=i + 1), predictions[i])
    return _evaluation(task, several_labels, rows, worst, names, metrics == "auto", bootstrap, seed)


def evaluate(
    predictor: Predictor,
    samples: Iterable[Sample],
    *,
    metrics: str | Sequence[str] = "auto",
    several_labels: bool | None = None,
    bootstrap: int = 1000,
    seed: int = 0,
    batch_size: int = 256,
    keep: Keep | None = None,
) -> Evaluation:
    """Let `predictor` answer `samples` batch by batch and judge it; `keep` is given each row with its answer.

    Per row only class indices, a float32 score vector, numbers or span counts are kept. Rows
    without a target are passed over and counted in the notes. `several_labels` None is found from
    the first target.
    """
    task = predictor.task
    rows: Rows | None = None
    worst: WorstErrors | None = None
    names: tuple[str, ...] = ()
    skipped = 0
    for batch in _batches(samples, batch_size):
        answerable = [sample for sample in batch if sample.target is not None]
        skipped += len(batch) - len(answerable)
        if not answerable:
            continue
        if rows is None or worst is None:
            if several_labels is None:
                several_labels = task == "classify" and isinstance(answerable[0].target, tuple)
            names = check_metrics(task, metrics, several_labels=several_labels)
            rows = rows_for(task, predictor.labels, several_labels)
            worst = WorstErrors(task, several_labels)
        predictions = predictor.predict([sample.input for sample in answerable])
        severity = rows.add([sample.target for sample in answerable], predictions)
        for place in np.flatnonzero(severity):
            worst.see(severity[place], answerable[place], predictions[place])
        if keep is not None:
            for sample, prediction, wrong in zip(answerable, predictions, severity, strict=True):
                keep(sample, prediction, float(wrong))
    if rows is None or worst is None:
        raise _no_rows()
    notes = [f"Rows without a target, passed over: {skipped}."] if skipped else []
    return _evaluation(task, bool(several_labels), rows, worst, names, metrics == "auto", bootstrap, seed, notes)


def _no_rows() -> DataError:
    return DataError(
        "there is no row with a target to evaluate on.",
        code="no_rows",
        remedy="Give data with the task's label, score or spans column.",
    )


def _batches(samples: Iterable[Sample], size: int) -> Iterator[list[Sample]]:
    iterator = iter(samples)
    while batch := list(islice(iterator, size)):
        yield batch


def _evaluation(
    task: str,
    several_labels: bool,
    rows: Rows,
    worst: WorstErrors,
    names: Sequence[str],
    auto: bool,
    resamples: int,
    seed: int,
    notes: Sequence[str] = (),
) -> Evaluation:
    judge = rows.judge()
    available = judge.names()
    missing = [name for name in names if name not in available]
    metrics = bootstrap(judge, [name for name in names if name in available], resamples=resamples, seed=seed)
    notes = [*notes, *judge.notes]
    if missing and not auto:
        notes.append("Not available, because the model gives no probabilities: " + ", ".join(missing) + ".")
        metrics |= {name: Interval(float("nan"), float("nan"), float("nan")) for name in missing}
    return Evaluation(
        task=task,
        several_labels=several_labels,
        labels=list(rows.labels),
        rows=judge.num_rows,
        metrics=metrics,
        per_class=bootstrap_classes(judge, resamples=resamples, seed=seed) if resamples else judge.per_class(),
        confusion=_confusion(judge) if isinstance(judge, ClassificationJudge) else None,
        calibration=judge.calibration() if isinstance(judge, ClassificationJudge | LabelSetsJudge) else None,
        worst_errors=worst.found(),
        notes=notes,
        judge=judge,
    )


def _confusion(judge: ClassificationJudge) -> dict[str, Any]:
    matrix = judge.confusion_matrix()
    off_diagonal = matrix.copy()
    np.fill_diagonal(off_diagonal, 0)
    cells = np.argsort(-off_diagonal, axis=None, kind="stable")[:_NUM_PAIRS]
    support = np.bincount(judge.truth, minlength=len(matrix))
    pairs = [
        {
            "expected": judge.labels[row],
            "predicted": judge.labels[column],
            "count": int(matrix[row, column]),
            "share": float(matrix[row, column] / support[row]),
        }
        for row, column in zip(*np.unravel_index(cells, matrix.shape), strict=True)
        if off_diagonal[row, column]
    ]
    unanswered = np.bincount(judge.truth[judge.answers < 0], minlength=len(matrix))
    return {
        "labels": judge.labels,
        "matrix": matrix.tolist() if len(matrix) <= _LARGEST_MATRIX else None,
        "unanswered": unanswered.tolist(),
        "pairs": pairs,
    }
