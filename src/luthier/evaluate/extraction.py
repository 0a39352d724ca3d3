"""Labelled spans: exact-match precision, recall and F1.

The convention is CoNLL's (Tjong Kim Sang and De Meulder 2003): a predicted span is right when its
boundaries and its label are exactly a reference span's; nothing is half right.
Legend of shapes: n rows, k labels, b resamples.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from luthier.core.predictor import Prediction
from luthier.evaluate.counts import class_metrics, class_table, count_metrics
from luthier.evaluate.intervals import FloatArray, IntArray

METRICS = ("f1", "precision", "recall", "macro_f1", "macro_precision", "macro_recall", "exact_match")
_Key = tuple[int, int, str]


def span_keys(spans: Iterable[Any] | None) -> Counter[_Key]:
    """Spans as countable (start, end, label)."""
    return Counter((span.start, span.end, span.label) for span in spans or ())


class SpanRows:
    """Collects answers and reduces each row to counts of hits, predictions and references per label."""

    def __init__(self, labels: Sequence[str]) -> None:
        self.labels = list(labels)
        self._index = {label: i for i, label in enumerate(self.labels)}
        self._counts: list[tuple[int, int, int, int]] = []  # row, label, kind (hit, predicted, gold), number
        self._exact: list[bool] = []

    def add(self, references: Sequence[Any], predictions: Sequence[Prediction]) -> FloatArray:
        """Take a batch; gives the severity [batch]: how many spans are too many or missing."""
        severity = np.zeros(len(predictions))
        for place, (reference, prediction) in enumerate(zip(references, predictions, strict=True)):
            gold, predicted = span_keys(reference), span_keys(prediction.spans)
            hits = gold & predicted
            row = len(self._exact)
            for kind, spans in enumerate((hits, predicted, gold)):
                by_label: Counter[str] = Counter()
                for (_, _, label), number in spans.items():
                    by_label[label] += number
                self._counts += [(row, self._label(label), kind, number) for label, number in by_label.items()]
            self._exact.append(gold == predicted)
            severity[place] = gold.total() + predicted.total() - 2 * hits.total()
        return severity

    def judge(self) -> ExtractionJudge:
        """The rows so far, ready to be measured."""
        counts = np.array(self._counts, dtype=np.int64).reshape(-1, 4)
        return ExtractionJudge(self.labels, counts, np.array(self._exact, dtype=np.float64))

    def _label(self, label: str) -> int:
        if label not in self._index:
            self._index[label] = len(self.labels)
            self.labels.append(label)
        return self._index[label]


class ExtractionJudge:
    """Span metrics; micro by default, so `f1` is the F1 over all spans.

    Args:
        labels: span labels [k].
        counts: [m, 4] of row, label, kind (0 hit, 1 predicted, 2 reference) and number.
        exact: 1.0 where a row's spans are exactly right [n].
    """

    def __init__(self, labels: Sequence[str], counts: Any, exact: FloatArray) -> None:
        from scipy.sparse import csr_matrix

        self.labels = list(labels)
        self.exact = exact
        self._cells = counts
        self._matrices: list[Any] = []
        for kind in range(3):
            row, label, _, number = counts[counts[:, 2] == kind].T
            shape = (len(labels), len(exact))
            self._matrices.append(csr_matrix((number.astype(np.float64), (label, row)), shape=shape))
        self.notes = [] if self._matrices[2].nnz else ["There is no reference span in these rows."]

    @property
    def num_rows(self) -> int:
        return len(self.exact)

    def take(self, rows: IntArray) -> ExtractionJudge:
        place = np.full(self.num_rows, -1)
        place[rows] = np.arange(len(rows))
        cells = self._cells[place[self._cells[:, 0]] >= 0]
        return ExtractionJudge(self.labels, np.column_stack([place[cells[:, 0]], cells[:, 1:]]), self.exact[rows])

    def row_counts(self) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Per row [n] how many spans are right, predicted, and in the reference."""
        hits, predicted, gold = (np.asarray(matrix.sum(axis=0)).ravel() for matrix in self._matrices)
        return hits, predicted, gold

    def names(self) -> tuple[str, ...]:
        return METRICS

    def _counts(self, weights: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        hits, predicted, gold = (matrix @ weights for matrix in self._matrices)
        return hits, predicted, gold

    def point(self, names: Sequence[str]) -> dict[str, float]:
        # scikit-learn knows no spans; these are its formulas with zero_division=0
        found = self.resampled(names, np.ones((self.num_rows, 1)))
        return {name: float(found[name][0]) for name in names}

    def resampled(self, names: Sequence[str], weights: FloatArray) -> dict[str, FloatArray]:
        found = count_metrics(names, *self._counts(weights), prefix="")
        if "exact_match" in names:
            found["exact_match"] = self.exact @ weights / self.num_rows
        return found

    def row_values(self, name: str) -> FloatArray | None:
        return self.exact if name == "exact_match" else None

    def per_class(self) -> dict[str, dict[str, Any]]:
        """Precision, recall, F1 and numbers of reference and predicted spans of each label."""
        hits, predicted, gold = (counts[:, 0] for counts in self._counts(np.ones((self.num_rows, 1))))
        return class_table(self.labels, hits, predicted, gold)

    def resampled_classes(self, weights: FloatArray) -> dict[str, FloatArray]:
        return class_metrics(*self._counts(weights))
