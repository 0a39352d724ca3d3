"""Swaps for models that write: how the loss changes, and whether the answer says something else."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from luthier.core.generation import Sampling
from luthier.data.samples import Sample
from luthier.evaluate.fairness.answers import Answered
from luthier.evaluate.fairness.counterfactual import Case
from luthier.evaluate.generation import Writer
from luthier.evaluate.generation.questions import question_of
from luthier.evaluate.generation.words import exact_match

MOST_ANSWERED = 32
"""Cases per list that are answered; the loss is measured on all."""


class WriterAnswers:
    """Asks a writing model. An answer counts as changed when it is another one even after the words of the first
    answer were swapped too; `shift` is the change of the loss per token of the whole reference."""

    def __init__(self, model: Writer, *, answered: int, max_tokens: int) -> None:
        self._model, self._answered = model, min(answered, MOST_ANSWERED)
        self._sampling = Sampling(max_tokens=max_tokens)

    def __call__(self, cases: Sequence[Case]) -> list[Answered]:
        first = self._losses([case.sample for case in cases])
        second = self._losses([case.swapped for case in cases])
        written = self._written(cases)
        found = []
        for i, (one, other) in enumerate(zip(first, second, strict=True)):
            before, after, changed = written.get(i, ("", "", None))
            found.append(Answered(before, after, changed, other - one))
        return found

    def _losses(self, samples: Sequence[Sample]) -> list[float]:
        measured = self._model.likelihood(iter(samples))
        return [item.loss_sum / item.weight if item.weight > 0 else float("nan") for item in measured]

    def _written(self, cases: Sequence[Case]) -> dict[int, tuple[str, str, bool]]:
        asked = []
        for i, case in enumerate(cases):
            one, other = question_of(case.sample), question_of(case.swapped)
            if one is not None and other is not None and one.prompt != other.prompt:
                asked.append((i, one.prompt, other.prompt))
        chosen = [asked[int(k)] for k in np.linspace(0, len(asked) - 1, min(self._answered, len(asked)))]
        if not chosen:
            return {}
        before = self._model.generate([prompt for _, prompt, _ in chosen], self._sampling)
        after = self._model.generate([prompt for *_, prompt in chosen], self._sampling)
        found = {}
        for (i, *_), first, second in zip(chosen, before, after, strict=True):
            expected = cases[i].swapper.swap(first.text, *cases[i].sides).text
            found[i] = (first.text, second.text, exact_match(second.text, expected) < 1)
        return found
