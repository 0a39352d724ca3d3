"""Conversations and completions in tokens: lengths, what is learned, what a limit would cost."""

from __future__ import annotations

import array
from collections.abc import Iterator
from typing import Any

import numpy as np

from luthier.core.words import plural
from luthier.data.checks.base import Context
from luthier.data.checks.lengths import BATCH, PLACES, describe
from luthier.data.samples import Finding, Sample
from luthier.data.templates.renderer import Renderer

ENOUGH_ENDS = 0.99
"""Share of the answers whose end must be learned (gate G1)."""


class LanguageTokens:
    """Rows as training would read them, by the base model's own template."""

    def __init__(self, context: Context, renderer: Renderer) -> None:
        self._context, self._renderer = context, renderer
        limit = renderer.tokenizer.max_length
        self._limit = min(context.max_length or limit, limit)
        self._lengths, self._learned = array.array("I"), array.array("I")
        self._ended = self._answers = 0
        self._batch: list[Sample] = []

    def see(self, index: int, sample: Sample) -> None:
        self._batch.append(sample)
        if len(self._batch) == BATCH:
            self._flush()

    def _flush(self) -> None:
        for rows in self._renderer.render_batch(self._batch):
            self._lengths.append(max(len(row.ids) for row in rows) if rows else 0)
            self._learned.append(sum(row.trained_tokens for row in rows))
            self._answers += sum(len(row.turns) for row in rows)
            self._ended += sum(turn.ended for row in rows for turn in row.turns)
        self._batch = []

    def finish(self) -> Iterator[Finding]:
        if self._batch:
            self._flush()
        lengths, table = np.array(self._lengths, dtype=np.uint32), self._context.table
        long = np.flatnonzero(lengths > self._limit)
        if len(long):
            first = int(long[0])
            places = ", ".join(table.name(row, first) for row in long[:PLACES].tolist())
            places += " and so on" if len(long) > PLACES else ""
            what = "split into several" if self._context.task == "complete" else "left out"
            yield table.finding(
                first, "would_be_cut", "warning",
                f"{plural(len(long), 'row')} ({len(long) / len(lengths):.1%}) "
                f"{'are' if len(long) > 1 else 'is'} longer than {self._limit:,} tokens and would be {what}: {places}.",
                "Shorten them, raise train.max_length as far as the base reads, or choose train.truncate.",
                rows=len(long), max_length=self._limit,
            )  # fmt: skip
        if self._answers and self._ended < ENOUGH_ENDS * self._answers:
            yield table.finding(
                0, "no_end_of_turn", "error",
                f"only {self._ended:,} of {self._answers:,} answers end with a token that stops the model.",
                "Its chat template does not end the assistant's turn: set data.template.",
            )  # fmt: skip

    def stats(self) -> dict[str, Any]:
        lengths = np.array(self._lengths, dtype=np.uint32)
        if len(lengths) == 0:
            return {}
        learned = int(np.array(self._learned, dtype=np.uint32).sum())
        return {
            "lengths": {
                "tokens": {
                    **describe(lengths),
                    "max_length": self._limit,
                    "cut_rows": int((lengths > self._limit).sum()),
                    "learned": learned,
                    "learned_share": round(learned / max(1, int(lengths.sum())), 6),
                }
            }
        }
