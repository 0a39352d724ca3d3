"""How long the texts are, in characters and in tokens; which stand out, and what would be cut."""

from __future__ import annotations

import array
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from luthier.core.text import TextEncoder
from luthier.core.words import plural
from luthier.data.checks.base import Context
from luthier.data.samples import Finding, Sample, Span

OUTLIER = 6.0
"""Robust z of the logarithm of the length; for a normal distribution one in 500 million."""
SPREAD = 0.25
"""Least spread of the logarithm, so that texts of one length do not make every other one an outlier."""
ROWS = 20
BATCH = 256
COVERED = 0.995
"""Share of rows that the suggested max_length leaves whole."""
PLACES = 3


def describe(lengths: NDArray[np.uint32]) -> dict[str, Any]:
    """Quantiles, and a histogram by powers of two: `up_to` (inclusive) and `rows`."""
    if len(lengths) == 0:
        return {}
    median, p95, p99 = np.percentile(lengths, [50, 95, 99], method="lower").tolist()
    powers = np.ceil(np.log2(np.maximum(lengths, 1))).astype(np.int64)
    counts = np.bincount(powers)
    histogram = [{"up_to": 2**power, "rows": int(n)} for power, n in enumerate(counts.tolist())]
    return {
        "min": int(lengths.min()),
        "median": int(median),
        "mean": round(float(lengths.mean()), 2),
        "p95": int(p95),
        "p99": int(p99),
        "max": int(lengths.max()),
        "histogram": histogram[int(powers.min()) :],
    }


class Characters:
    """Lengths in characters, all texts of a row together."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._lengths = array.array("I")
        self._stats: dict[str, Any] = {}

    def see(self, index: int, sample: Sample) -> None:
        self._lengths.append(sum(len(text) for _, text in self._context.texts(sample)))

    def finish(self) -> Iterator[Finding]:
        lengths = np.array(self._lengths, dtype=np.uint32)
        self._stats = describe(lengths)
        if len(lengths) < ROWS:
            return
        logs = np.log1p(lengths).astype(np.float32)
        middle = np.median(logs)
        spread = max(float(np.median(np.abs(logs - middle))) * 1.4826, SPREAD)
        usual = round(float(np.expm1(middle)))
        for row in np.flatnonzero(np.abs(logs - middle) > OUTLIER * spread).tolist():
            length = int(lengths[row])
            than = "longer" if length > usual else "shorter"
            yield self._context.table.finding(
                row,
                "length_outlier",
                "info",
                f"{plural(length, 'character')}, far {than} than the usual {usual:,}.",
                "Look whether rows were joined or cut off by mistake.",
                characters=length,
            )

    def stats(self) -> dict[str, Any]:
        return {"lengths": {"characters": self._stats}}


class Tokens:
    """Lengths in tokens, and what the limit would cut (gate G3 of the pitfalls)."""

    def __init__(self, context: Context, encoder: TextEncoder) -> None:
        self._context, self._encoder = context, encoder
        self._limit = min(context.max_length or encoder.max_length, encoder.max_length)
        self._lengths = array.array("I")
        self._batch: list[Sample] = []
        self._spans_cut = 0

    def see(self, index: int, sample: Sample) -> None:
        self._batch.append(sample)
        if len(self._batch) == BATCH:
            self._flush()

    def _flush(self) -> None:
        texts = [sample.input for sample in self._batch]
        for sample, encoded in zip(self._batch, self._encoder.encode(texts, max_length=self._limit), strict=True):
            self._lengths.append(encoded.full_length)
            if encoded.full_length > self._limit and isinstance(sample.target, tuple):
                seen = max((end for _, end in encoded.offsets), default=0)
                self._spans_cut += sum(isinstance(item, Span) and item.end > seen for item in sample.target)
        self._batch = []

    def finish(self) -> Iterator[Finding]:
        if self._batch:
            self._flush()
        lengths = np.array(self._lengths, dtype=np.uint32)
        long = np.flatnonzero(lengths > self._limit)
        if len(long) == 0:
            return
        table, first = self._context.table, int(long[0])
        places = ", ".join(table.name(row, first) for row in long[:PLACES].tolist())
        places += " and so on" if len(long) > PLACES else ""
        lost = f" and lose {plural(self._spans_cut, 'span')}" if self._spans_cut else ""
        possible = min(_round_up(int(lengths.max())), self._encoder.max_length)
        remedy = (
            f"Set train.max_length={possible} to keep more."
            if possible > self._limit
            else f"The base model reads at most {self._limit:,} tokens: shorten or split these texts."
        )
        yield table.finding(
            first,
            "would_be_cut",
            "warning",
            f"{plural(len(long), 'row')} ({len(long) / len(lengths):.1%}) would be cut to {self._limit:,} "
            f"tokens{lost}: {places}.",
            remedy,
            rows=len(long),
            spans=self._spans_cut,
            max_length=self._limit,
        )

    def stats(self) -> dict[str, Any]:
        lengths = np.array(self._lengths, dtype=np.uint32)
        if len(lengths) == 0:
            return {}
        over = int((lengths > self._limit).sum())
        fits = int(np.percentile(lengths, COVERED * 100, method="higher"))
        return {
            "lengths": {
                "tokens": {
                    **describe(lengths),
                    "max_length": self._limit,
                    "cut_rows": over,
                    "cut_share": round(over / len(lengths), 6),
                    "cut_spans": self._spans_cut,
                }
            },
            "suggested_max_length": min(_round_up(fits), self._encoder.max_length),
        }


def _round_up(length: int) -> int:
    """The next multiple of 8."""
    return -(-length // 8) * 8
