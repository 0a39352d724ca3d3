"""Scores: a range to learn, and numbers that stand far outside of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from luthier.data.checks.base import Context
from luthier.data.samples import Finding, Sample

OUTLIER = 6.0
"""Modified z-score (Iglewicz and Hoaglin, "How to Detect and Handle Outliers", 1993)."""
ROWS = 10
BEYOND = 0.1
"""Share of train's range by which another part may leave it."""


def modified_z(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """0.6745 (x - median) / MAD; where MAD is 0, (x - median) / (1.2533 mean absolute deviation)."""
    away = values - np.median(values)
    deviation = np.abs(away)
    spread = float(np.median(deviation)) / 0.6745 or float(deviation.mean()) * 1.2533
    return away / spread if spread else away


class Scores:
    """Every target of a regression by itself."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._stats: dict[str, Any] = {}

    def see(self, index: int, sample: Sample) -> None:
        pass

    def finish(self) -> Iterator[Finding]:
        table = self._context.table
        if len(table) == 0:
            return
        scores, parts = table.scores, table.part_numbers
        for column, name in enumerate(self._context.columns.score):
            values = scores[:, column]
            train = values[parts == 0]
            if len(train) < 2:
                continue
            low, high = float(train.min()), float(train.max())
            self._stats[name] = {
                "min": low,
                "median": float(np.median(train)),
                "max": high,
                "mean": float(train.mean()),
                "std": float(train.std()),
            }
            if low == high:
                yield Finding(
                    "constant_score",
                    "error",
                    f"all rows have the same {name!r}, {low:g}, so there is nothing to learn.",
                    "Add rows with other scores, or check which column is the score.",
                    0,
                    self._context.where,
                )
                continue
            yield from self._outliers(name, train)
            yield from self._beyond(name, values, parts, low, high)

    def _outliers(self, name: str, train: NDArray[np.float64]) -> Iterator[Finding]:
        if len(train) < ROWS:
            return
        usual = float(np.median(train))
        for row in np.flatnonzero(np.abs(modified_z(train)) > OUTLIER).tolist():
            yield self._context.table.finding(
                row,
                "score_outlier",
                "warning",
                f"{name!r} is {train[row]:g}, far from the usual {usual:g}.",
                "Look for a slipped decimal point or another unit; such a row weighs heavily in the loss.",
                value=float(train[row]),
            )

    def _beyond(
        self, name: str, values: NDArray[np.float64], parts: NDArray[np.int8], low: float, high: float
    ) -> Iterator[Finding]:
        room = BEYOND * (high - low)
        outside = (parts > 0) & ((values < low - room) | (values > high + room))
        for row in np.flatnonzero(outside).tolist():
            yield self._context.table.finding(
                row,
                "score_out_of_range",
                "info",
                f"{name!r} is {values[row]:g}, outside of what train shows ({low:g} to {high:g}).",
                "Add such rows to train, or check the unit.",
                value=float(values[row]),
            )

    def stats(self) -> dict[str, Any]:
        return {"scores": self._stats}
