"""Any number of labels per row: micro and macro F1, subset accuracy, ranking and calibration.

Legend of shapes: n rows, k labels, b resamples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from luthier.core.predictor import Prediction
from luthier.evaluate.calibration import NUM_BINS, bin_of, calibration_error, reliability
from luthier.evaluate.counts import class_metrics, class_table, count_metrics
from luthier.evaluate.intervals import FloatArray, IntArray
from luthier.evaluate.ranking import BoolArray, mean_ranking, point_ranking

METRICS = (
    "micro_f1",
    "macro_f1",
    "micro_precision",
    "micro_recall",
    "macro_precision",
    "macro_recall",
    "subset_accuracy",
)
SCORE_METRICS = ("roc_auc", "average_precision")
PROBABILITY_METRICS = ("log_loss", "calibration_error")
_THRESHOLD = 0.5


def chosen_labels(prediction: Prediction) -> tuple[str, ...]:
    """The labels that a prediction asserts: its own choice, else those scored 0.5 or more."""
    if prediction.labels is not None:
        return prediction.labels
    if prediction.scores:
        return tuple(label for label, score in prediction.scores.items() if score >= _THRESHOLD)
    return () if prediction.label is None else (prediction.label,)


class LabelSetRows:
    """Collects answers and reduces each row to two sets of label indices and a float32 score vector."""

    def __init__(self, labels: Sequence[str]) -> None:
        self.labels = list(labels)
        self._index = {label: i for i, label in enumerate(self.labels)}
        self._num_outputs = len(self.labels)
        self._truth: list[list[int]] = []
        self._answers: list[list[int]] = []
        self._scores: list[npt.NDArray[np.float32]] = []

    def add(self, references: Sequence[Any], predictions: Sequence[Prediction]) -> FloatArray:
        """Take a batch; gives the severity [batch]: how many labels are too many or missing."""
        severity = np.zeros(len(predictions))
        for row, (reference, prediction) in enumerate(zip(references, predictions, strict=True)):
            given = () if reference is None else (reference,) if isinstance(reference, str) else reference
            truth = {self._label(label) for label in given}
            answer = {self._label(label) for label in chosen_labels(prediction)}
            self._truth.append(sorted(truth))
            self._answers.append(sorted(answer))
            severity[row] = len(truth ^ answer)
        if all(prediction.scores for prediction in predictions) and predictions:
            outputs = self.labels[: self._num_outputs]
            self._scores.append(
                np.array(
                    [[prediction.scores.get(label, 0.0) for label in outputs] for prediction in predictions],
                    dtype=np.float32,
                ).reshape(len(predictions), -1)
            )
        return severity

    def judge(self) -> LabelSetsJudge:
        """The rows so far, ready to be measured."""
        unseen = self.labels[self._num_outputs :]
        notes = (
            [
                f"{len(unseen)} of the labels are not among the model's ("
                + ", ".join(repr(label) for label in unseen[:5])
                + ")."
            ]
            if unseen
            else []
        )
        scores = None
        if sum(len(part) for part in self._scores) == len(self._truth):
            scores = np.pad(np.concatenate(self._scores).astype(np.float64), ((0, 0), (0, len(unseen))))
        return LabelSetsJudge(self.labels, self._matrix(self._truth), self._matrix(self._answers), scores, notes)

    def _matrix(self, rows: list[list[int]]) -> BoolArray:
        matrix = np.zeros((len(rows), len(self.labels)), dtype=np.bool_)
        for row, columns in enumerate(rows):
            matrix[row, columns] = True
        return matrix

    def _label(self, label: Any) -> int:
        name = str(label)
        if name not in self._index:
            self._index[name] = len(self.labels)
            self.labels.append(name)
        return self._index[name]


class LabelSetsJudge:
    """Metrics of label sets.

    Args:
        labels: names [k].
        truth: [n, k].
        answers: [n, k].
        scores: [n, k] or None; log-loss and calibration need values between 0 and 1.
    """

    def __init__(
        self,
        labels: Sequence[str],
        truth: BoolArray,
        answers: BoolArray,
        scores: FloatArray | None,
        notes: Sequence[str] = (),
    ) -> None:
        self.labels = list(labels)
        self.truth = truth
        self.answers = answers
        self.scores = scores
        self.notes = list(notes)
        self.are_probabilities = scores is not None and bool(((scores >= 0) & (scores <= 1)).all())
        if scores is not None and not self.are_probabilities:
            self.notes.append("The scores are no probabilities: log-loss and calibration error are left out.")

    @property
    def num_rows(self) -> int:
        return len(self.truth)

    def take(self, rows: IntArray) -> LabelSetsJudge:
        scores = None if self.scores is None else self.scores[rows]
        return LabelSetsJudge(self.labels, self.truth[rows], self.answers[rows], scores)

    def names(self) -> tuple[str, ...]:
        return (
            *METRICS,
            *(SCORE_METRICS if self.scores is not None else ()),
            *(PROBABILITY_METRICS if self.are_probabilities else ()),
        )

    @cached_property
    def _exact(self) -> FloatArray:
        exact: FloatArray = (self.truth == self.answers).all(axis=1).astype(np.float64)
        return exact

    @cached_property
    def _row_loss(self) -> FloatArray:
        """Binary cross-entropy [n], mean over labels."""
        assert self.scores is not None
        tiny = np.finfo(np.float64).eps
        chosen = np.where(self.truth, self.scores, 1 - self.scores)
        loss: FloatArray = -np.log(np.maximum(chosen, tiny)).mean(axis=1)
        return loss

    def row_values(self, name: str) -> FloatArray | None:
        if name == "subset_accuracy":
            return self._exact
        return self._row_loss if name == "log_loss" else None

    def point(self, names: Sequence[str]) -> dict[str, float]:
        from sklearn import metrics

        present = np.flatnonzero(self.truth.any(axis=0) | self.answers.any(axis=0)).tolist()
        score_of = {
            "f1": metrics.f1_score,
            "precision": metrics.precision_score,
            "recall": metrics.recall_score,
        }
        ranked = {}
        if self.scores is not None and {"roc_auc", "average_precision"} & set(names):
            each = list(point_ranking(self.scores, self.truth).values())
            ranked = {
                name: float(np.mean([pair[place] for pair in each])) if each else float("nan")
                for place, name in enumerate(SCORE_METRICS)
            }
        found: dict[str, float] = {}
        for name in names:
            if name in ranked:
                found[name] = ranked[name]
            elif name == "subset_accuracy":
                found[name] = float(self._exact.mean())
            elif name == "log_loss":
                found[name] = float(self._row_loss.mean())
            elif name == "calibration_error":
                assert self.scores is not None
                found[name] = calibration_error(self.scores.ravel(), self.truth.ravel())
            elif not present:
                found[name] = 0.0
            else:
                average, _, kind = name.partition("_")
                # two columns at least, as scikit-learn takes a single one for a binary task
                padding = ((0, 0), (0, 1))
                found[name] = float(
                    score_of[kind](
                        np.pad(self.truth, padding),
                        np.pad(self.answers, padding),
                        labels=present,
                        average=average,
                        zero_division=0,
                    )
                )
        return found

    def _counts(self, weights: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        from scipy.sparse import csr_matrix

        def count(matrix: BoolArray) -> FloatArray:
            product: FloatArray = csr_matrix(matrix.T.astype(np.float64)) @ weights
            return product

        return count(self.truth & self.answers), count(self.answers), count(self.truth)

    def resampled(self, names: Sequence[str], weights: FloatArray) -> dict[str, FloatArray]:
        found = count_metrics(names, *self._counts(weights))
        if self.scores is not None and {"roc_auc", "average_precision"} & set(names):
            both = mean_ranking(self.scores, self.truth, weights)
            found |= {name: both[place] for place, name in enumerate(SCORE_METRICS) if name in names}
        for name in ("subset_accuracy", "log_loss"):
            values = self.row_values(name) if name in names else None
            if values is not None:
                found[name] = values @ weights / self.num_rows
        if "calibration_error" in names:
            found["calibration_error"] = self._resampled_calibration(weights)
        return found

    def _resampled_calibration(self, weights: FloatArray) -> FloatArray:
        from scipy.sparse import csr_matrix

        assert self.scores is not None
        rows = np.repeat(np.arange(self.num_rows), len(self.labels))
        gaps = (self.truth - self.scores).ravel()
        matrix = csr_matrix((gaps, (bin_of(self.scores.ravel()), rows)), shape=(NUM_BINS, self.num_rows))
        error: FloatArray = np.abs(matrix @ weights).sum(axis=0) / self.scores.size
        return error

    def per_class(self) -> dict[str, dict[str, Any]]:
        """Precision, recall, F1 and counts; AUC and average precision where there are scores."""
        hits, predicted, gold = (counts[:, 0] for counts in self._counts(np.ones((self.num_rows, 1))))
        ranked = point_ranking(self.scores, self.truth) if self.scores is not None else None
        return class_table(self.labels, hits, predicted, gold, ranked)

    def resampled_classes(self, weights: FloatArray) -> dict[str, FloatArray]:
        return class_metrics(*self._counts(weights))

    def calibration(self) -> dict[str, Any] | None:
        """Reliability bins over all (row, label) pairs: the score beside how often the label held."""
        if not self.are_probabilities or self.scores is None:
            return None
        return {"bins": [asdict(item) for item in reliability(self.scores.ravel(), self.truth.ravel())]}
