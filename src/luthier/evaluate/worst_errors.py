"""The worst wrong answers of a test set, kept while the rows stream by."""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from pathlib import PurePath
from typing import Any

from luthier.core.predictor import Prediction
from luthier.data.samples import Sample
from luthier.evaluate.label_sets import chosen_labels
from luthier.evaluate.regression import answer, numbers

NUM_WORST = 50
_SHOWN_CHARACTERS = 1000


class WorstErrors:
    """Keeps the 50 worst; of equally bad ones, the first."""

    def __init__(self, task: str, several_labels: bool) -> None:
        self._task = task
        self._several_labels = several_labels
        self._heap: list[tuple[float, int, Sample, Prediction]] = []
        self._seen = 0

    def see(self, severity: float, sample: Sample, prediction: Prediction) -> None:
        """Take one answer; `severity` 0 is right."""
        self._seen += 1
        if severity > 0:
            item = (float(severity), -self._seen, sample, prediction)
            if len(self._heap) < NUM_WORST:
                heapq.heappush(self._heap, item)
            else:
                heapq.heappushpop(self._heap, item)

    def found(self) -> list[dict[str, Any]]:
        """The errors as JSON: text, expected, predicted, score, line, source; the worst first."""
        ordered = sorted(self._heap, key=lambda item: item[:2], reverse=True)
        return [self._told(sample, prediction) for _, _, sample, prediction in ordered]

    def _told(self, sample: Sample, prediction: Prediction) -> dict[str, Any]:
        expected, predicted = expected_and_predicted(self._task, self._several_labels, sample, prediction)
        told = {
            "text": sample.text[:_SHOWN_CHARACTERS],
            "expected": expected,
            "predicted": predicted,
            "score": prediction.score,
            "line": sample.line,
            "source": PurePath(sample.source).name,
        }
        if sample.text_pair is not None:
            told["text_pair"] = sample.text_pair[:_SHOWN_CHARACTERS]
        return told


def expected_and_predicted(
    task: str, several_labels: bool, sample: Sample, prediction: Prediction
) -> tuple[Any, Any]:
    """A row's target and a model's answer to it, both as JSON."""
    target: Any = sample.target
    if task == "regress":
        pair = [values[0] if len(values) == 1 else list(values) for values in (numbers(target), answer(prediction))]
        return pair[0], pair[1]
    if task == "extract":
        return _spans(sample.text, target), _spans(sample.text, prediction.spans or ())
    if several_labels:
        return [target] if isinstance(target, str) else list(target), list(chosen_labels(prediction))
    return target, prediction.label


def _spans(text: str, spans: Iterable[Any]) -> list[dict[str, Any]]:
    return [
        {"start": span.start, "end": span.end, "label": span.label, "text": text[span.start : span.end]}
        for span in spans
    ]
