"""Every answer to the held-out rows, one JSON line each: to be looked at, and to be compared with other models."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PurePath
from types import TracebackType
from typing import Any

from luthier.core import durable_files
from luthier.core.conversation import Conversation
from luthier.core.predictor import Prediction
from luthier.core.rundir import read_jsonl
from luthier.data.samples import Sample
from luthier.evaluate.report import strict
from luthier.evaluate.worst_errors import expected_and_predicted

MOST_ROWS = 100_000
"""Rows that are kept; the first ones."""
SHOWN_CHARACTERS = 4000
"""Of a row's text; answers and references are kept whole."""
_BEST = 5
"""Classes whose probabilities are kept of each row."""


class AnswersFile:
    """Takes rows while they are judged; the file appears whole at `commit`, or not at all.

    Keys of a line: row (from 0), key (of what was asked and expected, the same in every run), line and source of the
    data, text, text_pair; expected, predicted, score, scores; wrong (0 where it is right; else how wrong it is, in the
    measure of the task). Of a model that writes also loss (nats, of all tokens), tokens and correct; a row that it
    did not answer has no text and no answer.
    """

    def __init__(self, path: Path) -> None:
        self._writer = durable_files.FileWriter(path)
        self._rows = 0

    def add(self, row: Mapping[str, Any]) -> None:
        """One row, as `answer_row` or the generation room makes it."""
        if self._rows < MOST_ROWS:
            line = json.dumps(strict({"row": self._rows, **row}), allow_nan=False)  # ASCII: half a surrogate pair, too
            self._writer.write(line.encode() + b"\n")
        self._rows += 1

    def commit(self) -> None:
        """Make the file appear."""
        self._writer.commit()

    def __enter__(self) -> AnswersFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.commit()
        self._writer.drop()


def answer_row(task: str, several_labels: bool, sample: Sample, prediction: Prediction, wrong: float) -> dict[str, Any]:
    """A row that was answered by labels, numbers or spans."""
    expected, predicted = expected_and_predicted(task, several_labels, sample, prediction)
    found = {**place_of(sample), "expected": expected, "predicted": predicted, "wrong": float(wrong)}
    if prediction.score is not None and task != "regress":
        found["score"] = float(prediction.score)
    if prediction.scores:
        best = sorted(prediction.scores.items(), key=lambda one: -one[1])[:_BEST]
        found["scores"] = {label: round(float(score), 6) for label, score in best}
    return found


def place_of(sample: Sample) -> dict[str, Any]:
    """What was asked, and where it stands in the data."""
    found = {
        "key": key_of(sample), "line": sample.line, "source": PurePath(sample.source).name,
        "text": sample.text[:SHOWN_CHARACTERS],
    }  # fmt: skip
    if sample.text_pair is not None:
        found["text_pair"] = sample.text_pair[:SHOWN_CHARACTERS]
    return found


def key_of(sample: Sample) -> str:
    """16 characters that name a row by its content, wherever it stands."""
    target: Any = sample.target
    told = repr((sample.text, sample.text_pair, target.to_text() if isinstance(target, Conversation) else target))
    return hashlib.sha256(told.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def read_answers(path: Path) -> Iterator[dict[str, Any]]:
    """The lines of the file."""
    return read_jsonl(path)


def answered(rows: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Those that hold an answer."""
    return (row for row in rows if "predicted" in row)
