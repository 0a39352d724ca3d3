"""Judges anything that writes: loss on every row, answers of some rows against their references.

Rows stream: of each a few floats are kept, and of the shown ones the text.
"""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import numpy as np

from luthier.core.conversation import Conversation, Prompt
from luthier.core.errors import DataError
from luthier.core.generation import Generation, Likelihood, Sampling
from luthier.data.samples import Sample
from luthier.evaluate.generation.graders import Ask, Grader
from luthier.evaluate.generation.judges import LIKELIHOOD_METRICS, AnswerJudge, LikelihoodJudge
from luthier.evaluate.generation.questions import Question, item_of, question_of
from luthier.evaluate.generation.scoring import AnswerScores
from luthier.evaluate.generation.similarity import Embed
from luthier.evaluate.generation.worst import NUM_EXAMPLES, Worst, answered_row, hard_row, measured_row, whole_row
from luthier.evaluate.intervals import IntArray, Interval, bootstrap
from luthier.evaluate.metric_names import check_metrics

ROWS_TO_GENERATE = 100
MAX_TOKENS = 200
Columns = Callable[[Sample], Mapping[str, Any]]
Keep = Callable[[Mapping[str, Any]], None]
_TOGETHER = 16
"""Questions that are answered in one call."""


@runtime_checkable
class Writer(Protocol):
    """A `Generator` that also says how likely it finds a text: `models.language_predictor.LanguageModel`."""

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling | None = None) -> list[Generation]: ...

    def likelihood(self, samples: Iterable[Sample]) -> Iterator[Likelihood]: ...


def _nowhere() -> IntArray:
    return np.empty(0, dtype=np.int64)


@dataclass(frozen=True)
class GenerationEvaluation:
    """What a generative model is worth on a test set.

    Attributes:
        rows: measured for loss; `answered` of them were answered too.
        kind: json, short or long, by what the references are.
        metrics: every metric with its 95 % bootstrap interval.
        headline: the metric of the answers that tells most; None where nothing was answered.
        worst_rows: highest loss per token first. worst_errors: wrongest answers first.
        examples: the first answers, with question and reference.
        likelihood, answers: the rows, for paired comparisons on the same rows; `measured_rows` and `answered_rows`
            are their places among the samples, from 0.
    """

    task: str
    rows: int
    answered: int
    kind: str
    metrics: dict[str, Interval]
    headline: str | None
    worst_rows: list[dict[str, Any]]
    worst_errors: list[dict[str, Any]]
    examples: list[dict[str, Any]]
    notes: list[str]
    likelihood: LikelihoodJudge = field(repr=False, compare=False)
    answers: AnswerJudge = field(repr=False, compare=False)
    measured_rows: IntArray = field(default_factory=_nowhere, repr=False, compare=False)
    answered_rows: IntArray = field(default_factory=_nowhere, repr=False, compare=False)

    @property
    def primary(self) -> str:
        """The metric that decides between models."""
        return "loss"

    def to_dict(self) -> dict[str, Any]:
        """JSON; `luthier eval --json` prints its ``metrics`` and ``rows``."""
        return {
            "task": self.task,
            "rows": self.rows,
            "answered": self.answered,
            "kind": self.kind,
            "primary": self.primary,
            "headline": self.headline,
            "metrics": {name: interval.to_dict() for name, interval in self.metrics.items()},
            "worst_rows": self.worst_rows,
            "worst_errors": self.worst_errors,
            "examples": self.examples,
            "notes": self.notes,
        }


