"""What the proof of a run will take: its own functions, on some of the held-out rows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from itertools import islice

import numpy as np

from luthier.core import clock, durable
from luthier.core.events import ignore
from luthier.core.generation import Sampling
from luthier.core.predictor import TextInput
from luthier.core.recipe import EvaluateSpec
from luthier.core.rundir import RunDir
from luthier.data.language_table import language_lengths
from luthier.data.prepare import Prepared, View
from luthier.data.samples import Sample
from luthier.data.tokens import token_lengths
from luthier.evaluate.generation.questions import question_of
from luthier.forecasting.judging_of import judging_of
from luthier.forecasting.references import References
from luthier.language_proof import judge_language, untuned
from luthier.models.base_source import BaseSource
from luthier.models.language_predictor import LanguageModel
from luthier.models.predictor import TunedModel
from luthier.proof import baseline_evaluations
from luthier.search.stages import Judging, Rates, seconds_of
from luthier.search.workload import Base, Rows, Workload
from luthier.train.features import FrozenEncoder
from luthier.train.parts import Parts

Timed = Callable[..., AbstractContextManager[None]]
COUNTED = 20_000
"""Held-out rows whose tokens are counted; of more, these stand for all."""
REFERENCES = 128
"""Held-out rows whose answers are counted."""
JUDGED = 512
"""As many as are sorted by length together when a model predicts."""
EMBEDDED = 256
TOGETHER = 64
"""Texts of a batch of the frozen base (`train.features`)."""
LIKELY = 64
ANSWERED = 16
TFIDF_SECONDS = 8.0
"""By the formula; of the fit of the baseline on words."""


def probe_proof(
    parts: Parts,
    prepared: Prepared,
    source: BaseSource,
    *,
    run: RunDir,
    work: Workload,
    base: Base,
    timed: Timed,
    stages: dict[str, float],
) -> tuple[Rows | None, Judging]:
    """Add the stages of the proof to `stages`; (the held-out rows, what decides how long they are judged)."""
    with timed("finish"), durable.atomic_folder(run.model) as folder:
        parts.save(folder, {"temperature": 1.0} if work.task == "classify" else {})
    probing = _LanguageProof if work.writes else _EncoderProof
    return probing(parts, prepared, source, run, work, base, timed, stages).run()


class _Proof:
    def __init__(
        self, parts: Parts, prepared: Prepared, source: BaseSource, run: RunDir, work: Workload, base: Base,
        timed: Timed, stages: dict[str, float],
    ) -> None:
        self.parts, self.prepared, self.source, self.folder = parts, prepared, source, run
        self.work, self.base, self.timed, self.stages = work, base, timed, stages
        part = prepared.test if prepared.test is not None else prepared.validation
        self.held_out: View | None = part if part is not None and len(part) else None

    def some(self, most: int) -> list[Sample]:
        """At most `most` held-out rows, spread evenly."""
        assert self.held_out is not None
        every = max(1, len(self.held_out) // most)
        return list(islice(islice(iter(self.held_out), 0, None, every), most))


class _EncoderProof(_Proof):
    def run(self) -> tuple[Rows | None, Judging]:
        recipe, tokenizer = self.parts.recipe, self.parts.tokenizer
        judging = judging_of(recipe, self.work.task)
        with self.timed("finish"):
            model = TunedModel.load(self.folder.path)
        if self.held_out is None:
            return None, judging
        assert isinstance(recipe.train.max_length, int)
        most = recipe.train.max_length
        counted = token_lengths(islice(iter(self.held_out), COUNTED), tokenizer)
        rows = Rows.of(np.minimum(counted, most).tolist())
        rows = rows if rows.rows == len(self.held_out) else rows.part(len(self.held_out))
        some = self.some(JUDGED)
        model.predict([sample.input for sample in some[:8]])
        began = clock.monotonic()
        model.predict([sample.input for sample in some])
        seconds = clock.monotonic() - began
        own = Rows.of(np.minimum(token_lengths(some, tokenizer), most).tolist())
        self.stages["judging"] = seconds * self.base.forward_flops(rows) / max(1.0, self.base.forward_flops(own))
        if "majority" in judging.baselines or len(self.held_out) <= COUNTED:
            self.stages["judging"] += self._baseline("majority", self.prepared.train, self.held_out)
            again = self._baseline("majority", self.prepared.train, self.held_out)  # without loading packages
            if "majority" in judging.baselines:
                self.stages["majority"] = again
        if "tfidf" in judging.baselines:
            self._tfidf(judging)
        if "frozen" in judging.baselines and self.work.task != "extract":
            self._frozen(judging, rows, some[:EMBEDDED], most)
        return rows, judging

    def _tfidf(self, judging: Judging) -> None:
        """Fitted on as many training rows as take a few seconds; of more, scaled by the formula."""
        assert self.held_out is not None
        whole = seconds_of(self.work, self.base, judging, Rates())["tfidf"]
        share = min(1.0, TFIDF_SECONDS / whole)
        every = max(1, round(1 / share))
        fit_on = list(islice(iter(self.prepared.train), 0, None, every))
        judge_on = self.held_out if every == 1 else list(islice(iter(self.held_out), 0, None, every))
        self.stages["tfidf"] = every * self._baseline("tfidf", fit_on, judge_on)
        self.stages["tfidf_share"] = 1 / every

    def _baseline(self, name: str, fit_on: Iterable[Sample], judge_on: Sequence[Sample] | View) -> float:
        """Seconds of a baseline, fitted and judged."""
        recipe = self.parts.recipe
        assert isinstance(recipe.train.max_length, int)
        began = clock.monotonic()
        baseline_evaluations(
            [name], self.work.task, fit_on, judge_on, labels=self.prepared.labels,
            several_labels=self.prepared.several_labels, source=self.source, tokenizer=self.parts.tokenizer,
            max_length=recipe.train.max_length, spec=recipe.evaluate, listener=ignore,
        )  # fmt: skip
        return clock.monotonic() - began

    def _frozen(self, judging: Judging, rows: Rows, some: Sequence[Sample], most: int) -> None:
        """The frozen base reads all rows, unless an earlier run has left what it gave; then a linear head is fitted."""
        began = clock.monotonic()
        encoder = FrozenEncoder(self.source, self.parts.tokenizer, most)
        building = clock.monotonic() - began
        began = clock.monotonic()
        encoder([sample.input for sample in some])
        seconds = clock.monotonic() - began
        encoder(self._longest())  # the batch that needs most memory
        rate = seconds / max(1.0, self.base.forward_flops(Rows.of(
            np.minimum(token_lengths(some, self.parts.tokenizer), most).tolist())))  # fmt: skip
        read = 0.0
        views: list[tuple[View, Rows]] = [(self.prepared.train, self.work.train)]
        if self.held_out is not None:
            views.append((self.held_out, rows))
        for view, part in views:
            if not encoder.kept([sample.input for sample in view]):
                read += rate * self.base.forward_flops(part)
        self.stages["frozen_read"] = building + read


    def _longest(self) -> list[TextInput]:
        """Of the training rows, those of the longest batch when the frozen base reads them."""
        texts = [sample.input for sample in islice(iter(self.prepared.train), COUNTED)]
        size = [len(text) if isinstance(text, str) else sum(map(len, text)) for text in texts]
        return [texts[index] for index in np.argsort(size)[::-1][:TOGETHER]]


class _LanguageProof(_Proof):
    def run(self) -> tuple[Rows | None, Judging]:
        recipe = self.parts.recipe
        with self.timed("finish"):
            ours = LanguageModel.load(self.folder.path)
        began = clock.monotonic()
        base = untuned(ours, str(self.source.path))
        loading = clock.monotonic() - began

        if self.held_out is None:
            return None, judging_of(recipe, self.work.task)
        questions = (question_of(sample) for sample in islice(iter(self.held_out), REFERENCES))
        references = [asked.reference for asked in questions if asked is not None]
        answers = [len(ours.tokenizer.pieces(text)[0]) for text in references]
        judging = judging_of(recipe, self.work.task, answers)
        share = self.work.train.learned / max(1, self.work.train.tokens)
        rows = Rows.of(language_lengths(islice(iter(self.held_out), COUNTED), ours.renderer).tolist(), share)
        rows = rows if rows.rows == len(self.held_out) else rows.part(len(self.held_out))
        some = self.some(LIKELY)
        # with answers in between, as in the proof, memory is laid out as in the proof
        began = clock.monotonic()
        judge_language(References(), some, self._short_answers(), self.held_out.dataset)
        loading_packages = clock.monotonic() - began
        judge_language(ours, some, self._short_answers(), self.held_out.dataset)
        judge_language(base, some, self._short_answers(), self.held_out.dataset)
        began = clock.monotonic()
        list(ours.likelihood(some))
        seconds = clock.monotonic() - began
        own = Rows.of(language_lengths(some, ours.renderer).tolist(), share)
        rate = seconds / max(1.0, self.base.forward_flops(own))
        read = rate * self.base.forward_flops(rows)
        answered = min(len(self.held_out), judging.generate_rows)
        tuned_answers, base_answers = self._answers(base, some, judging, answered)
        self.stages["judging"] = read + tuned_answers + self._scoring() + loading_packages
        if "base" in judging.baselines:
            self.stages["base"] = loading + read + base_answers + self._scoring()
        if "samples" in self.stages and base_answers:  # measured with answers of the untuned base
            once = self.stages["samples"] / (self.work.epochs + 1)
            self.stages["samples"] = once * (1 + self.work.epochs * tuned_answers / base_answers)
        if judging.memorisation:
            few = min(judging.memorisation, self.work.train.rows) + min(judging.memorisation, rows.rows)
            models = 2 if "base" in judging.baselines else 1
            self.stages["memorisation"] = models * rate * self.base.forward_flops(self.work.train.part(few))
        return rows, judging

    def _short_answers(self) -> EvaluateSpec:
        spec = self.parts.recipe.evaluate
        return spec.model_copy(update={"generate_rows": min(spec.generate_rows, ANSWERED), "max_tokens": 8})

    def _scoring(self) -> float:
        """What is left of judging when nothing has to be computed: the metrics, their packages, the intervals."""
        assert self.held_out is not None
        began = clock.monotonic()
        judge_language(References(), self.held_out, self.parts.recipe.evaluate, self.held_out.dataset)
        return clock.monotonic() - began

    def _answers(
        self, base: LanguageModel, some: Sequence[Sample], judging: Judging, answered: int
    ) -> tuple[float, float]:
        """Seconds of `answered` answers: of the tuned model, if they are as long as the references, and of the base."""
        asked = [question for sample in some if (question := question_of(sample)) is not None][:ANSWERED]
        if not asked or not answered:
            return 0.0, 0.0
        began = clock.monotonic()
        found = base.generate([question.prompt for question in asked], Sampling(max_tokens=judging.max_tokens))
        seconds = clock.monotonic() - began
        lengths = [max(1, generation.completion_tokens) for generation in found]
        groups = answered / len(asked)
        # a step costs about as much as four of the answers in it
        own = 4.0 * max(lengths) + sum(lengths)
        like = 4.0 * judging.longest_answer + judging.answer_tokens * len(asked)
        return seconds * groups * like / own, seconds * groups
