"""The same text before and after a swap, answered: whether the answer changed, and by how much its score."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from luthier.core.predictor import Prediction, Predictor, TextInput
from luthier.evaluate.fairness.swapping import Swapped
from luthier.evaluate.label_sets import chosen_labels
from luthier.evaluate.regression import answer

NOTICEABLE = 0.1
"""Change of a number, in standard deviations of the answers, from which it counts as another answer."""
_TOGETHER = 256


@dataclass(frozen=True)
class Answered:
    """One row's two answers.

    Attributes:
        before, after: as people read them.
        changed: whether they differ; None where nothing was answered.
        shift: the change of the score of the answer before the swap, or of the number, or of the loss per token; NaN
            where there is none.
    """

    before: str
    after: str
    changed: bool | None
    shift: float


@dataclass(frozen=True)
class Asked:
    """A text and what a swap made of it; for pairs both parts."""

    text: tuple[str, ...]
    swapped: tuple[Swapped, ...]

    @property
    def inputs(self) -> tuple[TextInput, TextInput]:
        """What the model is asked before and after."""
        after = tuple(part.text for part in self.swapped)
        return _input(self.text), _input(after)


def _input(parts: tuple[str, ...]) -> TextInput:
    return parts[0] if len(parts) == 1 else (parts[0], parts[1])


def answer_both(model: Predictor, asked: Sequence[Asked], *, several_labels: bool = False) -> list[Answered]:
    """Ask `model` both texts of each."""
    before: list[Prediction] = []
    after: list[Prediction] = []
    for begin in range(0, len(asked), _TOGETHER):
        batch = [item.inputs for item in asked[begin : begin + _TOGETHER]]
        before += model.predict([one for one, _ in batch])
        after += model.predict([other for _, other in batch])
    pairs = list(zip(before, after, strict=True))
    if model.task == "regress":
        return _numbers(pairs)
    if model.task == "extract":
        return [_spans(item, *pair) for item, pair in zip(asked, pairs, strict=True)]
    return [_labels(*pair, several_labels) for pair in pairs]


def _labels(before: Prediction, after: Prediction, several_labels: bool) -> Answered:
    if several_labels:
        one, other = sorted(chosen_labels(before)), sorted(chosen_labels(after))
        shifts = [after.scores.get(label, 0.0) - score for label, score in before.scores.items()]
        shift = max(shifts, key=abs, default=float("nan"))
        return Answered(", ".join(one) or "no label", ", ".join(other) or "no label", one != other, shift)
    shift = float("nan")
    if before.label is not None and before.scores and after.scores:
        shift = after.scores.get(before.label, 0.0) - before.scores.get(before.label, 0.0)
    told = [item.label if item.label is not None else "no answer" for item in (before, after)]
    return Answered(told[0], told[1], before.label != after.label, shift)


def _numbers(pairs: Sequence[tuple[Prediction, Prediction]]) -> list[Answered]:
    values = [(answer(one), answer(other)) for one, other in pairs]
    spread = float(np.std([one[0] for one, _ in values])) if values else 0.0
    return [
        Answered(_told(one), _told(other), abs(other[0] - one[0]) > NOTICEABLE * spread, other[0] - one[0])
        for one, other in values
    ]


def _told(numbers: tuple[float, ...]) -> str:
    return ", ".join(f"{number:.3g}" for number in numbers)


def _spans(asked: Asked, before: Prediction, after: Prediction) -> Answered:
    """Spans of the swapped text are looked up where they lay before the swap."""
    swapped, text = asked.swapped[0], asked.text[0]
    one = sorted((span.start, span.end, span.label) for span in before.spans or ())
    other = sorted((*swapped.back(span.start, span.end), span.label) for span in after.spans or ())
    told = ["; ".join(f"{label}: {text[start:end]}" for start, end, label in spans) or "nothing"
            for spans in (one, other)]  # fmt: skip
    return Answered(told[0], told[1], one != other, float("nan"))
