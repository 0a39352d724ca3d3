"""The rows of a decision: what arms learn from, what chooses their settings, and what they are judged on."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from luthier.approaches.answers import AnswerForm
from luthier.approaches.scored import answerable
from luthier.approaches.wording import TERMINAL, Wording
from luthier.core import durable
from luthier.core.conversation import Completion, Conversation
from luthier.core.errors import DataError
from luthier.core.recipe import LANGUAGE_TASKS
from luthier.data.dataset import Dataset
from luthier.data.prepare import names_of
from luthier.data.samples import Sample, Span
from luthier.data.splits import plan_split

FEWEST = 8
"""Rows; of fewer nothing can be held out."""
HELD_OUT = 0.25
MOST_HELD_OUT = 1000
"""Rows on which arms are judged: more of them narrow the intervals little and cost every arm time."""
VALIDATION = 0.15
MOST_VALIDATION = 200


@dataclass(frozen=True)
class DecisionRows:
    """`train` is what arms may learn from and look things up in; `validation` chooses; `held_out` judges."""

    task: str
    form: AnswerForm
    train: list[Sample]
    validation: list[Sample]
    held_out: list[Sample]
    notes: list[str]


def open_rows(
    data: str | list[str],
    *,
    task: str = "auto",
    columns: dict[str, Any] | None = None,
    test: str | list[str] | None = None,
    seed: int = 0,
    wording: Wording = TERMINAL,
) -> DecisionRows:
    """Read and split. Raises `DataError` with the place of a bad row, or where there is too little to hold out."""
    dataset = Dataset.open(data, task=task, columns=columns)
    rows = answerable(list(dataset.samples()))
    if len(rows) < FEWEST:
        raise DataError(
            f"there are {len(rows)} rows with an answer, and a decision needs {FEWEST} or more.",
            where=dataset.sources[0],
            remedy="Write some more by hand: with 20 to 50 good rows a prompt can be judged, with 200 a training.",
            code="too_few_rows",
        )
    notes: list[str] = []
    stratify = dataset.task not in LANGUAGE_TASKS
    if test is None:
        rows, held_out = _parted(rows, HELD_OUT, seed, stratify)
        notes.append(f"{len(held_out):,} of the rows were held out to judge on{wording.held_out}.")
    else:
        given = Dataset.open(test, task=dataset.task, columns=columns)
        if given.task == "classify":
            given.several_labels = dataset.several_labels
        held_out = answerable(list(given.samples()))
        if not held_out:
            raise DataError("no row of the test data has an answer.", where=given.sources[0], code="no_rows",
                            remedy="Give rows with the same columns as the training data.")  # fmt: skip
        held_out, leaked = _without(held_out, rows)
        if leaked:
            notes.append(f"{leaked:,} test rows are training rows too and were left out.")
        if not held_out:
            raise DataError("every test row is a training row too.", where=given.sources[0], code="leak",
                            remedy="Give rows that the training data does not hold.")  # fmt: skip
    order = np.random.default_rng(seed).permutation(len(held_out))
    if len(order) > MOST_HELD_OUT:
        notes.append(f"Judged on {MOST_HELD_OUT:,} of {len(order):,} held-out rows, drawn at random.")
    held_out = [held_out[place] for place in order[:MOST_HELD_OUT].tolist()]
    train, validation = _parted(rows, VALIDATION, seed + 1, stratify)
    if len(validation) > MOST_VALIDATION:
        train, validation = train + validation[MOST_VALIDATION:], validation[:MOST_VALIDATION]
    if len(held_out) < 30:
        notes.append(f"Only {len(held_out)} held-out rows: intervals are wide, and most arms cannot be told apart.")
    return DecisionRows(dataset.task, _form(dataset, [*train, *validation]), train, validation, held_out, notes)


def _form(dataset: Dataset, rows: Sequence[Sample]) -> AnswerForm:
    if dataset.task == "regress":
        values = np.asarray([sample.target for sample in rows], dtype=np.float64)
        return AnswerForm("regress", tuple(dataset.columns.score), low=float(values.min()), high=float(values.max()))
    labels = tuple(sorted({name for sample in rows for name in names_of(sample)}))
    if dataset.task == "classify" and len(labels) < 2:
        raise DataError("all rows have one label, so there is nothing to decide.", where=dataset.sources[0],
                        code="one_class", remedy="Give rows of at least two classes.")  # fmt: skip
    return AnswerForm(dataset.task, labels, dataset.several_labels)


class _Held:
    def __init__(self, rows: Sequence[Sample]) -> None:
        self._rows = rows

    def samples(self) -> Iterable[Sample]:
        return iter(self._rows)


def _parted(rows: list[Sample], share: float, seed: int, stratify: bool) -> tuple[list[Sample], list[Sample]]:
    split = plan_split(_Held(rows), share, seed, stratify=stratify)
    side = split.assignment.tolist()
    return [row for row, one in zip(rows, side, strict=True) if not one], [
        row for row, one in zip(rows, side, strict=True) if one
    ]


def _without(held_out: Sequence[Sample], rows: Sequence[Sample]) -> tuple[list[Sample], int]:
    known = {(row.text, row.text_pair) for row in rows}
    kept = [row for row in held_out if (row.text, row.text_pair) not in known]
    return kept, len(held_out) - len(kept)


def write_rows(path: Path, rows: Sequence[Sample], form: AnswerForm) -> None:
    """Rows as JSON lines in the standard columns."""
    text = "".join(json.dumps(row_of(row, form), ensure_ascii=False) + "\n" for row in rows)
    durable.write_text(path, text)


def row_of(sample: Sample, form: AnswerForm) -> dict[str, Any]:
    """A row as the task's standard columns name it."""
    target: Any = sample.target
    if isinstance(target, Conversation):
        found: dict[str, Any] = {"messages": [_turn(message) for message in target.messages]}
        return found | ({"tools": [dict(tool) for tool in target.tools]} if target.tools else {})
    if isinstance(target, Completion):
        return {"prompt": target.prompt, "completion": target.completion}
    found = {"text": sample.text}
    if sample.text_pair is not None:
        found["text_pair"] = sample.text_pair
    if form.task == "regress":
        return found | dict(zip(form.labels, target, strict=True))
    if form.task == "extract":
        spans = [span for span in target if isinstance(span, Span)]
        return found | {"spans": [{"start": s.start, "end": s.end, "label": s.label} for s in spans]}
    return found | {"label": list(target) if form.several_labels else target}


def _turn(message: Any) -> dict[str, Any]:
    found: dict[str, Any] = message.to_dict()
    if message.tool_call_id is not None:
        found["tool_call_id"] = message.tool_call_id
    if message.role == "assistant" and message.weight != 1.0:
        found["weight"] = int(message.weight)
    return found