def evaluate_generation(
    model: Writer,
    samples: Iterable[Sample],
    *,
    metrics: str | Sequence[str] = "auto",
    rows_to_generate: int = ROWS_TO_GENERATE,
    max_tokens: int = MAX_TOKENS,
    bootstrap: int = 1000,
    run_code: bool = False,
    graders: Sequence[Grader] = (),
    ask: Ask | None = None,
    embed: Embed | None = None,
    judge_name: str = "",
    columns: Columns | None = None,
    seed: int = 0,
    keep: Keep | None = None,
) -> GenerationEvaluation:
    """Measure the loss of `samples` and let `model` answer some of them, greedily.

    Args:
        samples: conversations or completions; spread evenly over a sized one, `rows_to_generate` are answered,
            of a stream the first.
        metrics: "auto" chooses those of the answers by the references; graders are always measured.
        max_tokens: of an answer. bootstrap: resamples behind each interval; 0 = no intervals.
        run_code: whether answers are compiled and run as Python, in the sandbox.
        ask: of score_model graders, and `judge_name` the model behind it; embed: of cosine similarity.
        columns: gives a row's columns, for graders and for the column ``tests``; asked once per answered row, in order.
        keep: is given each row that was measured, with its answer where it has one.

    Raises:
        RecipeError: an unknown metric. DataError: no row with weighted tokens, or a column that a grader lacks.
    """
    scores = AnswerScores(graders=graders, run_code=run_code, ask=ask, embed=embed)
    hearing = _Answers(model, scores, columns or _no_columns, Sampling(max_tokens=max_tokens), keep)
    picked = _spread(samples, rows_to_generate)
    loss, weight, correct = array("d"), array("d"), array("d")
    measured, answered = array("q"), array("q")
    hardest = Worst()
    task, skipped = "", 0
    for number, (sample, found) in enumerate(_measured(model, samples)):
        if found.weight <= 0:
            skipped += 1
            continue
        task = task or ("chat" if isinstance(sample.target, Conversation) else "complete")
        loss.append(found.loss_sum)
        weight.append(found.weight)
        correct.append(found.correct)
        measured.append(number)
        hardest.see(found.loss_sum / found.weight, hard_row(sample, found.loss_sum / found.weight))
        if picked(number) and hearing.asked < rows_to_generate and hearing.add(sample, found):
            answered.append(number)
        elif keep is not None:
            keep(measured_row(sample, found))
    hearing.finish()
    if not loss:
        raise DataError(
            "there is no row with tokens to measure.",
            code="no_rows",
            remedy="Give conversations that end with an assistant's turn, or prompts with completions.",
        )
    likelihood = LikelihoodJudge(*(np.asarray(part, dtype=np.float64) for part in (loss, weight, correct)))
    wanted = list(LIKELIHOOD_METRICS) + (scores.chosen() if len(scores) else [])
    if metrics != "auto":
        wanted = ["loss", *check_metrics(task, metrics), *scores.grader_metrics]
    answers = scores.judge()
    found_metrics = _metrics(likelihood, answers, list(dict.fromkeys(wanted)), bootstrap, seed)
    notes = scores.notes(wanted) if len(scores) else []
    if skipped:
        notes.append(f"Rows without a token that counts, passed over: {skipped}.")
    if judge_name and graders:
        notes.append(f"score_model graders asked {judge_name}.")
    return GenerationEvaluation(
        task=task,
        rows=len(loss),
        answered=len(scores),
        kind=scores.kind if len(scores) else "",
        metrics=found_metrics,
        headline=next((name for name in wanted if name in found_metrics and name not in LIKELIHOOD_METRICS), None),
        worst_rows=hardest.found(),
        worst_errors=hearing.wrongest.found(),
        examples=hearing.examples,
        notes=notes,
        likelihood=likelihood,
        answers=answers,
        measured_rows=np.asarray(measured, dtype=np.int64),
        answered_rows=np.asarray(answered, dtype=np.int64),
    )


def _no_columns(sample: Sample) -> Mapping[str, Any]:
    return {}


def _metrics(
    likelihood: LikelihoodJudge, answers: AnswerJudge, wanted: Sequence[str], resamples: int, seed: int
) -> dict[str, Interval]:
    found: dict[str, Interval] = {}
    for judge in (likelihood, answers):
        if judge.num_rows:
            names = [name for name in wanted if name in judge.names()]
            found |= bootstrap(judge, names, resamples=resamples, seed=seed)
    return {name: found[name] for name in wanted if name in found}


def _measured(model: Writer, samples: Iterable[Sample]) -> Iterator[tuple[Sample, Likelihood]]:
    """Samples with their likelihoods; held are only those that the model has read ahead."""
    waiting: deque[Sample] = deque()

    def watched() -> Iterator[Sample]:
        for sample in samples:
            waiting.append(sample)
            yield sample

    for found in model.likelihood(watched()):
        yield waiting.popleft(), found


class _Spread:
    """Whether row `number` is one of `wanted` spread evenly over `total` rows."""

    def __init__(self, wanted: int, total: int) -> None:
        self._wanted, self._total = wanted, total

    def __call__(self, number: int) -> bool:
        return (number + 1) * self._wanted // self._total > number * self._wanted // self._total


def _spread(samples: Iterable[Sample], wanted: int) -> _Spread:
    total = len(samples) if isinstance(samples, Sized) else 0
    return _Spread(min(wanted, total), total) if total else _Spread(1 if wanted else 0, 1)


class _Answers:
    """Asks questions in small batches and hands the answers on."""

    def __init__(
        self, model: Writer, scores: AnswerScores, columns: Columns, sampling: Sampling, keep: Keep | None
    ) -> None:
        self._model, self._scores, self._columns, self._sampling, self._keep = model, scores, columns, sampling, keep
        self._waiting: list[tuple[Sample, Question, Likelihood]] = []
        self.asked = 0
        self.wrongest = Worst()
        self.examples: list[dict[str, Any]] = []

    def add(self, sample: Sample, found: Likelihood) -> bool:
        """Ask what the sample asks; False where there is nothing to ask."""
        question = question_of(sample)
        if question is None:
            return False
        self.asked += 1
        self._waiting.append((sample, question, found))
        if len(self._waiting) == _TOGETHER:
            self.finish()
        return True

    def finish(self) -> None:
        """Answer what waits."""
        if not self._waiting:
            return
        answers = self._model.generate([question.prompt for _, question, _ in self._waiting], self._sampling)
        for (sample, question, found), answer in zip(self._waiting, answers, strict=True):
            item = item_of(sample, question, self._columns(sample))
            wrong = self._scores.add(question, answer.text, item)
            row = answered_row(sample, question, answer.text, answer.finish_reason)
            self.wrongest.see(wrong, row)
            if self._keep is not None:
                self._keep(whole_row(sample, question, answer, wrong, found))
            if len(self.examples) < NUM_EXAMPLES:
                self.examples.append(row)
        self._waiting = []
