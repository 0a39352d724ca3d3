"""Answers become numbers, one by one: per row a few floats are kept and no text."""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from luthier.evaluate.generation import overlap, packages
from luthier.evaluate.generation.graders import Ask, Grader, grade, sample_of
from luthier.evaluate.generation.judges import AnswerJudge
from luthier.evaluate.generation.programs import checks_of, compiles, passes, program_of
from luthier.evaluate.generation.questions import Question
from luthier.evaluate.generation.sandbox import missing
from luthier.evaluate.generation.similarity import Embed
from luthier.evaluate.generation.words import exact_match, json_reference, json_scores, token_f1
from luthier.evaluate.intervals import FloatArray
from luthier.evaluate.metric_names import GRADER_PREFIX

JSON_METRICS = ("json_exact", "json_fields", "json_valid")
CODE_METRICS = ("tests_passed", "code_compiles")
_ROUGE = ("rouge1", "rouge2", "rougeL")
_WIDTHS = {"bleu": overlap.BLEU_NUMBERS, "chrf": overlap.CHRF_NUMBERS}
SHOWN = {
    "json": (*JSON_METRICS, "exact_match"),
    "short": ("exact_match", "token_f1", "chrf"),
    "long": ("chrf", "rougeL", "rouge1", "rouge2", "bleu", "token_f1", "exact_match"),
}
"""What is measured of the answers when the metrics are chosen by the data, the telling one first."""
SHORT_WORDS = 5
"""References of at most so many words (in the median) are short: either right or wrong."""


class AnswerScores:
    """Collects answers with `add`; `judge` gives the rows."""

    def __init__(
        self,
        *,
        graders: Sequence[Grader] = (),
        run_code: bool = False,
        ask: Ask | None = None,
        embed: Embed | None = None,
    ) -> None:
        self._graders, self._run_code, self._ask, self._embed = graders, run_code, ask, embed
        self._has_bleu, self._has_rouge = packages.there("sacrebleu"), packages.there("rouge_score")
        names = ["exact_match", "token_f1", *JSON_METRICS]
        names += _ROUGE if self._has_rouge else ()
        names += CODE_METRICS if run_code else ()
        self._means = {name: array("d") for name in [*names, *(GRADER_PREFIX + one.name for one in graders)]}
        self._counts = {name: array("d") for name in (("bleu", "chrf") if self._has_bleu else ("chrf",))}
        self._lengths = array("d")
        self._is_json = array("d")
        self._failed: dict[str, tuple[int, str]] = {}

    def __len__(self) -> int:
        return len(self._lengths)

    def add(self, question: Question, answer: str, item: Mapping[str, Any]) -> float:
        """Take an answer; gives how wrong it is, from 0 (right) to 1."""
        reference = question.reference
        expected = json_reference(reference)
        self._lengths.append(len(reference.split()))
        self._is_json.append(float(expected is not None))
        row = dict.fromkeys(self._means, float("nan"))
        row["exact_match"], row["token_f1"] = exact_match(answer, reference), token_f1(answer, reference)
        if expected is not None:
            row |= json_scores(answer, expected)
        if self._has_rouge:
            row |= self._rouge_of(answer, reference)
        if self._run_code:
            row |= self._code(question, answer, item)
        row |= self._graded(answer, item)
        for name, value in row.items():
            self._means[name].append(value)
        self._counts["chrf"].extend(overlap.chrf_counts(answer, reference))
        if self._has_bleu:
            self._counts["bleu"].extend(overlap.bleu_counts(answer, reference))
        return self._wrongness(row, expected is not None)

    def _wrongness(self, row: Mapping[str, float], is_json: bool) -> float:
        tests = row.get("tests_passed", float("nan"))
        if not np.isnan(tests):
            return 1 - tests
        if is_json:
            return 1 - row["json_fields"] if row["json_exact"] < 1 else 0.0
        return 1 - row["token_f1"] if row["exact_match"] < 1 else 0.0

    @cached_property
    def _rouge(self) -> Any:
        from rouge_score.rouge_scorer import RougeScorer

        return RougeScorer(list(_ROUGE), use_stemmer=True)

    def _rouge_of(self, answer: str, reference: str) -> dict[str, float]:
        return {name: float(score.fmeasure) for name, score in self._rouge.score(reference, answer).items()}

    def _code(self, question: Question, answer: str, item: Mapping[str, Any]) -> dict[str, float]:
        program, tests = program_of(question, answer), checks_of(item)
        well_formed = compiles(program)
        found = {"code_compiles": float(well_formed)}
        if tests is not None:
            found["tests_passed"] = float(well_formed and passes(program, tests))
        return found

    def _graded(self, answer: str, item: Mapping[str, Any]) -> dict[str, float]:
        found = {}
        for one in self._graders:
            given = grade(one, sample_of(answer), item, ask=self._ask, embed=self._embed)
            found[GRADER_PREFIX + one.name] = given.score
            if given.error:
                times, first = self._failed.get(one.name, (0, given.error))
                self._failed[one.name] = times + 1, first
        return found

    @property
    def kind(self) -> str:
        """What the references are: json (nine of ten objects or lists), short or long."""
        if not len(self):
            return "long"
        if np.mean(self._is_json) >= 0.9:
            return "json"
        return "short" if np.median(self._lengths) <= SHORT_WORDS else "long"

    def chosen(self) -> list[str]:
        """The metrics that suit these rows, the telling one first."""
        return [*(CODE_METRICS if self._run_code else ()), *SHOWN[self.kind], *self.grader_metrics]

    @property
    def grader_metrics(self) -> list[str]:
        """Names of the graders' metrics."""
        return [GRADER_PREFIX + one.name for one in self._graders]

    def judge(self) -> AnswerJudge:
        """The rows so far."""
        means = {name: np.asarray(values, dtype=np.float64) for name, values in self._means.items()}
        counts: dict[str, FloatArray] = {
            name: np.asarray(values, dtype=np.float64).reshape(len(self), _WIDTHS[name])
            for name, values in self._counts.items()
        }
        return AnswerJudge(len(self), means, counts)

    def notes(self, wanted: Sequence[str]) -> list[str]:
        """What was not measured and why, of the metrics that were wanted."""
        found = []
        if not self._has_bleu and "bleu" in wanted:
            found.append(f"BLEU was not measured: {packages.hint('sacrebleu')}.")
        if not self._has_rouge and set(_ROUGE) & set(wanted):
            found.append(f"ROUGE was not measured: {packages.hint('rouge_score')}.")
        if self._run_code:
            found += missing()
            if not np.isfinite(np.asarray(self._means["tests_passed"], dtype=np.float64)).any():
                found.append("No row has tests (column 'tests'), so code was only compiled.")
        for name, (times, first) in self._failed.items():
            found.append(f"The grader {name!r} failed on {times} of {len(self)} answers, which count as 0: {first}.")
        return found
