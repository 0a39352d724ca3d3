"""Answers in words for tasks that are not: the JSON that is asked for, and what it says."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from luthier.core.predictor import Prediction, SpanPrediction
from luthier.data.samples import Sample, Span

_NUMBER = re.compile(r"[-+]?(?:\d+(?:[.,]\d+)?|[.]\d+)(?:[eE][-+]?\d+)?")
_UNITS = 64
"""Most spans in one answer."""


@dataclass(frozen=True)
class AnswerForm:
    """How a task's answers are written.

    Attributes:
        labels: classes or span labels, or the names of the numbers.
        low, high: of the numbers that the training rows hold; answers outside are cut to them.
    """

    task: str
    labels: tuple[str, ...]
    several_labels: bool = False
    low: float = float("-inf")
    high: float = float("inf")

    @property
    def schema(self) -> dict[str, Any]:
        """The JSON schema of an answer, in the subset that hosted models hold strictly."""
        if self.task == "classify":
            choice = {"type": "string", "enum": list(self.labels)}
            if self.several_labels:
                return _object_of(labels={"type": "array", "items": choice})
            return _object_of(label=choice)
        if self.task == "regress":
            return _object_of(**{name: {"type": "number"} for name in self.labels or ("score",)})
        span = _object_of(text={"type": "string"}, label={"type": "string", "enum": list(self.labels)})
        return _object_of(spans={"type": "array", "items": span})

    def write(self, sample: Sample) -> str:
        """The answer that a row holds, as the model is to write it."""
        target: Any = sample.target
        if self.task == "classify":
            found: dict[str, Any] = {"labels": list(target)} if self.several_labels else {"label": target}
        elif self.task == "regress":
            found = dict(zip(self.labels or ("score",), target, strict=True))
        else:
            found = {
                "spans": [
                    {"text": sample.text[span.start : span.end], "label": span.label}
                    for span in target
                    if isinstance(span, Span)
                ]
            }
        return json.dumps(found, ensure_ascii=False)

    def read(self, answer: str, text: str) -> Prediction:
        """What an answer says of `text`; a model may have written more, or something else, than it was asked for."""
        value = _json_in(answer)
        if self.task == "classify":
            return self._labels(answer, value)
        if self.task == "regress":
            return self._numbers(answer, value)
        return self._spans(value, text)

    def _labels(self, answer: str, value: Any) -> Prediction:
        if self.several_labels:
            told = value.get("labels") if isinstance(value, dict) else None
            if not isinstance(told, list):
                told = [label for label in self.labels if _mentions(answer, label) >= 0]
            chosen = [self._known(item) for item in told if isinstance(item, str)]
            return Prediction(labels=tuple(dict.fromkeys(label for label in chosen if label is not None)))
        told = value.get("label") if isinstance(value, dict) else value
        label = self._known(told) if isinstance(told, str) else None
        label = label or self._known(answer)
        if label is None:
            places = {name: _mentions(answer, name) for name in self.labels}
            said = [name for name, place in places.items() if place >= 0]
            # "not urgent" mentions "urgent" too: the longest of the first ones is meant
            label = min(said, key=lambda name: (places[name], -len(name)), default=None)
        return Prediction(label=label, abstained=label is None)

    def _known(self, told: str) -> str | None:
        plain = told.strip().strip("\"'.").casefold()
        return next((label for label in self.labels if label.casefold() == plain), None)

    def _numbers(self, answer: str, value: Any) -> Prediction:
        names = self.labels or ("score",)
        found: list[float] = []
        if isinstance(value, dict):
            found = [float(value[name]) for name in names if isinstance(value.get(name), int | float)]
        if len(found) != len(names):
            found = [float(number.replace(",", ".")) for number in _NUMBER.findall(answer)][: len(names)]
        if len(found) != len(names):
            return Prediction(abstained=True)
        cut = tuple(min(max(number, self.low), self.high) for number in found)
        return Prediction(score=cut[0], values=cut)

    def _spans(self, value: Any, text: str) -> Prediction:
        told = value.get("spans") if isinstance(value, dict) else value
        spans: list[SpanPrediction] = []
        begin: dict[str, int] = {}
        for item in told[:_UNITS] if isinstance(told, list) else ():
            words, label = (item.get("text"), item.get("label")) if isinstance(item, dict) else (None, None)
            if not isinstance(words, str) or not words.strip() or label not in self.labels:
                continue
            place = text.find(words, begin.get(words, 0))
            if place >= 0:  # the same words again are their next occurrence
                begin[words] = place + len(words)
                spans.append(SpanPrediction(place, place + len(words), str(label), words))
        spans.sort(key=lambda span: (span.start, span.end))
        return Prediction(spans=tuple(spans))


def _object_of(**properties: Any) -> dict[str, Any]:
    return {
        "type": "object", "properties": properties, "required": list(properties), "additionalProperties": False
    }  # fmt: skip


def _mentions(answer: str, label: str) -> int:
    found = re.search(rf"(?<!\w){re.escape(label)}(?!\w)", answer, re.IGNORECASE)
    return found.start() if found else -1


def _json_in(answer: str) -> Any:
    """The first JSON value that begins with a bracket in an answer, which may stand in a code block; else None."""
    for place, letter in enumerate(answer):
        if letter in "{[":
            try:
                return json.JSONDecoder().raw_decode(answer, place)[0]
            except (ValueError, RecursionError):
                continue
    return None
