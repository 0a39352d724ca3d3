"""What generative rows answer: too short, always the same, or glued to their prompt; how much is learned."""

from __future__ import annotations

import array
from collections.abc import Iterator
from hashlib import blake2b
from typing import Any

import numpy as np

from luthier.core.conversation import Completion, Conversation
from luthier.core.words import plural
from luthier.data.checks.base import TRAIN, Context
from luthier.data.duplicates import normalise
from luthier.data.language_text import answer_text, texts_of
from luthier.data.samples import Finding, Sample

SHORT = 3
"""Characters below which an answer is very short, where the usual one has `USUAL` or more."""
USUAL = 40
DOMINANT = 0.5
"""Share of the rows from which one answer dominates."""
LEAST = 10
GLUED = 0.5


class Answers:
    """Looks at the last answer of each row of train."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._rows, self._hashes = array.array("I"), array.array("Q")
        self._lengths = array.array("I")
        self._glued = self._prompted = 0
        self._trained = self._characters = 0

    def see(self, index: int, sample: Sample) -> None:
        target = sample.target
        if self._context.part != TRAIN or not isinstance(target, Conversation | Completion):
            return
        self._characters += sum(len(text) for _, text in texts_of(target))
        if isinstance(target, Completion):
            self._trained += len(target.completion)
            if not target.prompt:
                return
            self._prompted += 1
            self._glued += target.prompt[-1].isalnum() and target.completion[:1].isalnum()
        else:
            self._trained += sum(len(target.messages[turn].content) for turn in target.trained)
        answer = answer_text(target)
        self._rows.append(index)
        self._lengths.append(len(answer.strip()))
        digest = blake2b(normalise(answer).encode("utf-8", "surrogatepass"), digest_size=8).digest()
        self._hashes.append(int.from_bytes(digest, "little"))

    def finish(self) -> Iterator[Finding]:
        lengths, rows = np.array(self._lengths, dtype=np.int64), np.array(self._rows, dtype=np.int64)
        if len(rows) < LEAST:
            return
        if np.median(lengths) >= USUAL:
            for at in np.flatnonzero(lengths < SHORT).tolist():
                yield self._context.table.finding(
                    int(rows[at]),
                    "short_answer",
                    "warning",
                    f"the answer has only {plural(int(lengths[at]), 'character')}; the usual one has "
                    f"{int(np.median(lengths)):,}.",
                    "Look whether it was cut off; write it out or leave the row out.",
                    characters=int(lengths[at]),
                )
        _, first, counts = np.unique(np.array(self._hashes, dtype=np.uint64), return_index=True, return_counts=True)
        most = int(np.argmax(counts))
        if counts[most] > DOMINANT * len(rows):
            share = int(counts[most]) / len(rows)
            yield self._context.table.finding(
                int(rows[first[most]]),
                "dominant_answer",
                "warning",
                f"{plural(int(counts[most]), 'row')} ({share:.0%}) have the same answer as this one, "
                "which the model will learn to give whatever it is asked.",
                "Leave out most of them, or add rows with other answers.",
                rows=int(counts[most]),
            )
        if self._prompted >= LEAST and self._glued > GLUED * self._prompted:
            yield Finding(
                "prompt_runs_into_completion",
                "warning",
                f"in {plural(self._glued, 'row')} of {self._prompted:,} the completion's first word follows the "
                "prompt's last one without a space.",
                "End each prompt with a mark of its own (a line end, '->') or begin each completion with a space.",
                0,
                self._context.where,
            )

    def stats(self) -> dict[str, Any]:
        lengths = np.array(self._lengths, dtype=np.int64)
        found: dict[str, Any] = {"trained_share": round(self._trained / max(self._characters, 1), 4)}
        if len(lengths):
            found["answers"] = {
                "different": len(np.unique(np.array(self._hashes, dtype=np.uint64))),
                "median_characters": int(np.median(lengths)),
            }
        return found
