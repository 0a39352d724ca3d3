"""How good the answers of an approach are: one metric for all approaches of a task, on the same rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from luthier.approaches.answers import AnswerForm
from luthier.core.conversation import Completion, Conversation
from luthier.core.predictor import Prediction
from luthier.core.recipe import LANGUAGE_TASKS
from luthier.data.samples import Sample
from luthier.evaluate.evaluation import evaluate_predictions, rows_for
from luthier.evaluate.generation.questions import Question, item_of, question_of
from luthier.evaluate.generation.scoring import AnswerScores
from luthier.evaluate.intervals import (
    Interval,
    Judge,
    PairedTest,
    Verdict,
    bootstrap,
    decide,
    holm,
    paired_bootstrap,
    paired_test,
)
from luthier.evaluate.metric_names import metric_name, primary_metric


@dataclass(frozen=True)
class Score:
    """Metrics with intervals on `rows` rows; `metric` decides."""

    metric: str
    metrics: dict[str, Interval]
    rows: int

    @property
    def interval(self) -> Interval:
        """Of the metric that decides."""
        return self.metrics[self.metric]


class Scorer:
    """Scores answers to rows of one task, all by the same metric.

    For texts that is the telling metric of the references (AnswerScores): a loss would leave out whoever gives no
    probabilities.
    """

    def __init__(self, form: AnswerForm, samples: Sequence[Sample], *, resamples: int = 1000, seed: int = 0) -> None:
        self.form, self.samples = form, list(samples)
        self._resamples, self._seed = resamples, seed
        self._writes = form.task in LANGUAGE_TASKS
        if self._writes:
            known = AnswerScores()
            for sample in self.samples:
                _add(known, sample, "")
            self.metric = known.chosen()[0]
            self.shown = tuple(known.chosen()[:3])
        else:
            self.metric = primary_metric(form.task, form.several_labels)[0]
            self.shown = ()

    @property
    def higher_is_better(self) -> bool:
        """Of the metric."""
        return metric_name(self.metric).higher_is_better

    def score(self, predictions: Sequence[Prediction]) -> Score:
        """Of the first rows, as many as there are predictions."""
        if self._writes:
            judge = self._judge(predictions)
            names = [name for name in dict.fromkeys((self.metric, *self.shown)) if name in judge.names()]
            found = bootstrap(judge, names, resamples=self._resamples, seed=self._seed)
            return Score(self.metric, found, len(predictions))
        rows = self.samples[: len(predictions)]
        judged = evaluate_predictions(
            self.form.task, [row.target for row in rows], predictions, self.form.labels,
            several_labels=self.form.several_labels, bootstrap=self._resamples, seed=self._seed,
        )  # fmt: skip
        nothing = Interval(float("nan"), float("nan"), float("nan"))
        return Score(self.metric, {self.metric: nothing} | judged.metrics, len(rows))

    def value(self, predictions: Sequence[Prediction]) -> float:
        """The metric alone, higher is better (its sign is changed where needed); undefined counts as the worst."""
        found = self._judge(predictions).point([self.metric])[self.metric]
        if found != found:
            return float("-inf")
        return found if self.higher_is_better else -found

    def compare(self, ours: Sequence[Prediction], theirs: Sequence[Prediction]) -> PairedTest:
        """A paired test on the rows that both have answered; a positive difference is ours."""
        rows = min(len(ours), len(theirs))
        a, b = self._judge(ours[:rows]), self._judge(theirs[:rows])
        one, other = a.row_values(self.metric), b.row_values(self.metric)
        if one is not None and other is not None:
            return paired_test(
                one, other, higher_is_better=self.higher_is_better, resamples=self._resamples, seed=self._seed
            )
        return paired_bootstrap(
            a, b, self.metric, higher_is_better=self.higher_is_better, resamples=self._resamples, seed=self._seed
        )

    def verdicts(
        self, ours: Sequence[Prediction], others: Mapping[str, Sequence[Prediction]]
    ) -> dict[str, tuple[PairedTest, float, Verdict]]:
        """(test, p-value corrected for their number (Holm 1979), verdict) of ours against each other."""
        tests = {name: self.compare(ours, theirs) for name, theirs in others.items()}
        corrected = holm([test.p_value for test in tests.values()])
        return {
            name: (test, p_value, decide(test.difference, p_value))
            for (name, test), p_value in zip(tests.items(), corrected, strict=True)
        }

    def _judge(self, predictions: Sequence[Prediction]) -> Judge:
        rows = self.samples[: len(predictions)]
        if self._writes:
            scores = AnswerScores()
            for sample, prediction in zip(rows, predictions, strict=True):
                _add(scores, sample, prediction.output or "")
            return scores.judge()
        collected: Any = rows_for(self.form.task, self.form.labels, self.form.several_labels)
        collected.add([row.target for row in rows], predictions)
        judge: Judge = collected.judge()
        return judge


def wrongness(form: AnswerForm, samples: Sequence[Sample], predictions: Sequence[Prediction]) -> list[float]:
    """How wrong each of the predictions is, in the measure of the task; 0 where it is right."""
    rows = samples[: len(predictions)]
    if form.task in LANGUAGE_TASKS:
        scores = AnswerScores()
        return [_add(scores, row, one.output or "") for row, one in zip(rows, predictions, strict=True)]
    if not predictions:
        return []
    collected: Any = rows_for(form.task, form.labels, form.several_labels)
    found: list[float] = collected.add([row.target for row in rows], predictions).tolist()
    return found


def answer_of(sample: Sample) -> str:
    """The answer that a row of texts holds."""
    question = question_of(sample)
    return "" if question is None else question.reference


def answerable(samples: Sequence[Sample]) -> list[Sample]:
    """Rows that can be compared with an answer: those with a target, of texts those with a reference."""
    return [
        sample
        for sample in samples
        if sample.target is not None and (not _text(sample) or question_of(sample) is not None)
    ]


def _text(sample: Sample) -> bool:
    return isinstance(sample.target, Completion | Conversation)


def _add(scores: AnswerScores, sample: Sample, answer: str) -> float:
    question = question_of(sample) or Question("", "", "")
    return scores.add(question, answer, item_of(sample, question, {}))
