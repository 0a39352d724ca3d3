"""Every held-out row with what each arm answered, one JSON line each."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from luthier.approaches.arm import Arm
from luthier.approaches.scored import answer_of, wrongness
from luthier.core.durable_files import FileWriter
from luthier.core.predictor import Prediction
from luthier.core.recipe import LANGUAGE_TASKS
from luthier.deciding.rows import DecisionRows
from luthier.evaluate.answers_file import place_of
from luthier.evaluate.report import strict
from luthier.evaluate.worst_errors import expected_and_predicted


def write_answers(path: Path, rows: DecisionRows, arms: Sequence[Arm]) -> None:
    """Lines with row, line, source, text, expected, and `answers`: for each arm that answered this row its
    ``predicted``, ``score`` and ``wrong`` (0: right)."""
    with FileWriter(path) as writer:
        for line in _lines(rows, arms):
            writer.write(json.dumps(strict(line), allow_nan=False).encode() + b"\n")
        writer.commit()


def _lines(rows: DecisionRows, arms: Sequence[Arm]) -> Iterator[dict[str, Any]]:
    wrong = {arm.name: wrongness(rows.form, rows.held_out, arm.predictions) for arm in arms}
    for number, sample in enumerate(rows.held_out):
        found: dict[str, Any] = {}
        expected: Any = None
        for arm in arms:
            if number >= len(arm.predictions):
                continue
            prediction = arm.predictions[number]
            expected, predicted = _both(rows, sample, prediction)
            found[arm.name] = {"predicted": predicted, "wrong": wrong[arm.name][number]}
            if prediction.score is not None and rows.task != "regress":
                found[arm.name]["score"] = prediction.score
        if not found:
            expected = _both(rows, sample, Prediction(score=0.0))[0]
        yield {"row": number, **place_of(sample), "expected": expected, "answers": found}


def _both(rows: DecisionRows, sample: Any, prediction: Prediction) -> tuple[Any, Any]:
    if rows.task in LANGUAGE_TASKS:
        return answer_of(sample), prediction.output or ""
    return expected_and_predicted(rows.task, rows.form.several_labels, sample, prediction)
