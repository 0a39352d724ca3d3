"""One label per row: accuracy, F1, ranking and calibration metrics.

Legend of shapes: n rows, k classes, b resamples. Class -1 stands for "no answer".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from luthier.core.predictor import Prediction
from luthier.evaluate.calibration import NUM_BINS, abstain_curve, bin_of, calibration_error, reliability
from luthier.evaluate.counts import class_metrics, class_table, count_metrics, sums
from luthier.evaluate.intervals import FloatArray, IntArray
from luthier.evaluate.ranking import mean_ranking, point_ranking

METRICS = ("accuracy", "macro_f1", "micro_f1", "weighted_f1", "macro_precision", "macro_recall")
SCORE_METRICS = ("roc_auc", "average_precision")
PROBABILITY_METRICS = ("log_loss", "calibration_error")


class LabelRows:
    """Collects answers and reduces each row to two class indices and a float32 score vector."""

    def __init__(self, labels: Sequence[str]) -> None:
        self.labels = list(labels)
        self._index = {label: i for i, label in enumerate(self.labels)}
        self._num_outputs = len(self.labels)
        self._truth: list[int] = []
        self._answers: list[int] = []
        self._scores: list[npt.NDArray[np.float32]] = []
        self._abstained = 0

    def add(self, references: Sequence[Any], predictions: Sequence[Prediction]) -> FloatArray:
        """Take a batch; gives the severity [batch] of each error: the score of a wrong answer, 0 if right."""
        severity = np.zeros(len(predictions))
        for row, (reference, prediction) in enumerate(zip(references, predictions, strict=True)):
            truth = self._class_of(reference)
            answer = -1 if prediction.label is None else self._class_of(prediction.label)
            self._truth.append(truth)
            self._answers.append(answer)
            self._abstained += prediction.label is None
            if truth != answer:
                severity[row] = 1e-9 + (prediction.score or 0.0)
        if all(prediction.scores for prediction in predictions) and predictions:
            outputs = self.labels[: self._num_outputs]
            self._scores.append(
                np.array(
                    [[prediction.scores.get(label, 0.0) for label in outputs] for prediction in predictions],
                    dtype=np.float32,
                ).reshape(len(predictions), -1)
            )
        return severity

    def judge(self) -> ClassificationJudge:
        """The rows so far, ready to be measured."""
        truth, answers = np.array(self._truth, dtype=np.int64), np.array(self._answers, dtype=np.int64)
        notes = []
        unseen = self.labels[self._num_outputs :]
        if unseen:
            notes.append(
                f"{len(unseen)} of the labels are not among the model's classes ("
                + ", ".join(repr(label) for label in unseen[:5])
                + "); such rows cannot be right."
            )
        if self._abstained:
            notes.append(f"{self._abstained} of {len(truth)} rows got no answer; they count as wrong.")
        scores = None
        if sum(len(part) for part in self._scores) == len(truth):
            scores = np.concatenate(self._scores).astype(np.float64)
            scores = np.pad(scores, ((0, 0), (0, len(unseen))))
        return ClassificationJudge(self.labels, truth, answers, scores, notes)

    def _class_of(self, label: Any) -> int:
        name = str(label)
        if name not in self._index:
            self._index[name] = len(self.labels)
            self.labels.append(name)
        return self._index[name]


class ClassificationJudge:
    """Metrics of single-label answers.

    Args:
        labels: the class names [k].
        truth: class indices [n].
        answers: class indices [n], -1 for no answer.
        scores: [n, k] or None; probability metrics need rows that sum to 1.
    """

    def __init__(
        self,
        labels: Sequence[str],
        truth: IntArray,
        answers: IntArray,
        scores: FloatArray | None,
        notes: Sequence[str] = (),
    ) -> None:
        self.labels = list(labels)
        self.truth = truth
        self.answers = answers
        self.scores = scores
        self.notes = list(notes)
        self.probabilities: FloatArray | None = None
        if scores is not None and len(scores):
            totals = scores.sum(axis=1, keepdims=True)
            if bool((scores >= 0).all()) and bool((np.abs(totals - 1) < 1e-2).all()):
                self.probabilities = scores / totals
            else:
                self.notes.append(
                    "The scores are no probabilities (they do not sum to 1), so log-loss and "
                    "calibration error are left out."
                )

    @property
    def num_rows(self) -> int:
        return len(self.truth)

    def take(self, rows: IntArray) -> ClassificationJudge:
        scores = None if self.scores is None else self.scores[rows]
        return ClassificationJudge(self.labels, self.truth[rows], self.answers[rows], scores)

    def names(self) -> tuple[str, ...]:
        return (
            *METRICS,
            *(SCORE_METRICS if self.scores is not None else ()),
            *(PROBABILITY_METRICS if self.probabilities is not None else ()),
        )

    @cached_property
    def correct(self) -> FloatArray:
        correct: FloatArray = (self.truth == self.answers).astype(np.float64)
        return correct

    @cached_property
    def _truth_matrix(self) -> npt.NDArray[np.bool_]:
        matrix: npt.NDArray[np.bool_] = self.truth[:, None] == np.arange(len(self.labels))
        return matrix

    @cached_property
    def _row_loss(self) -> FloatArray:
        assert self.probabilities is not None
        chosen = self.probabilities[np.arange(self.num_rows), self.truth]
        loss: FloatArray = -np.log(np.maximum(chosen, np.finfo(np.float64).eps))  # scikit-learn's clipping
        return loss

    @cached_property
    def _confidence(self) -> tuple[FloatArray, FloatArray]:
        assert self.probabilities is not None
        right = (self.probabilities.argmax(axis=1) == self.truth).astype(np.float64)
        return self.probabilities.max(axis=1), right

    def row_values(self, name: str) -> FloatArray | None:
        if name == "accuracy":
            return self.correct
        return self._row_loss if name == "log_loss" else None

    def point(self, names: Sequence[str]) -> dict[str, float]:
        from sklearn import metrics

        present = np.union1d(self.truth, self.answers[self.answers >= 0]).tolist()
        options: dict[str, Any] = {"labels": present, "zero_division": 0}
        found: dict[str, float] = {}
        if {"roc_auc", "average_precision"} & set(names) and self.scores is not None:
            each = list(point_ranking(self.scores, self._truth_matrix).values())
            for place, name in enumerate(SCORE_METRICS):
                found[name] = float(np.mean([pair[place] for pair in each])) if each else float("nan")
        score_of = {
            "f1": metrics.f1_score,
            "precision": metrics.precision_score,
            "recall": metrics.recall_score,
        }
        for name in names:
            if name == "accuracy":
                found[name] = float(metrics.accuracy_score(self.truth, self.answers))
            elif name == "log_loss":
                every_class = range(len(self.labels))
                found[name] = float(
                    metrics.log_loss(self.truth, self.probabilities, labels=every_class)
                    if len(every_class) > 1
                    else 0.0
                )
            elif name == "calibration_error":
                found[name] = calibration_error(*self._confidence)
            elif name not in found:
                average, _, kind = name.partition("_")
                found[name] = float(score_of[kind](self.truth, self.answers, average=average, **options))
        return {name: found[name] for name in names}

    def _counts(self, weights: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        k = len(self.labels)
        hits = sums(np.where(self.truth == self.answers, self.truth, -1), k, weights)
        return hits, sums(self.answers, k, weights), sums(self.truth, k, weights)

    def resampled(self, names: Sequence[str], weights: FloatArray) -> dict[str, FloatArray]:
        n = self.num_rows
        hits, predicted, gold = self._counts(weights)
        found = count_metrics(names, hits, predicted, gold)
        if "accuracy" in names:
            found["accuracy"] = hits.sum(axis=0) / n
        if self.scores is not None and {"roc_auc", "average_precision"} & set(names):
            both = mean_ranking(self.scores, self._truth_matrix, weights)
            found |= {name: both[place] for place, name in enumerate(SCORE_METRICS) if name in names}
        if "log_loss" in names:
            found["log_loss"] = self._row_loss @ weights / n
        if "calibration_error" in names:
            confidence, right = self._confidence
            gaps = sums(bin_of(confidence), NUM_BINS, weights, right - confidence)
            found["calibration_error"] = np.abs(gaps).sum(axis=0) / n
        return found

    def per_class(self) -> dict[str, dict[str, Any]]:
        """Precision, recall, F1 and counts; AUC and average precision where there are scores."""
        ones = np.ones((self.num_rows, 1))
        hits, predicted, gold = (counts[:, 0] for counts in self._counts(ones))
        ranked = point_ranking(self.scores, self._truth_matrix) if self.scores is not None else None
        return class_table(self.labels, hits, predicted, gold, ranked)

    def resampled_classes(self, weights: FloatArray) -> dict[str, FloatArray]:
        return class_metrics(*self._counts(weights))

    def confusion_matrix(self) -> IntArray:
        """Counts [k, k]: row = expected, column = predicted; rows without an answer are in no cell."""
        k = len(self.labels)
        answered = self.answers >= 0
        cells = np.bincount(self.truth[answered] * k + self.answers[answered], minlength=k * k)
        return cells.reshape(k, k)

    def calibration(self) -> dict[str, Any] | None:
        """Reliability bins and the abstain curve, where the scores are probabilities."""
        if self.probabilities is None:
            return None
        confidence, right = self._confidence
        return {
            "bins": [asdict(item) for item in reliability(confidence, right)],
            "abstain": abstain_curve(confidence, right).to_dict(),
        }
