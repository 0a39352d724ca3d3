"""The same text more than once within a part, and the same text with different answers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from luthier.data.checks.base import Context
from luthier.data.checks.similar import Similar
from luthier.data.samples import Finding, Sample

TOLERANCE = 0.1
"""Scores of one text that differ by more than this share of the range contradict each other."""


class Duplicates:
    """One finding per row that repeats an earlier one, the gravest of what it could be."""

    def __init__(self, context: Context, similar: Similar) -> None:
        self._context, self._similar = context, similar
        self._counts = {"exact": 0, "normalised": 0, "near": 0, "conflicts": 0}

    def see(self, index: int, sample: Sample) -> None:
        pass

    def finish(self) -> Iterator[Finding]:
        alike, table = self._similar.alike(), self._context.table
        differ = _Answers(self._context)
        counts = self._counts
        what = "question and answer" if self._context.generative and not self._context.plain else "text"
        exact, normalised = alike.exact >= 0, alike.normalised >= 0
        counts["exact"] = int(exact.sum())
        counts["normalised"] = int((normalised & ~exact).sum())
        counts["near"] = int(((alike.near >= 0) & ~normalised).sum())
        for row in np.flatnonzero(normalised | (alike.near >= 0)).tolist():
            if not normalised[row]:
                yield self._near(row, int(alike.near[row]), float(alike.similarity[row]), differ)
                continue
            other = int(alike.normalised[row])
            if self._context.generative and differ(row, other):
                counts["several_answers"] = counts.get("several_answers", 0) + 1
                counts["exact" if exact[row] else "normalised"] -= 1
                yield table.finding(
                    row,
                    "several_answers",
                    "info",
                    f"the same question as {table.name(other, row)}, with another answer.",
                    "Keep both if both are right; splits keep them on one side.",
                    other,
                )
            elif differ(row, other):
                counts["conflicts"] += 1
                yield table.finding(
                    row,
                    "label_conflict",
                    "warning",
                    f"the same text as {table.name(other, row)}, but {self._answers()}.",
                    f"Decide which is right and correct or remove the other ({table.name(other, row)}).",
                    other,
                )
            elif exact[row]:
                other = int(alike.exact[row])
                message = f"the same {what} as {table.name(other, row)}."
                yield table.finding(row, "duplicate", "warning", message, "Remove one of them.", other)
            else:
                message = f"the same {what} as {table.name(other, row)} but for case, spaces or punctuation."
                yield table.finding(row, "duplicate_normalised", "warning", message, "Remove one of them.", other)

    def _answers(self) -> str:
        return {"classify": "with another label", "regress": "with another score"}.get(
            self._context.task, "with other spans"
        )

    def _near(self, row: int, other: int, similarity: float, differ: _Answers) -> Finding:
        table = self._context.table
        what = "question" if self._context.generative and not self._context.plain else "text"
        also = f", {self._answers()}" if self._context.task == "classify" and differ(row, other) else ""
        return table.finding(
            row,
            "near_duplicate",
            "info",
            f"nearly the same {what} as {table.name(other, row)} ({similarity:.0%} alike){also}.",
            "Keep both if they are meant; splits keep them on one side.",
            other,
            similarity=round(similarity, 3),
        )

    def stats(self) -> dict[str, Any]:
        return {"duplicates": self._counts}


class _Answers:
    """Whether two rows of one text contradict each other."""

    def __init__(self, context: Context) -> None:
        self._targets = context.table.targets
        self._scores: NDArray[np.float64] | None = None
        if context.task == "regress" and len(context.table):
            self._scores = context.table.scores
            self._limit = TOLERANCE * (self._scores.max(axis=0) - self._scores.min(axis=0))

    def __call__(self, row: int, other: int) -> bool:
        if self._scores is not None:
            return bool((np.abs(self._scores[row] - self._scores[other]) > self._limit).any())
        return bool(self._targets[row] != self._targets[other])
