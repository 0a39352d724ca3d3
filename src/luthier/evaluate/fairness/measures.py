"""What is held against each other between groups: shares and means, each a quotient of two sums over rows.

Legend of shapes: n rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from luthier.evaluate.classification import ClassificationJudge
from luthier.evaluate.extraction import ExtractionJudge
from luthier.evaluate.generation import GenerationEvaluation
from luthier.evaluate.intervals import FloatArray, IntArray, Judge
from luthier.evaluate.label_sets import LabelSetsJudge
from luthier.evaluate.regression import RegressionJudge

Kind = Literal["main", "rate", "trust"]
"""What decides; the two kinds of error per label, or error with its sign; whether scores mean what they say."""
Better = Literal["lower", "higher", "zero"]
MAX_LABELS = 50
"""Labels with rates of their own, the most frequent ones."""


@dataclass(frozen=True)
class Measure:
    """Sum of `values` over sum of `counts`, over any rows.

    Attributes:
        name: for JSON; `title`: for people, within a sentence.
        values, counts: per row [n]; a row with count 0 has no say.
        better: which way is better; "zero": neither too much nor too little (bias).
        is_share: told in percent.
        rows: places [n] of the rows among those that have a group.
        label: the class or span label that it is about.
    """

    name: str
    title: str
    values: FloatArray
    counts: FloatArray
    kind: Kind
    better: Better
    is_share: bool
    rows: IntArray
    label: str | None = None

    @property
    def is_binary(self) -> bool:
        """Whether each row counts once or not at all, and is a hit or not: a proportion."""
        counts_once = bool(np.isin(self.counts, (0, 1)).all())
        return counts_once and bool(np.isin(self.values, (0, 1)).all())

    def of(self, rows: IntArray) -> float:
        """Its value over some rows; NaN where none of them counts."""
        total = float(self.counts[rows].sum())
        return float(self.values[rows].sum()) / total if total > 0 else float("nan")


def measures_of(judge: Judge) -> list[Measure]:
    """The measures of one task's rows, the deciding ones first."""
    rows = np.arange(judge.num_rows)
    if isinstance(judge, ClassificationJudge):
        return list(_of_classes(judge, rows))
    if isinstance(judge, LabelSetsJudge):
        return list(_of_label_sets(judge, rows))
    if isinstance(judge, RegressionJudge):
        return list(_of_numbers(judge, rows))
    if isinstance(judge, ExtractionJudge):
        return list(_of_spans(judge, rows))
    raise TypeError(f"no measures are known for {type(judge).__name__}")


def measures_of_writing(evaluation: GenerationEvaluation) -> list[Measure]:
    """Loss, and of the answers exact match, F1 and whatever else is a mean over rows."""
    likelihood, answers = evaluation.likelihood, evaluation.answers
    found = [
        Measure("loss", "loss per token", likelihood.loss_sum, likelihood.weight, "main", "lower", False,
                evaluation.measured_rows)
    ]  # fmt: skip
    titles = {"exact_match": "share of exactly right answers", "token_f1": "F1 of words",
              "tests_passed": "share of code that passes its tests", "json_exact": "share of right JSON"}  # fmt: skip
    for name, title in titles.items():
        values = answers.means.get(name)
        if values is None:
            continue
        there = np.isfinite(values)
        kind: Kind = "main" if name == evaluation.headline else "rate"
        found.append(
            Measure(name, title, np.where(there, values, 0.0), there.astype(np.float64), kind, "higher", True,
                    evaluation.answered_rows)
        )  # fmt: skip
    return found


def _of_classes(judge: ClassificationJudge, rows: IntArray) -> Iterator[Measure]:
    ones = np.ones(len(rows))
    yield Measure("error_rate", "share of wrong answers", 1 - judge.correct, ones, "main", "lower", True, rows)
    labels = judge.labels
    support = np.bincount(judge.truth, minlength=len(labels))
    chosen = np.argsort(-support, kind="stable")[:MAX_LABELS].tolist()
    if len(labels) == 2:
        chosen = [1]  # the rates of the other one are the same two numbers, exchanged
    for k in sorted(chosen):
        yield from _two_errors(labels[k], judge.truth == k, judge.answers == k, rows)
    if judge.probabilities is not None:
        surest = judge.probabilities.max(axis=1)
        right = (judge.probabilities.argmax(axis=1) == judge.truth).astype(np.float64)
        yield Measure("overconfidence", "confidence minus accuracy", surest - right, ones, "trust", "zero", True, rows)


def _two_errors(label: str, truth: np.ndarray, answer: np.ndarray, rows: IntArray) -> Iterator[Measure]:
    """False positives among the rows that are not of the label, false negatives among those that are."""
    wrong_yes, wrong_no = (answer & ~truth).astype(np.float64), (truth & ~answer).astype(np.float64)
    yield Measure(f"false_positive_rate:{label}", f"share of other rows taken for {label!r}", wrong_yes,
                  (~truth).astype(np.float64), "rate", "lower", True, rows, label)  # fmt: skip
    yield Measure(f"false_negative_rate:{label}", f"share of {label!r} that is missed", wrong_no,
                  truth.astype(np.float64), "rate", "lower", True, rows, label)  # fmt: skip


def _of_label_sets(judge: LabelSetsJudge, rows: IntArray) -> Iterator[Measure]:
    hits = (judge.truth & judge.answers).sum(axis=1).astype(np.float64)
    both = (judge.truth.sum(axis=1) + judge.answers.sum(axis=1)).astype(np.float64)
    yield Measure("micro_f1", "F1 over all labels", 2 * hits, both, "main", "higher", True, rows)
    wrong = (judge.truth != judge.answers).any(axis=1).astype(np.float64)
    yield Measure("error_rate", "share of rows not exactly right", wrong, np.ones(len(rows)), "rate", "lower", True,
                  rows)  # fmt: skip
    chosen = np.argsort(-judge.truth.sum(axis=0), kind="stable")[:MAX_LABELS].tolist()
    for k in sorted(chosen):
        yield from _two_errors(judge.labels[k], judge.truth[:, k], judge.answers[:, k], rows)
    if judge.are_probabilities and judge.scores is not None:
        gap = (judge.scores - judge.truth).sum(axis=1)
        each = np.full(len(rows), float(len(judge.labels)))
        yield Measure("overconfidence", "mean score minus how often the label holds", gap, each, "trust", "zero", True,
                      rows)  # fmt: skip


def _of_numbers(judge: RegressionJudge, rows: IntArray) -> Iterator[Measure]:
    error, ones = judge.answers - judge.truth, np.ones(len(rows))
    yield Measure("mae", "mean absolute error", np.abs(error).mean(axis=1), ones, "main", "lower", False, rows)
    for t, name in enumerate(judge.targets):
        several = len(judge.targets) > 1
        title = "mean signed error" + (f" of {name}" if several else "")
        yield Measure("bias" + (f":{name}" if several else ""), title, error[:, t], ones, "rate", "zero", False, rows)


def _of_spans(judge: ExtractionJudge, rows: IntArray) -> Iterator[Measure]:
    hits, predicted, gold = judge.row_counts()
    yield Measure("f1", "F1 of spans", 2 * hits, predicted + gold, "main", "higher", True, rows)
    yield Measure("precision", "precision of spans", hits, predicted, "rate", "higher", True, rows)
    yield Measure("recall", "recall of spans", hits, gold, "rate", "higher", True, rows)
