"""The rows that a reader of the report looks at: the hardest, the wrongest, and the first ones."""

from __future__ import annotations

import heapq
from pathlib import PurePath
from typing import Any

from luthier.core.generation import Generation, Likelihood
from luthier.data.samples import Sample
from luthier.evaluate.answers_file import SHOWN_CHARACTERS, key_of, place_of
from luthier.evaluate.generation.questions import Question

NUM_WORST = 20
NUM_EXAMPLES = 20
_SHOWN_CHARACTERS = 1000


class Worst:
    """Keeps the rows with the largest values; of equally bad ones, the first."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, dict[str, Any]]] = []
        self._seen = 0

    def see(self, value: float, row: dict[str, Any]) -> None:
        """Take one row; `value` 0 or less is not bad."""
        self._seen += 1
        if value > 0:
            item = (float(value), -self._seen, row)
            if len(self._heap) < NUM_WORST:
                heapq.heappush(self._heap, item)
            else:
                heapq.heappushpop(self._heap, item)

    def found(self) -> list[dict[str, Any]]:
        """The rows, the worst first."""
        return [row for *_, row in sorted(self._heap, key=lambda item: item[:2], reverse=True)]


def hard_row(sample: Sample, loss: float) -> dict[str, Any]:
    """A row that the model found unlikely; `loss` is per token."""
    return {"text": shown(sample.text), "loss": loss, "line": sample.line, "source": PurePath(sample.source).name}


def answered_row(sample: Sample, question: Question, answer: str, finish_reason: str) -> dict[str, Any]:
    """A row with its answer, as the report's worst errors and examples hold it."""
    return {
        "text": shown(question.text),
        "expected": shown(question.reference),
        "predicted": shown(answer),
        "finish_reason": finish_reason,
        "score": None,
        "line": sample.line,
        "source": PurePath(sample.source).name,
    }


def measured_row(sample: Sample, found: Likelihood) -> dict[str, Any]:
    """A row that was measured and not answered, as the answers file holds it."""
    return {"key": key_of(sample), "line": sample.line, "source": PurePath(sample.source).name, **_likelihood(found)}


def whole_row(
    sample: Sample, question: Question, answer: Generation, wrong: float, found: Likelihood
) -> dict[str, Any]:
    """A row with its answer, as the answers file holds it."""
    return {
        **place_of(sample), "text": question.text[:SHOWN_CHARACTERS], "expected": question.reference,
        "predicted": answer.text, "finish_reason": answer.finish_reason, "wrong": wrong, **_likelihood(found),
    }  # fmt: skip


def _likelihood(found: Likelihood) -> dict[str, float]:
    return {"loss": found.loss_sum, "tokens": found.weight, "correct": found.correct}


def shown(text: str) -> str:
    """As much of a text as a report holds."""
    return text if len(text) <= _SHOWN_CHARACTERS else text[: _SHOWN_CHARACTERS - 1] + "…"
